from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from novq.data.export import make_grid, write_grid, write_npz, write_pngs


def flat(values: list[float], size: int = 60) -> torch.Tensor:
    return torch.tensor(values)[:, None, None, None].expand(-1, 1, size, size)


def cells(image: Image.Image, size: int) -> list[list[int]]:
    return np.asarray(image)[:: size + 2, :: size + 2].tolist()


def test_a_row_for_each_class() -> None:
    grid = make_grid(flat([0.2, 0.4, 0.0, 0.6, 0.8, 0.0]), labels=[7, 3, 7, 3, 7, 3])
    assert cells(grid, 60) == [[102, 153, 0], [51, 0, 204]]


def test_near_square_without_classes() -> None:
    assert cells(make_grid(flat([0.2, 0.4, 0.6, 0.8, 0.0])), 60) == [[51, 102, 153], [204, 0, 255]]
    assert make_grid(flat([0.2, 0.4, 0.6]), labels=[0, 1, 2]).size == (122, 122)


def test_small_images_are_enlarged_by_a_whole_factor() -> None:
    image = torch.rand(1, 3, 10, 10)
    pixels = np.asarray(make_grid(image))
    assert pixels.shape == (50, 50, 3)
    expected = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    assert (pixels[::5, ::5] == expected).all()


def test_files(tmp_path: Path) -> None:
    images = torch.rand(2, 3, 8, 8)
    write_grid(tmp_path / "grid.png", images)
    write_pngs(tmp_path / "out", images, ["a", "b"])
    write_npz(tmp_path / "x.npz", images, [4, 2])
    arrays = np.load(tmp_path / "x.npz")
    assert arrays["images"].shape == (2, 8, 8, 3)
    assert arrays["images"].dtype == np.uint8
    assert arrays["labels"].tolist() == [4, 2]
    assert (np.asarray(Image.open(tmp_path / "out" / "b.png")) == arrays["images"][1]).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["grid.png", "out", "x.npz"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "grid.png"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="no space"):
        write_grid(path, torch.rand(2, 3, 8, 8))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]
