"""Kernel distance class by class."""

from __future__ import annotations

import pytest
import torch

from frugan.metrics import class_kid
from frugan.metrics.kid import discrepancy
from frugan.registry import UserError

CLASSES, EACH = 3, 60


def images(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of three classes with far means, and their labels, in random order."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(EACH)[torch.randperm(CLASSES * EACH, generator=random)]
    return 3 * torch.eye(CLASSES)[labels] + torch.randn(len(labels), CLASSES, generator=random), labels


def compute(real, fake):
    return class_kid.compute(real=real[0], fake=fake[0], real_labels=real[1], labels=fake[1])


def test_each_class_has_the_kernel_distance_of_its_images():
    real, fake = images(0), images(1)
    found = compute(real, fake)
    for number in range(CLASSES):
        both = (one[0][one[1] == number].double() for one in (real, fake))
        assert found[f"class_kid_{number}"] == pytest.approx(float(discrepancy(*both)))
    values = [found[f"class_kid_{number}"] for number in range(CLASSES)]
    assert found["class_kid"] == pytest.approx(sum(values) / CLASSES)
    assert found["class_kid_worst"] == max(values)


def test_labels_that_were_ignored_are_seen():
    real, (fake, labels) = images(0), images(1)
    ignored = compute(real, (fake, labels.roll(1, 0)[torch.randperm(len(labels))]))
    assert ignored["class_kid"] > 10 * abs(compute(real, (fake, labels))["class_kid"]) + 1


def test_attributes_are_classes_that_overlap():
    (real, labels), (fake, others) = images(0), images(1)
    bits = [torch.nn.functional.one_hot(one, CLASSES).float() for one in (labels, others)]
    assert compute((real, bits[0]), (fake, bits[1])) == compute((real, labels), (fake, others))


def test_few_images_of_a_class_and_labels_of_two_forms_are_refused():
    real, (fake, labels) = images(0), images(1)
    with pytest.raises(UserError, match=r"class 2 has 60 real and 0 fake images.*needs 50 of each.*--count"):
        compute(real, (fake, labels % 2))
    for wrong in (labels[:-1], torch.nn.functional.one_hot(labels)):
        with pytest.raises(UserError, match="labels of the fake images have the shape"):
            compute(real, (fake, wrong))
