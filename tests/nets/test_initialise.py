"""The initialisation that keeps the size of a signal in every family."""

from __future__ import annotations

import pytest
import torch

from frugan import convs
from frugan.convs import Layers
from frugan.nets import initialise


@pytest.mark.parametrize("family", ["standard", "factorised", "depthwise", "grouped"])
@pytest.mark.parametrize("kind", ["same", "up", "down"])
def test_lecun_keeps_the_size_of_a_signal_in_every_family(family: str, kind: str):
    torch.manual_seed(0)
    layer = getattr(Layers([("*", convs.find(family))]), kind)("role", 64, 64, 5, bias=False)
    initialise(layer, "lecun")
    out = layer(torch.randn(4, 64, 32, 32))[..., 4:-4, 4:-4]  # away from the padding
    assert 0.75 < float(out.detach().std()) < 1.3


def test_pieces_that_start_alone_shrink_a_signal_as_published_nets_do():
    torch.manual_seed(0)
    layer = Layers([("*", convs.find("depthwise", start="layerwise"))]).same("role", 64, 64, 5, bias=False)
    initialise(layer, "keras")
    assert float(layer(torch.randn(4, 64, 32, 32)).detach().std()) < 0.3
