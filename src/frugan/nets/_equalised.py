"""The equalised learning rate: weights are stored as N(0, 1), and multiplied by a constant whenever they are used.

Karras et al. 2018 (arXiv 1710.10196, section 4.1). Adam moves every weight by about the same step, whatever its scale;
so where all stored weights have one scale, all layers learn at one relative speed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import init
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from frugan.convs import calibrate, composites, is_chain, pieces_of

GAIN = math.sqrt(2)
"""Of a layer that a (leaky) ReLU follows (He et al. 2015, arXiv 1502.01852, eq. 10)."""


class Scaled(nn.Module):
    """A stored weight times a constant."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, stored: Tensor) -> Tensor:
        return stored * self.scale

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is stored where the layer is given the weight `weight`."""
        return weight / self.scale


def start_by_gain(network: nn.Module, gains: Mapping[nn.Module, float] | None = None, *, equalised: bool) -> None:
    """Draw the weights of every convolution and dense layer from N(0, gain^2 / fan in); all biases are 0.

    Fan in is the inputs by the pixels of the kernel, of a transposed layer too (there it is the paper's fan in of the
    same layer as a convolution with full padding). Of a layer that a family splits into a chain the last piece has the
    gain and the others have 1: of a depthwise separable one the pointwise piece. (With ``start="layerwise"`` all have
    the gain.) Pieces that do not form a chain are then scaled so that the whole starts as the standard layer does.

    Args:
        gains: of the layers that no (leaky) ReLU follows; of all others it is `GAIN`.
        equalised: store weights of deviation 1 and multiply them by gain / sqrt(fan in) at run time; else the weights
            themselves are drawn so. Both start alike, and they train differently.
    """
    found: dict[nn.Module, float] = {
        part: GAIN for part in network.modules() if isinstance(part, (_ConvNd, nn.Linear))
    }
    for part in network.modules():
        if hasattr(part, "role") and not isinstance(part, _ConvNd):
            pieces = pieces_of(part)
            if is_chain(part):
                pieces = [] if getattr(part, "layerwise", False) else pieces[:-1]
            found.update((piece, 1.0) for piece in pieces)
    found.update(gains or {})
    scales = {part: gain / math.sqrt(fan_in(part)) for part, gain in found.items()}
    for part, scale in scales.items():
        init.normal_(part.weight, 0.0, scale)  # pyrefly: ignore
        if part.bias is not None:
            init.zeros_(part.bias)  # pyrefly: ignore
    for layer, standard in composites(network):
        if not is_chain(layer):
            calibrate(layer, GAIN**2 / standard.summed)
    if equalised:
        for part, scale in scales.items():
            parametrize.register_parametrization(part, "weight", Scaled(scale))


def fan_in(part: nn.Module) -> int:
    """The inputs of a layer by the pixels of its kernel."""
    if isinstance(part, _ConvNd):
        return part.in_channels // part.groups * math.prod(part.kernel_size)
    assert isinstance(part, nn.Linear)
    return part.in_features
