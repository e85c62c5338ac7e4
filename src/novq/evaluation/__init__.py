"""How good samples are, and what that was measured on."""

from novq.evaluation.classes import ClassReport, score_classes
from novq.evaluation.environment import describe_environment

__all__ = ["ClassReport", "describe_environment", "score_classes"]
