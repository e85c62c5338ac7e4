"""Any folder of images, with a subfolder for each class or without classes."""

import logging
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from novq.data.images import ImageSet, fit_image

log = logging.getLogger(__name__)

_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm"}
_MAX_SHARE_OF_MEMORY = 0.5


def load_folder(folder: Path, channels: int, image_size: int) -> ImageSet:
    """All images of a folder, decoded once into memory.

    Each subfolder that holds images, at any depth, is a class; with none, the images are unconditional. Unreadable
    images are skipped, counted and named in the log. ValueError where none can be read, where images lie both
    beside and in subfolders, or where they would not fit into memory.
    """
    files, labels, class_names = _list_images(folder)
    _check_memory(len(files) * channels * image_size**2, folder)

    def decode(path: Path) -> np.ndarray | None:
        try:
            with Image.open(path) as image:
                return fit_image(image, channels, image_size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None  # Pillow raises any of these on damaged files

    console = Console(stderr=True)
    with (
        warnings.catch_warnings(action="ignore"),  # of Pillow on odd metadata
        ThreadPoolExecutor(os.cpu_count()) as pool,
        Progress(console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        arrays = list(bar.track(pool.map(decode, files), total=len(files), description=f"Reading {folder}"))
    good = [k for k, array in enumerate(arrays) if array is not None]
    skipped = tuple(str(files[k]) for k, array in enumerate(arrays) if array is None)
    named = ", ".join(skipped[:5]) + (", …" if len(skipped) > 5 else "")
    if not good:
        raise ValueError(
            f"none of the {len(files)} images in {folder} could be read ({named}): check the files"
        )
    if skipped:
        log.warning("skipped %d of %d images that could not be read: %s", len(skipped), len(files), named)
    images = np.stack([array for array in arrays if array is not None])
    return ImageSet(torch.from_numpy(images), torch.tensor([labels[k] for k in good]), class_names)


def _list_images(folder: Path) -> tuple[list[Path], list[int], tuple[str, ...]]:
    at_top = list(_images_in(folder, deep=False))
    by_class = {
        sub.name: images
        for sub in sorted(folder.iterdir())
        if sub.is_dir() and not sub.name.startswith(".") and (images := list(_images_in(sub, deep=True)))
    }
    if at_top and by_class:
        raise ValueError(
            f"{folder} has images both beside and inside subfolders: move them all into class subfolders, or all out"
        )
    if not at_top and not by_class:
        raise ValueError(
            f"{folder} has no images ({' '.join(sorted(_ENDINGS))}): name the folder that holds them"
        )
    if at_top:
        return at_top, [0] * len(at_top), ()
    files = [path for images in by_class.values() for path in images]
    labels = [k for k, images in enumerate(by_class.values()) for _ in images]
    return files, labels, tuple(by_class)


def _images_in(folder: Path, *, deep: bool) -> Iterator[Path]:
    for path in sorted(folder.rglob("*") if deep else folder.iterdir()):
        if path.suffix.lower() in _ENDINGS and not path.name.startswith(".") and path.is_file():
            yield path


def _check_memory(num_bytes: int, folder: Path) -> None:
    limit = _MAX_SHARE_OF_MEMORY * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if num_bytes > limit:
        raise ValueError(
            f"the images of {folder} take {num_bytes / 2**30:.0f} GiB at this size, more than half of the memory: "
            "use a smaller --model.image-size or fewer images"
        )
