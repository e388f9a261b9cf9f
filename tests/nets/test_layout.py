"""Activations and their gradients keep one layout from layer to layer: where they do not, norms and ReLUs are slow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from frugan import nets
from frugan.batch import ImageShape
from frugan.convs import Layers

LAST = torch.channels_last
DIGITS = ImageShape(1, 28, 28)


def watch(network: nn.Module, kinds: tuple[type[nn.Module], ...], note: Callable[[Tensor], None]) -> None:
    """Tell `note` of what layers of these kinds are given, and of the gradients of what they give."""

    def look(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        if made.dim() == 4 and made.shape[1] > 1:
            note(given[0])
            made.register_hook(note)

    for layer in network.modules():
        if isinstance(layer, kinds):
            layer.register_forward_hook(look)


@pytest.mark.parametrize("architecture", ["tutorial", "dcgan"])
@pytest.mark.parametrize("part", ["decoder", "encoder"])
def test_norms_and_activations_stay_channels_last(architecture: str, part: str) -> None:
    torch.manual_seed(0)
    build = nets.find(architecture).part(part)
    if part == "decoder":
        network, given = build(DIGITS, 10, Layers(), width=1 / 8), torch.randn(4, 10)
    else:
        network, given = build(DIGITS, {"score": 1}, Layers(), width=1 / 8), torch.randn(4, *DIGITS)
    network = network.to(memory_format=LAST)
    seen: list[Tensor] = []
    watch(network, (nn.BatchNorm2d, nn.LeakyReLU) if part == "decoder" else (nn.LeakyReLU,), seen.append)
    made = network(given)
    (made if isinstance(made, Tensor) else made["score"]).square().sum().backward()
    assert len(seen) >= 2
    assert all(one.is_contiguous(memory_format=LAST) for one in seen)
