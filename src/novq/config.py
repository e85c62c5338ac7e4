"""What a model and a run are, as frozen dataclasses, validated when built; no torch.

A part that comes in variants (tokenizer, conditioning, backbone, head) is a union of config classes.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple


class Grid(NamedTuple):
    """Height and width of the token grid."""

    height: int
    width: int

    @property
    def num_tokens(self) -> int:
        return self.height * self.width


def _check(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


def _check_positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _check(value > 0, f"{name} is {value}: it must be positive")


@dataclass(frozen=True)
class PixelsConfig:
    """Patches of raw pixels as tokens (also of given latents, which are an image with more channels)."""

    type: ClassVar[str] = "pixels"
    channels: int = 1
    """Channels of an image: 1 grey, 3 RGB."""
    patch_size: int = 4
    """Side of the square of pixels that makes one token."""

    def __post_init__(self) -> None:
        _check_positive(self, "channels", "patch_size")

    @property
    def token_dim(self) -> int:
        return self.channels * self.patch_size**2

    def grid(self, image_size: int) -> Grid:
        """Token grid of a square image; ValueError where the patch size does not divide it."""
        if image_size % self.patch_size:
            fitting = ", ".join(str(p) for p in range(1, image_size + 1) if image_size % p == 0)
            raise ValueError(
                f"patch_size {self.patch_size} does not divide image_size {image_size}: use one of {fitting}"
            )
        return Grid(image_size // self.patch_size, image_size // self.patch_size)


@dataclass(frozen=True)
class ClassConfig:
    """A class label as condition, with a learned null condition for guidance."""

    type: ClassVar[str] = "class"
    num_classes: int = 10
    num_tokens: int = 64
    """Condition tokens in front of the sequence, all holding the class embedding (the paper's buffer)."""
    dropout: float = 0.1
    """Probability of training on the null condition instead of the label."""
    names: tuple[str, ...] = ()
    """Class names, in the order of the ids; empty where they have none."""

    def __post_init__(self) -> None:
        _check_positive(self, "num_classes", "num_tokens")
        _check(0 <= self.dropout < 1, f"dropout is {self.dropout}: it must lie in [0, 1)")
        _check(
            len(self.names) in (0, self.num_classes),
            f"names has {len(self.names)} entries for {self.num_classes} classes: name all of them or none",
        )


@dataclass(frozen=True)
class UnconditionalConfig:
    """No condition: one learned embedding in the place of a class."""

    type: ClassVar[str] = "none"
    num_tokens: int = 64

    def __post_init__(self) -> None:
        _check_positive(self, "num_tokens")


@dataclass(frozen=True)
class MaskedConfig:
    """Masked autoregression, bidirectional: an encoder reads the known tokens, a decoder adds mask tokens.

    `encoder_depth=0` makes it a single stack over known and mask tokens together.
    """

    type: ClassVar[str] = "masked"
    width: int = 768
    encoder_depth: int = 12
    decoder_depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    dropout: float = 0.1
    mask_ratio_min: float = 0.7
    """Training masks a share of the tokens drawn from a normal(1, mask_ratio_std) truncated to [mask_ratio_min, 1]."""
    mask_ratio_std: float = 0.25

    def __post_init__(self) -> None:
        _check_positive(self, "width", "decoder_depth", "num_heads", "mlp_ratio", "mask_ratio_std")
        _check(self.encoder_depth >= 0, f"encoder_depth is {self.encoder_depth}: it must not be negative")
        _check(
            self.width % self.num_heads == 0,
            f"width {self.width} is not divisible by num_heads {self.num_heads}: choose a multiple",
        )
        _check(0 <= self.dropout < 1, f"dropout is {self.dropout}: it must lie in [0, 1)")
        _check(
            0 <= self.mask_ratio_min < 1,
            f"mask_ratio_min is {self.mask_ratio_min}: it must lie in [0, 1)",
        )


@dataclass(frozen=True)
class DiffusionConfig:
    """Per-token denoising diffusion: AdaLN MLP, cosine schedule, learned variance."""

    type: ClassVar[str] = "diffusion"
    width: int = 1024
    depth: int = 3
    batch_mul: int = 4
    """Time steps at which each condition z is trained per step."""
    clip_x0: bool = True
    """Clip the predicted x0 to the measured token range while sampling. Without it an error at the first step is
    multiplied by 20,291 and a young model samples noise."""

    def __post_init__(self) -> None:
        _check_positive(self, "width", "depth", "batch_mul")


@dataclass(frozen=True)
class SamplingConfig:
    """How a model is sampled unless told otherwise."""

    num_iterations: int = 64
    """Autoregressive iterations: passes of the backbone, each of which predicts a set of tokens."""
    num_steps: int = 100
    """Diffusion steps of the head for each token, at most 1000."""
    guidance_scale: float = 1.0
    """Classifier-free guidance; 1 switches it off and saves half of the work."""
    guidance_schedule: Literal["linear", "constant"] = "linear"
    """`linear` lets the scale grow with the share of known tokens, `constant` applies it throughout."""
    temperature: float = 1.0
    """Factor on the noise that each diffusion step adds: below 1 for less diversity, cleaner samples."""

    def __post_init__(self) -> None:
        _check_positive(self, "num_iterations", "num_steps")
        _check(
            self.num_steps <= 1000,
            f"num_steps is {self.num_steps}: the diffusion has 1000 time steps, use at most 1000",
        )
        _check(self.guidance_scale >= 0, f"guidance_scale is {self.guidance_scale}: use 1 (off) or more")
        _check(self.temperature >= 0, f"temperature is {self.temperature}: use 0 (no added noise) or more")
        _check(
            self.guidance_schedule in ("linear", "constant"),
            f"guidance_schedule is {self.guidance_schedule!r}: use linear or constant",
        )


@dataclass(frozen=True)
class ModelConfig:
    """Everything that is needed to build a model, and how to sample it by default."""

    image_size: int
    """Height and width of the images (of the latents, where these are given), in pixels."""
    tokenizer: PixelsConfig
    conditioning: ClassConfig | UnconditionalConfig
    backbone: MaskedConfig
    head: DiffusionConfig
    sampling: SamplingConfig

    def __post_init__(self) -> None:
        _check_positive(self, "image_size")
        _check(
            self.sampling.num_iterations <= self.grid.num_tokens,
            f"num_iterations {self.sampling.num_iterations} exceeds the {self.grid.num_tokens} tokens of an image: "
            f"use at most {self.grid.num_tokens}",
        )

    @property
    def grid(self) -> Grid:
        return self.tokenizer.grid(self.image_size)


SOURCES = ("digits", "fashion-mnist")


@dataclass(frozen=True)
class DataConfig:
    """Where the images come from."""

    source: str = ""
    """`digits`, `fashion-mnist`, or a folder: of images, of class subfolders, or of Fashion-MNIST's IDX files."""
    flip: bool = False
    """Mirror every other image at random."""


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with warm-up, and the exponential moving average (EMA) of the weights that is sampled from."""

    lr: float = 8e-4
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate after the warm-up; `cosine` falls to zero at the end of the time or of the steps given."""
    warmup_steps: int = 200
    batch_size: int = 128
    """Images a step, over all processes together."""
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.02
    """Applied to the matrices outside the head; never to biases and norms."""
    clip_norm: float = 3.0
    ema_decay: float = 0.9999
    """Reached gradually: after k steps at most (1 + k) / (10 + k)."""

    def __post_init__(self) -> None:
        _check_positive(self, "lr", "batch_size", "clip_norm")
        _check(self.warmup_steps >= 0, f"warmup_steps is {self.warmup_steps}: it must not be negative")
        _check(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}: it must not be negative")
        _check(0 <= self.ema_decay < 1, f"ema_decay is {self.ema_decay}: it must lie in [0, 1)")
        _check(all(0 <= beta < 1 for beta in self.betas), f"betas are {self.betas}: each must lie in [0, 1)")


@dataclass(frozen=True)
class LoopConfig:
    """What else a training run does."""

    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` runs the matrix products in bf16 where the hardware has it, else in fp32."""
    sample_minutes: float = 3.0
    """Minutes between sample grids (the first one comes after one minute)."""
    checkpoint_minutes: float = 2.0
    tracker: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"

    def __post_init__(self) -> None:
        _check_positive(self, "sample_minutes", "checkpoint_minutes")
        _check(0 <= self.seed < 2**63, f"seed is {self.seed}: it must lie between 0 and 2**63 - 1")


@dataclass(frozen=True)
class RunConfig:
    """A complete training recipe."""

    model: ModelConfig
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
