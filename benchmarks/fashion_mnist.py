"""The fashion-mnist recipe measured: a sane first minute, the training speed, the time to sample an image.

    python benchmarks/fashion_mnist.py --run runs/fashion --minutes 10 --out benchmarks/results/fashion_mnist.json

A run folder that is trained already is measured as it is.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

import novq
from novq.data import load_images
from novq.evaluation import describe_environment
from novq.files import atomic_write
from novq.flops import describe
from novq.presets import preset

BATCH = 64
REPEATS = 5


def pixel_std_ratio(model: novq.Model, num: int = 200) -> float:
    """Standard deviation of sampled pixels over that of the data's."""
    data = load_images("fashion-mnist", channels=1, image_size=28)
    images = novq.sample(model, [k % 10 for k in range(num)])
    return (images.std() / (data.images / 255).std()).item()


def sampling_seconds(model: novq.Model) -> list[float]:
    """Seconds an image at batch 64, with the recipe's iterations, steps and guidance."""
    labels = [k % 10 for k in range(BATCH)]
    novq.sample(model, labels, batch_size=BATCH)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        novq.sample(model, labels, batch_size=BATCH)
        times.append((time.perf_counter() - start) / BATCH)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    config = preset("fashion-mnist").config
    with tempfile.TemporaryDirectory() as folder:
        novq.train(config, folder, minutes=1, device="cpu")
        first_minute = pixel_std_ratio(novq.load(folder))
    trained = novq.train(config, args.run, minutes=args.minutes, device="cpu")
    model = novq.load(args.run)
    times = sampling_seconds(model)
    settings = model.config.sampling
    report = {
        "recipe": "fashion-mnist",
        "parameters": describe(model)["parameters"],
        "minutes": args.minutes,
        "precision": trained.precision,
        "steps": trained.progress.step,
        "training_images_per_second": trained.progress.images_per_second,
        "loss": trained.progress.loss,
        "pixel_std_ratio_after_one_minute": first_minute,
        "pixel_std_ratio": pixel_std_ratio(model),
        "sampling": f"{settings.num_iterations} iterations x {settings.num_steps} steps, "
        f"guidance {settings.guidance_scale}, batch {BATCH}",
        "sampling_seconds_per_image": median(times),
        "sampling_seconds_per_image_repeats": times,
        **describe_environment(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(args.out) as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
