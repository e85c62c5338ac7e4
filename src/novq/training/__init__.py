"""Training, from a recipe to a run folder that can be sampled."""

from novq.training.loop import Summary, train

__all__ = ["Summary", "train"]
