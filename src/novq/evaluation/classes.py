"""Do samples show the class that was asked for, and as many variants of it as the data?"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from novq.data import ImageSet
from novq.data.export import to_uint8


@dataclass(frozen=True)
class ClassReport:
    """Scores of labelled samples against the real images."""

    class_accuracy: float
    """Share of samples in which a classifier trained on real images sees the class that was asked for."""
    classifier_test_accuracy: float
    """The same classifier on held-out real images, when trained on the others: what is attainable."""
    within_class_std_ratio: float
    """Mean over classes and pixels of the samples' standard deviation within a class, over the data's."""
    per_class_accuracy: tuple[float, ...]


def score_classes(images_BCHW: Tensor, labels: list[int], data: ImageSet, seed: int = 0) -> ClassReport:
    """Score samples in [0, 1] (B, C, H, W) with a support vector machine on the pixels.

    Meant for small images and some thousands of them. Samples are rounded to 8 bits first, as a file would be.
    """
    from sklearn.model_selection import train_test_split
    from sklearn.svm import SVC

    def classifier() -> SVC:
        return SVC(kernel="rbf", gamma="scale", C=10.0)

    real = data.images.permute(0, 2, 3, 1).numpy()
    real_x, real_y = real.reshape(len(real), -1) / 255, data.labels.numpy()
    fake = to_uint8(images_BCHW)
    fake_x, fake_y = fake.reshape(len(fake), -1) / 255, np.asarray(labels)
    train_x, test_x, train_y, test_y = train_test_split(
        real_x, real_y, test_size=0.25, random_state=seed, stratify=real_y
    )
    hits = classifier().fit(real_x, real_y).predict(fake_x) == fake_y
    classes = np.unique(fake_y)
    spread = [(fake_x[fake_y == c].std(0).mean(), real_x[real_y == c].std(0).mean()) for c in classes]
    return ClassReport(
        class_accuracy=float(hits.mean()),
        classifier_test_accuracy=float(classifier().fit(train_x, train_y).score(test_x, test_y)),
        within_class_std_ratio=float(np.mean([f for f, _ in spread]) / np.mean([r for _, r in spread])),
        per_class_accuracy=tuple(float(hits[fake_y == c].mean()) for c in classes),
    )
