import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import novq
from novq.flops import sampling_flops, training_flops
from novq.model import Model


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_sampling_flops_are_what_a_counter_counts(tiny: Model, guidance_scale: float) -> None:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        novq.sample(tiny, [0, 1, 2], guidance_scale=guidance_scale)
    settings = dataclasses.replace(tiny.config.sampling, guidance_scale=guidance_scale)
    # The time embedding is computed once an iteration for the whole batch, and not counted as an image's.
    embed = tiny.head.net.time_embed
    once = 4 * 5 * 2 * (embed.fc1.weight.numel() + embed.fc2.weight.numel())
    assert counter.get_total_flops() == pytest.approx(3 * sampling_flops(tiny, settings).total + once)


def test_training_flops_are_what_a_counter_counts(tiny: Model) -> None:
    """The forward pass, a third of the whole, on average over many draws of the mask ratio."""
    images, labels = torch.rand(1, 1, 8, 8), torch.tensor([0])
    rounds, total = 100, 0
    for k in range(rounds):
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            tiny(images, labels, torch.Generator().manual_seed(k))
        total += counter.get_total_flops()
    assert 3 * total / rounds == pytest.approx(training_flops(tiny).total, rel=0.03)
