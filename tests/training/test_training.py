import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import novq
from conftest import TINY, digits_recipe
from novq.config import OptimConfig, RunConfig
from novq.data import load_images
from novq.model import Model
from novq.training import train
from novq.training.batches import Batches
from novq.training.loop import with_classes
from novq.training.optim import learning_rate, make_optimizer, update_ema


def test_resuming_is_as_if_never_stopped(tmp_path: Path, digits_run: Path) -> None:
    resumed = tmp_path / "resumed"
    shutil.copytree(digits_run, resumed)
    assert train(digits_recipe(), resumed, steps=6, device="cpu").new_steps == 3
    train(digits_recipe(), tmp_path / "straight", steps=6, device="cpu")
    a, b = (load_file(folder / "training.safetensors") for folder in (resumed, tmp_path / "straight"))
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_run_folder_is_a_model_with_averaged_weights(digits_run: Path) -> None:
    model = novq.load(digits_run)
    state = load_file(digits_run / "training.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[f"ema.{name}"])
    assert not torch.equal(state["ema.backbone.mask_token"], state["raw.backbone.mask_token"])
    assert model.config.conditioning.num_tokens == 1
    assert (digits_run / "samples" / "step-0000003-ema.png").exists()
    assert (digits_run / "samples" / "step-0000003-raw.png").exists()
    assert novq.sample(model, [3]).shape == (1, 1, 8, 8)


def test_a_finished_run_is_left_as_it_is(tmp_path: Path, digits_run: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(digits_run, out)
    before = (out / "training.safetensors").read_bytes()
    summary = train(digits_recipe(), out, steps=3, device="cpu")
    assert summary.new_steps == 0
    assert summary.progress.step == 3
    assert (out / "training.safetensors").read_bytes() == before


def test_another_recipe_is_refused_and_named(tmp_path: Path, digits_run: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(digits_run, out)
    config = digits_recipe()
    other = dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=0.5))
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    with pytest.raises(ValueError, match=r"optim\.lr: 0\.001 / 0\.5"):
        train(other, out, steps=6, device="cpu")
    assert before == {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def test_a_model_folder_is_not_overwritten(tmp_path: Path, tiny: Model) -> None:
    tiny.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="not a training run"):
        train(digits_recipe(), tmp_path, steps=1, device="cpu")


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"something else"])
def test_a_damaged_checkpoint_is_named_and_kept(tmp_path: Path, digits_run: Path, damage) -> None:
    out = tmp_path / "run"
    shutil.copytree(digits_run, out)
    state = out / "training.safetensors"
    state.write_bytes(damage(state.read_bytes()))
    before = state.read_bytes()
    with pytest.raises(ValueError, match="damaged or of another version"):
        train(digits_recipe(), out, steps=6, device="cpu")
    assert state.read_bytes() == before


def test_a_missing_state_is_no_reason_to_start_anew(tmp_path: Path, digits_run: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(digits_run, out)
    (out / "training.safetensors").unlink()
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"training\.safetensors is missing"):
        train(digits_recipe(), out, steps=6, device="cpu")
    assert (out / "model.safetensors").read_bytes() == before


def test_constant_images_and_missing_trackers_leave_no_folder(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "data").mkdir()
    Image.new("L", (8, 8), 7).save(tmp_path / "data" / "a.png")
    config = digits_recipe()
    blank = dataclasses.replace(config, data=dataclasses.replace(config.data, source=str(tmp_path / "data")))
    with pytest.raises(ValueError, match="one and the same colour"):
        train(blank, tmp_path / "run", steps=1, device="cpu")
    tracked = dataclasses.replace(config, loop=dataclasses.replace(config.loop, tracker="trackio"))
    with pytest.raises(ValueError, match="the tracker trackio is not installed"):
        train(tracked, tmp_path / "run", steps=1, device="cpu")
    assert not (tmp_path / "run").exists()


def test_no_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no end of the training"):
        train(digits_recipe(), tmp_path, device="cpu")
    with pytest.raises(ValueError, match="must be positive"):
        train(digits_recipe(), tmp_path, steps=0, device="cpu")


def test_non_finite_steps_are_skipped_counted_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forward, calls = Model.forward, 0

    def sometimes_nan(self: Model, *args, **kwargs):
        nonlocal calls
        calls += 1
        loss = forward(self, *args, **kwargs)
        return loss * float("nan") if calls in (2, 3) else loss

    monkeypatch.setattr(Model, "forward", sometimes_nan)
    summary = train(digits_recipe(), tmp_path / "run", steps=5, device="cpu")
    assert summary.progress.skipped == 2
    assert "2 steps skipped" in caplog.text
    state = load_file(tmp_path / "run" / "training.safetensors")
    assert all(
        value.isfinite().all() for name, value in state.items() if name.startswith(("raw.", "ema.", "exp_"))
    )
    assert state["step.backbone.mask_token"].item() == 3


def test_divergence_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Model.forward
    monkeypatch.setattr(Model, "forward", lambda *args: forward(*args) * float("nan"))
    with pytest.raises(ValueError, match=r"diverged .* lower --optim.lr"):
        train(digits_recipe(), tmp_path / "run", steps=25, device="cpu")


def test_curves_are_logged(tmp_path: Path) -> None:
    config = digits_recipe()
    config = dataclasses.replace(config, loop=dataclasses.replace(config.loop, tracker="tensorboard"))
    train(config, tmp_path / "run", steps=2, device="cpu")
    assert list((tmp_path / "run" / "logs").rglob("events.out.tfevents.*"))


def test_bf16_keeps_the_weights_in_fp32_and_learns(tmp_path: Path) -> None:
    config = digits_recipe()
    config = dataclasses.replace(config, loop=dataclasses.replace(config.loop, precision="bf16"))
    summary = train(config, tmp_path / "run", steps=3, device="cpu")
    config = dataclasses.replace(config, loop=dataclasses.replace(config.loop, precision="fp32"))
    plain = train(config, tmp_path / "plain", steps=3, device="cpu")
    assert (summary.precision, plain.precision) == ("bf16", "fp32")
    assert summary.progress.loss == pytest.approx(plain.progress.loss, rel=0.02)
    assert summary.progress.loss != plain.progress.loss
    state = load_file(tmp_path / "run" / "training.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float32}


def test_ctrl_c_saves_and_the_same_command_resumes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "novq.cli", "train", "digits", "--out", str(out), "--device", "cpu"]
    command += ["--optim.batch-size", "8", "--loop.tracker", "none", "--loop.checkpoint-minutes", "0.001"]
    process = subprocess.Popen([*command, "--minutes", "10"], stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 120
    while not (out / "training.safetensors").exists() and time.time() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "saved: the same command goes on" in errors
    assert "Traceback" not in errors
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    novq.load(out)
    state = (out / "training.safetensors").read_bytes()
    header = json.loads(state[8 : 8 + int.from_bytes(state[:8], "little")])
    step = json.loads(header["__metadata__"]["progress"])["step"]
    assert step > 0
    again = subprocess.run(
        [*command, "--steps", str(step + 2)], capture_output=True, text=True, env=os.environ
    )
    assert again.returncode == 0, again.stderr
    assert f"resuming {out} at step {step}" in again.stderr
    assert f"{step + 2} steps" in again.stdout


def test_classes_come_from_the_data(tmp_path: Path) -> None:
    from PIL import Image

    config = RunConfig(model=TINY)
    digits = load_images("digits", channels=1, image_size=8)
    fitted = with_classes(config, digits).model.conditioning
    assert (fitted.type, getattr(fitted, "num_classes", None)) == ("class", 10)
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    plain = with_classes(config, load_images(str(tmp_path), channels=1, image_size=8)).model
    assert plain.conditioning.type == "none"
    assert plain.sampling.guidance_scale == 1.0


def test_weight_decay_groups() -> None:
    """Embeddings are decayed like matrices, as in the official code."""
    model = Model(TINY)
    optimizer = make_optimizer(model, OptimConfig(weight_decay=0.02))
    groups = optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.02, 0.0]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    decayed = {id(p) for p in groups[0]["params"]}
    for name, expected in {
        "conditioning.null_embed": True,
        "backbone.mask_token": True,
        "backbone.decoder_pos": True,
        "backbone.encoder.0.attn.qkv.weight": True,
        "backbone.encoder.0.attn.qkv.bias": False,
        "backbone.encoder.0.norm1.weight": False,
        "backbone.embed_norm.weight": False,
        "head.net.out.weight": False,
        "head.net.time_embed.fc1.weight": False,
    }.items():
        assert (id(model.get_parameter(name)) in decayed) == expected, name


def test_learning_rate() -> None:
    config = OptimConfig(lr=1.0, warmup_steps=10)
    assert [round(learning_rate(config, step, 0.5), 3) for step in (0, 4, 9, 100)] == [0.1, 0.5, 1.0, 1.0]
    cosine = dataclasses.replace(config, schedule="cosine")
    assert [round(learning_rate(cosine, 100, share), 3) for share in (0.0, 0.5, 1.0)] == [1.0, 0.5, 0.0]


def test_ema_warms_up() -> None:
    model, ema = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    for step, decay in [(0, 0.1), (90, 0.91), (10**9, 0.99)]:
        torch.nn.init.ones_(model.weight)
        torch.nn.init.zeros_(ema.weight)
        update_ema(ema, model, step, decay=0.99)
        assert ema.weight.item() == pytest.approx(1 - decay)


def test_every_epoch_sees_every_image_once_in_another_order() -> None:
    data = load_images("digits", channels=1, image_size=8)
    batches = Batches(data, batch_size=100, seed=0, flip=False)
    stream = torch.cat([batches.indices(step) for step in range(36)])
    first, second = stream[: len(data)], stream[len(data) : 2 * len(data)]
    assert torch.equal(first.sort().values, torch.arange(len(data)))
    assert torch.equal(second.sort().values, torch.arange(len(data)))
    assert not torch.equal(first, second)
    other = Batches(data, batch_size=100, seed=1, flip=False)
    assert not torch.equal(other.indices(0), batches.indices(0))
    assert torch.equal(Batches(data, 100, 0, flip=False).indices(20), batches.indices(20))


def test_batches_are_normalised_and_flipped_at_random() -> None:
    data = load_images("digits", channels=1, image_size=8)
    cpu = torch.device("cpu")
    plain, labels = Batches(data, 64, 0, flip=False).at(3, cpu)
    flipped, same_labels = Batches(data, 64, 0, flip=True).at(3, cpu)
    assert plain.min() == -1
    assert plain.max() == 1
    assert torch.equal(labels, same_labels)
    mirrored = (flipped == plain.flip(-1)).flatten(1).all(1)
    kept = (flipped == plain).flatten(1).all(1)
    assert (mirrored | kept).all()
    assert 16 < mirrored.sum() < 48


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_a_gpu(tmp_path: Path) -> None:
    summary = train(digits_recipe(), tmp_path / "run", steps=20, device="cuda")
    assert summary.precision == "bf16"
    assert summary.progress.skipped == 0
    assert novq.sample(novq.load(tmp_path / "run", "cuda"), [3]).std() > 0
