"""Models of one token given its condition: p(x | z). They know nothing of grids and images; usable alone."""

from typing import Protocol

import torch
from torch import Tensor

from novq.config import DiffusionConfig
from novq.heads.diffusion import DDPM, DiffusionHead

__all__ = ["DDPM", "DiffusionHead", "Head", "build_head"]


class Head(Protocol):
    """What a model needs of a head. N rows, D condition width, C token dim, R noise draws a token."""

    def loss(self, z_ND: Tensor, x_NC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Unreduced training loss (N,) of tokens x under conditions z."""
        ...

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
        """Tokens (N, C) drawn from p(x | z), with all randomness from `noise_NRC`."""
        ...


def build_head(config: DiffusionConfig, token_dim: int, cond_dim: int) -> DiffusionHead:
    """The head that a config describes."""
    match config:
        case DiffusionConfig():
            return DiffusionHead(token_dim, cond_dim, config)
