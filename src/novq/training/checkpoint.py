"""The run folder: what is in it, and how a run goes on from it.

run.json               the recipe (RunConfig)
config.json            the model's config   } what `novq.load` reads:
model.safetensors      its averaged weights } this folder is a model
training.safetensors   weights, averaged weights, optimizer moments, progress
samples/, logs/        pictures and curves
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from novq.codec import differences, from_json, to_json
from novq.config import RunConfig
from novq.files import atomic_write
from novq.model import CONFIG_FILE, WEIGHTS_FILE, Model, save_tensors

RUN_FILE = "run.json"
STATE_FILE = "training.safetensors"


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    seconds: float = 0.0
    skipped: int = 0
    """Steps left out because their gradient was not finite."""
    loss: float = float("nan")
    """Mean over the last second or so of training."""
    images_per_second: float = 0.0
    """Of the steps alone, without sampling and saving; of the latest session."""


def check_same_run(folder: Path, config: RunConfig) -> None:
    """ValueError where the folder holds another run, naming what differs, or a model that cannot be resumed."""
    path = folder / RUN_FILE
    if not path.exists():
        if (folder / CONFIG_FILE).exists() or (folder / WEIGHTS_FILE).exists():
            raise ValueError(f"{folder} holds a model that is not a training run: choose another --out")
        return
    try:
        found = from_json(RunConfig, path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not a recipe of this version ({error}): choose another --out") from error
    if (folder / WEIGHTS_FILE).exists() and not (folder / STATE_FILE).exists():
        raise ValueError(
            f"{folder} holds a trained model, but {STATE_FILE} is missing, without which training would start anew "
            "over it: copy that file back, or choose another --out"
        )
    different = differences(found, config)
    if different:
        raise ValueError(
            f"{folder} holds a run with other settings (there / now): {'; '.join(different)}: "
            "repeat its settings to resume it, or choose another --out"
        )


def write_config(folder: Path, config: RunConfig) -> None:
    """Write run.json."""
    with atomic_write(folder / RUN_FILE) as path:
        path.write_text(to_json(config))


def save(
    folder: Path, model: Model, ema: Model, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the averaged model, then the training state; each file is replaced whole."""
    ema.save_pretrained(folder)
    tensors = {f"raw.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in ema.state_dict().items()}
    tensors |= _moments(model, optimizer)
    save_tensors(folder / STATE_FILE, tensors, {"progress": json.dumps(dataclasses.asdict(progress))})


def resume(folder: Path, model: Model, ema: Model, optimizer: torch.optim.Optimizer) -> Progress:
    """Load the state of the run in `folder`, if there is one; ValueError where its file is damaged."""
    path = folder / STATE_FILE
    if not path.exists():
        return Progress()
    try:
        with safe_open(path, framework="pt") as file:
            progress = Progress(**json.loads((file.metadata() or {})["progress"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model.load_state_dict(_below(tensors, "raw."))
        ema.load_state_dict(_below(tensors, "ema."))
        _load_moments(tensors, model, optimizer)
    except torch.OutOfMemoryError:
        raise
    except (SafetensorError, OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or of another version ({error}): start anew with another --out "
            f"({WEIGHTS_FILE} beside it can still be sampled)"
        ) from error
    return progress


def _moments(model: Model, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{key}.{name}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _load_moments(tensors: dict[str, Tensor], model: Model, optimizer: torch.optim.Optimizer) -> None:
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {
            key: tensors[f"{key}.{name}"].to(parameter.device) for key in ("step", "exp_avg", "exp_avg_sq")
        }


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
