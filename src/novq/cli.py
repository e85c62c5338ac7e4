"""The command line: parsing, and the one place where errors become one line and an exit code.

Exit codes: 0 done, 2 bad input (one line on standard error says what and how to cure it), 130 interrupted.
"""

import contextlib
import dataclasses
import io
import logging
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from novq import __version__
from novq.config import SOURCES, ClassConfig, RunConfig
from novq.files import check_writable
from novq.presets import PRESETS, preset

if TYPE_CHECKING:
    from novq.model import Model

USAGE = """\
usage: novq COMMAND …

Autoregressive generation on continuous tokens, without vector quantization.

commands:
  train PRESET --out DIR     train a model, or resume a training; Ctrl-C saves
  sample MODEL --out FILE    generate images with a trained model
  info MODEL|PRESET          parameters, tokens and FLOPs of a model

novq COMMAND --help lists the options of a command, novq --version the version.
"""

_Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class TrainArgs:
    """Options of `novq train`; those with a dot change the preset's recipe."""

    out: Path
    """Run folder; one that holds an unfinished run of the same recipe is resumed."""
    source: Annotated[str | None, tyro.conf.arg(name="data", metavar="DIR")]
    """Folder of images (class subfolders make classes), or of IDX files, in place of the preset's data."""
    minutes: float | None
    """Train for so long in total."""
    steps: int | None
    """Train for so many steps in total."""
    device: _Device | None
    """By default the GPU where there is one."""
    config: Annotated[RunConfig, tyro.conf.arg(name="")]


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
    device: _Device | None = None
    """By default the GPU where there is one."""


@dataclass(frozen=True)
class InfoArgs:
    """Options of `novq info`."""

    model: tyro.conf.Positional[str]
    """Folder of a trained run or model, its name on the Hugging Face hub, or a preset."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON instead of a table."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    commands: dict[str, Callable[[list[str]], int]] = {"train": _train, "sample": _sample, "info": _info}
    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0 if args else 2
    if args[0] == "--version":
        sys.stdout.write(f"novq {__version__}\n")
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("novq").setLevel(logging.INFO)
    try:
        if args[0] not in commands:
            raise ValueError(f"unknown command {args[0]!r}: use one of {', '.join(commands)}")
        return commands[args[0]](args[1:])
    except (ValueError, OSError) as error:
        sys.stderr.write(f"novq: error: {' '.join(str(error).split())}\n")
        return 2
    except ModuleNotFoundError as error:
        sys.stderr.write(f"novq: error: {error.name} is not installed: pip install 'novq[train]'\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nnovq: interrupted, nothing more was written\n")
        return 130


def _train(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(_presets_help())
        return 0 if args else 2
    if args[0].startswith("-"):
        raise ValueError(
            f"the preset comes first: novq train PRESET {args[0]} …, PRESET one of {', '.join(PRESETS)}"
        )
    chosen = preset(args[0])
    parsed = _parse(
        TrainArgs,
        args[1:],
        prog=f"novq train {args[0]}",
        description=f"{chosen.purpose}. Cost: {chosen.cost}. Loss: {chosen.curve}.",
        default=TrainArgs(tyro.MISSING, None, None, None, None, chosen.config),
    )
    config, minutes, steps = parsed.config, parsed.minutes, parsed.steps
    if parsed.source is not None:
        if parsed.source in SOURCES and Path(parsed.source).is_dir():
            raise ValueError(
                f"--data {parsed.source} is a source and a folder here: ./{parsed.source} is the folder"
            )
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, source=parsed.source))
    if minutes is None and steps is None:
        minutes, steps = chosen.minutes, chosen.steps
    from novq.training import train

    summary = train(config, parsed.out, minutes=minutes, steps=steps, device=parsed.device)
    if summary.interrupted:
        saved = " and saved" if summary.new_steps else ""
        sys.stderr.write(
            f"stopped at step {summary.progress.step}{saved}: the same command goes on from there\n"
        )
        return 130
    done = summary.progress
    sys.stdout.write(
        f"{parsed.out} is trained{'' if summary.new_steps else ' already'}: {done.step} steps, "
        f"{done.seconds / 60:.1f} minutes, loss {done.loss:.4f}, {done.images_per_second:.0f} images/s "
        f"({summary.precision})\n"
        f"next: novq sample {parsed.out} --out samples.png"
        f"{'' if summary.new_steps else '; more --minutes or --steps train it further'}\n"
    )
    return 0


def _sample(args: list[str]) -> int:
    parsed = _parse(SampleArgs, args, prog="novq sample", description="Generate images with a trained model.")
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


def _info(args: list[str]) -> int:
    parsed = _parse(InfoArgs, args, prog="novq info", description="What a model is and what it costs.")
    import torch

    from novq.flops import describe
    from novq.model import Model, load

    if parsed.model in PRESETS and not Path(parsed.model).exists():
        with torch.device("meta"):
            model = Model(PRESETS[parsed.model].config.model)
    else:
        model = load(parsed.model)
    facts = describe(model)
    if parsed.json:
        import json

        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return 0

    from rich.console import Console
    from rich.table import Table

    table = Table(
        "", "parameters", "FLOPs an image, training", "FLOPs an image, sampling", title=parsed.model
    )
    parameters, training, sampling = (
        _numbers(facts[key]) for key in ("parameters", "training_flops_per_image", "sampling_flops_per_image")
    )
    for part, count in parameters.items():
        costs = [f"{cost[part] / 1e9:.3f} G" if part in cost else "" for cost in (training, sampling)]
        table.add_row(part, f"{int(count):,}", *costs, end_section=part == "head")
    channels, height, width = model.config.tokenizer.channels, *[model.config.image_size] * 2
    grid = model.config.grid
    console = Console()
    console.print(table)
    console.print(
        f"images {channels}×{height}×{width}, {grid.num_tokens} tokens ({grid.height}×{grid.width}) of "
        f"{model.config.tokenizer.token_dim} dimensions, classes: {facts['classes'] or 'none'}",
        highlight=False,
    )
    settings = model.config.sampling
    console.print(
        f"sampled with {settings.num_iterations} iterations × {settings.num_steps} steps, guidance "
        f"{settings.guidance_scale:g} ({settings.guidance_schedule}), temperature {settings.temperature:g}",
        highlight=False,
    )
    return 0


def _numbers(value: object) -> dict[str, float]:
    assert isinstance(value, dict)
    return value


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


def _presets_help() -> str:
    width = max(map(len, PRESETS))
    rows = "\n".join(
        f"  {name:{width}}  {p.purpose}\n  {'':{width}}  cost: {p.cost}" for name, p in PRESETS.items()
    )
    return f"usage: novq train PRESET --out DIR …\n\npresets:\n{rows}\n\nnovq train PRESET --help lists the options.\n"


T = TypeVar("T")


def _parse(kind: type[T], args: list[str], *, prog: str, description: str, default: Any = None) -> T:
    """The dataclass that the arguments make. Bad ones raise ValueError with tyro's message as one line."""
    caught = io.StringIO()
    options = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(caught):
            return tyro.cli(
                tyro.conf.configure(tyro.conf.AvoidSubcommands)(kind),
                args=args,
                prog=prog,
                description=description,
                **options,
            )
    except SystemExit as leave:
        if not leave.code:
            raise  # --help, already printed
        text = " ".join(re.sub(r"\x1b\[[0-9;]*m|[\u2500-\u257f]", " ", caught.getvalue()).split())
        text = re.sub(r"^(Value error|Unrecognized options|Required options) ", "", text)
        text = re.sub(r"no type matching .* - <class '\w+'>: ", "", text)
        text = re.sub(r"( Argument helptext:.*)? For full helptext.*$", "", text)
        raise ValueError(f"{text} (see {prog} --help)") from None


if __name__ == "__main__":
    sys.exit(main())
