"""The masked backbone: bidirectional attention, any number of tokens at a time, in any order.

Shapes: B batch, T tokens, C token dim, K condition tokens, D width, S tokens to predict now, M masked tokens,
E known tokens, L tokens in a sequence, N rows.

Attention does not care about the order of a sequence, since positions are embedded. So the sequences here are laid
out as [condition | known | masked]: static shapes, no boolean masks, and the masked part is a slice.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from novq.config import MaskedConfig
from novq.nn import NORM_EPS, Block, embedding, init_linear
from novq.orders import Plan, gather_tokens, random_orders


@dataclass
class MaskedState:
    """Sampling state: the condition, the plan's order, and how many tokens of it are known."""

    cond_BKD: Tensor
    order_BT: Tensor
    num_known: int


class MaskedBackbone(nn.Module):
    """Encoder over the condition and the known tokens, decoder over these and mask tokens (He et al. 2022; MAR)."""

    def __init__(self, config: MaskedConfig, token_dim: int, num_tokens: int, num_cond: int) -> None:
        super().__init__()
        self.config = config
        width = config.width

        def blocks(depth: int) -> nn.ModuleList:
            return nn.ModuleList(
                Block(width, config.num_heads, config.mlp_ratio, config.dropout) for _ in range(depth)
            )

        self.token_embed = nn.Linear(token_dim, width)
        self.encoder_pos = embedding(num_cond + num_tokens, width)
        self.embed_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.encoder = blocks(config.encoder_depth)
        self.encoder_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.decoder_embed = nn.Linear(width, width)
        self.mask_token = embedding(width)
        self.decoder_pos = embedding(num_cond + num_tokens, width)
        self.decoder = blocks(config.decoder_depth)
        self.decoder_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.head_pos = embedding(num_tokens, width)
        init_linear(self)

    def targets(
        self, x_BTC: Tensor, cond_BKD: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mask one random share of the tokens, the same in all samples but at random places in each.

        Returns the conditions z (N, D) and the tokens x (N, C) of all masked places, N = B·M.
        """
        batch, num_tokens, _ = x_BTC.shape
        order_BT = random_orders(batch, num_tokens, generator, x_BTC.device)
        num_masked = math.ceil(num_tokens * sample_mask_ratio(self.config, generator))
        masked_BM, known_BE = order_BT[:, :num_masked], order_BT[:, num_masked:]
        z_BMD = self.decode(self.encode(x_BTC, cond_BKD, known_BE), known_BE, masked_BM, num_masked)
        x_BMC = gather_tokens(x_BTC, masked_BM)
        return rearrange(z_BMD, "b m d -> (b m) d"), rearrange(x_BMC, "b m c -> (b m) c")

    def begin(self, cond_BKD: Tensor, plan: Plan) -> MaskedState:
        """State before the first iteration of `plan`."""
        return MaskedState(cond_BKD, plan.order_BT, plan.num_known)

    def condition(self, state: MaskedState, x_BTC: Tensor, positions_BS: Tensor) -> Tensor:
        """Conditions z (B, S, D) of the next S positions of the plan, which count as known from then on."""
        known_BE, masked_BM = state.order_BT[:, : state.num_known], state.order_BT[:, state.num_known :]
        size = positions_BS.shape[1]
        encoded = self.encode(x_BTC, state.cond_BKD, known_BE)
        state.num_known += size
        return self.decode(encoded, known_BE, masked_BM, size)

    def encode(self, x_BTC: Tensor, cond_BKD: Tensor, known_BE: Tensor) -> Tensor:
        """Encoder output for the condition tokens and the tokens at the known positions: (B, K + E, D)."""
        num_cond = cond_BKD.shape[1]
        known_BED = self.token_embed(gather_tokens(x_BTC, known_BE))
        h_BLD = torch.cat(
            [
                cond_BKD + self.encoder_pos[:num_cond],
                known_BED + F.embedding(known_BE, self.encoder_pos[num_cond:]),
            ],
            dim=1,
        )
        h_BLD = self.embed_norm(h_BLD)
        for block in self.encoder:
            h_BLD = block(h_BLD)
        return self.encoder_norm(h_BLD)

    def decode(self, encoded_BLD: Tensor, known_BE: Tensor, masked_BM: Tensor, size: int) -> Tensor:
        """Conditions of the first `size` of the masked positions: (B, size, D)."""
        num_seen = encoded_BLD.shape[1]
        num_cond = num_seen - known_BE.shape[1]
        pos_TD = self.decoder_pos[num_cond:]
        seen_BLD = self.decoder_embed(encoded_BLD)
        h_BLD = torch.cat(
            [
                seen_BLD[:, :num_cond] + self.decoder_pos[:num_cond],
                seen_BLD[:, num_cond:] + F.embedding(known_BE, pos_TD),
                self.mask_token + F.embedding(masked_BM, pos_TD),
            ],
            dim=1,
        )
        for block in self.decoder[:-1]:
            h_BLD = block(h_BLD)
        # The last block is needed for the wanted tokens only.
        h_BSD = self.decoder[-1](h_BLD, slice(num_seen, num_seen + size))
        return self.decoder_norm(h_BSD) + F.embedding(masked_BM[:, :size], self.head_pos)


def sample_mask_ratio(config: MaskedConfig, generator: torch.Generator | None = None) -> float:
    """A draw from a normal(1, std) truncated to [min, 1] (Li et al. 2023, MAGE), by inversion."""
    normal, low = NormalDist(1.0, config.mask_ratio_std), config.mask_ratio_min
    draw = generator.device if generator is not None else "cpu"  # the default stays off the GPU: no wait
    u = torch.rand((), generator=generator, device=draw, dtype=torch.float64).item()
    floor = normal.cdf(low)
    return min(max(normal.inv_cdf(max(floor + u * (0.5 - floor), 1e-12)), low), 1.0)


def mean_num_masked(config: MaskedConfig, num_tokens: int) -> float:
    """Mean of ⌈T·ratio⌉ over draws of the mask ratio: the sum over m < T of P(T·ratio > m)."""
    normal = NormalDist(1.0, config.mask_ratio_std)
    floor = normal.cdf(config.mask_ratio_min)
    above = [1 - max(0.0, normal.cdf(m / num_tokens) - floor) / (0.5 - floor) for m in range(num_tokens)]
    return sum(above)
