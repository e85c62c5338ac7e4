import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from novq.data import load_images
from novq.data.images import fit_image


def write(path: Path, size: tuple[int, int] = (20, 14), mode: str = "RGB", value: int = 128) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "I;16") else (value,) * len(mode)).save(path)


def test_class_subfolders_become_classes_in_alphabetic_order(tmp_path: Path) -> None:
    write(tmp_path / "zebra" / "a.png")
    write(tmp_path / "ant" / "b.jpg", mode="L", value=10)
    write(tmp_path / "ant" / "deeper" / "c.PNG", size=(5, 50))
    (tmp_path / "empty").mkdir()
    (tmp_path / "ant" / "notes.txt").write_text("no image")
    found = load_images(str(tmp_path), channels=3, image_size=8)
    assert found.class_names == ("ant", "zebra")
    assert found.labels.tolist() == [0, 0, 1]
    assert found.images.shape == (3, 3, 8, 8)
    assert found.images.dtype == torch.uint8


def test_without_subfolders_there_are_no_classes(tmp_path: Path) -> None:
    write(tmp_path / "a.png", mode="L")
    found = load_images(str(tmp_path), channels=1, image_size=4)
    assert found.class_names == ()
    assert found.images.shape == (1, 1, 4, 4)


def test_unreadable_images_are_skipped_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "good.png", size=(64, 64))
    data = (tmp_path / "good.png").read_bytes()
    (tmp_path / "truncated.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.png").write_text("not an image")
    with caplog.at_level(logging.WARNING):
        found = load_images(str(tmp_path), channels=3, image_size=8)
    assert len(found) == 1
    assert "skipped 3 of 4 images" in caplog.text
    assert all(name in caplog.text for name in ("truncated.png", "empty.jpg", "text.png"))


def test_none_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"none of the 1 images .* could be read .*text\.png"):
        load_images(str(tmp_path), channels=3, image_size=8)


def test_no_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("")
    with pytest.raises(ValueError, match="has no images"):
        load_images(str(tmp_path), channels=3, image_size=8)


def test_images_beside_and_inside_subfolders_are_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / "sub" / "b.png")
    with pytest.raises(ValueError, match="both beside and inside subfolders"):
        load_images(str(tmp_path), channels=3, image_size=8)


def test_missing_folder_and_latents() -> None:
    with pytest.raises(ValueError, match="no data at '/nowhere'"):
        load_images("/nowhere", channels=3, image_size=8)
    with pytest.raises(ValueError, match="no data of its own"):
        load_images("", channels=3, image_size=8)
    with pytest.raises(ValueError, match="this model reads 16"):
        load_images("digits", channels=16, image_size=8)


def test_too_many_images_for_the_memory(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    with pytest.raises(ValueError, match="more than half of the memory"):
        load_images(str(tmp_path), channels=3, image_size=10**7)


def test_centre_crop() -> None:
    array = np.zeros((10, 30), np.uint8)
    array[:, 10:20] = 200
    assert (fit_image(Image.fromarray(array), 1, 10) == 200).all()


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    small = fit_image(Image.fromarray(stripes), 1, 8)
    assert np.abs(small.astype(int) - 127).max() < 12


def test_modes() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert (fit_image(clear, 3, 4) == 255).all()
    deep = Image.fromarray(np.full((4, 4), 65535 // 2, np.uint16))
    assert np.abs(fit_image(deep, 1, 4).astype(int) - 127).max() <= 1
    grey = Image.new("L", (4, 4), 77)
    assert (fit_image(grey, 3, 4) == 77).all()
    palette = Image.new("RGB", (4, 4), (255, 0, 0)).convert("P")
    assert fit_image(palette, 3, 4)[:, 0, 0].tolist() == [255, 0, 0]
