"""The command line as a user meets it: a process of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

NOVQ = [str(Path(sys.executable).with_name("novq"))]


def novq(*args: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NOVQ, *map(str, args)], capture_output=True, text=True, cwd=cwd)


def test_help_and_version_without_torch() -> None:
    assert "train PRESET --out DIR" in novq("--help").stdout
    assert novq("--version").stdout.startswith("novq 0.")
    assert "fashion-mnist" in novq("train", "--help").stdout
    code = "import sys, novq, novq.cli; novq.cli.main(['--help']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_options_are_listed() -> None:
    shown = novq("train", "digits", "--help").stdout
    assert "--optim.lr" in shown
    assert "--model.backbone.width" in shown
    assert "--guidance-scale" in novq("sample", "--help").stdout


def test_sample_to_a_grid(tmp_path: Path, digits_run: Path) -> None:
    done = novq("sample", digits_run, "--classes", "0", "3", "9", "--num", "12", "--out", tmp_path / "x.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote 12 images to {tmp_path / 'x.png'} (")
    assert Image.open(tmp_path / "x.png").size == (4 * 50 - 2, 3 * 50 - 2)


def test_sample_to_arrays_and_folder(tmp_path: Path, digits_run: Path) -> None:
    assert (
        novq("sample", digits_run, "--num", "12", "--seed", "5", "--out", tmp_path / "x.npz").returncode == 0
    )
    arrays = np.load(tmp_path / "x.npz")
    assert arrays["images"].shape == (12, 8, 8, 1)
    assert arrays["labels"].tolist() == [*range(10), 0, 1]
    assert (
        novq(
            "sample", digits_run, "--classes", "3", "--num", "2", "--seed", "5", "--out", tmp_path / "d"
        ).returncode
        == 0
    )
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [
        "seed000005-class0003.png",
        "seed000006-class0003.png",
    ]
    one = novq("sample", digits_run, "--classes", "3", "--num", "1", "--seed", "8", "--out", tmp_path / "e/")
    assert one.returncode == 0
    image = np.asarray(Image.open(tmp_path / "e" / "seed000008-class0003.png")).astype(int)
    assert np.abs(image - arrays["images"][3, ..., 0]).max() <= 1  # the same image, from another batch


def test_an_existing_folder_takes_single_images_whatever_its_name(tmp_path: Path, digits_run: Path) -> None:
    (tmp_path / "v1.png").mkdir()
    assert novq("sample", digits_run, "--num", "1", "--out", tmp_path / "v1.png").returncode == 0
    assert novq("sample", digits_run, "--num", "1", "--out", f"{tmp_path}/v1.2/").returncode == 0
    assert [path.name for path in (tmp_path / "v1.2").iterdir()] == ["seed000000-class0000.png"]
    assert [path.name for path in (tmp_path / "v1.png").iterdir()] == ["seed000000-class0000.png"]


def test_an_unreadable_image_is_skipped_and_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for k in range(3):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(
            tmp_path / "data" / f"{k}.png"
        )
    damaged = tmp_path / "data" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    small = ["--model.image-size", "8", "--optim.batch-size", "2", "--model.sampling.num-iterations", "4"]
    small += ["--model.sampling.num-steps", "2", "--model.backbone.width", "32", "--model.head.width", "32"]
    done = novq(
        "train", "folder", "--data", tmp_path / "data", "--out", tmp_path / "run", "--steps", "1", *small
    )
    assert done.returncode == 0, done.stderr
    assert f"skipped 1 of 3 images that could not be read: {damaged}" in done.stderr
    assert novq("sample", tmp_path / "run", "--num", "4", "--out", tmp_path / "x.NPZ").returncode == 0
    assert np.load(tmp_path / "x.NPZ")["images"].shape == (4, 8, 8, 3)


def test_info(digits_run: Path) -> None:
    facts = json.loads(novq("info", digits_run, "--json").stdout)
    assert facts["tokens"] == 16
    assert facts["classes"] == 10
    assert sum(v for k, v in facts["parameters"].items() if k != "total") == facts["parameters"]["total"]
    assert "sampled with 4 iterations" in novq("info", digits_run).stdout
    assert json.loads(novq("info", "mar-b", "--json").stdout)["parameters"]["total"] == 207_924_768


@pytest.fixture
def bad_folder(tmp_path: Path, digits_run: Path) -> Path:
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "a.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{")
    (tmp_path / "file").write_text("precious")
    for name in ("truncated", "foreign", "stale"):
        shutil.copytree(digits_run, tmp_path / name)
    weights = tmp_path / "truncated" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign" / "model.safetensors")
    state = tmp_path / "stale" / "training.safetensors"
    state.write_bytes(state.read_bytes()[:-1000])
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("frobnicate", "unknown command 'frobnicate': use one of train, sample, info"),
        ("train digit --out run", "unknown preset 'digit': use one of digits, fashion-mnist"),
        ("train --out run", "the preset comes first"),
        ("train digits", "Missing from novq train digits: --out"),
        ("train digits --out run --optim.lrr 1", "Unrecognized options: --optim.lrr"),
        ("train digits --out run --optim.lr much", "could not convert string to float: 'much'"),
        ("train digits --out run --optim.lr -1", "lr is -1.0: it must be positive"),
        ("train digits --out run --minutes 0", "must be positive"),
        ("train digits --out run --model.tokenizer.patch-size 3", "use one of 1, 2, 4, 8"),
        ("train folder --out run", "no data of its own"),
        ("train folder --out run --data empty", "has no images"),
        ("train folder --out run --data damaged", "none of the 1 images"),
        ("train folder --out run --data nowhere", "no data at 'nowhere'"),
        ("train mar-b --out run --data empty", "this model reads 16"),
        ("train digits --out file/run --steps 1", "cannot write to file/run"),
        ("train digits --out model --steps 1", "not a training run"),
        ("sample nowhere", "no folder 'nowhere' here"),
        ("sample empty", "empty holds no model"),
        ("sample model", "is not the config of a novq model"),
        ("sample truncated", "model.safetensors is damaged"),
        ("sample foreign", "weights of another model"),
        ("train digits --out stale --steps 5", "holds a run with other settings"),
        pytest.param(
            "sample {run} --device cuda",
            "no CUDA device is available",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
        ("sample {run} --num-steps 0 --out new/x.png", "num_steps is 0"),
        ("sample {run} --classes 10", "class '10' does not exist: use 0 to 9"),
        ("sample {run} --classes cat", "class 'cat' does not exist"),
        ("sample {run} --num 0", "--num is 0"),
        ("sample {run} --num-steps 0", "num_steps is 0"),
        ("sample {run} --num-iterations 17", "use 1 to 16"),
        ("sample {run} --temperature -1", "temperature is -1.0"),
        ("sample {run} --out x.jpg", "use .png (a grid), .npz (arrays) or DIR/"),
        ("sample {run} --out file/x.png", "cannot write to file"),
        ("info nowhere", "no folder 'nowhere' here"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    args: str, message: str, bad_folder: Path, digits_run: Path
) -> None:
    before = contents(bad_folder)
    done = novq(*(part.replace("{run}", str(digits_run)) for part in args.split()), cwd=bad_folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.startswith("novq: error: ")
    assert done.stderr.count("\n") == 1
    assert contents(bad_folder) == before
