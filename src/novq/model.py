"""Tokenizer, conditioning, backbone and head as one module; saved and loaded as config.json + model.safetensors."""

from pathlib import Path
from typing import Self

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from novq.backbones import build_backbone
from novq.codec import from_json, to_json
from novq.conditioning import build_conditioning
from novq.config import ModelConfig
from novq.files import atomic_write
from novq.heads import build_head
from novq.tokenizers import build_tokenizer

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


class Model(nn.Module):
    """A generative model of images as grids of continuous tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        token_dim, num_tokens = config.tokenizer.token_dim, config.grid.num_tokens
        self.tokenizer = build_tokenizer(config.tokenizer)
        self.conditioning = build_conditioning(config.conditioning, config.backbone.width)
        self.backbone = build_backbone(config.backbone, token_dim, num_tokens, config.conditioning.num_tokens)
        self.head = build_head(config.head, token_dim, config.backbone.width)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(
        self, images_BCHW: Tensor, labels_B: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean training loss of images in [-1, 1] (B, C, H, W) with class ids (B,)."""
        with torch.no_grad():
            x_BTC = self.tokenizer.encode(images_BCHW, generator)
        z_ND, x_NC = self.backbone.targets(x_BTC, self.conditioning(labels_B, generator), generator)
        return self.head.loss(z_ND, x_NC, generator).mean()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors; each file appears whole or not at all."""
        folder = Path(folder)
        save_tensors(folder / WEIGHTS_FILE, self.state_dict(), {"format": "pt"})
        with atomic_write(folder / CONFIG_FILE) as path:
            path.write_text(to_json(self.config))

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str | None = None) -> Self:
        """The model in a folder, or on the Hugging Face hub at `revision`, in evaluation mode. Errors as in `load`."""
        folder = Path(name)
        if not folder.is_dir():
            folder = _download(str(name), revision)
        model = cls(_read_config(folder / CONFIG_FILE))
        model.load_state_dict(_read_weights(folder / WEIGHTS_FILE, model.state_dict()))
        return model.eval()


def load(model: str | Path, device: str = "cpu") -> Model:
    """The model in a folder (a run's, or one written by `save_pretrained`) or on the hub, ready to sample.

    ValueError, in one line, where there is no model or no such device, or the files are damaged or foreign.
    """
    target = resolve_device(device)
    return Model.from_pretrained(model).to(target)


def resolve_device(name: str | None) -> torch.device:
    """The device of that name, by default the GPU where there is one; ValueError where it does not exist."""
    has_gpu = torch.cuda.is_available()
    try:
        device = torch.device(name or ("cuda" if has_gpu else "cpu"))
    except RuntimeError as error:
        raise ValueError(f"device {name!r} does not exist: use cpu or cuda") from error
    if device.type == "cuda" and not has_gpu:
        raise ValueError("no CUDA device is available: use the device cpu")
    return device


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all; OSError where it cannot be written."""
    with atomic_write(path) as temporary:
        try:
            save_file({name: value.contiguous() for name, value in tensors.items()}, temporary, metadata)
        except SafetensorError as error:
            raise OSError(f"cannot write {path} ({error})") from error


def _download(name: str, revision: str | None) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=[CONFIG_FILE, WEIGHTS_FILE]))
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        raise ValueError(
            f"no folder {name!r} here, and no such model could be read from the hub: check the name"
        ) from error


def _read_config(path: Path) -> ModelConfig:
    if not path.is_file():
        raise ValueError(
            f"{path.parent} holds no model: {path.name} is missing, name the folder of a trained run"
        )
    try:
        return from_json(ModelConfig, path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not the config of a novq model: {error}") from error


def _read_weights(path: Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the file, once every name and shape in it is the expected one."""
    if not path.is_file():
        raise ValueError(f"{path} is missing: train until the first checkpoint, or copy the folder again")
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is damaged or no safetensors file ({error}): copy or train it again"
        ) from error
    wrong = [name for name, value in expected.items() if shapes.get(name) != tuple(value.shape)]
    wrong += [name for name in shapes if name not in expected]
    if wrong:
        raise ValueError(
            f"{path} holds the weights of another model: {len(wrong)} tensors are missing, left over or of another "
            f"shape (first {wrong[0]}); it must match the {CONFIG_FILE} beside it"
        )
    return load_file(path)
