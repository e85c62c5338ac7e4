from pathlib import Path

import pytest
import torch

import novq
from novq.backbones import Backbone
from novq.conditioning import Conditioning
from novq.heads import Head
from novq.model import Model
from novq.sampling import NoiseSource, SeededNoise
from novq.tokenizers import Tokenizer


@pytest.fixture
def saved(tiny: Model, tmp_path: Path) -> Path:
    tiny.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_round_trip_is_exact(tiny: Model, saved: Path) -> None:
    again = novq.load(saved)
    assert again.config == tiny.config
    assert not again.training
    for (name, a), (_, b) in zip(tiny.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(novq.sample(tiny, [1], [0]), novq.sample(again, [1], [0]))


def test_truncated_weights(saved: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged"):
        novq.load(saved)


def test_foreign_weights(saved: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3)}, saved / "model.safetensors")
    with pytest.raises(ValueError, match="weights of another model"):
        novq.load(saved)


def test_foreign_config(saved: Path) -> None:
    (saved / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(ValueError, match="not the config of a novq model"):
        novq.load(saved)


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no model"):
        novq.load(tmp_path)


def test_missing_folder() -> None:
    with pytest.raises(ValueError, match="no folder 'nowhere' here"):
        novq.load("nowhere")


def test_parts_keep_their_contracts(tiny: Model) -> None:
    """Checked by the type checker."""
    tokenizer: Tokenizer = tiny.tokenizer
    conditioning: Conditioning = tiny.conditioning
    backbone: Backbone = tiny.backbone
    head: Head = tiny.head
    noise: NoiseSource = SeededNoise([0])
    assert all((tokenizer, conditioning, backbone, head, noise))


def test_loss_is_reproducible_from_a_generator(tiny: Model) -> None:
    images, labels = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
    a, b, c = (tiny(images, labels, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert a == b
    assert a != c
