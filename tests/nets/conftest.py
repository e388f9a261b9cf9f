"""Counting by hand, independent of `frugan.costs`: the sheets' totals and multiply-accumulates."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import nn

from frugan.batch import ImageShape
from frugan.convs import Layers, find
from frugan.nets import find as find_architecture


class Count(NamedTuple):
    """Parameters that are trained, and those with the running means and variances of norms."""

    trainable: int
    total: int


def count_of(network: nn.Module) -> Count:
    trainable = sum(p.numel() for p in network.parameters())
    running = sum(b.numel() for name, b in network.named_buffers() if name.endswith(("running_mean", "running_var")))
    return Count(trainable, trainable + running)


def macs_of(network: nn.Module, *inputs: torch.Tensor) -> int:
    """Multiply-accumulates for one image: convolutions and dense layers, transposed ones at input size."""
    total = 0

    def note(module: nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        shape = given[0].shape if isinstance(module, nn.ConvTranspose2d) else output.shape
        total += module.weight.numel() * shape[2:].numel()

    handles = [
        part.register_forward_hook(note)
        for part in network.modules()
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))
    ]
    network.eval()(*inputs)
    for handle in handles:
        handle.remove()
    return total


def build(name, part, image, size, rules=(), classes=0, **options):
    """One part of an architecture; `size` is the latents of a decoder, the outputs of an encoder."""
    layers = Layers([(pattern, find(family, **chosen)) for pattern, family, chosen in rules])
    network = find_architecture(name).part(part)(ImageShape(*image), size, layers, classes, **options)
    layers.check_rules_used()
    return network


def build_meta(*args, **options):
    """The same without memory or time, for counting."""
    with torch.device("meta"):
        return build(*args, **options)


@pytest.fixture
def make():
    return build


@pytest.fixture
def make_meta():
    return build_meta


@pytest.fixture
def count():
    return count_of


@pytest.fixture
def macs():
    return macs_of
