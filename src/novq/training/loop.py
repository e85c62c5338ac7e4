"""The training loop."""

import copy
import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from novq.config import ClassConfig, RunConfig, UnconditionalConfig
from novq.data import ImageSet, load_images
from novq.data.export import write_grid
from novq.files import check_writable
from novq.model import Model, resolve_device
from novq.sampling import sample
from novq.training import checkpoint
from novq.training.batches import Batches, step_seed
from novq.training.checkpoint import Progress
from novq.training.display import Display, catch_stop
from novq.training.meter import Meter
from novq.training.optim import learning_rate, make_optimizer, update_ema

log = logging.getLogger(__name__)

_FIRST_GRID_MINUTES = 1.0
_DIVERGED_STEPS = 20  # in a row, none with a finite gradient


@dataclass(frozen=True)
class Summary:
    """What a training came to."""

    progress: Progress
    new_steps: int
    """Steps made by this call; 0 where the run had been finished before."""
    interrupted: bool
    precision: str
    """`bf16` or `fp32`."""


def train(
    config: RunConfig,
    out: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    device: str | None = None,
) -> Summary:
    """Train by the recipe `config` in the run folder `out`, until `minutes` or `steps` are reached in total.

    A folder that holds an unfinished run of the same recipe is resumed. Class count and names are taken from the
    data. `device` is `cpu` or `cuda`, by default the GPU where there is one. The first Ctrl-C saves and returns.

    ValueError, in one line, where data, folder or settings do not fit; nothing is written then.
    """
    if minutes is None and steps is None:
        raise ValueError("no end of the training is given: give --minutes or --steps")
    if (minutes is not None and minutes <= 0) or (steps is not None and steps <= 0):
        raise ValueError("--minutes and --steps must be positive")
    out = Path(out)
    tokenizer = config.model.tokenizer
    data = load_images(config.data.source, channels=tokenizer.channels, image_size=config.model.image_size)
    config = with_classes(config, data)
    checkpoint.check_same_run(out, config)
    check_writable(out)
    accelerator = _make_accelerator(config, device, out)
    run = _Run(config, out, data, accelerator, minutes, steps)
    checkpoint.write_config(out, config)
    accelerator.init_trackers("novq")
    return run.go()


def with_classes(config: RunConfig, data: ImageSet) -> RunConfig:
    """The recipe with the number and names of the data's classes; unconditional, so unguided, where it has none."""
    given, sampling = config.model.conditioning, config.model.sampling
    if isinstance(given, ClassConfig) and data.class_names:
        fitted = ClassConfig(len(data.class_names), given.num_tokens, given.dropout, data.class_names)
    else:
        fitted = UnconditionalConfig(given.num_tokens)
        sampling = dataclasses.replace(sampling, guidance_scale=1.0)
    model = dataclasses.replace(config.model, conditioning=fitted, sampling=sampling)
    return dataclasses.replace(config, model=model)


class _Run:
    def __init__(
        self,
        config: RunConfig,
        out: Path,
        data: ImageSet,
        accelerator: Accelerator,
        minutes: float | None,
        steps: int | None,
    ) -> None:
        self.config, self.out, self.accelerator = config, out, accelerator
        self.max_seconds = minutes * 60 if minutes is not None else None
        self.max_steps = steps
        self.batches = Batches(data, config.optim.batch_size, config.loop.seed, flip=config.data.flip)
        torch.manual_seed(config.loop.seed)
        self.model = Model(config.model)
        self.model.tokenizer.measure(data.images)
        self.optimizer = make_optimizer(self.model, config.optim)
        self.wrapped, self.wrapped_optimizer = accelerator.prepare(self.model, self.optimizer)
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.skipped_in_a_row = 0
        self.progress = checkpoint.resume(out, self.model, self.ema, self.optimizer)
        if self.progress.step:
            log.info("resuming %s at step %d", out, self.progress.step)

    def share(self) -> float:
        """How much of the training is over, 0 to 1."""
        by_time = self.progress.seconds / self.max_seconds if self.max_seconds else 0.0
        by_step = self.progress.step / self.max_steps if self.max_steps else 0.0
        return min(1.0, max(by_time, by_step))

    def go(self) -> Summary:
        progress, loop = self.progress, self.config.loop
        meter = Meter(self.accelerator.device, self.config.optim.batch_size)
        start = time.perf_counter() - progress.seconds
        next_save = progress.seconds + 60 * loop.checkpoint_minutes
        next_grid = max(
            60 * _FIRST_GRID_MINUTES, progress.seconds + 60 * loop.sample_minutes * (progress.step > 0)
        )
        first_step = progress.step
        with catch_stop() as stop, Display() as display:
            while self.share() < 1 and not stop.requested:
                meter.add(*self.step())
                progress.step += 1
                progress.seconds = time.perf_counter() - start
                if meter.due():
                    self.show(meter, display)
                if progress.seconds > next_save:
                    with meter.paused():
                        self.save()
                    next_save = progress.seconds + 60 * loop.checkpoint_minutes
                if progress.seconds > next_grid and self.share() < 1:
                    with meter.paused():
                        self.draw()
                    next_grid = progress.seconds + 60 * loop.sample_minutes
            if progress.step > first_step:
                self.show(meter, display)
                self.save()
                if not stop.requested:
                    self.draw()
        self.accelerator.end_training()
        return Summary(
            progress=dataclasses.replace(progress),
            new_steps=progress.step - first_step,
            interrupted=stop.requested and self.share() < 1,
            precision="bf16" if self.accelerator.mixed_precision == "bf16" else "fp32",
        )

    def step(self) -> tuple[Tensor, Tensor]:
        """One step of the optimizer; its loss, and 1 if it was left out since the gradient was not finite."""
        config, step = self.config.optim, self.progress.step
        torch.manual_seed(step_seed(self.config.loop.seed, step))
        images, labels = self.batches.at(step, self.accelerator.device)
        self.wrapped.train()
        loss = self.wrapped(images, labels)
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.wrapped.parameters(), config.clip_norm)
        assert norm is not None
        bad = (~norm.isfinite()).float()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, step, self.share())
        # The fused kernel itself skips the update where this is 1: no wait for the device.
        self.optimizer.found_inf = bad  # type: ignore[attr-defined]
        self.wrapped_optimizer.step()
        self.wrapped_optimizer.zero_grad()
        update_ema(self.ema, self.model, step, config.ema_decay)
        return loss.detach(), bad

    def show(self, meter: Meter, display: Display) -> None:
        """Read the meter, show and log what it says; ValueError if the training has diverged."""
        progress = self.progress
        loss, skipped, count = meter.read()
        if count == 0:
            return
        progress.loss = loss
        progress.images_per_second = meter.speed
        progress.skipped += skipped
        if skipped:
            log.warning("step %d: %d steps skipped, their gradient was not finite", progress.step, skipped)
        self.skipped_in_a_row = self.skipped_in_a_row + count if skipped == count else 0
        if self.skipped_in_a_row >= _DIVERGED_STEPS:
            raise ValueError(f"the training has diverged at step {progress.step}: use a lower --optim.lr")
        share = self.share()
        left = progress.seconds * (1 - share) / max(share, 1e-6)
        display.update(
            step=progress.step, share=share, loss=progress.loss, speed=meter.recent_speed, seconds_left=left
        )
        self.accelerator.log(
            {"loss": progress.loss, "images_per_second": meter.recent_speed, "skipped": progress.skipped},
            step=progress.step,
        )

    def save(self) -> None:
        checkpoint.save(self.out, self.model, self.ema, self.optimizer, self.progress)

    def draw(self) -> None:
        """Write sample grids of the weights and of their average, at the model's default settings."""
        folder = self.out / "samples"
        conditioning = self.config.model.conditioning
        num_classes = conditioning.num_classes if isinstance(conditioning, ClassConfig) else 0
        labels = [k % num_classes for k in range(4 * min(num_classes, 10))] if num_classes else None
        seeds = range(len(labels) if labels else 16)
        for name, model in (("raw", self.model), ("ema", self.ema)):
            images = sample(model, labels, seeds)
            write_grid(folder / f"step-{self.progress.step:07d}-{name}.png", images, labels)


def _make_accelerator(config: RunConfig, device: str | None, out: Path) -> Accelerator:
    on_cpu = resolve_device(device).type == "cpu"
    tracker = config.loop.tracker
    AcceleratorState._reset_state(
        True
    )  # else a second training in this process would get the first one's settings
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision=_resolve_precision(config.loop.precision, on_cpu),
        log_with=None if tracker == "none" else tracker,
        project_dir=out / "logs",
    )
    if tracker != "none" and not accelerator.log_with:
        raise ValueError(
            f"the tracker {tracker} is not installed: pip install {tracker}, or --loop.tracker none"
        )
    if accelerator.num_processes > 1:
        raise ValueError("training runs in one process in this version: start it without torchrun")
    return accelerator


def _resolve_precision(wanted: str, on_cpu: bool) -> Literal["no", "bf16"]:
    """bf16 only where the hardware multiplies in it: elsewhere it is several times slower than fp32."""
    if wanted == "auto":
        fast = (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
            if on_cpu
            else torch.cuda.is_bf16_supported(including_emulation=False)
        )
        wanted = "bf16" if fast else "fp32"
    return "bf16" if wanted == "bf16" else "no"
