import pytest
import torch
from torch import Tensor, nn

from novq.config import DiffusionConfig
from novq.heads import DDPM, DiffusionHead

MODES = torch.tensor([[2.0, 0.0], [-1.0, 1.5], [-1.0, -1.5]])
STD = 0.25


def draw_mixture(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Label k: half of the mass at mode k, half at mode k + 1."""
    which = (labels + torch.randint(2, labels.shape, generator=generator)) % 3
    return MODES[which] + STD * torch.randn(len(labels), 2, generator=generator)


def energy_distance(x: Tensor, y: Tensor) -> float:
    """2·E|X−Y| − E|X−X'| − E|Y−Y'|, zero only for equal distributions (Székely & Rizzo 2013)."""
    n, m = len(x), len(y)
    within = torch.cdist(x, x).sum() / (n * (n - 1)) + torch.cdist(y, y).sum() / (m * (m - 1))
    return (2 * torch.cdist(x, y).mean() - within).item()


def permutation_p_value(x: Tensor, y: Tensor, generator: torch.Generator, rounds: int = 100) -> float:
    """Share of random relabellings with an energy distance at least as large."""
    both, observed = torch.cat([x, y]), energy_distance(x, y)
    larger = 0
    for _ in range(rounds):
        order = torch.randperm(len(both), generator=generator)
        larger += energy_distance(both[order[: len(x)]], both[order[len(x) :]]) >= observed
    return (1 + larger) / (1 + rounds)


def train_head(conditions: Tensor, steps: int = 1500) -> DiffusionHead:
    torch.manual_seed(0)
    head = DiffusionHead(2, conditions.shape[1], DiffusionConfig(width=64, depth=3, batch_mul=4))
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3)
    average = torch.optim.swa_utils.AveragedModel(
        head, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    )
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
        labels = torch.randint(3, (256,), generator=generator)
        loss = head.loss(conditions[labels], draw_mixture(labels, generator), generator).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(head)
    trained = average.module
    assert isinstance(trained, DiffusionHead)
    return trained


def draw(head: DiffusionHead, z: Tensor, seed: int, steps: int = 100, **options) -> Tensor:
    noise = torch.randn(len(z), steps + 1, head.token_dim, generator=torch.Generator().manual_seed(seed))
    return head.sample(z, noise.to(z.dtype), solver=DDPM(steps), **options)


@pytest.fixture(scope="module")
def trained() -> DiffusionHead:
    return train_head(torch.eye(3))


@pytest.mark.parametrize("label", [0, 1, 2])
def test_learns_a_conditional_mixture(trained: DiffusionHead, label: int) -> None:
    generator = torch.Generator().manual_seed(label)
    truth = draw_mixture(torch.full((400,), label), generator)
    samples = draw(trained, torch.eye(3)[[label]].expand(400, -1), seed=label)
    assert permutation_p_value(samples, truth, generator) > 0.01
    wrong = draw_mixture(torch.full((400,), (label + 1) % 3), generator)
    assert permutation_p_value(samples, wrong, generator) < 0.02  # the test has the power to tell


def test_temperature_shrinks_each_mode(trained: DiffusionHead) -> None:
    z = torch.eye(3)[[0]].expand(1000, -1)
    for mode in MODES[[0, 1]]:
        spreads = []
        for temperature in (1.0, 0.5):
            samples = draw(trained, z, seed=5, temperature=temperature)
            near = samples[(samples - mode).norm(dim=1) < 1.2]
            assert len(near) > 200
            spreads.append(near.std(0).mean().item())
        assert spreads[0] == pytest.approx(STD, rel=0.2)
        assert spreads[1] < 0.75 * spreads[0]


def test_a_head_without_z_cannot_tell_the_modes_apart() -> None:
    blind = train_head(torch.zeros(3, 3), steps=600)
    generator = torch.Generator().manual_seed(3)
    samples = draw(blind, torch.zeros(400, 3), seed=3)
    assert (
        permutation_p_value(samples, draw_mixture(torch.zeros(400, dtype=torch.int64), generator), generator)
        < 0.02
    )
    everything = draw_mixture(torch.randint(3, (400,), generator=generator), generator)
    assert energy_distance(samples, everything) < 0.05


def test_guidance_moves_away_from_the_null_condition(trained: DiffusionHead) -> None:
    """Between z_0 (modes 0, 1) and z_1 (modes 1, 2) guidance must favour mode 0, which only z_0 has."""
    z, null = torch.eye(3)[[0]].expand(500, -1), torch.eye(3)[[1]].expand(500, -1)
    plain = draw(trained, z, seed=6)
    guided = draw(trained, z, seed=6, null_ND=null, guidance=2.0)
    at_mode_0 = [(x[:, 0] > 0.5).float().mean().item() for x in (plain, guided)]
    assert at_mode_0[0] == pytest.approx(0.5, abs=0.1)
    assert at_mode_0[1] > at_mode_0[0] + 0.2
    torch.testing.assert_close(
        draw(trained, null, seed=6, null_ND=z, guidance=0.0), plain, atol=0.05, rtol=0.05
    )


@pytest.fixture
def random_head() -> DiffusionHead:
    torch.manual_seed(0)
    head = DiffusionHead(3, 5, DiffusionConfig(width=16, depth=2, batch_mul=4)).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return head


def test_loss_is_unreduced_and_reaches_z(random_head: DiffusionHead) -> None:
    z = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    x = torch.randn(7, 3, dtype=torch.float64)
    loss = random_head.loss(z, x, torch.Generator().manual_seed(0))
    assert loss.shape == (7,)
    loss[2].backward()
    assert z.grad is not None
    assert (z.grad.abs().sum(1) > 0).tolist() == [False, False, True, False, False, False, False]


def test_loss_is_the_mean_over_time_steps(random_head: DiffusionHead) -> None:
    z, x = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)
    loss = random_head.loss(z, x, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    t = torch.randint(1000, (28,), generator=generator)
    noise = torch.randn(28, 3, generator=generator, dtype=torch.float64)
    squared, bound = random_head.loss_terms(z.repeat(4, 1), x.repeat(4, 1), t, noise)
    torch.testing.assert_close(loss, (squared + bound).reshape(4, 7).mean(0))


def test_bound_trains_the_variance_only(random_head: DiffusionHead) -> None:
    z, x = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)
    t = torch.tensor([0, 1, 10, 500, 900, 998, 999])
    squared, bound = random_head.loss_terms(z, x, t, torch.randn(7, 3, dtype=torch.float64))
    out = random_head.net.out
    (of_bound,) = torch.autograd.grad(bound.sum(), out.bias, retain_graph=True)
    (of_squared,) = torch.autograd.grad(squared.sum(), out.bias)
    assert of_bound[:3].abs().max() == 0
    assert of_bound[3:].abs().min() > 0
    assert of_squared[:3].abs().min() > 0
    assert of_squared[3:].abs().max() == 0


def test_sampling_ignores_the_null_branch_at_guidance_one(random_head: DiffusionHead) -> None:
    calls: list[int] = []
    hook = random_head.net.register_forward_hook(lambda *_: calls.append(1))
    z = torch.randn(4, 5, dtype=torch.float64)
    plain = draw(random_head, z, seed=0, steps=10)
    assert len(calls) == 10
    same = draw(random_head, z, seed=0, steps=10, null_ND=torch.randn_like(z), guidance=1.0)
    assert len(calls) == 20
    hook.remove()
    assert torch.equal(plain, same)


@pytest.mark.parametrize("clip", [True, False])
def test_clipping_keeps_a_hardly_trained_head_in_the_range_it_has_seen(clip: bool) -> None:
    torch.manual_seed(0)
    head = DiffusionHead(3, 5, DiffusionConfig(width=16, depth=1, clip_x0=clip))
    x = torch.randn(100, 3) * torch.tensor([1.0, 0.1, 2.0]) + torch.tensor([0.0, 1.0, 0.0])
    head.loss(torch.randn(100, 5), x)
    head.eval()
    head.loss(torch.randn(100, 5), 1000 * x)  # evaluation is no training: nothing is noted
    nn.init.normal_(head.net.out.weight, std=0.1)
    samples = draw(head, torch.randn(200, 5), seed=1)
    if clip:
        assert (samples >= x.amin(0)).all()
        assert (samples <= x.amax(0)).all()
    else:
        assert samples.abs().max() > 100


@pytest.mark.parametrize("token_dim", [1, 2, 49, 256])
def test_token_dimensions(token_dim: int) -> None:
    head = DiffusionHead(token_dim, 8, DiffusionConfig(width=16, depth=1))
    z = torch.randn(3, 8)
    assert head.loss(z, torch.randn(3, token_dim)).shape == (3,)
    assert draw(head, z, seed=0, steps=2).shape == (3, token_dim)


def test_wrong_calls_are_named(random_head: DiffusionHead) -> None:
    z = torch.randn(4, 5, dtype=torch.float64)
    with pytest.raises(ValueError, match="needs the null condition"):
        draw(random_head, z, seed=0, guidance=2.0)
    with pytest.raises(ValueError, match="11 are needed"):
        random_head.sample(z, torch.randn(4, 5, 3, dtype=torch.float64), solver=DDPM(10))
