"""The denoising network of the per-token heads: an MLP modulated by time and condition (Li et al. 2024, §3.2).

Shapes: N rows, C token dim, O output dim, D condition width, W width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from novq.nn import NORM_EPS, TimeEmbedding, init_linear, modulate


class ResidualBlock(nn.Module):
    """x + gate · MLP(modulated norm of x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)
        self.modulation = nn.Linear(width, 3 * width)

    def forward(self, h_NW: Tensor, activated_NW: Tensor) -> Tensor:
        shift_NW, scale_NW, gate_NW = self.modulation(activated_NW).chunk(3, dim=-1)
        update_NW = self.fc2(F.silu(self.fc1(modulate(self.norm(h_NW), shift_NW, scale_NW))))
        return h_NW + gate_NW * update_NW


class AdaLNMLP(nn.Module):
    """Residual MLP over one token. Its parts are separate so that a sampler can compute each embedding once."""

    def __init__(self, token_dim: int, out_dim: int, cond_dim: int, width: int, depth: int) -> None:
        super().__init__()
        self.time_embed = TimeEmbedding(width)
        self.cond_embed = nn.Linear(cond_dim, width)
        self.token_embed = nn.Linear(token_dim, width)
        blocks = [ResidualBlock(width) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.out_norm = nn.LayerNorm(width, eps=NORM_EPS, elementwise_affine=False)
        self.out_modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, out_dim)
        init_linear(self)
        self.time_embed.init_weights()
        for layer in (self.out, self.out_modulation, *(block.modulation for block in blocks)):
            nn.init.zeros_(layer.weight)

    def forward(self, x_NC: Tensor, embed_NW: Tensor) -> Tensor:
        """Output (N, O) for noisy tokens x and the sum of their time and condition embeddings."""
        activated_NW = F.silu(embed_NW)
        h_NW = self.token_embed(x_NC)
        for block in self.blocks:
            h_NW = block(h_NW, activated_NW)
        shift_NW, scale_NW = self.out_modulation(activated_NW).chunk(2, dim=-1)
        return self.out(modulate(self.out_norm(h_NW), shift_NW, scale_NW))
