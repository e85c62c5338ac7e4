"""Networks that turn the known tokens into a condition z for each token to come."""

from typing import Any, Protocol

import torch
from torch import Tensor

from novq.backbones.masked import MaskedBackbone
from novq.config import MaskedConfig
from novq.orders import Plan

__all__ = ["Backbone", "MaskedBackbone", "build_backbone"]


class Backbone(Protocol):
    """What a model needs of a backbone. B batch, T tokens, C token dim, K condition tokens, D width, N rows."""

    def targets(
        self, x_BTC: Tensor, cond_BKD: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """The rows to score in training: conditions z (N, D) and their tokens x (N, C)."""
        ...

    def begin(self, cond_BKD: Tensor, plan: Plan) -> Any:
        """The state with which sampling along `plan` begins."""
        ...

    def condition(self, state: Any, x_BTC: Tensor, positions_BS: Tensor) -> Tensor:
        """Conditions z (B, S, D) of the plan's next positions, given the tokens that are known by now."""
        ...


def build_backbone(config: MaskedConfig, token_dim: int, num_tokens: int, num_cond: int) -> MaskedBackbone:
    """The backbone that a config describes."""
    match config:
        case MaskedConfig():
            return MaskedBackbone(config, token_dim, num_tokens, num_cond)
