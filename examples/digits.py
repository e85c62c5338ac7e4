"""Train on handwritten digits, sample a thousand, and say how good they are.

    python examples/digits.py --out demo

Writes run/ (a run folder that can be sampled again), samples.png (the first 100 of the 1,000 samples, a row for each
class) and report.json.
"""

import argparse
import dataclasses
import json
import logging
import os
import sys
import time
from pathlib import Path

import novq
from novq.data import load_images
from novq.data.export import write_grid
from novq.evaluation import describe_environment, score_classes
from novq.files import atomic_write
from novq.presets import preset


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--minutes", type=float, default=preset("digits").minutes, help="of training")
    parser.add_argument("--num", type=int, default=1000, help="samples to score")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    start = time.perf_counter()

    print(f"training on scikit-learn's digits for {args.minutes:g} minutes")
    try:
        trained = novq.train(preset("digits").config, args.out / "run", minutes=args.minutes)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    if trained.interrupted:
        raise SystemExit("stopped and saved; run the same command again to go on")

    model = novq.load(args.out / "run")
    labels = [k % 10 for k in range(args.num)]
    print(f"sampling {args.num} digits")
    sampling_start = time.perf_counter()
    images = novq.sample(model, labels, seeds=range(args.num), batch_size=250)
    sampling_seconds = time.perf_counter() - sampling_start
    write_grid(args.out / "samples.png", images[:100], labels[:100])

    scores = score_classes(images, labels, load_images("digits", channels=1, image_size=8))
    report = {
        **dataclasses.asdict(scores),
        "num_samples": args.num,
        "seeds": [0, args.num - 1],
        "sampling": dataclasses.asdict(model.config.sampling),
        "training": dataclasses.asdict(trained.progress) | {"precision": trained.precision},
        "parameters": sum(p.numel() for p in model.parameters()),
        "sampling_seconds_per_image": sampling_seconds / args.num,
        "seconds": time.perf_counter() - start,
        **describe_environment(),
    }
    with atomic_write(args.out / "report.json") as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
    novq_command = os.path.relpath(Path(sys.executable).parent / "novq")
    print(
        f"\npicture  {args.out / 'samples.png'} (a row for each class, seeds 0 to {min(args.num, 100) - 1})\n"
        f"report   {args.out / 'report.json'}\n"
        f"quality  {scores.class_accuracy:.1%} of {args.num} samples are seen as the digit that was asked for "
        f"(real digits: {scores.classifier_test_accuracy:.1%});\n"
        f"         their spread within a class is {scores.within_class_std_ratio:.2f} of the real digits'\n"
        f"again    {novq_command} sample {args.out / 'run'} --classes 3 --num 16 --out threes.png"
    )


if __name__ == "__main__":
    main()
