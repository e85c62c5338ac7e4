import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from novq.data import load_images
from novq.data.fashion import DEBIAN_FOLDER, read_idx


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("t10k", 3)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (tmp_path / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8)))
    return tmp_path


def test_digits() -> None:
    found = load_images("digits", channels=1, image_size=8)
    assert found.images.shape == (1797, 1, 8, 8)
    assert found.images.max() == 255
    assert found.labels.bincount().min() > 170
    assert load_images("digits", channels=3, image_size=16).images.shape == (1797, 3, 16, 16)


def test_idx_folder_packed_or_not(folder: Path) -> None:
    found = load_images(str(folder), channels=1, image_size=28)
    raw = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())
    assert found.images.numpy().tobytes() == raw[16:]
    assert found.labels.tolist() == list(range(6))
    assert found.class_names == ("0", "1", "2", "3", "4", "5")
    assert len(load_images(str(folder), channels=1, image_size=28, split="test")) == 3


def test_damaged_idx(folder: Path) -> None:
    images = folder / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:-50])
    with pytest.raises(ValueError, match="is damaged"):
        load_images(str(folder), channels=1, image_size=28)
    labels = folder / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is truncated"):
        read_idx(labels, 1)
    labels.write_bytes(b"something else")
    with pytest.raises(ValueError, match="is no IDX file"):
        read_idx(labels, 1)
    labels.unlink()
    images.write_bytes(gzip.compress(idx(np.zeros((6, 28, 28), np.uint8))))
    with pytest.raises(ValueError, match="has no file train-labels"):
        load_images(str(folder), channels=1, image_size=28)


def test_fashion_mnist_without_files_or_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("offline")

    monkeypatch.setattr("datasets.load_dataset", fail)
    monkeypatch.setattr("novq.data.fashion.DEBIAN_FOLDER", tmp_path)
    with pytest.raises(ValueError, match="apt install dataset-fashion-mnist, or give --data"):
        load_images("fashion-mnist", channels=1, image_size=28)


@pytest.mark.skipif(not DEBIAN_FOLDER.exists(), reason="Fashion-MNIST is not installed here")
def test_fashion_mnist_from_debian() -> None:
    found = load_images("fashion-mnist", channels=1, image_size=28)
    assert found.images.shape == (60000, 1, 28, 28)
    assert found.labels.bincount().tolist() == [6000] * 10
    assert found.class_names[3] == "dress"
    assert torch.equal(found.labels[:4], torch.tensor([9, 0, 0, 3]))
