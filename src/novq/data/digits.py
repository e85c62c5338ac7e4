"""The 1,797 handwritten digits, 8×8, that scikit-learn carries (UCI optical recognition of handwritten digits)."""

import numpy as np
import torch

from novq.data.images import ImageSet


def load_digits_images() -> ImageSet:
    """All digits, (1797, 1, 8, 8); the 17 grey levels are spread over 0 to 255. There is no test split."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError(
            "the digits come with scikit-learn, which is missing: pip install 'novq[train]'"
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    images = np.round(pixels.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    return ImageSet(
        torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)), tuple(str(k) for k in range(10))
    )
