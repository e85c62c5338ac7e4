"""Arguments to dataclasses, through tyro, with its errors as one line."""

import contextlib
import io
import re
from typing import Any, Literal, TypeVar

import tyro

Device = Literal["cpu", "cuda"]
T = TypeVar("T")


def parse(kind: type[T], args: list[str], *, prog: str, description: str, default: Any = None) -> T:
    """The dataclass that the arguments make. Bad ones raise ValueError with tyro's message as one line."""
    caught = io.StringIO()
    options = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(caught):
            return tyro.cli(
                tyro.conf.configure(tyro.conf.AvoidSubcommands)(kind),
                args=args,
                prog=prog,
                description=description,
                **options,
            )
    except SystemExit as leave:
        if not leave.code:
            raise  # --help, already printed
        text = " ".join(re.sub(r"\x1b\[[0-9;]*m|[\u2500-\u257f]", " ", caught.getvalue()).split())
        text = re.sub(r"^(Value error|Unrecognized options|Required options) ", "", text)
        text = re.sub(r"no type matching .* - <class '\w+'>: ", "", text)
        text = re.sub(r"( Argument helptext:.*)? For full helptext.*$", "", text)
        raise ValueError(f"{text} (see {prog} --help)") from None
