"""Config dataclasses to JSON and back.

A variant of a union carries its `type`; unknown keys are errors, so that a misspelt setting is never ignored.
"""

import dataclasses
import json
import types
import typing
from typing import Any, Literal, TypeVar, cast

T = TypeVar("T")


def to_json(config: Any) -> str:
    """JSON text of a config, two-space indented, variants tagged by `type`."""
    return json.dumps(_encode(config), indent=2) + "\n"


def from_json(cls: type[T], text: str) -> T:
    """Config of class `cls` from JSON text. ValueError names the key that is unknown or of the wrong type."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error})") from error
    return cast(T, _decode(cls, data, cls.__name__))


def differences(ours: Any, theirs: Any) -> list[str]:
    """One line for each leaf in which two configs differ: `optim.lr: 0.001 / 0.0005`."""
    a, b = _leaves(_encode(ours)), _leaves(_encode(theirs))
    return [
        f"{key}: {a.get(key, 'absent')} / {b.get(key, 'absent')}"
        for key in sorted(a.keys() | b.keys())
        if a.get(key, "absent") != b.get(key, "absent")
    ]


def _leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        tag = {"type": getattr(value, "type")} if hasattr(value, "type") else {}  # noqa: B009
        return tag | {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return list(value) if isinstance(value, tuple) else value


def _decode(kind: Any, data: Any, path: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        by_tag = {option.type: option for option in typing.get_args(kind)}
        tag = data.get("type") if isinstance(data, dict) else None
        _require(tag in by_tag, f"{path}.type is {tag!r}: use one of {', '.join(by_tag)}")
        return _decode(by_tag[tag], data, path)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, data, path)
    if origin is tuple:
        item = typing.get_args(kind)[0]
        _require(isinstance(data, list), f"{path} is {data!r}: it must be a list")
        return tuple(_decode(item, entry, path) for entry in data)
    if origin is Literal:
        options = typing.get_args(kind)
        _require(data in options, f"{path} is {data!r}: use one of {', '.join(options)}")
        return data
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    _require(type(data) is kind, f"{path} is {data!r}: it must be of type {kind.__name__}")
    return data


def _decode_dataclass(kind: Any, data: Any, path: str) -> Any:
    _require(isinstance(data, dict), f"{path} is {data!r}: it must be an object")
    data = dict(data)
    if hasattr(kind, "type"):
        tag = data.pop("type", kind.type)
        _require(tag == kind.type, f"{path}.type is {tag!r}: this version knows only {kind.type!r} here")
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    unknown = [key for key in data if key not in names]
    _require(not unknown, f"{path} has the unknown key {', '.join(unknown)}: known are {', '.join(names)}")
    missing = [
        f.name
        for f in dataclasses.fields(kind)
        if f.name not in data
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    _require(not missing, f"{path} lacks {', '.join(missing)}")
    return kind(**{key: _decode(hints[key], value, f"{path}.{key}") for key, value in data.items()})


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)
