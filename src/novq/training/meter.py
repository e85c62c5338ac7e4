"""Loss and speed of a training, measured without making the device wait."""

import contextlib
import time
from collections.abc import Iterator

import torch
from torch import Tensor

_SECONDS = 1.0


class Meter:
    """Sums of loss and skipped steps on the device, read about once a second; images a second."""

    def __init__(self, device: torch.device, batch_size: int) -> None:
        self.batch_size = batch_size
        self.recent_speed = 0.0
        self._sums = torch.zeros(2, device=device, dtype=torch.float64)
        self._count = self._total_count = 0
        self._total_seconds = 0.0
        self._since = time.perf_counter()

    def add(self, loss: Tensor, bad: Tensor) -> None:
        """Count a step: its loss, and 1 if it was skipped. Does not wait for the device."""
        self._sums += torch.stack([loss.nan_to_num(0, 0, 0) * (1 - bad), bad])
        self._count += 1

    def due(self) -> bool:
        """Whether it is time to read."""
        return time.perf_counter() - self._since > _SECONDS

    def read(self) -> tuple[float, int, int]:
        """Mean loss, skipped steps and steps since the last reading."""
        loss_sum, skipped = self._sums.tolist()
        self._sums.zero_()
        count, self._count = self._count, 0
        seconds = time.perf_counter() - self._since
        self._total_count += count
        self._total_seconds += seconds
        self.recent_speed = count * self.batch_size / seconds
        self._since = time.perf_counter()
        return loss_sum / (count - skipped) if count > skipped else float("nan"), int(skipped), count

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time spent inside out of the speed."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start

    @property
    def speed(self) -> float:
        """Images a second over all readings."""
        return self._total_count * self.batch_size / self._total_seconds
