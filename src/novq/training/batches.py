"""Which images a step sees: a pure function of (seed, step), so that a resumed run goes on exactly."""

import torch
from torch import Tensor

from novq.data import ImageSet


class Batches:
    """Endless batches: every epoch is its own permutation of the images, batches run on across epochs."""

    def __init__(self, data: ImageSet, batch_size: int, seed: int, *, flip: bool) -> None:
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.flip = flip
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def at(self, step: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) in [-1, 1] and labels (B,) of a step, on `device`."""
        indices = self.indices(step)
        images = self.data.images[indices].to(device, non_blocking=True).float().div_(127.5).sub_(1)
        if self.flip:
            generator = torch.Generator().manual_seed(_mix(self.seed, step, 1))
            mirrored = (torch.rand(len(indices), generator=generator) < 0.5).to(device)
            images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        return images, self.data.labels[indices].to(device, non_blocking=True)

    def indices(self, step: int) -> Tensor:
        """Which images make up the batch of a step: (B,) int64."""
        start, parts, wanted = step * self.batch_size, [], self.batch_size
        while wanted > 0:
            epoch, offset = divmod(start, len(self.data))
            part = self._permutation(epoch)[offset : offset + wanted]
            parts.append(part)
            start, wanted = start + len(part), wanted - len(part)
        return torch.cat(parts)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(_mix(self.seed, epoch, 0))
            self._order, self._epoch = torch.randperm(len(self.data), generator=generator), epoch
        return self._order


def step_seed(seed: int, step: int) -> int:
    """The seed of everything random in the network at a step."""
    return _mix(seed, step, 2)


def _mix(seed: int, number: int, purpose: int) -> int:
    """A 63-bit seed for (seed, number, purpose), well spread (the finalizer of SplitMix64, Steele et al. 2014)."""
    x = (seed * 0x9E3779B97F4A7C15 + number * 4 + purpose) & (2**64 - 1)
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return (x ^ (x >> 31)) >> 1
