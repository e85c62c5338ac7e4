"""Labelled images from built-in sources and folders, held in memory as uint8."""

from pathlib import Path

from novq.config import SOURCES
from novq.data.digits import load_digits_images
from novq.data.fashion import has_idx_files, load_fashion_mnist
from novq.data.folder import load_folder
from novq.data.images import ImageSet

__all__ = ["ImageSet", "load_images"]


def load_images(source: str, *, channels: int, image_size: int, split: str = "train") -> ImageSet:
    """Images of `source`, with the given channels and square size.

    source: `digits`, `fashion-mnist`, a folder with Fashion-MNIST's IDX files, or a folder of images, with class
    subfolders or without. split: `train` or `test`, where the source has them.

    ValueError, in one line with the cure, where there is nothing to load.
    """
    if channels not in (1, 3):
        raise ValueError(
            f"images have 1 or 3 channels, this model reads {channels}: a tokenizer that makes such latents from "
            "images is still missing, choose another preset"
        )
    match source:
        case "":
            raise ValueError("this preset has no data of its own: give --data with a folder of images")
        case "digits":
            found = load_digits_images()
        case "fashion-mnist":
            found = load_fashion_mnist(split)
        case _ if has_idx_files(Path(source)):
            found = load_fashion_mnist(split, Path(source))
        case _ if Path(source).is_dir():
            return load_folder(Path(source), channels, image_size)
        case _:
            raise ValueError(
                f"no data at {source!r}: name an existing folder of images, or one of {', '.join(SOURCES)}"
            )
    return found.resized(channels, image_size)
