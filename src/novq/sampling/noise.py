"""Where the randomness of sampling comes from.

Shapes: B batch, S tokens predicted in one iteration, R noise draws a token, C token dim.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class NoiseSource(Protocol):
    """Standard normal noise for given tokens; recorded noise fits in as well as seeds do."""

    def __call__(self, positions_BS: Tensor, num_draws: int, token_dim: int) -> Tensor:
        """Noise (B, S, R, C) on the CPU, in float32 or better."""
        ...


class SeededNoise:
    """Noise that depends on (seed of the image, position of the token) and on nothing else.

    The counter-based Philox generator (Salmon et al. 2011) is keyed by both, so an image does not depend on its
    batch, its place in it, the order of its tokens, or the device. With more steps, a token's first draws stay.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = seeds

    def __call__(self, positions_BS: Tensor, num_draws: int, token_dim: int) -> Tensor:
        batch, size = positions_BS.shape
        noise = np.empty((batch, size, num_draws, token_dim), dtype=np.float32)
        for i, (seed, positions) in enumerate(zip(self.seeds, positions_BS.tolist(), strict=True)):
            for j, position in enumerate(positions):
                # The high word tells tokens from the orders, which are keyed by the seed alone.
                key = np.array([seed, position + 1], dtype=np.uint64)
                np.random.Generator(np.random.Philox(key=key)).standard_normal(
                    dtype=np.float32, out=noise[i, j]
                )
        return torch.from_numpy(noise)
