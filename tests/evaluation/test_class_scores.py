import torch

from novq.data import load_images
from novq.evaluation import score_classes


def test_real_images_score_near_the_top_and_wrong_labels_low() -> None:
    data = load_images("digits", channels=1, image_size=8)
    images, labels = data.images[:600] / 255, data.labels[:600].tolist()
    report = score_classes(images, labels, data)
    assert report.class_accuracy > 0.99
    assert report.classifier_test_accuracy > 0.97
    assert 0.9 < report.within_class_std_ratio < 1.05
    assert len(report.per_class_accuracy) == 10
    assert score_classes(images, [(label + 1) % 10 for label in labels], data).class_accuracy < 0.02


def test_collapsed_samples_have_no_spread() -> None:
    data = load_images("digits", channels=1, image_size=8)
    means = torch.stack([data.images[data.labels == c].float().mean(0) for c in range(10)]) / 255
    report = score_classes(means.repeat(5, 1, 1, 1), list(range(10)) * 5, data)
    assert report.within_class_std_ratio < 1e-6
