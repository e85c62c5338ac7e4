import math

import pytest
import torch
from torch import Tensor

from conftest import TINY
from novq.backbones import MaskedBackbone
from novq.backbones.masked import mean_num_masked, sample_mask_ratio
from novq.config import MaskedConfig
from novq.model import Model
from novq.orders import Plan, gather_tokens, seeded_orders


@pytest.fixture(params=[2, 0], ids=["encoder-decoder", "single stack"])
def backbone(request: pytest.FixtureRequest) -> MaskedBackbone:
    torch.manual_seed(0)
    config = MaskedConfig(width=16, encoder_depth=request.param, decoder_depth=2, num_heads=2, dropout=0.0)
    return MaskedBackbone(config, token_dim=3, num_tokens=9, num_cond=2).double().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def cond() -> Tensor:
    return torch.randn(4, 2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def conditions(
    backbone: MaskedBackbone, x: Tensor, cond: Tensor, order: Tensor, known: int, size: int
) -> Tensor:
    plan = Plan(order, (order.shape[1] - known,), num_known=known)
    return backbone.condition(backbone.begin(cond, plan), x, order[:, known : known + size])


def test_masked_tokens_do_not_leak(backbone: MaskedBackbone, x: Tensor, cond: Tensor) -> None:
    order = seeded_orders([0, 1, 2, 3], 9)
    z = conditions(backbone, x, cond, order, known=4, size=2)
    disturbed = x.scatter(1, order[:, 4:, None].expand(-1, -1, 3), 100.0)
    assert torch.equal(conditions(backbone, disturbed, cond, order, known=4, size=2), z)


def test_every_known_token_and_the_condition_matter(
    backbone: MaskedBackbone, x: Tensor, cond: Tensor
) -> None:
    order = seeded_orders([0, 1, 2, 3], 9)
    z = conditions(backbone, x, cond, order, known=4, size=2)
    for k in range(4):
        disturbed = x.scatter(1, order[:, k : k + 1, None].expand(-1, -1, 3), 5.0)
        changed = (conditions(backbone, disturbed, cond, order, known=4, size=2) - z).abs().amax((1, 2))
        assert changed.min() > 1e-6
    assert (conditions(backbone, x, cond.flip(-1), order, known=4, size=2) - z).abs().amax(
        (1, 2)
    ).min() > 1e-6


def test_the_layout_of_a_set_does_not_matter(backbone: MaskedBackbone, x: Tensor, cond: Tensor) -> None:
    order = seeded_orders([0, 1, 2, 3], 9)
    shuffled = torch.cat([order[:, :4].flip(1), order[:, 4:6], order[:, 6:].flip(1)], dim=1)
    torch.testing.assert_close(
        conditions(backbone, x, cond, order, known=4, size=2),
        conditions(backbone, x, cond, shuffled, known=4, size=2),
    )


def test_a_condition_does_not_depend_on_what_else_is_wanted(
    backbone: MaskedBackbone, x: Tensor, cond: Tensor
) -> None:
    """The last block, computed for the wanted tokens only, gives what it gives for all."""
    order = seeded_orders([0, 1, 2, 3], 9)
    few = conditions(backbone, x, cond, order, known=4, size=2)
    torch.testing.assert_close(conditions(backbone, x, cond, order, known=4, size=5)[:, :2], few)


def test_positions_matter(backbone: MaskedBackbone, x: Tensor, cond: Tensor) -> None:
    """The same known values at other places, or another wanted place, give another condition."""
    order = torch.arange(9).expand(4, -1)
    z = conditions(backbone, x, cond, order, known=4, size=1)
    swapped = x[:, [1, 0, *range(2, 9)]]
    assert (conditions(backbone, swapped, cond, order, known=4, size=1) - z).abs().amax((1, 2)).min() > 1e-6
    other = order[:, [0, 1, 2, 3, 5, 4, 6, 7, 8]]
    assert (conditions(backbone, x, cond, other, known=4, size=1) - z).abs().amax((1, 2)).min() > 1e-6


def test_targets_are_the_masked_tokens_and_their_conditions(
    backbone: MaskedBackbone, x: Tensor, cond: Tensor
) -> None:
    z, target = backbone.targets(x, cond, torch.Generator().manual_seed(0))
    masked = len(target) // 4
    assert math.ceil(9 * 0.7) <= masked <= 9
    order = torch.rand(4, 9, generator=torch.Generator().manual_seed(0)).argsort(1)
    assert torch.equal(target.reshape(4, masked, 3), gather_tokens(x, order[:, :masked]))
    sampled_order = torch.cat([order[:, masked:], order[:, :masked]], dim=1)
    again = conditions(backbone, x, cond, sampled_order, known=9 - masked, size=masked)
    torch.testing.assert_close(z.reshape(4, masked, 16), again)


@pytest.mark.parametrize(("low", "std"), [(0.7, 0.25), (0.1, 0.5)])
def test_mask_ratio_distribution(low: float, std: float) -> None:
    """Truncated normal: moments against numerical integration of the density."""
    config, generator = MaskedConfig(mask_ratio_min=low, mask_ratio_std=std), torch.Generator().manual_seed(0)
    ratios = torch.tensor([sample_mask_ratio(config, generator) for _ in range(4000)])
    grid = torch.linspace(low, 1, 2001)
    density = torch.exp(-0.5 * ((grid - 1) / std) ** 2)
    mean = (grid * density).sum() / density.sum()
    second = (grid**2 * density).sum() / density.sum()
    assert ratios.min() >= low
    assert ratios.max() <= 1.0
    assert ratios.mean().item() == pytest.approx(mean.item(), abs=0.01)
    assert ratios.square().mean().item() == pytest.approx(second.item(), abs=0.015)
    assert (ratios * 16).ceil().mean().item() == pytest.approx(mean_num_masked(config, 16), abs=0.15)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    backbone = MaskedBackbone(MaskedConfig(16, 1, 1, 2, dropout=0.5), token_dim=3, num_tokens=9, num_cond=1)
    x, cond = torch.randn(2, 9, 3), torch.randn(2, 1, 16)
    order = seeded_orders([0, 1], 9)
    assert not torch.equal(*(conditions(backbone, x, cond, order, 4, 2) for _ in range(2)))
    backbone.eval()
    assert torch.equal(*(conditions(backbone, x, cond, order, 4, 2) for _ in range(2)))


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    model = Model(TINY)
    for _ in range(4):  # the zero-initialised layers pass no gradient at first
        loss = model(torch.rand(8, 1, 8, 8) * 2 - 1, torch.arange(8) % 4, torch.Generator().manual_seed(0))
        loss.backward()
        torch.optim.SGD(model.parameters(), lr=0.1).step()
    untouched = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert untouched == []
