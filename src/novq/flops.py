"""What a model costs: parameters and floating-point operations, counted from its shapes.

Matrix products only, a multiply-add as two operations; norms and activations are left out.
"""

from dataclasses import dataclass

from torch import nn

from novq.backbones.masked import mean_num_masked
from novq.config import ClassConfig, MaskedConfig, SamplingConfig
from novq.model import Model
from novq.orders import cosine_sizes

_BACKWARD = 2  # a backward pass costs two forward passes


@dataclass(frozen=True)
class Cost:
    """FLOPs an image, by part."""

    backbone: float
    head: float

    @property
    def total(self) -> float:
        return self.backbone + self.head


def count_parameters(model: Model) -> dict[str, int]:
    """Parameters of each part of the model."""
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    return parts | {"total": sum(parts.values())}


def training_flops(model: Model) -> Cost:
    """Forward and backward pass of one image, with the mean number of masked tokens."""
    num_tokens = model.config.grid.num_tokens
    masked = mean_num_masked(model.config.backbone, num_tokens)
    net = model.head.net
    per_time = _linear(net) - _linear(net.cond_embed)
    head = masked * (_linear(net.cond_embed) + model.head.config.batch_mul * per_time)
    backbone = _backbone(model, num_tokens - masked, num_tokens, masked)
    return Cost((1 + _BACKWARD) * backbone, (1 + _BACKWARD) * head)


def sampling_flops(model: Model, settings: SamplingConfig) -> Cost:
    """Sampling of one image."""
    num_tokens, net = model.config.grid.num_tokens, model.head.net
    branches = 1 if settings.guidance_scale == 1 else 2
    per_step = _linear(net) - _linear(net.cond_embed) - _linear(net.time_embed)
    head = num_tokens * branches * (_linear(net.cond_embed) + settings.num_steps * per_step)
    backbone, known = 0.0, 0
    for size in cosine_sizes(num_tokens, settings.num_iterations):
        backbone += branches * _backbone(model, known, num_tokens, size)
        known += size
    return Cost(backbone, head)


def describe(model: Model) -> dict[str, object]:
    """Everything that `novq info` shows, as plain values."""
    config, sampling = model.config, model.config.sampling
    conditioning = config.conditioning
    training, inference = training_flops(model), sampling_flops(model, sampling)
    return {
        "image": [config.tokenizer.channels, config.image_size, config.image_size],
        "tokens": config.grid.num_tokens,
        "grid": list(config.grid),
        "token_dim": config.tokenizer.token_dim,
        "classes": conditioning.num_classes if isinstance(conditioning, ClassConfig) else 0,
        "class_names": list(conditioning.names) if isinstance(conditioning, ClassConfig) else [],
        "parameters": count_parameters(model),
        "training_flops_per_image": _by_part(training),
        "sampling_flops_per_image": _by_part(inference),
        "sampling": {
            "num_iterations": sampling.num_iterations,
            "num_steps": sampling.num_steps,
            "guidance_scale": sampling.guidance_scale,
            "guidance_schedule": sampling.guidance_schedule,
            "temperature": sampling.temperature,
        },
    }


def _by_part(cost: Cost) -> dict[str, float]:
    return {"backbone": cost.backbone, "head": cost.head, "total": cost.total}


def _backbone(model: Model, known: float, num_tokens: int, wanted: float) -> float:
    """One forward pass with `known` tokens known, for the conditions of `wanted` ones."""
    backbone, cond = model.backbone, model.config.conditioning.num_tokens
    seen, length = cond + known, cond + num_tokens
    flops = known * _linear(backbone.token_embed) + seen * _linear(backbone.decoder_embed)
    for block in backbone.encoder:
        flops += seen * _linear(block) + _attention(model.config.backbone, seen, seen)
    for block in backbone.decoder[:-1]:
        flops += length * _linear(block) + _attention(model.config.backbone, length, length)
    # The last block computes keys and values of all tokens, the rest for the wanted ones only.
    last = backbone.decoder[-1]
    key_value = 2 / 3 * _linear(last.get_submodule("attn.qkv"))
    flops += length * key_value + wanted * (_linear(last) - key_value)
    return flops + _attention(model.config.backbone, length, wanted)


def _linear(module: nn.Module) -> float:
    """FLOPs of all linear layers below `module`, for one row."""
    return sum(2.0 * child.weight.numel() for child in module.modules() if isinstance(child, nn.Linear))


def _attention(config: MaskedConfig, keys: float, queries: float) -> float:
    return 4.0 * keys * queries * config.width
