"""A whole model on a joint distribution that is known."""

import dataclasses

import pytest
import torch
from torch import Tensor

from conftest import TINY
from novq.config import DiffusionConfig, MaskedConfig, PixelsConfig, SamplingConfig, UnconditionalConfig
from novq.model import Model
from novq.orders import Plan, seeded_orders
from novq.sampling import SeededNoise, sample_tokens

NUM_TOKENS, RHO = 9, 0.8
CONFIG = dataclasses.replace(
    TINY,
    image_size=3,
    tokenizer=PixelsConfig(channels=1, patch_size=1),
    conditioning=UnconditionalConfig(num_tokens=1),
    backbone=MaskedConfig(
        width=48, encoder_depth=2, decoder_depth=1, num_heads=4, dropout=0.0, mask_ratio_min=0.1
    ),
    head=DiffusionConfig(width=48, depth=2, batch_mul=4),
    sampling=SamplingConfig(num_iterations=9, num_steps=50),
)


def covariance() -> Tensor:
    """Of a stationary first-order autoregressive process along the raster: ρ^|i−j|."""
    i = torch.arange(NUM_TOKENS)
    return RHO ** (i[:, None] - i).abs().float()


def train_and_sample(*, shuffled: bool) -> Tensor:
    """Tokens sampled by a model trained on the process; `shuffled` permutes the positions of every sample."""
    torch.manual_seed(0)
    model = Model(CONFIG)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    )
    generator = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(covariance())
    steps = 800
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
        x = torch.randn(128, NUM_TOKENS, generator=generator) @ root.T
        if shuffled:
            x = x.gather(1, torch.rand(x.shape, generator=generator).argsort(1))
        loss = model(x.reshape(128, 1, 3, 3), torch.zeros(128, dtype=torch.int64), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(model)
    trained = average.module
    assert isinstance(trained, Model)
    trained.eval()
    seeds = list(range(1200))
    plan = Plan(seeded_orders(seeds, NUM_TOKENS), (1,) * NUM_TOKENS)
    cond = trained.conditioning(torch.zeros(len(seeds), dtype=torch.int64)).detach()
    return sample_tokens(trained, cond, plan, SeededNoise(seeds), CONFIG.sampling)[..., 0]


@pytest.mark.parametrize("shuffled", [False, True])
def test_masked_model_reproduces_correlations(shuffled: bool) -> None:
    """Standard error of a correlation from 1,200 samples is below 0.029: 0.12 leaves room for the short training."""
    error = (train_and_sample(shuffled=shuffled).T.cov() - covariance()).abs()
    if shuffled:
        assert error.max() > 0.25
    else:
        assert error.max() < 0.12
