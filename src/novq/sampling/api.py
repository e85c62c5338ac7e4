"""`sample`: labels and seeds in, images out."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from novq.config import ClassConfig, SamplingConfig
from novq.model import Model
from novq.orders import Plan, cosine_sizes, seeded_orders
from novq.sampling.loop import sample_tokens
from novq.sampling.noise import SeededNoise


@dataclass(frozen=True)
class Partial:
    """A batch of images after one of its iterations."""

    first: int
    """Index of the batch's first image among all images asked for."""
    iteration: int
    """1 after the first iteration."""
    num_iterations: int
    x_BTC: Tensor
    """Tokens so far; those to come are zero, which is the mean."""
    model: Model

    def images(self) -> Tensor:
        """The partial images (B, C, H, W) in [0, 1]."""
        return _to_images(self.model, self.x_BTC)


def sample(
    model: Model,
    labels: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    *,
    guidance_scale: float | None = None,
    num_iterations: int | None = None,
    num_steps: int | None = None,
    temperature: float | None = None,
    guidance_schedule: Literal["linear", "constant"] | None = None,
    batch_size: int = 64,
    callback: Callable[[Partial], None] | None = None,
) -> Tensor:
    """Images (N, C, H, W) in [0, 1], float32, on the CPU.

    labels: a class id for each image; None for an unconditional model, or for every class once.
    seeds: a seed for each image, 0 to 2⁶⁴ − 1, by default 0, 1, …; an image depends on its seed, its label and the
        settings, not on the other images, nor on `batch_size`.
    guidance_scale: classifier-free guidance, 1 is off. num_iterations: passes of the backbone. num_steps: diffusion
        steps a token. temperature: factor on the noise added at each step. None takes the model's default.
    callback: called after each iteration with the partial images.

    ValueError for labels, seeds or settings that the model cannot take.
    """
    given = {
        "guidance_scale": guidance_scale,
        "num_iterations": num_iterations,
        "num_steps": num_steps,
        "temperature": temperature,
        "guidance_schedule": guidance_schedule,
    }
    settings = dataclasses.replace(model.config.sampling, **{k: v for k, v in given.items() if v is not None})
    all_labels, all_seeds = _resolve(model, labels, seeds, settings)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: it must be positive")
    num_tokens = model.config.grid.num_tokens
    sizes = cosine_sizes(num_tokens, settings.num_iterations)
    was_training = model.training
    model.eval()
    try:
        images = [
            _sample_batch(
                model,
                all_labels[first : first + batch_size],
                all_seeds[first : first + batch_size],
                sizes,
                settings,
                callback,
                first,
            )
            for first in range(0, len(all_labels), batch_size)
        ]
    finally:
        model.train(was_training)
    return torch.cat(images)


def _sample_batch(
    model: Model,
    labels: Sequence[int],
    seeds: Sequence[int],
    sizes: tuple[int, ...],
    settings: SamplingConfig,
    callback: Callable[[Partial], None] | None,
    first: int,
) -> Tensor:
    with torch.no_grad():
        cond_BKD = model.conditioning(torch.tensor(labels, device=model.device))
    plan = Plan(seeded_orders(seeds, sum(sizes)).to(model.device), sizes)

    def report(iteration: int, x_BTC: Tensor) -> None:
        if callback is not None:
            callback(Partial(first, iteration + 1, len(sizes), x_BTC, model))

    x_BTC = sample_tokens(model, cond_BKD, plan, SeededNoise(seeds), settings, on_iteration=report)
    return _to_images(model, x_BTC)


def _resolve(
    model: Model, labels: Sequence[int] | None, seeds: Sequence[int] | None, settings: SamplingConfig
) -> tuple[list[int], list[int]]:
    """A label and a seed for each image, defaults filled in. ValueError where they do not fit the model."""
    match model.config.conditioning:
        case ClassConfig(num_classes=num_classes):
            if labels is None:
                labels = [k % num_classes for k in range(len(seeds) if seeds is not None else num_classes)]
            wrong = [label for label in labels if not 0 <= label < num_classes]
            if wrong:
                raise ValueError(f"class {wrong[0]} does not exist: this model knows 0 to {num_classes - 1}")
        case _:
            if labels is not None:
                raise ValueError("this model is unconditional: it takes no labels or classes")
            if settings.guidance_scale != 1.0:
                raise ValueError("this model is unconditional: guidance needs classes, use guidance_scale 1")
            labels = [0] * (len(seeds) if seeds is not None else 1)
    seeds = list(range(len(labels))) if seeds is None else list(seeds)
    if len(labels) != len(seeds):
        raise ValueError(f"there are {len(labels)} labels and {len(seeds)} seeds: give one of each an image")
    if not labels:
        raise ValueError("no image is asked for: give at least one label or seed")
    if min(seeds) < 0 or max(seeds) >= 2**64:
        raise ValueError("seeds must lie between 0 and 2**64 - 1")
    return list(labels), seeds


@torch.no_grad()
def _to_images(model: Model, x_BTC: Tensor) -> Tensor:
    images = model.tokenizer.decode(x_BTC, model.config.grid)
    return ((images.float() + 1) / 2).clamp(0, 1).cpu()
