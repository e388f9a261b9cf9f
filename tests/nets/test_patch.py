"""PatchGAN: counts, score maps, and how far one score sees."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan import nets
from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.costs import cost
from frugan.registry import UserError


def encoder(size=256, outputs=None, **options):
    return nets.find("patch").part("encoder")(ImageShape(3, size, size), outputs or {"score": 1}, Layers(), **options)


@pytest.mark.parametrize(("stages", "parameters", "side"), [
    (1, 136_385, 126), (2, 662_977, 62), (3, 2_764_737, 30), (4, 6_959_553, 14), (5, 11_154_369, 6),
])
def test_cyclegan_sheet_2_2_discriminator_by_its_number_of_layers(stages, parameters, side):
    network = encoder(stages=stages)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert encoder(stages=stages, width=1 / 64)(torch.zeros(1, 3, 256, 256))["score"].shape == (1, 1, side, side)


def test_cyclegan_sheet_2_2_multiply_accumulates():
    assert [cost(encoder(size), (1, 3, size, size)).macs for size in (128, 256)] == [754_483_200, 3_146_809_344]


@pytest.mark.parametrize(("size", "side"), [(256, 30), (128, 14), (70, 6)])
def test_cyclegan_sheet_5_3_score_maps(size, side):
    found = encoder(size, {"score": 1, "classes": 5}, width=1 / 64)(torch.zeros(2, 3, size, size))
    assert found["score"].shape == (2, 1, side, side)
    assert found["classes"].shape == (2, 5)


@pytest.mark.parametrize(("stages", "field"), [(1, 16), (2, 34), (3, 70), (4, 142), (5, 286)])
def test_cyclegan_sheet_5_4_receptive_fields(stages, field):
    size = 384 if stages == 5 else 192
    network = encoder(size, stages=stages, width=1 / 64, normalisation="none").double()
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.constant_(part.weight, 0.1)
    images = torch.ones(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    score = network(images)["score"]
    middle = score.shape[-1] // 2
    (seen,) = torch.autograd.grad(score[0, 0, middle, middle], images)
    rows = seen.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows.max() - rows.min()) + 1 == len(rows) == field
    window = seen[0, :, rows.min() : rows.max() + 1, rows.min() : rows.max() + 1]
    assert window.all()
    assert int(seen.count_nonzero()) == 3 * field**2


def test_images_too_small_for_a_norm_are_refused():
    with pytest.raises(UserError, match=r"stages=5 needs images of 96 x 96"):
        encoder(70, stages=5)
    with pytest.raises(UserError, match="1 or more layers"):
        encoder(stages=0)
    with pytest.raises(UserError, match="instance_norm or none"):
        encoder(normalisation="batch_norm")
