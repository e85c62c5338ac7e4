import dataclasses
from typing import Literal

import pytest
import torch
from torch import Tensor

import novq
from conftest import TINY, make_tiny
from novq.config import UnconditionalConfig
from novq.model import Model
from novq.orders import Plan, cosine_sizes, seeded_orders
from novq.sampling import Partial, SeededNoise, sample_tokens
from novq.sampling.guidance import guidance_at

LABELS = [0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2, 3, 1, 1, 2, 0]
SEEDS = list(range(100, 116))


def test_images_are_in_range(tiny: Model) -> None:
    images = novq.sample(tiny, LABELS, SEEDS)
    assert images.shape == (16, 1, 8, 8)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.std() > 0.01


@pytest.mark.parametrize("batch", [2, 5, 16])
def test_place_in_the_batch_does_not_matter(tiny: Model, batch: int) -> None:
    images = novq.sample(tiny, LABELS[:batch], SEEDS[:batch])
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(0)).tolist()
    moved = novq.sample(tiny, [LABELS[i] for i in order], [SEEDS[i] for i in order])
    assert torch.equal(moved, images[order])


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_batch_size_does_not_matter(tiny: Model, batch_size: int) -> None:
    images = novq.sample(tiny, LABELS, SEEDS)
    torch.testing.assert_close(
        novq.sample(tiny, LABELS, SEEDS, batch_size=batch_size), images, atol=1e-4, rtol=0
    )


def test_seed_and_label_matter(tiny: Model) -> None:
    a, b, c, d = novq.sample(tiny, [0, 0, 1, 0], [7, 8, 7, 7])
    assert torch.equal(a, d)
    assert not torch.equal(a, b)
    assert not torch.equal(a, c)


def test_noise_belongs_to_seed_and_token() -> None:
    noise = SeededNoise([3, 4])
    a = noise(torch.tensor([[5, 2], [5, 2]]), 4, 3)
    b = SeededNoise([4])(torch.tensor([[2]]), 6, 3)
    assert torch.equal(a[1, 1], b[0, 0, :4])  # whatever the batch and the place; more draws only add to it
    assert not torch.equal(a[0, 0], a[0, 1])
    assert not torch.equal(a[0, 0], a[1, 0])
    many = SeededNoise(range(50))(torch.arange(20).expand(50, -1), 5, 8)
    assert many.mean().abs() < 0.01
    assert (many.std() - 1).abs() < 0.01


def test_large_seeds(tiny: Model) -> None:
    images = novq.sample(tiny, [0, 0], [2**64 - 1, 2**63])
    assert not torch.equal(images[0], images[1])


def tokens(model: Model, seeds: list[int], num_known: int, known: Tensor | None, **settings) -> Tensor:
    plan = Plan(seeded_orders(seeds, 16), cosine_sizes(16 - num_known, 4), num_known)
    with torch.no_grad():
        cond = model.conditioning(torch.zeros(len(seeds), dtype=torch.int64))
    options = dataclasses.replace(TINY.sampling, **settings)
    return sample_tokens(model, cond, plan, SeededNoise(seeds), options, known_BTC=known)


def test_known_tokens_stay_and_count(tiny: Model) -> None:
    known = torch.randn(3, 16, 4)
    order = seeded_orders([1, 2, 3], 16)[:, :6, None].expand(-1, -1, 4)
    x = tokens(tiny, [1, 2, 3], 6, known)
    assert torch.equal(x.gather(1, order), known.gather(1, order))
    other = tokens(tiny, [1, 2, 3], 6, known + 1)
    unknown = seeded_orders([1, 2, 3], 16)[:, 6:, None].expand(-1, -1, 4)
    assert not torch.equal(x.gather(1, unknown), other.gather(1, unknown))


def test_scale_one_runs_no_null_branch(tiny: Model) -> None:
    calls = {"backbone": 0, "net": 0}

    def count(name: str) -> None:
        calls[name] += 1

    tiny.backbone.encoder_norm.register_forward_hook(lambda *_: count("backbone"))
    tiny.head.net.register_forward_hook(lambda *_: count("net"))
    novq.sample(tiny, [0], guidance_scale=1.0)
    assert calls == {"backbone": 4, "net": 4 * 5}
    novq.sample(tiny, [0], guidance_scale=1.5)
    assert calls == {"backbone": 4 + 8, "net": 4 * 5 + 8 * 5}


def test_guidance_schedules() -> None:
    assert guidance_at("constant", 3.0, 200, 256) == 3.0
    assert guidance_at("linear", 3.0, 192, 256) == 1.5
    assert guidance_at("linear", 3.0, 0, 256) == 1 + 2 * 255 / 256
    assert guidance_at("linear", 1.0, 3, 256) == 1.0


SCALES: list[tuple[float, Literal["linear", "constant"]]] = [
    (1.0, "linear"),
    (3.0, "linear"),
    (3.0, "constant"),
]


def test_guidance_and_schedule_change_the_image(tiny: Model) -> None:
    images = [
        novq.sample(tiny, [1], [0], guidance_scale=scale, guidance_schedule=schedule)
        for scale, schedule in SCALES
    ]
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images[1], images[2])


def test_settings_default_to_the_models(tiny: Model) -> None:
    explicit = novq.sample(
        tiny,
        [1],
        [0],
        guidance_scale=2.0,
        num_iterations=4,
        num_steps=5,
        temperature=1.0,
        guidance_schedule="linear",
    )
    assert torch.equal(novq.sample(tiny, [1], [0]), explicit)
    assert not torch.equal(novq.sample(tiny, [1], [0], num_iterations=5), explicit)
    assert not torch.equal(novq.sample(tiny, [1], [0], num_steps=6), explicit)
    assert not torch.equal(novq.sample(tiny, [1], [0], temperature=0.5), explicit)


def test_sampling_leaves_the_mode_and_the_global_random_state_alone(tiny: Model) -> None:
    tiny.train()
    before = torch.get_rng_state()
    novq.sample(tiny, [1], [0])
    assert tiny.training
    assert torch.equal(torch.get_rng_state(), before)


def test_callback_sees_partial_images(tiny: Model) -> None:
    seen: list[Partial] = []
    images = novq.sample(tiny, [0, 1, 2], batch_size=2, callback=seen.append)
    assert [(p.first, p.iteration, p.num_iterations) for p in seen] == [
        *((0, k, 4) for k in (1, 2, 3, 4)),
        *((2, k, 4) for k in (1, 2, 3, 4)),
    ]
    assert torch.equal(seen[3].images(), images[:2])
    generated = [(p.x_BTC[0].abs().sum(-1) > 0).sum().item() for p in seen[:4]]
    assert generated == [2, 5, 10, 16]


def test_unconditional() -> None:
    config = dataclasses.replace(
        TINY,
        conditioning=UnconditionalConfig(num_tokens=2),
        sampling=dataclasses.replace(TINY.sampling, guidance_scale=1.0),
    )
    model = make_tiny(config)
    assert novq.sample(model, seeds=[1, 2, 3]).shape == (3, 1, 8, 8)
    with pytest.raises(ValueError, match="takes no labels"):
        novq.sample(model, [0])
    with pytest.raises(ValueError, match="guidance needs classes"):
        novq.sample(model, seeds=[0], guidance_scale=2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [4]}, "class 4 does not exist: this model knows 0 to 3"),
        ({"labels": [-1]}, "class -1 does not exist"),
        ({"labels": []}, "no image is asked for"),
        ({"labels": [0, 1], "seeds": [1]}, "2 labels and 1 seeds"),
        ({"labels": [0], "seeds": [-1]}, "seeds must lie between"),
        ({"labels": [0], "num_iterations": 17}, "use 1 to 16"),
        ({"labels": [0], "num_iterations": 0}, "num_iterations is 0"),
        ({"labels": [0], "num_steps": 0}, "num_steps is 0"),
        ({"labels": [0], "num_steps": 1001}, "at most 1000"),
        ({"labels": [0], "temperature": -1.0}, "temperature is -1.0"),
        ({"labels": [0], "guidance_scale": -1.0}, "guidance_scale is -1.0"),
        ({"labels": [0], "batch_size": 0}, "batch_size is 0"),
    ],
)
def test_bad_requests_are_named(tiny: Model, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        novq.sample(tiny, **options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_image(tiny: Model) -> None:
    images = novq.sample(tiny, LABELS, SEEDS)
    on_gpu = novq.sample(tiny.cuda(), LABELS, SEEDS)
    torch.testing.assert_close(on_gpu, images, atol=1e-3, rtol=0)
