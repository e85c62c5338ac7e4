"""The official implementation's numbers, recorded in float64 (github.com/LTH14/mar, commit fe470ac, MIT licence).

`fixtures/mar_tiny.safetensors` holds a briefly trained miniature with the official parameter names, its inputs, the
values inside, and four sampling runs with all their noise. Its samples are large, since the official sampler does not
clip x0: an error of the head is multiplied by 20,291, and so are rounding differences.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from novq.config import (
    ClassConfig,
    DiffusionConfig,
    MaskedConfig,
    ModelConfig,
    PixelsConfig,
    SamplingConfig,
)
from novq.model import Model
from novq.orders import Plan, cosine_sizes, gather_tokens
from novq.sampling import sample_tokens

FILE = Path(__file__).parent / "fixtures" / "mar_tiny.safetensors"
RENAMED = [
    (r"^fake_latent$", "conditioning.null_embed"),
    (r"^class_emb\.weight$", "conditioning.class_embed"),
    (r"^encoder_pos_embed_learned$", "backbone.encoder_pos"),
    (r"^decoder_pos_embed_learned$", "backbone.decoder_pos"),
    (r"^diffusion_pos_embed_learned$", "backbone.head_pos"),
    (r"^z_proj_ln\.", "backbone.embed_norm."),
    (r"^z_proj\.", "backbone.token_embed."),
    (r"^(encoder|decoder)_blocks\.", r"backbone.\1."),
    (r"^(encoder_norm|decoder_norm|decoder_embed|mask_token)", r"backbone.\1"),
    (r"^diffloss\.net\.", "head.net."),
    (r"time_embed\.mlp\.0", "time_embed.fc1"),
    (r"time_embed\.mlp\.2", "time_embed.fc2"),
    (r"input_proj", "token_embed"),
    (r"res_blocks", "blocks"),
    (r"in_ln", "norm"),
    (r"mlp\.0\.", "fc1."),
    (r"mlp\.2\.", "fc2."),
    (r"final_layer\.linear", "out"),
    (r"final_layer\.adaLN_modulation\.1", "out_modulation"),
    (r"adaLN_modulation\.1", "modulation"),
]


def renamed(name: str) -> str:
    for old, new in RENAMED:
        name = re.sub(old, new, name)
    return name


class Golden:
    def __init__(self) -> None:
        with safe_open(FILE, framework="pt") as file:
            meta = json.loads(file.metadata()["meta"])
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.runs: dict[str, dict[str, Any]] = meta["sampling"]
        c = meta["config"]
        self.num_steps = int(c["num_sampling_steps"])
        config = ModelConfig(
            image_size=c["img_size"] // c["vae_stride"],
            tokenizer=PixelsConfig(c["vae_embed_dim"], c["patch_size"]),
            conditioning=ClassConfig(c["class_num"], c["buffer_size"]),
            backbone=MaskedConfig(
                c["encoder_embed_dim"], c["encoder_depth"], c["decoder_depth"], c["encoder_num_heads"]
            ),
            head=DiffusionConfig(c["diffloss_w"], c["diffloss_d"], clip_x0=False),
            sampling=SamplingConfig(4, self.num_steps),
        )
        self.model = Model(config).double().eval()
        state = self.model.state_dict()
        official = {
            renamed(name.removeprefix("model.")): value
            for name, value in self.tensors.items()
            if name.startswith("model.")
        }
        measured = ("tokenizer.mean", "tokenizer.scale", "head.low", "head.high")
        assert official.keys() == state.keys() - set(measured)
        for name, value in official.items():
            state[name].copy_(value.reshape(state[name].shape))

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def orders(self) -> tuple[Tensor, Tensor]:
        """Masked and known positions for the recorded mask, which covers the start of the recorded orders."""
        num_masked = int(self["mask"][0].sum())
        return self["orders"][:, :num_masked], self["orders"][:, num_masked:].sort(1).values


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


def assert_close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    assert ours.shape == theirs.shape
    assert ((ours - theirs).abs().max() / theirs.abs().max()).item() <= tolerance


def test_tokens(golden: Golden) -> None:
    x_BTC = golden.model.tokenizer.encode(golden["latents"])
    assert torch.equal(x_BTC, golden["tokens"])
    assert torch.equal(golden.model.tokenizer.decode(x_BTC, golden.model.config.grid), golden["latents"])


def test_encoder_and_conditions(golden: Golden) -> None:
    masked, known = golden.orders()
    encoded = golden.model.backbone.encode(
        golden["tokens"], golden.model.conditioning(golden["labels"]), known
    )
    assert_close(encoded, golden["encoder"], 1e-8)
    z_BMD = golden.model.backbone.decode(encoded, known, masked, masked.shape[1])
    assert_close(z_BMD, gather_tokens(golden["z"], masked), 1e-8)


def test_head_and_loss_terms(golden: Golden) -> None:
    head = golden.model.head
    z, x = golden["z"].flatten(0, 1), golden["tokens"].flatten(0, 1)
    embedded = head.net.time_embed(golden["loss_t"]) + head.net.cond_embed(z)
    assert_close(head.net(golden["net_x"], embedded), golden["net_out"], 1e-8)
    squared, bound = head.loss_terms(z, x, golden["loss_t"], golden["loss_noise"])
    assert_close(squared, golden["loss_mse"], 1e-8)
    assert_close(bound, golden["loss_vb"], 1e-8)


def test_loss_and_gradients(golden: Golden) -> None:
    model, (masked, known) = golden.model, golden.orders()
    encoded = model.backbone.encode(golden["tokens"], model.conditioning(golden["labels"]), known)
    z = model.backbone.decode(encoded, known, masked, masked.shape[1]).flatten(0, 1)
    batch, num_tokens = golden["mask"].shape

    def rows(name: str) -> Tensor:
        """The recorded values of the masked tokens."""
        return gather_tokens(golden[name].reshape(batch, num_tokens, -1), masked).flatten(0, 1)

    terms = model.head.loss_terms(z, rows("tokens"), rows("loss_t")[:, 0], rows("loss_noise"))
    loss = (terms[0] + terms[1]).mean()
    assert_close(loss, golden["loss_masked_mean"], 1e-8)
    names = [name.removeprefix("grad.") for name in golden.tensors if name.startswith("grad.")]
    assert len(names) == 3
    parameters = [model.get_parameter(renamed(name)) for name in names]
    for name, gradient in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        assert_close(gradient, golden[f"grad.{name}"].reshape(gradient.shape), 1e-8)


class RecordedNoise:
    """The noise of one run; its rows are batch-major, positions ascending, iteration by iteration."""

    def __init__(self, golden: Golden, run: str) -> None:
        self.golden, self.run, self.iteration = golden, run, 0

    def __call__(self, positions_BS: Tensor, num_draws: int, token_dim: int) -> Tensor:
        rows = self.golden[f"{self.run}.noise.{self.iteration}"]
        self.iteration += 1
        rank_BS = positions_BS.argsort(1).argsort(1)
        recorded = rows.reshape(*positions_BS.shape, num_draws, token_dim)
        return torch.stack([image[rank] for image, rank in zip(recorded, rank_BS, strict=True)])


@pytest.mark.parametrize("run", ["cfg_linear", "cfg_constant", "no_cfg", "unconditional"])
def test_sampling_runs(golden: Golden, run: str) -> None:
    model, options = golden.model, golden.runs[run]
    settings = SamplingConfig(
        options["num_iter"], golden.num_steps, options["cfg"], options["cfg_schedule"], options["temperature"]
    )
    latents = golden[f"{run}.latents"]
    order = golden["orders"][: len(latents)].flip(1)  # the official code generates from the end
    cond = (
        model.conditioning(golden["labels"])
        if options.get("labels", True)
        else model.conditioning.null(len(order))
    )
    plan = Plan(order, cosine_sizes(order.shape[1], settings.num_iterations))
    x_BTC = sample_tokens(model, cond.detach(), plan, RecordedNoise(golden, run), settings)
    assert_close(model.tokenizer.decode(x_BTC, model.config.grid), latents, 1e-8)


def test_float32(golden: Golden) -> None:
    model, (masked, known) = Golden().model.float(), golden.orders()
    encoded = model.backbone.encode(golden["tokens"].float(), model.conditioning(golden["labels"]), known)
    assert_close(encoded.double(), golden["encoder"], 1e-4)
    z_BMD = model.backbone.decode(encoded, known, masked, masked.shape[1])
    assert_close(z_BMD.double(), gather_tokens(golden["z"], masked), 1e-4)
    z, x = golden["z"].flatten(0, 1).float(), golden["tokens"].flatten(0, 1).float()
    terms = model.head.loss_terms(z, x, golden["loss_t"], golden["loss_noise"].float())
    assert_close(terms[0].double(), golden["loss_mse"], 1e-4)
    assert_close(terms[1].double(), golden["loss_vb"], 1e-4)
