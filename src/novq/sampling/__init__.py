"""From a trained model to images."""

from novq.sampling.api import Partial, sample
from novq.sampling.loop import sample_tokens
from novq.sampling.noise import NoiseSource, SeededNoise

__all__ = ["NoiseSource", "Partial", "SeededNoise", "sample", "sample_tokens"]
