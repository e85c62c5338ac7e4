import dataclasses
import json

import pytest

from conftest import TINY
from novq.codec import differences, from_json, to_json
from novq.config import (
    ClassConfig,
    LoopConfig,
    MaskedConfig,
    ModelConfig,
    OptimConfig,
    PixelsConfig,
    RunConfig,
    SamplingConfig,
    UnconditionalConfig,
)
from novq.presets import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name: str) -> None:
    config = PRESETS[name].config
    assert from_json(RunConfig, to_json(config)) == config


def test_json_keeps_the_variant() -> None:
    config = dataclasses.replace(
        TINY,
        conditioning=UnconditionalConfig(num_tokens=3),
        sampling=dataclasses.replace(TINY.sampling, guidance_scale=1.0),
    )
    assert from_json(ModelConfig, to_json(config)) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["backbone"].update(widht=3), "ModelConfig.backbone has the unknown key widht"),
        (
            lambda d: d["backbone"].update(width="3"),
            "ModelConfig.backbone.width is '3': it must be of type int",
        ),
        (
            lambda d: d["conditioning"].update(type="text"),
            "ModelConfig.conditioning.type is 'text': use one of class",
        ),
        (lambda d: d["head"].update(type="flow"), "ModelConfig.head.type is 'flow'"),
        (lambda d: d["sampling"].update(guidance_schedule="cubic"), "use one of linear, constant"),
        (lambda d: d["conditioning"].update(names=["a"]), "names has 1 entries for 4 classes"),
        (lambda d: d.update(image_size=9), "patch_size 2 does not divide image_size 9: use one of 1, 3, 9"),
        (lambda d: d.pop("head"), "ModelConfig lacks head"),
        (lambda d: d.update(tokenizer=7), "ModelConfig.tokenizer is 7: it must be an object"),
    ],
)
def test_bad_json_is_named(change, message: str) -> None:
    data = json.loads(to_json(TINY))
    change(data)
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        from_json(ModelConfig, json.dumps(data))


def test_truncated_json() -> None:
    with pytest.raises(ValueError, match="not JSON"):
        from_json(ModelConfig, to_json(TINY)[:50])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MaskedConfig(width=10, num_heads=3), "width 10 is not divisible by num_heads 3"),
        (lambda: MaskedConfig(mask_ratio_min=1.0), "mask_ratio_min is 1.0"),
        (lambda: MaskedConfig(decoder_depth=0), "decoder_depth is 0"),
        (lambda: ClassConfig(num_classes=0), "num_classes is 0"),
        (lambda: ClassConfig(dropout=1.0), "dropout is 1.0"),
        (lambda: PixelsConfig(patch_size=-1), "patch_size is -1"),
        (lambda: OptimConfig(lr=0), "lr is 0"),
        (lambda: OptimConfig(ema_decay=1.0), "ema_decay is 1.0"),
        (lambda: LoopConfig(seed=2**63), "seed is 9223372036854775808"),
        (lambda: SamplingConfig(num_steps=1001), "use at most 1000"),
        (lambda: SamplingConfig(temperature=-0.1), "temperature is -0.1"),
        (lambda: dataclasses.replace(TINY, sampling=SamplingConfig(num_iterations=17)), "use at most 16"),
    ],
)
def test_bad_values_are_refused(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_differences_name_the_setting() -> None:
    config = PRESETS["digits"].config
    other = dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=0.5))
    assert differences(config, other) == [f"optim.lr: {config.optim.lr} / 0.5"]
    assert differences(config, config) == []
