from __future__ import annotations

import pytest
import torch

from frugan.registry import UserError


def test_coursework_sheet_2_3_lenet_count(make_meta, count):
    network = make_meta("lenet", "encoder", (1, 28, 28), {"classes": 10})
    assert count(network) == (61_706, 61_706)
    assert network(torch.randn(2, 1, 28, 28, device="meta"))["classes"].shape == (2, 10)


def test_it_has_no_decoder(make_meta):
    with pytest.raises(UserError, match="'lenet' has no decoder; it has: encoder"):
        make_meta("lenet", "decoder", (1, 28, 28), 100)


def test_a_small_image_is_named(make_meta):
    make_meta("lenet", "encoder", (1, 12, 12), {"classes": 10})
    with pytest.raises(UserError, match="12 x 12 or more"):
        make_meta("lenet", "encoder", (1, 11, 11), {"classes": 10})
