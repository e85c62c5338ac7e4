"""`novq train`."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from novq.cli.parse import Device, parse
from novq.config import SOURCES, RunConfig
from novq.presets import PRESETS, preset


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
    device: Device | None
    """By default the GPU where there is one."""
    config: Annotated[RunConfig, tyro.conf.arg(name="")]


def run(args: list[str]) -> int:
    """Train a preset, or list the presets."""
    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(_presets_help())
        return 0 if args else 2
    if args[0].startswith("-"):
        raise ValueError(
            f"the preset comes first: novq train PRESET {args[0]} …, PRESET one of {', '.join(PRESETS)}"
        )
    chosen = preset(args[0])
    parsed = parse(
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


def _presets_help() -> str:
    width = max(map(len, PRESETS))
    rows = "\n".join(
        f"  {name:{width}}  {p.purpose}\n  {'':{width}}  cost: {p.cost}" for name, p in PRESETS.items()
    )
    return f"usage: novq train PRESET --out DIR …\n\npresets:\n{rows}\n\nnovq train PRESET --help lists the options.\n"
