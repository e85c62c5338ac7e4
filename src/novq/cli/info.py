"""`novq info`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from novq.cli.parse import parse
from novq.presets import PRESETS


@dataclass(frozen=True)
class InfoArgs:
    """Options of `novq info`."""

    model: tyro.conf.Positional[str]
    """Folder of a trained run or model, its name on the Hugging Face hub, or a preset."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON instead of a table."""


def run(args: list[str]) -> int:
    """Show what a model is and what it costs."""
    parsed = parse(InfoArgs, args, prog="novq info", description="What a model is and what it costs.")
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
