"""novq: autoregressive generation on continuous tokens, without vector quantization.

>>> import novq
>>> model = novq.load("runs/fashion")
>>> images = novq.sample(model, labels=[0, 3], seeds=[7, 8])  # (2, C, H, W) in [0, 1]

Names are resolved on first use, so that importing the package does not import torch.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from novq.model import Model, load
    from novq.presets import PRESETS
    from novq.sampling import sample
    from novq.training import train

__version__ = "0.1.0"
__all__ = ["PRESETS", "Model", "__version__", "load", "sample", "train"]

# MKL's conditional numerical reproducibility. Without it, matrix products round differently with the alignment of
# their inputs, and an image would depend in its last bits on its place in the batch. It must be set before the first
# product of the process and costs nothing measurable.
os.environ.setdefault("MKL_CBWR", "AUTO")

# How long an idle OpenMP thread spins before it sleeps. With the default, two processes on the same cores slow each
# other down 8 to 17 times instead of 2. It is read when torch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")

_HOMES = {
    "Model": "novq.model",
    "load": "novq.model",
    "sample": "novq.sampling",
    "train": "novq.training",
    "PRESETS": "novq.presets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'novq' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
