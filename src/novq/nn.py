"""Building blocks of the networks: attention, MLP, transformer block, time embedding, AdaLN.

Shapes: B batch, L sequence length, S queries, N rows, D width, F frequencies.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

NORM_EPS = 1e-6  # of every LayerNorm, as in the official weights


def init_linear(module: nn.Module) -> None:
    """Xavier-uniform matrices, zero biases, for every linear layer below `module`."""
    for child in module.modules():
        if isinstance(child, nn.Linear):
            nn.init.xavier_uniform_(child.weight)
            nn.init.zeros_(child.bias)


def embedding(*shape: int) -> nn.Parameter:
    """A learned embedding drawn from a normal of standard deviation 0.02."""
    return nn.Parameter(nn.init.normal_(torch.empty(*shape), std=0.02))


class Attention(nn.Module):
    """Bidirectional multi-head self-attention."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor, queries: slice) -> Tensor:
        """Attention of the tokens in `queries` over all tokens: (B, S, D)."""
        width = x_BLD.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        q_BSD = F.linear(x_BLD[:, queries], weight[:width], bias[:width])
        kv_BLE = F.linear(x_BLD, weight[width:], bias[width:])
        q = rearrange(q_BSD, "b s (h e) -> b h s e", h=self.num_heads)
        k, v = rearrange(kv_BLE, "b l (two h e) -> two b h l e", two=2, h=self.num_heads)
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return F.dropout(self.proj(rearrange(out, "b h s e -> b s (h e)")), self.dropout, self.training)


class MLP(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        h = F.dropout(F.gelu(self.fc1(x_BLD)), self.dropout, self.training)
        return F.dropout(self.fc2(h), self.dropout, self.training)


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = Attention(width, num_heads, dropout)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = MLP(width, int(width * mlp_ratio), dropout)

    def forward(self, x_BLD: Tensor, queries: slice = slice(None)) -> Tensor:
        """New values of the tokens in `queries`; the others are only attended to."""
        x_BSD = x_BLD[:, queries] + self.attn(self.norm1(x_BLD), queries)
        return x_BSD + self.mlp(self.norm2(x_BSD))


def sinusoidal(t_N: Tensor, num_channels: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoidal embedding of time, cosines first. Vaswani et al. 2017, §3.5, as in Dhariwal & Nichol 2021.

    Returns (N, num_channels) in the dtype of `t_N`, which must be a floating-point one.
    """
    half = num_channels // 2
    k_F = torch.arange(half, dtype=t_N.dtype, device=t_N.device)
    angle_NF = t_N[:, None] * torch.exp(-math.log(max_period) / half * k_F)
    return torch.cat([angle_NF.cos(), angle_NF.sin()], dim=-1)


class TimeEmbedding(nn.Module):
    """Sinusoidal embedding of a time step, then an MLP."""

    def __init__(self, width: int, num_frequencies: int = 256) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        self.fc1 = nn.Linear(num_frequencies, width)
        self.fc2 = nn.Linear(width, width)

    def init_weights(self) -> None:
        nn.init.normal_(self.fc1.weight, std=0.02)
        nn.init.normal_(self.fc2.weight, std=0.02)

    def forward(self, t_N: Tensor) -> Tensor:
        t_N = t_N.to(self.fc1.weight.dtype)
        return self.fc2(F.silu(self.fc1(sinusoidal(t_N, self.num_frequencies))))


def modulate(x_ND: Tensor, shift_ND: Tensor, scale_ND: Tensor) -> Tensor:
    """x·(1 + scale) + shift: adaptive layer norm, Peebles & Xie 2023, §3.2."""
    return torch.addcmul(shift_ND, x_ND, 1 + scale_ND)
