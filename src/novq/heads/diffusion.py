"""The diffusion head: p(x | z) of one token by denoising diffusion. Li et al. 2024 (MAR), §3.2 and §3.3.

Shapes: N rows, D condition width, C token dim, W width, R noise draws a token (1 + diffusion steps), M time steps a
row in training.
"""

import math
from dataclasses import dataclass

import torch
from einops import reduce, repeat
from torch import Tensor, nn

from novq.config import DiffusionConfig
from novq.heads.adaln import AdaLNMLP
from novq.heads.gaussian import (
    NUM_TIMES,
    cosine_schedule,
    discretized_log_likelihood,
    normal_kl,
)


@dataclass(frozen=True)
class DDPM:
    """Ancestral sampling (Ho et al. 2020, algorithm 2) over `num_steps` respaced times, 1 to 1000."""

    num_steps: int = 100


class DiffusionHead(nn.Module):
    """Predicts the noise ε in a noisy token, and the variance of the reverse step, from time and condition z."""

    low: Tensor
    high: Tensor

    def __init__(self, token_dim: int, cond_dim: int, config: DiffusionConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DiffusionConfig()
        self.token_dim = token_dim
        self.net = AdaLNMLP(token_dim, 2 * token_dim, cond_dim, config.width, config.depth)
        # Until tokens have been seen, low > high.
        self.register_buffer("low", torch.full((token_dim,), torch.inf))
        self.register_buffer("high", torch.full((token_dim,), -torch.inf))

    def loss(self, z_ND: Tensor, x_NC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Diffusion loss (N,): mean over `batch_mul` random times of squared error plus variational bound.

        z_ND conditions (the gradient flows into them), x_NC tokens of unit variance. In training mode the range of
        each token dimension is noted, for `sample` to clip to.
        """
        if self.training:
            self._note_range(x_NC)
        num = self.config.batch_mul
        draw = generator.device if generator is not None else x_NC.device
        x_RC = repeat(x_NC, "n c -> (m n) c", m=num)
        t_R = torch.randint(NUM_TIMES, (len(x_RC),), generator=generator, device=draw).to(x_NC.device)
        noise_RC = torch.randn(x_RC.shape, generator=generator, device=draw, dtype=x_RC.dtype).to(x_NC.device)
        cond_RW = repeat(self.net.cond_embed(z_ND), "n w -> (m n) w", m=num)
        squared_R, bound_R = self._loss_terms(cond_RW, x_RC, t_R, noise_RC)
        return reduce(squared_R + bound_R, "(m n) -> n", "mean", m=num)

    def loss_terms(self, z_ND: Tensor, x_NC: Tensor, t_N: Tensor, noise_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Squared error and variational bound, each (N,), at given times and noise (Nichol & Dhariwal 2021, eq. 16).

        The bound trains the variance alone: the predicted mean is detached in it. It is in bits a dimension.
        """
        return self._loss_terms(self.net.cond_embed(z_ND), x_NC, t_N, noise_NC)

    def _loss_terms(
        self, cond_NW: Tensor, x_NC: Tensor, t_N: Tensor, noise_NC: Tensor
    ) -> tuple[Tensor, Tensor]:
        s = cosine_schedule(NUM_TIMES, x_NC.device)

        def at(table: Tensor) -> Tensor:
            return table[t_N, None].to(x_NC.dtype)

        noisy_NC = at(s.sqrt_alpha_bar) * x_NC + at(s.sqrt_one_minus_alpha_bar) * noise_NC
        out_NE = self.net(noisy_NC, self.net.time_embed(t_N) + cond_NW).to(x_NC.dtype)
        eps_NC, fraction_NC = out_NE.chunk(2, dim=-1)
        squared_N = (eps_NC - noise_NC).square().mean(-1)

        x0_NC = at(s.sqrt_recip_alpha_bar) * noisy_NC - at(s.sqrt_recip_alpha_bar_minus_one) * eps_NC.detach()
        mean_NC = at(s.posterior_x0) * x0_NC + at(s.posterior_xt) * noisy_NC
        true_mean_NC = at(s.posterior_x0) * x_NC + at(s.posterior_xt) * noisy_NC
        log_variance_NC = _interpolate(fraction_NC, at(s.posterior_log_variance), at(s.log_beta))
        kl_NC = normal_kl(true_mean_NC, at(s.posterior_log_variance), mean_NC, log_variance_NC)
        nll_NC = -discretized_log_likelihood(x_NC, mean_NC, 0.5 * log_variance_NC)
        bound_N = torch.where(t_N[:, None] == 0, nll_NC, kl_NC).mean(-1) / math.log(2)
        return squared_N, bound_N

    @torch.no_grad()
    def _note_range(self, x_NC: Tensor) -> None:
        self.low.copy_(torch.minimum(self.low, x_NC.amin(0)))
        self.high.copy_(torch.maximum(self.high, x_NC.amax(0)))

    @torch.no_grad()
    def sample(
        self,
        z_ND: Tensor,
        noise_NRC: Tensor,
        *,
        null_ND: Tensor | None = None,
        guidance: float = 1.0,
        temperature: float = 1.0,
        solver: DDPM,
    ) -> Tensor:
        """Tokens (N, C) drawn from p(x | z).

        noise_NRC: standard normal, R = 1 + steps. Draw 0 is x at the noisiest time, draw 1 + j is what step j adds,
            times `temperature`; the last one is not used.
        null_ND: conditions of the null branch, needed where `guidance` is not 1: ε = ε_u + guidance·(ε_c − ε_u)
            (Ho & Salimans 2022, eq. 6), with the variance of the conditional branch.
        """
        if noise_NRC.shape[1] != solver.num_steps + 1:
            raise ValueError(
                f"noise has {noise_NRC.shape[1]} draws a token: {solver.num_steps + 1} are needed"
            )
        guided = guidance != 1.0
        if guided and null_ND is None:
            raise ValueError(f"guidance {guidance} needs the null condition: pass null_ND, or guidance=1")
        s = cosine_schedule(solver.num_steps, z_ND.device)
        dtype = noise_NRC.dtype
        time_RW = self.net.time_embed(s.times)
        cond_NW = self.net.cond_embed(z_ND)
        null_NW = self.net.cond_embed(null_ND) if guided and null_ND is not None else None
        seen = self.config.clip_x0 & (self.low <= self.high)
        low_C, high_C = self.low.where(seen, -torch.inf).to(dtype), self.high.where(seen, torch.inf).to(dtype)
        x_NC = noise_NRC[:, 0]
        for step, k in enumerate(reversed(range(solver.num_steps))):
            eps_NC, fraction_NC = self.net(x_NC, cond_NW + time_RW[k]).to(dtype).chunk(2, dim=-1)
            if null_NW is not None:
                eps_u_NC = self.net(x_NC, null_NW + time_RW[k]).to(dtype)[:, : self.token_dim]
                eps_NC = eps_u_NC + guidance * (eps_NC - eps_u_NC)
            x0_NC = s.sqrt_recip_alpha_bar[k] * x_NC - s.sqrt_recip_alpha_bar_minus_one[k] * eps_NC
            x_NC = s.posterior_x0[k] * x0_NC.clamp(low_C, high_C) + s.posterior_xt[k] * x_NC
            if k > 0:
                log_variance_NC = _interpolate(fraction_NC, s.posterior_log_variance[k], s.log_beta[k])
                x_NC = x_NC + torch.exp(0.5 * log_variance_NC) * noise_NRC[:, 1 + step] * temperature
        return x_NC


def _interpolate(fraction: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Log variance between its bounds; the network's -1 is the lower, its 1 the upper (eq. 15 ibid.)."""
    share = (fraction + 1) / 2
    return share * high + (1 - share) * low
