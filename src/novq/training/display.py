"""What a training shows while it runs: a bar on a terminal, a line now and then elsewhere; and Ctrl-C."""

import contextlib
import logging
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

log = logging.getLogger(__name__)

_LINE_SECONDS = 30.0


class Display:
    """Progress bar with loss, images a second and the time that is left."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("step {task.fields[step]}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  {task.fields[speed]:.0f} images/s"),
            TimeElapsedColumn(),
            TextColumn("ETA {task.fields[eta]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0, step=0, loss=float("nan"), speed=0.0, eta="…")
        self._lines = not console.is_terminal
        self._last_line = time.perf_counter()

    def update(self, *, step: int, share: float, loss: float, speed: float, seconds_left: float) -> None:
        """Show the state: `share` of the training is over, `speed` is in images a second."""
        minutes, seconds = divmod(round(seconds_left), 60)
        eta = f"{minutes}:{seconds:02d}"
        self._bar.update(self._task, completed=share, step=step, loss=loss, speed=speed, eta=eta)
        if self._lines and time.perf_counter() - self._last_line > _LINE_SECONDS:
            self._last_line = time.perf_counter()
            log.info(
                "step %d, %.0f %%, loss %.4f, %.0f images/s, ETA %s", step, 100 * share, loss, speed, eta
            )

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)


class StopRequest:
    """Set by the first Ctrl-C or SIGTERM; the second one interrupts at once."""

    requested = False


@contextlib.contextmanager
def catch_stop() -> Iterator[StopRequest]:
    """Turns the first Ctrl-C or SIGTERM into a request, so that the step in progress ends and is saved."""
    stop = StopRequest()
    previous: dict[int, object] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        stop.requested = True
        sys.stderr.write("\nstopping after this step; press Ctrl-C again to drop it\n")
        for caught in (signal.SIGINT, signal.SIGTERM):
            signal.signal(caught, signal.default_int_handler)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, handle)
    except ValueError:  # not in the main thread, where signals cannot be caught
        previous.clear()
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
