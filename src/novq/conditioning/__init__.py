"""What the generation is conditioned on, as condition tokens."""

from typing import Protocol

import torch
from torch import Tensor

from novq.conditioning.classes import ClassConditioning, Unconditional
from novq.config import ClassConfig, UnconditionalConfig

__all__ = ["ClassConditioning", "Conditioning", "Unconditional", "build_conditioning"]


class Conditioning(Protocol):
    """What a model needs of a conditioning. B batch, K condition tokens, D width."""

    def __call__(self, labels_B: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Condition tokens (B, K, D); in training mode some samples get the null condition."""
        ...

    def null(self, batch: int) -> Tensor:
        """The null condition (B, K, D) for classifier-free guidance."""
        ...


def build_conditioning(
    config: ClassConfig | UnconditionalConfig, width: int
) -> ClassConditioning | Unconditional:
    """The conditioning that a config describes, for a backbone of the given width."""
    match config:
        case ClassConfig():
            return ClassConditioning(config, width)
        case UnconditionalConfig():
            return Unconditional(config, width)
