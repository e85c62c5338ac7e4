"""The recipes on real data, as a user runs them. Slow: minutes each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import novq
from novq.data import load_images
from novq.data.fashion import DEBIAN_FOLDER
from novq.presets import preset

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[1] / "examples" / "digits.py"


def test_digits_example(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, EXAMPLE, "--out", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["num_samples"] == 1000
    assert report["class_accuracy"] >= 0.90
    assert report["within_class_std_ratio"] >= 0.6
    assert (tmp_path / "samples.png").exists()
    assert str(tmp_path / "samples.png") in done.stdout
    assert novq.sample(novq.load(tmp_path / "run"), [3]).shape == (1, 1, 8, 8)


@pytest.mark.skipif(not DEBIAN_FOLDER.exists(), reason="Fashion-MNIST is not installed here")
def test_sane_after_one_minute(tmp_path: Path) -> None:
    config = preset("fashion-mnist").config
    novq.train(config, tmp_path, minutes=1, device="cpu")
    images = novq.sample(novq.load(tmp_path), [k % 10 for k in range(100)])
    data = load_images("fashion-mnist", channels=1, image_size=28)
    ratio = (images.std() / (data.images / 255).std()).item()
    assert 0.5 < ratio < 1.5
    assert torch.isfinite(images).all()
