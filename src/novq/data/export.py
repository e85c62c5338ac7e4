"""Images to files: a grid, single PNGs, or arrays."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from novq.files import atomic_write

_MIN_CELL = 48  # pixels; smaller images are enlarged by a whole factor in grids, to be seen at all
_MAX_ROW = 32
_GAP = 2


def to_uint8(images_BCHW: Tensor) -> np.ndarray:
    """Images in [0, 1] (B, C, H, W) to uint8 (B, H, W, C), rounded."""
    return (images_BCHW * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def make_grid(images_BCHW: Tensor, labels: Sequence[int] | None = None) -> Image.Image:
    """One picture of all images: a row for each class if every class has at least two images, else near-square.

    Small images are enlarged without smoothing. Images keep their order, within their class where rows are classes.
    """
    arrays = to_uint8(images_BCHW)
    rows = _rows(len(arrays), labels)
    height, width, channels = arrays.shape[1:]
    zoom = max(1, math.ceil(_MIN_CELL / height))
    columns = max(len(row) for row in rows)
    shape = (len(rows) * (height * zoom + _GAP) - _GAP, columns * (width * zoom + _GAP) - _GAP, channels)
    canvas = np.full(shape, 255, np.uint8)
    for r, row in enumerate(rows):
        for c, index in enumerate(row):
            top, left = r * (height * zoom + _GAP), c * (width * zoom + _GAP)
            cell = arrays[index].repeat(zoom, axis=0).repeat(zoom, axis=1)
            canvas[top : top + height * zoom, left : left + width * zoom] = cell
    return Image.fromarray(canvas.squeeze(-1) if channels == 1 else canvas)


def _rows(num_images: int, labels: Sequence[int] | None) -> list[list[int]]:
    if labels is not None:
        by_class: dict[int, list[int]] = {}
        for index, label in enumerate(labels):
            by_class.setdefault(label, []).append(index)
        lengths = [len(row) for row in by_class.values()]
        if len(by_class) > 1 and min(lengths) > 1 and max(lengths) <= _MAX_ROW:
            return [by_class[label] for label in sorted(by_class)]
    columns = math.ceil(math.sqrt(num_images))
    return [list(range(k, min(k + columns, num_images))) for k in range(0, num_images, columns)]


def write_grid(path: Path, images_BCHW: Tensor, labels: Sequence[int] | None = None) -> None:
    """Write `make_grid`'s picture as a PNG."""
    with atomic_write(path) as temporary:
        make_grid(images_BCHW, labels).save(temporary, format="PNG")


def write_pngs(folder: Path, images_BCHW: Tensor, names: Sequence[str]) -> None:
    """Write each image to its own PNG, named by `names` without the ending."""
    for array, name in zip(to_uint8(images_BCHW), names, strict=True):
        with atomic_write(folder / f"{name}.png") as temporary:
            Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(
                temporary, format="PNG"
            )


def write_npz(path: Path, images_BCHW: Tensor, labels: Sequence[int]) -> None:
    """Write `images` (N, H, W, C) uint8 and `labels` (N,) int64, as evaluation tools expect them."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, images=to_uint8(images_BCHW), labels=np.asarray(labels, np.int64))
