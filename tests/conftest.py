"""Small models and runs that many tests share."""

import dataclasses
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported; also by the commands under test

import pytest
import torch

from novq.config import (
    ClassConfig,
    DiffusionConfig,
    MaskedConfig,
    ModelConfig,
    PixelsConfig,
    RunConfig,
    SamplingConfig,
)
from novq.model import Model
from novq.presets import PRESETS

TINY = ModelConfig(
    image_size=8,
    tokenizer=PixelsConfig(channels=1, patch_size=2),
    conditioning=ClassConfig(num_classes=4, num_tokens=2),
    backbone=MaskedConfig(width=32, encoder_depth=2, decoder_depth=2, num_heads=2, dropout=0.0),
    head=DiffusionConfig(width=32, depth=2, batch_mul=2),
    sampling=SamplingConfig(num_iterations=4, num_steps=5, guidance_scale=2.0),
)


def make_tiny(config: ModelConfig = TINY) -> Model:
    """A tiny model whose zero-initialised layers are filled too, so that every input matters."""
    torch.manual_seed(0)
    model = Model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    images = torch.randint(0, 256, (32, config.tokenizer.channels, 8, 8), dtype=torch.uint8)
    model.tokenizer.measure(images)
    with torch.no_grad():
        model(
            images / 127.5 - 1, torch.zeros(32, dtype=torch.int64)
        )  # the head notes the range of the tokens
    return model.eval()


@pytest.fixture
def tiny() -> Model:
    return make_tiny()


def digits_recipe() -> RunConfig:
    """The digits preset with a model that trains some hundred steps a second."""
    config = PRESETS["digits"].config
    return dataclasses.replace(
        config,
        model=dataclasses.replace(TINY, conditioning=ClassConfig(num_classes=10, num_tokens=1)),
        optim=dataclasses.replace(config.optim, batch_size=16, warmup_steps=2),
        loop=dataclasses.replace(config.loop, tracker="none"),
    )


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder after three steps on the digits. Read only: copy it before changing it."""
    from novq.training import train

    out = tmp_path_factory.mktemp("runs") / "digits"
    train(digits_recipe(), out, steps=3, device="cpu")
    return out
