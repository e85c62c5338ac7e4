"""Class labels, or nothing, as condition tokens.

Shapes: B batch, K condition tokens, D width.
"""

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor, nn

from novq.config import ClassConfig, UnconditionalConfig
from novq.nn import embedding


class ClassConditioning(nn.Module):
    """One learned embedding a class, in all K condition tokens; dropped in training for the null embedding."""

    def __init__(self, config: ClassConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.class_embed = embedding(config.num_classes, width)
        self.null_embed = embedding(width)

    def forward(self, labels_B: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Condition tokens (B, K, D) of class ids in [0, num_classes)."""
        cond_BD = F.embedding(labels_B, self.class_embed)
        if self.training and self.config.dropout > 0:
            draw = generator.device if generator is not None else labels_B.device
            u_B = torch.rand(len(labels_B), generator=generator, device=draw).to(labels_B.device)
            cond_BD = torch.where((u_B < self.config.dropout)[:, None], self.null_embed, cond_BD)
        return repeat(cond_BD, "b d -> b k d", k=self.config.num_tokens)

    def null(self, batch: int) -> Tensor:
        """The null condition, (B, K, D)."""
        return repeat(self.null_embed, "d -> b k d", b=batch, k=self.config.num_tokens)


class Unconditional(nn.Module):
    """The same learned embedding for every sample."""

    def __init__(self, config: UnconditionalConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.null_embed = embedding(width)

    def forward(self, labels_B: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Condition tokens (B, K, D); the labels count only by their number."""
        return self.null(len(labels_B))

    def null(self, batch: int) -> Tensor:
        """The same as the condition: (B, K, D)."""
        return repeat(self.null_embed, "d -> b k d", b=batch, k=self.config.num_tokens)
