"""The metric of codes that were learnt without labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import one_hot

from frugan.metrics import code_accuracy
from frugan.registry import UserError


def test_values_are_matched_on_real_images_and_judged_on_held_out_ones():
    """Value 0 means class 1 and values 1 and 2 class 0; one held-out image of value 2 is of class 1 all the same."""
    real_values, real = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([1, 1, 0, 0, 0, 0])
    values, held_out = torch.tensor([0, 0, 1, 2]), torch.tensor([1, 1, 0, 1])
    found = code_accuracy.compute(
        real_encoded=one_hot(real_values, 3).float(), real_labels=real,
        held_out_encoded=one_hot(values, 3).float() * 2 - 5, held_out_labels=held_out,
    )  # fmt: skip
    assert found["accuracy"] == 0.75
    assert found["chance"] == 0.75
    assert found["values_used"] == 3
    expected = 0.5 * math.log(0.5 / (0.5 * 0.75)) + 0.25 * math.log(1 / 0.25) + 0.25 * math.log(1 / 0.75)
    assert found["information"] == pytest.approx(expected)


def test_a_value_that_no_real_image_has_means_no_class():
    found = code_accuracy.compute(
        real_encoded=one_hot(torch.tensor([0, 1]), 4).float(), real_labels=torch.tensor([0, 1]),
        held_out_encoded=one_hot(torch.tensor([0, 2, 3]), 4).float(), held_out_labels=torch.tensor([0, 0, 0]),
    )  # fmt: skip
    assert found["accuracy"] == pytest.approx(1 / 3)


def test_a_code_that_is_the_class_tells_all_of_it_and_a_constant_nothing():
    labels = torch.arange(100) % 10
    same = {"real_labels": labels, "held_out_labels": labels}
    codes = one_hot((labels + 3) % 10).float()
    found = code_accuracy.compute(real_encoded=codes, held_out_encoded=codes, **same)
    assert found["accuracy"] == 1
    assert found["information"] == pytest.approx(math.log(10))
    constant = torch.ones(100, 10)
    found = code_accuracy.compute(real_encoded=constant, held_out_encoded=constant, **same)
    assert (found["accuracy"], found["information"], found["values_used"]) == (0.1, pytest.approx(0, abs=1e-12), 1)


def test_missing_labels_and_single_numbers_are_refused_in_words():
    codes, labels = torch.rand(4, 3), torch.zeros(4, dtype=torch.int64)
    given = {"real_encoded": codes, "real_labels": labels, "held_out_encoded": codes, "held_out_labels": None}
    with pytest.raises(UserError, match=r"'held_out_labels' are missing. It needs one class for each of 4 images"):
        code_accuracy.compute(**given)
    with pytest.raises(UserError, match="two numbers or more"):
        code_accuracy.compute(**{**given, "held_out_labels": labels, "held_out_encoded": codes[:, :1]})
