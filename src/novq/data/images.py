"""A set of images in memory, and the one way in which images of any size and mode become (C, S, S) uint8."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """Images (N, C, H, W) uint8, class ids (N,) int64, and the names of the classes, empty if there are none."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def resized(self, channels: int, image_size: int) -> "ImageSet":
        """The same grey images with other channels or size; the set itself where these are right."""
        if self.images.shape[1:] == (channels, image_size, image_size):
            return self
        assert self.images.shape[1] == 1
        fitted = [fit_image(Image.fromarray(image[0].numpy()), channels, image_size) for image in self.images]
        return dataclasses.replace(self, images=torch.from_numpy(np.stack(fitted)))


def fit_image(image: Image.Image, channels: int, image_size: int) -> np.ndarray:
    """Centre-cropped to a square and resized with antialiasing: (C, S, S) uint8.

    Turned upright as its EXIF data says; transparent parts become white; 16-bit grey is scaled to 8 bits.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = Image.fromarray(
            (np.asarray(image, dtype=np.float64) / 257).round().clip(0, 255).astype(np.uint8)
        )
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("L" if channels == 1 else "RGB")
    image = ImageOps.fit(image, (image_size, image_size), method=Image.Resampling.BICUBIC)
    array = np.asarray(image)
    return array[None] if channels == 1 else np.moveaxis(array, -1, 0)
