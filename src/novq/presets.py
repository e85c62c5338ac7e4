"""Complete recipes by name: what each is for, what it costs, and the loss to expect."""

from dataclasses import dataclass

from novq.config import (
    ClassConfig,
    DataConfig,
    DiffusionConfig,
    MaskedConfig,
    ModelConfig,
    OptimConfig,
    PixelsConfig,
    RunConfig,
    SamplingConfig,
)


@dataclass(frozen=True)
class Preset:
    """A recipe and what to know before choosing it."""

    purpose: str
    cost: str
    curve: str
    """What the loss does when all is well."""
    config: RunConfig
    minutes: float | None = None
    """Training time unless told otherwise."""
    steps: int | None = None


def _mar(width: int, depth: int, heads: int, head_depth: int, head_width: int, guidance: float) -> RunConfig:
    """The paper's recipe on KL-16 latents of 256×256 images: 16 channels, 16×16 (facts of the released models)."""
    images, batch_size = 1_281_167, 2048
    return RunConfig(
        model=ModelConfig(
            image_size=16,
            tokenizer=PixelsConfig(channels=16, patch_size=1),
            conditioning=ClassConfig(num_classes=1000, num_tokens=64),
            backbone=MaskedConfig(width, depth // 2, depth // 2, heads),
            head=DiffusionConfig(head_width, head_depth, batch_mul=4, clip_x0=False),
            sampling=SamplingConfig(num_iterations=64, num_steps=100, guidance_scale=guidance),
        ),
        data=DataConfig(flip=True),
        optim=OptimConfig(lr=8e-4, warmup_steps=100 * images // batch_size, batch_size=batch_size),
    )


_MAR_CURVE = "the paper's; the loss flattens early, between 0.25 and 0.35, while samples keep improving"
_MAR_STEPS = 400 * 1_281_167 // 2048

PRESETS: dict[str, Preset] = {
    "digits": Preset(
        purpose="scikit-learn's 8×8 handwritten digits: from nothing to samples while you wait",
        cost="2 minutes on 2 CPU cores",
        curve="0.45 after 100 steps, 0.25 after 400, 0.2 at the end",
        minutes=2,
        config=RunConfig(
            model=ModelConfig(
                image_size=8,
                tokenizer=PixelsConfig(channels=1, patch_size=2),
                conditioning=ClassConfig(num_classes=10, num_tokens=1),
                backbone=MaskedConfig(128, 2, 2, 4, dropout=0.0),
                head=DiffusionConfig(128, 3, batch_mul=2),
                sampling=SamplingConfig(num_iterations=16, num_steps=25, guidance_scale=2.0),
            ),
            data=DataConfig("digits"),
            optim=OptimConfig(lr=1e-3, warmup_steps=100, batch_size=128, ema_decay=0.998),
        ),
    ),
    "fashion-mnist": Preset(
        purpose="Fashion-MNIST, 28×28 grey images of clothes, as raw pixels",
        cost="10 minutes on 2 CPU cores",
        curve="0.33 after 150 steps, 0.22 after 300, then 0.16 to 0.18 while samples improve",
        minutes=10,
        config=RunConfig(
            model=ModelConfig(
                image_size=28,
                tokenizer=PixelsConfig(channels=1, patch_size=7),
                conditioning=ClassConfig(num_classes=10, num_tokens=1),
                backbone=MaskedConfig(256, 3, 1, 4, dropout=0.0, mask_ratio_min=0.05, mask_ratio_std=0.5),
                head=DiffusionConfig(256, 2, batch_mul=2),
                sampling=SamplingConfig(num_iterations=16, num_steps=25, guidance_scale=3.0),
            ),
            data=DataConfig("fashion-mnist"),
            optim=OptimConfig(lr=1e-3, warmup_steps=200, batch_size=128, ema_decay=0.999, schedule="cosine"),
        ),
    ),
    "folder": Preset(
        purpose="your own folder of images (--data DIR), 32×32 RGB as raw pixels; a starting point to override",
        cost="an hour or more on 2 CPU cores",
        curve="falls fast for some hundred steps, then slowly while samples improve",
        minutes=60,
        config=RunConfig(
            model=ModelConfig(
                image_size=32,
                tokenizer=PixelsConfig(channels=3, patch_size=4),
                conditioning=ClassConfig(num_classes=1, num_tokens=1),
                backbone=MaskedConfig(256, 3, 2, 4, dropout=0.1),
                head=DiffusionConfig(256, 3, batch_mul=2),
                sampling=SamplingConfig(num_iterations=32, num_steps=50, guidance_scale=2.0),
            ),
            data=DataConfig(flip=True),
            optim=OptimConfig(lr=1e-3, warmup_steps=200, batch_size=128, ema_decay=0.999),
        ),
    ),
    "mar-b": Preset(
        purpose="the paper's MAR-B, 208M parameters, on 16×16×16 latents of 256×256 ImageNet",
        cost="400 epochs at batch 2048: days on many GPUs",
        curve=_MAR_CURVE,
        steps=_MAR_STEPS,
        config=_mar(768, 24, 12, 6, 1024, guidance=2.9),
    ),
    "mar-l": Preset(
        purpose="the paper's MAR-L, 479M parameters",
        cost="400 epochs at batch 2048: days on many GPUs",
        curve=_MAR_CURVE,
        steps=_MAR_STEPS,
        config=_mar(1024, 32, 16, 8, 1280, guidance=3.0),
    ),
    "mar-h": Preset(
        purpose="the paper's MAR-H, 943M parameters",
        cost="400 epochs at batch 2048: days on many GPUs",
        curve=_MAR_CURVE,
        steps=_MAR_STEPS,
        config=_mar(1280, 40, 16, 12, 1536, guidance=3.2),
    ),
}


def preset(name: str) -> Preset:
    """The preset of that name; ValueError lists the names."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}: use one of {', '.join(PRESETS)}")
    return PRESETS[name]
