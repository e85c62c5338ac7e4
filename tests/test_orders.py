import math

import numpy as np
import pytest
import torch

from novq.orders import Plan, cosine_sizes, gather_tokens, put_tokens, random_orders, seeded_orders


def official_masked_after(num_tokens: int, num_iterations: int) -> list[int]:
    """Masked tokens after each iteration, transcribed from the definition with its clamps."""
    masked, out = num_tokens, []
    for k in range(num_iterations):
        length = np.floor(num_tokens * np.cos(math.pi / 2.0 * (k + 1) / num_iterations))
        masked = 0 if k == num_iterations - 1 else int(max(1, min(masked - 1, length)))
        out.append(masked)
    return out


@pytest.mark.parametrize("num_tokens", [1, 2, 3, 16, 49, 64, 256])
def test_cosine_sizes(num_tokens: int) -> None:
    for num_iterations in range(1, num_tokens + 1):
        sizes = cosine_sizes(num_tokens, num_iterations)
        assert len(sizes) == num_iterations
        assert min(sizes) >= 1
        assert list(num_tokens - np.cumsum(sizes)) == official_masked_after(num_tokens, num_iterations)


@pytest.mark.parametrize("num_iterations", [0, 17])
def test_cosine_sizes_refuses(num_iterations: int) -> None:
    with pytest.raises(ValueError, match="use 1 to 16"):
        cosine_sizes(16, num_iterations)


def test_plan_visits_every_unknown_token_once() -> None:
    plan = Plan(seeded_orders([1, 2, 3], 16), (1, 4, 8), num_known=3)
    visited = torch.cat(list(plan), dim=1)
    assert len(plan) == 3
    assert torch.equal(torch.cat([plan.order_BT[:, :3], visited], dim=1).sort(1).values[0], torch.arange(16))


def test_plan_refuses_sizes_that_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="do not make up 16 tokens"):
        Plan(seeded_orders([1], 16), (1, 4))


def test_random_orders_are_permutations_and_differ() -> None:
    order = random_orders(8, 16, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert torch.equal(order.sort(1).values, torch.arange(16).expand(8, -1))
    assert len({tuple(row.tolist()) for row in order}) == 8


def test_seeded_orders_depend_on_the_seed_alone() -> None:
    assert torch.equal(seeded_orders([5, 6, 7], 49)[2], seeded_orders([7], 49)[0])
    assert not torch.equal(seeded_orders([5], 49), seeded_orders([6], 49))


def test_put_and_gather() -> None:
    x = torch.randn(2, 6, 3)
    positions = torch.tensor([[4, 0], [2, 5]])
    new = torch.randn(2, 2, 3)
    y = put_tokens(x, positions, new)
    assert torch.equal(gather_tokens(y, positions), new)
    others = torch.tensor([[1, 2, 3, 5], [0, 1, 3, 4]])
    assert torch.equal(gather_tokens(y, others), gather_tokens(x, others))
