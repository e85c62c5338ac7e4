"""Optimizer, learning rate, and the moving average of the weights."""

import math

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from novq.config import OptimConfig
from novq.model import Model


def make_optimizer(model: Model, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW with the paper's groups: no weight decay on biases, norms and the head."""
    norms = {
        id(p) for module in model.modules() if isinstance(module, nn.LayerNorm) for p in module.parameters()
    }
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        is_plain = id(parameter) in norms or name.endswith(".bias") or name.startswith("head.")
        (plain if is_plain else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def learning_rate(config: OptimConfig, step: int, progress: float) -> float:
    """Learning rate at `step`, when the share `progress` of the training is over: linear warm-up, then the schedule."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    decay = 0.5 * (1 + math.cos(math.pi * min(1.0, progress))) if config.schedule == "cosine" else 1.0
    return config.lr * warm * decay


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move the average towards the weights; the decay rises to `decay` as (1 + step) / (10 + step).

    Buffers, which are measurements, are copied.
    """
    decay = min(decay, (1 + step) / (10 + step))
    average = get_ema_multi_avg_fn(decay)
    average(list(ema.parameters()), list(model.parameters()), torch.empty(0))
    for kept, buffer in zip(ema.buffers(), model.buffers(), strict=True):
        kept.copy_(buffer)
