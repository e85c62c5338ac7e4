"""Raw pixels as tokens.

Shapes: B batch, C channels, H height, W width, T tokens, D token dim (C·p²).
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from novq.config import Grid, PixelsConfig


class PixelTokenizer(nn.Module):
    """Cuts an image into p×p patches; a token is a patch, channel first, normalised by the data's mean and scale.

    `measure` must see the training images once; the measurements are stored with the model's weights.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: PixelsConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.channels))
        self.register_buffer("scale", torch.ones(config.channels))

    def measure(self, images_BCHW: Tensor) -> None:
        """Set mean and scale (1/standard deviation) of each channel from uint8 images (B, C, H, W).

        ValueError where a channel is constant, since nothing could be learned from it.
        """
        count_C256 = torch.stack([torch.bincount(c.flatten(), minlength=256) for c in images_BCHW.unbind(1)])
        values = torch.arange(256, dtype=torch.float64) / 127.5 - 1
        share_C256 = count_C256 / count_C256.sum(1, keepdim=True, dtype=torch.float64)
        mean_C = (share_C256 * values).sum(1)
        std_C = (share_C256 * (values - mean_C[:, None]) ** 2).sum(1).sqrt()
        if (std_C == 0).any():
            raise ValueError("all images are of one and the same colour in some channel: check the data")
        self.mean.copy_(mean_C)
        self.scale.copy_(1 / std_C)

    def encode(self, images_BCHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images in [-1, 1] to tokens (B, T, D) of unit variance; deterministic, `generator` is not used."""
        x_BCHW = (images_BCHW - self.mean[:, None, None]) * self.scale[:, None, None]
        p = self.config.patch_size
        return rearrange(x_BCHW, "b c (h p) (w q) -> b (h w) (c p q)", p=p, q=p)

    def decode(self, x_BTC: Tensor, grid: Grid) -> Tensor:
        """Tokens (B, T, D) to images (B, C, H, W), unclipped."""
        p = self.config.patch_size
        x_BCHW = rearrange(x_BTC, "b (h w) (c p q) -> b c (h p) (w q)", h=grid.height, w=grid.width, p=p, q=p)
        return x_BCHW / self.scale[:, None, None] + self.mean[:, None, None]
