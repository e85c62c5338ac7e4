"""Gaussian diffusion in closed form: schedule, posterior, likelihood terms. No networks.

Shapes: N rows, C token dim. Times t are integers from 0 (nearly clean) to 999 (nearly noise).
"""

import functools
import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

NUM_TIMES = 1000
_MAX_BETA = 0.999


@dataclass(frozen=True)
class Schedule:
    """A noise schedule over some of the 1000 times; every table is a float64 tensor (number of times,)."""

    times: Tensor
    sqrt_alpha_bar: Tensor
    sqrt_one_minus_alpha_bar: Tensor
    sqrt_recip_alpha_bar: Tensor
    sqrt_recip_alpha_bar_minus_one: Tensor
    posterior_x0: Tensor
    posterior_xt: Tensor
    posterior_log_variance: Tensor
    log_beta: Tensor


@functools.cache
def cosine_schedule(num_steps: int, device: torch.device) -> Schedule:
    """Cosine ᾱ (Nichol & Dhariwal 2021, eq. 17), respaced evenly to `num_steps` times (§4 there).

    The posterior q(x_{t-1} | x_t, x_0) is that of Ho et al. 2020, eq. 6 and 7. Its variance at t = 0 is zero, so its
    logarithm is replaced by that of the next time.
    """

    def f(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    times = spaced_times(num_steps)
    full_betas = [min(1 - f((t + 1) / NUM_TIMES) / f(t / NUM_TIMES), _MAX_BETA) for t in range(NUM_TIMES)]
    full_alpha_bar = torch.cumprod(1 - torch.tensor(full_betas, dtype=torch.float64), dim=0)
    alpha_bar = full_alpha_bar[times]
    before = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    beta = 1 - alpha_bar / before
    variance = beta * (1 - before) / (1 - alpha_bar)
    if num_steps > 1:
        variance[0] = variance[1]
    tables = (
        torch.tensor(times),
        alpha_bar.sqrt(),
        (1 - alpha_bar).sqrt(),
        (1 / alpha_bar).sqrt(),
        (1 / alpha_bar - 1).sqrt(),
        beta * before.sqrt() / (1 - alpha_bar),
        (1 - before) * (1 - beta).sqrt() / (1 - alpha_bar),
        variance.clamp(min=1e-20).log(),
        beta.log(),
    )
    return Schedule(*(table.to(device) for table in tables))


def spaced_times(num_steps: int) -> list[int]:
    """`num_steps` of the 1000 times, evenly spaced with both ends included."""
    if not 1 <= num_steps <= NUM_TIMES:
        raise ValueError(f"num_steps is {num_steps}: use 1 to {NUM_TIMES}")
    if num_steps == 1:
        return [NUM_TIMES - 1]
    # Added up rather than multiplied, so that halves round as in the official code.
    stride = (NUM_TIMES - 1) / (num_steps - 1)
    return [round(u) for u in itertools.accumulate([stride] * (num_steps - 1), initial=0.0)]


def normal_kl(mean1: Tensor, log_variance1: Tensor, mean2: Tensor, log_variance2: Tensor) -> Tensor:
    """KL divergence between two diagonal Gaussians, elementwise, in nats."""
    ratio = torch.exp(log_variance1 - log_variance2)
    return 0.5 * (
        log_variance2 - log_variance1 - 1 + ratio + (mean1 - mean2) ** 2 * torch.exp(-log_variance2)
    )


def discretized_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log-likelihood of values in [-1, 1] with 8-bit bins under a Gaussian, elementwise (Ho et al. 2020, eq. 13).

    The normal CDF is the tanh approximation that the official code uses.
    """
    centred = x - mean
    inv_std = torch.exp(-log_scale)
    upper = _normal_cdf(inv_std * (centred + 1 / 255))
    lower = _normal_cdf(inv_std * (centred - 1 / 255))
    return torch.where(
        x < -0.999,
        upper.clamp(min=1e-12).log(),
        torch.where(x > 0.999, (1 - lower).clamp(min=1e-12).log(), (upper - lower).clamp(min=1e-12).log()),
    )


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
