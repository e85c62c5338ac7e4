"""Fashion-MNIST (Xiao et al. 2017): 60,000 + 10,000 grey images of clothes, 28×28, in IDX files."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from novq.data.images import ImageSet

CLASS_NAMES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
HUB_ID = "zalando-datasets/fashion_mnist"
_PREFIX = {"train": "train", "test": "t10k"}


def has_idx_files(folder: Path) -> bool:
    """Whether the folder holds the training images as an IDX file, packed or not."""
    return _find(folder, "train-images-idx3-ubyte") is not None


def load_fashion_mnist(split: str = "train", folder: Path | None = None) -> ImageSet:
    """A split from `folder`, else from where Debian's dataset-fashion-mnist puts it, else from the Hugging Face hub.

    A `folder` may hold another set in the same format, such as MNIST, so its classes are named by their numbers.
    """
    if folder is None and not has_idx_files(DEBIAN_FOLDER):
        return _load_from_hub(split)
    found = folder or DEBIAN_FOLDER
    images = read_idx(_require(found, f"{_PREFIX[split]}-images-idx3-ubyte"), 3)
    labels = read_idx(_require(found, f"{_PREFIX[split]}-labels-idx1-ubyte"), 1)
    if len(images) != len(labels):
        raise ValueError(f"{found} has {len(images)} images and {len(labels)} labels: copy its files again")
    names = CLASS_NAMES if folder is None else tuple(str(k) for k in range(int(labels.max()) + 1))
    return ImageSet(torch.from_numpy(images[:, None]), torch.from_numpy(labels.astype(np.int64)), names)


def read_idx(path: Path, num_dims: int) -> np.ndarray:
    """The uint8 array in an IDX file, gzipped or not; ValueError where the file is truncated or something else."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}): copy it again") from error
    header = 4 + 4 * num_dims
    if len(data) < header or data[:4] != bytes([0, 0, 8, num_dims]):
        raise ValueError(f"{path} is no IDX file of {num_dims}-dimensional bytes: copy it again")
    shape = struct.unpack(f">{num_dims}I", data[4:header])
    if len(data) != header + int(np.prod(shape)):
        raise ValueError(f"{path} is truncated: {len(data)} bytes for the shape {shape}, copy it again")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _require(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        raise ValueError(f"{folder} has no file {name} or {name}.gz: copy all four IDX files there")
    return path


def _load_from_hub(split: str) -> ImageSet:
    import datasets

    try:
        rows = datasets.load_dataset(HUB_ID, split=split).with_format("numpy")
    except Exception as error:  # the library raises a dozen unrelated types when it cannot reach the hub
        raise ValueError(
            "Fashion-MNIST is not on this machine and the Hugging Face hub did not answer "
            f"({type(error).__name__}): apt install dataset-fashion-mnist, or give --data with the folder "
            "of its IDX files"
        ) from error
    images = np.stack(rows["image"])[:, None]
    return ImageSet(torch.from_numpy(images), torch.from_numpy(np.asarray(rows["label"])), CLASS_NAMES)
