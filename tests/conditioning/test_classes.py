import torch

from novq.conditioning import ClassConditioning, Unconditional
from novq.config import ClassConfig, UnconditionalConfig


def test_labels_fill_all_condition_tokens() -> None:
    conditioning = ClassConditioning(ClassConfig(num_classes=3, num_tokens=4), width=8).eval()
    cond = conditioning(torch.tensor([2, 0]))
    assert cond.shape == (2, 4, 8)
    assert torch.equal(cond[0], conditioning.class_embed[2].expand(4, -1))


def test_dropout_replaces_the_label_by_the_null_condition_in_training_only() -> None:
    conditioning = ClassConditioning(ClassConfig(num_classes=3, num_tokens=1, dropout=0.25), width=8)
    labels = torch.zeros(4000, dtype=torch.int64)
    dropped = (conditioning(labels, torch.Generator().manual_seed(0)) == conditioning.null(4000)).all(-1)
    assert 0.2 < dropped.float().mean() < 0.3
    conditioning.eval()
    assert not (conditioning(labels) == conditioning.null(4000)).all(-1).any()


def test_unconditional_is_its_own_null() -> None:
    conditioning = Unconditional(UnconditionalConfig(num_tokens=2), width=8)
    assert torch.equal(conditioning(torch.tensor([1, 5, 9])), conditioning.null(3))
