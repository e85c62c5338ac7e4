import pytest
import torch

from novq.flops import count_parameters
from novq.model import Model
from novq.presets import PRESETS, preset


@pytest.mark.parametrize(
    ("name", "total"),
    # Sums over the tensors of the released mar_base, mar_large and mar_huge.
    [("mar-b", 207_924_768), ("mar-l", 478_326_304), ("mar-h", 942_403_104)],
)
def test_paper_sizes(name: str, total: int) -> None:
    with torch.device("meta"):
        model = Model(PRESETS[name].config.model)
    assert count_parameters(model)["total"] == total


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown preset 'mars': use one of digits, fashion-mnist"):
        preset("mars")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_what_it_is(name: str) -> None:
    chosen = PRESETS[name]
    assert chosen.purpose
    assert chosen.cost
    assert chosen.curve
    assert chosen.minutes or chosen.steps
