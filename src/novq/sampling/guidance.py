"""Schedules of the classifier-free guidance scale over the iterations."""

from typing import Literal


def guidance_at(
    schedule: Literal["linear", "constant"], scale: float, num_masked_after: int, num_tokens: int
) -> float:
    """The scale ω_k of one iteration, after which `num_masked_after` of `num_tokens` tokens are still masked.

    `linear`: ω_k = 1 + (ω − 1)·(T − masked)/T, as in MAR, whose code counts at least one token as masked.
    """
    if schedule == "constant" or scale == 1.0:
        return scale
    return 1 + (scale - 1) * (num_tokens - max(1, num_masked_after)) / num_tokens
