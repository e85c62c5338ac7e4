"""Which tokens are predicted at which iteration; knows nothing of networks.

Shapes: B batch, T tokens, S tokens predicted in one iteration.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Plan:
    """An order for each image, cut into iterations.

    `order_BT` lists the token positions of each image, first the `num_known` that are given, then those to predict
    in the order of their prediction; `sizes` says how many tokens each iteration predicts. Iterating gives the
    positions (B, S) of one iteration after the other.
    """

    order_BT: Tensor
    sizes: tuple[int, ...]
    num_known: int = 0

    def __post_init__(self) -> None:
        num_tokens = self.order_BT.shape[1]
        if self.num_known + sum(self.sizes) != num_tokens or min(self.sizes, default=1) < 1:
            raise ValueError(
                f"sizes {self.sizes} and {self.num_known} known tokens do not make up {num_tokens} tokens: "
                "each size must be positive, and the sum must match"
            )

    def __iter__(self) -> Iterator[Tensor]:
        start = self.num_known
        for size in self.sizes:
            yield self.order_BT[:, start : start + size]
            start += size

    def __len__(self) -> int:
        return len(self.sizes)


def cosine_sizes(num_tokens: int, num_iterations: int) -> tuple[int, ...]:
    """How many tokens each iteration predicts under the cosine schedule of MaskGIT (Chang et al. 2022), as in MAR.

    After iteration k of K, ⌊T·cos(π/2·(k+1)/K)⌋ tokens stay masked; each iteration predicts at least one, the last
    one all that remain. ValueError for more iterations than tokens.
    """
    if not 1 <= num_iterations <= num_tokens:
        raise ValueError(f"num_iterations is {num_iterations} for {num_tokens} tokens: use 1 to {num_tokens}")
    sizes, masked = [], num_tokens
    for k in range(num_iterations - 1):
        after = math.floor(num_tokens * math.cos(math.pi / 2 * (k + 1) / num_iterations))
        after = max(1, min(masked - 1, after))
        sizes.append(masked - after)
        masked = after
    return (*sizes, masked)


def random_orders(
    batch: int, num_tokens: int, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """An independent random permutation of the positions for each sample: (B, T) int64."""
    draw = generator.device if generator is not None else device
    return torch.rand(batch, num_tokens, generator=generator, device=draw).argsort(dim=1).to(device)


def seeded_orders(seeds: Sequence[int], num_tokens: int) -> Tensor:
    """The random permutation that belongs to each seed, whatever the batch: (B, T) int64 on the CPU."""
    return torch.stack(
        [
            torch.from_numpy(np.random.Generator(np.random.Philox(key=seed)).permutation(num_tokens))
            for seed in seeds
        ]
    )


def gather_tokens(x_BTC: Tensor, positions_BS: Tensor) -> Tensor:
    """The tokens at the given positions: (B, S, C)."""
    return x_BTC.gather(1, positions_BS[..., None].expand(-1, -1, x_BTC.shape[-1]))


def put_tokens(x_BTC: Tensor, positions_BS: Tensor, new_BSC: Tensor) -> Tensor:
    """A copy of `x_BTC` with the tokens at the given positions replaced."""
    return x_BTC.scatter(1, positions_BS[..., None].expand_as(new_BSC), new_BSC)
