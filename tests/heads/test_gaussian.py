import math

import pytest
import torch

from novq.heads.gaussian import (
    NUM_TIMES,
    cosine_schedule,
    discretized_log_likelihood,
    normal_kl,
    spaced_times,
)

CPU = torch.device("cpu")


def test_cosine_alpha_bar_matches_its_definition() -> None:
    s = cosine_schedule(NUM_TIMES, CPU)

    def f(t: float) -> float:
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = torch.tensor([f(t + 1) / f(0) for t in range(999)], dtype=torch.float64)
    torch.testing.assert_close(s.sqrt_alpha_bar[:-1] ** 2, expected, rtol=1e-9, atol=0)
    # The last β is capped at 0.999; what an error in ε is multiplied with at t = 999 follows from it.
    assert s.sqrt_recip_alpha_bar[-1].item() == pytest.approx(20_291, rel=1e-4)


@pytest.mark.parametrize("num_steps", [2, 25, 100, 1000])
def test_posterior_is_bayes_rule(num_steps: int) -> None:
    """q(x_{t-1} | x_t, x_0) ∝ q(x_t | x_{t-1}) q(x_{t-1} | x_0), both Gaussian."""
    s = cosine_schedule(num_steps, CPU)
    alpha_bar = s.sqrt_alpha_bar**2
    for k in range(1, num_steps):
        alpha, before = alpha_bar[k] / alpha_bar[k - 1], alpha_bar[k - 1]
        precision = alpha / (1 - alpha) + 1 / (1 - before)
        torch.testing.assert_close(s.posterior_log_variance[k].exp(), 1 / precision, rtol=1e-6, atol=0)
        torch.testing.assert_close(
            s.posterior_xt[k], alpha.sqrt() / (1 - alpha) / precision, rtol=1e-6, atol=0
        )
        torch.testing.assert_close(
            s.posterior_x0[k], before.sqrt() / (1 - before) / precision, rtol=1e-6, atol=0
        )
        torch.testing.assert_close(s.log_beta[k].exp(), 1 - alpha, rtol=1e-6, atol=0)


def test_spaced_times() -> None:
    assert spaced_times(1000) == list(range(1000))
    assert spaced_times(4) == [0, 333, 666, 999]
    assert len(set(spaced_times(100))) == 100
    with pytest.raises(ValueError, match="use 1 to 1000"):
        spaced_times(0)


def test_normal_kl_against_torch() -> None:
    mean1, mean2, log1, log2 = torch.randn(
        4, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    p, q = (torch.distributions.Normal(m, (0.5 * v).exp()) for m, v in ((mean1, log1), (mean2, log2)))
    torch.testing.assert_close(normal_kl(mean1, log1, mean2, log2), torch.distributions.kl_divergence(p, q))


@pytest.mark.parametrize("log_scale", [-4.0, -2.0, 0.0])
def test_discretized_likelihood_sums_to_one(log_scale: float) -> None:
    x = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    total = (
        discretized_log_likelihood(x, torch.tensor(0.3).double(), torch.tensor(log_scale).double())
        .exp()
        .sum()
    )
    assert total.item() == pytest.approx(1.0, abs=1e-6)
