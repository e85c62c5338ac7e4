"""`novq sample`."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from novq.cli.parse import Device, parse
from novq.config import ClassConfig
from novq.files import check_writable

if TYPE_CHECKING:
    from novq.model import Model


@dataclass(frozen=True)
class SampleArgs:
    """Options of `novq sample`; those left out take the model's defaults."""

    model: tyro.conf.Positional[str]
    """Folder of a trained run or model, or its name on the Hugging Face hub."""
    out: str = "samples.png"
    """By its ending: .png a grid, .npz arrays `images` (N, H, W, C) uint8 and `labels` (N,), DIR/ single PNGs."""
    classes: tuple[str, ...] = ()
    """Class ids or names (a number is an id), taken in turn; without it, every class in turn."""
    num: int | None = None
    """How many images; by default 8 a class, at most 80."""
    seed: int = 0
    """The images' seeds are SEED, SEED + 1, …"""
    guidance_scale: float | None = None
    """Classifier-free guidance; 1 is off."""
    guidance_schedule: Literal["linear", "constant"] | None = None
    num_iterations: int | None = None
    """Passes of the backbone."""
    num_steps: int | None = None
    """Diffusion steps of the head for each token."""
    temperature: float | None = None
    """Below 1: less diversity."""
    batch_size: int = 64
    device: Device | None = None
    """By default the GPU where there is one."""


def run(args: list[str]) -> int:
    """Generate images and write them as `--out` asks."""
    parsed = parse(SampleArgs, args, prog="novq sample", description="Generate images with a trained model.")
    out = Path(parsed.out)
    kind = "" if parsed.out.endswith("/") or out.is_dir() else out.suffix.lower()
    if kind not in (".png", ".npz", ""):
        raise ValueError(
            f"--out {out} ends in {kind}: use .png (a grid), .npz (arrays) or DIR/ (single PNGs)"
        )
    from novq.data.export import write_grid, write_npz, write_pngs
    from novq.model import load, resolve_device
    from novq.sampling import Partial, sample

    model = load(parsed.model, resolve_device(parsed.device).type)
    if kind != ".npz" and model.config.tokenizer.channels not in (1, 3):
        raise ValueError(
            f"this model makes {model.config.tokenizer.channels}-channel latents: use --out with .npz"
        )
    labels = _labels(model, parsed.classes, parsed.num)
    num = len(labels) if labels is not None else _num(parsed.num, 1)
    seeds = range(parsed.seed, parsed.seed + num)
    check_writable(out.parent if kind else out)

    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{num} images", total=num)

        def show(partial: Partial) -> None:
            done = partial.first + len(partial.x_BTC) * partial.iteration / partial.num_iterations
            bar.update(task, completed=done)

        start = time.perf_counter()
        images = sample(
            model,
            labels,
            seeds,
            guidance_scale=parsed.guidance_scale,
            guidance_schedule=parsed.guidance_schedule,
            num_iterations=parsed.num_iterations,
            num_steps=parsed.num_steps,
            temperature=parsed.temperature,
            batch_size=parsed.batch_size,
            callback=show,
        )
        seconds = time.perf_counter() - start
    match kind:
        case ".png":
            write_grid(out, images, labels)
        case ".npz":
            write_npz(out, images, labels or [0] * num)
        case _:
            classes = [f"-class{label:04d}" for label in labels] if labels is not None else [""] * num
            names = [f"seed{seed:06d}{name}" for seed, name in zip(seeds, classes, strict=True)]
            write_pngs(out, images, names)
    sys.stdout.write(f"wrote {num} images to {parsed.out} ({seconds / num:.3g} s an image)\n")
    return 0


def _labels(model: "Model", classes: Sequence[str], num: int | None) -> list[int] | None:
    """A class id for each image, None for an unconditional model."""
    conditioning = model.config.conditioning
    if not isinstance(conditioning, ClassConfig):
        if classes:
            raise ValueError("this model is unconditional: leave --classes out")
        return None
    chosen = [_class_id(conditioning, text) for text in classes] or list(range(conditioning.num_classes))
    return [chosen[k % len(chosen)] for k in range(_num(num, len(chosen)))]


def _num(num: int | None, num_classes: int) -> int:
    if num is not None and num < 1:
        raise ValueError(f"--num is {num}: it must be positive")
    return num if num is not None else min(8 * num_classes, 80)


def _class_id(conditioning: ClassConfig, text: str) -> int:
    if text in conditioning.names and not text.isdecimal():
        return conditioning.names.index(text)
    if not text.isdecimal() or int(text) >= conditioning.num_classes:
        names = ", ".join(name for name in conditioning.names[:20] if not name.isdecimal())
        names = names and f", or a name: {names}"
        raise ValueError(f"class {text!r} does not exist: use 0 to {conditioning.num_classes - 1}{names}")
    return int(text)
