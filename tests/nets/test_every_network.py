"""What our own networks do beyond the contract: sizes that they all take, and what they refuse in words."""

from __future__ import annotations

import pytest
import torch

from frugan import nets
from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.registry import UserError

IMAGES = {"28": ImageShape(1, 28, 28), "32": ImageShape(3, 32, 32)}
NATURAL = {
    "dcgan": ImageShape(3, 64, 64), "chollet": ImageShape(3, 32, 32), "stargan": ImageShape(3, 64, 64),
    "cyclegan": ImageShape(3, 64, 64), "patch": ImageShape(3, 64, 64), "biggan": ImageShape(3, 32, 32),
    "growing": ImageShape(3, 64, 64), "salimans_convolutional": ImageShape(3, 32, 32),
}
POWERS_OF_TWO = ("growing", "salimans_convolutional")
"""Architectures that make no image of 28 pixels."""
UNBOUNDED = ("growing",)
"""Decoders whose images reach beyond the range that they are learning, as published."""
JUDGING = ("encoder", "joint")
LATENTS, OUTPUTS = 12, {"score": 1, "classes": 5}

PARTS = [(name, part) for name in nets.names() for part in nets.PARTS if getattr(nets.find(name), part) is not None]
SIZED = [
    pytest.param(name, part, image, id=f"{name}.{part}-{size}")
    for name, part in PARTS for size, image in IMAGES.items()
    if size == "32" or name not in POWERS_OF_TWO
]
cases = pytest.mark.parametrize(("name", "part"), [pytest.param(*case, id=".".join(case)) for case in PARTS])
sized_cases = pytest.mark.parametrize(("name", "part", "image"), SIZED)
classes_of = pytest.mark.parametrize("classes", [0, 4])


def build(name, part, image, classes=0, width=0.25):
    torch.manual_seed(0)
    build_part = nets.find(name).part(part)
    given = {"decoder": (LATENTS,), "encoder": (OUTPUTS,), "translator": (), "joint": (LATENTS, OUTPUTS)}[part]
    return build_part(image, *given, Layers(), classes, width=width)


def plain_image(name):
    """The smallest of `IMAGES` that the architecture makes."""
    return IMAGES["32" if name in POWERS_OF_TWO else "28"]


def inputs(part, image, classes, count=6):
    """What the part is called with; seeded, so that every call gives the same."""
    generator = torch.Generator().manual_seed(1)
    shape = (LATENTS,) if part == "decoder" else tuple(image)
    given = [torch.randn(count, *shape, generator=generator)]
    if part == "joint":
        given.append(torch.randn(count, LATENTS, generator=generator))
    return (*given, torch.arange(count) % classes) if classes else tuple(given)


@sized_cases
@classes_of
def test_shapes_ranges_and_attributes(name, part, image, classes):
    network = build(name, part, image, classes)
    output = network(*inputs(part, image, classes))
    assert network.image == image
    assert network.classes == classes
    if part in JUDGING:
        assert {key: tuple(value.shape[:2]) for key, value in output.items()} == {"score": (6, 1), "classes": (6, 5)}
        assert output["score"].dim() in (2, 4)
        assert output["classes"].dim() == 2
        return
    low, high = network.image_range
    assert output.shape == (6, *image)
    assert name in UNBOUNDED or (output.min() >= low and output.max() <= high)
    if part == "decoder":
        assert network.latents == LATENTS


@cases
def test_the_natural_image_at_full_width(name, part):
    """And a quarter of the width has fewer parameters, even with its options left alone."""
    image = NATURAL.get(name, IMAGES["28"])
    with torch.device("meta"):
        full, quarter = (build(name, part, image, width=width) for width in (1.0, 0.25))
    output = full(*(x.to("meta") for x in inputs(part, image, 0, count=2)))
    if part in JUDGING:
        assert {key: tuple(value.shape[:2]) for key, value in output.items()} == {"score": (2, 1), "classes": (2, 5)}
    else:
        assert output.shape == (2, *image)
    sizes = [sum(p.numel() for p in network.parameters()) for network in (quarter, full)]
    assert sizes[0] < 0.4 * sizes[1]


@cases
def test_a_condition_that_is_missing_or_not_wanted_is_refused(name, part):
    image = plain_image(name)
    *given, labels = inputs(part, image, 4)
    with pytest.raises(UserError, match="needs labels"):
        build(name, part, image, classes=4)(*given)
    with pytest.raises(UserError, match="takes no labels"):
        build(name, part, image)(*given, labels)


@cases
def test_a_wrong_input_shape_is_answered_with_the_right_one(name, part):
    network = build(name, part, plain_image(name))
    wrong = torch.randn(2, 13) if part == "decoder" else torch.randn(2, 1, 27, 28)
    with pytest.raises(UserError, match="this network needs"):
        network(wrong, *inputs(part, plain_image(name), 0, count=2)[1:])
