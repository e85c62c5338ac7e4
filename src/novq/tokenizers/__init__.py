"""Images to unit-variance tokens and back."""

from typing import Protocol

import torch
from torch import Tensor

from novq.config import Grid, PixelsConfig
from novq.tokenizers.pixels import PixelTokenizer

__all__ = ["PixelTokenizer", "Tokenizer", "build_tokenizer"]


class Tokenizer(Protocol):
    """What a model needs of a tokenizer. B batch, C channels or token dim, T tokens."""

    def encode(self, images_BCHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images in [-1, 1] to tokens (B, T, C) of unit variance."""
        ...

    def decode(self, x_BTC: Tensor, grid: Grid) -> Tensor:
        """Tokens to images (B, C, H, W) in [-1, 1]."""
        ...


def build_tokenizer(config: PixelsConfig) -> PixelTokenizer:
    """The tokenizer that a config describes."""
    match config:
        case PixelsConfig():
            return PixelTokenizer(config)
