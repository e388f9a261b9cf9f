"""How weights begin: the rules for a network's layers, and the one function that applies a rule.

A layer of a family that stands for a standard one is drawn by the rule piece by piece, and scaled to start as the
standard layer would by the same rule (`frugan.convs.calibrate`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import init
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from frugan.convs import Standard, calibrate, composites
from frugan.registry import Catalogue

Draw = Callable[[nn.Module], object]


@dataclass(frozen=True)
class FirstWeights:
    """How the weights of one layer are drawn.

    Attributes:
        draw: draws the weights of a convolution or dense layer in place, by torch's global random numbers.
        variance: the variance of the weights that a standard layer gets.
        norms: draws a batch norm's scale and shift; None leaves torch's, 1 and 0.
    """

    draw: Draw
    variance: Callable[[Standard], float]
    norms: Draw | None = None


def dcgan() -> FirstWeights:
    """Weights from N(0, 0.02), scales of batch norms from N(1, 0.02), shifts 0 (DCGAN, section 4)."""

    def norms(norm: nn.Module) -> None:
        init.normal_(_of(norm), 1.0, 0.02)
        init.zeros_(_of(norm, "bias"))

    return FirstWeights(lambda part: init.normal_(_of(part), 0.0, 0.02), lambda standard: 0.02**2, norms)


def keras() -> FirstWeights:
    """Uniform within sqrt(6 / (fan in + fan out)): Keras' default (Glorot and Bengio 2010)."""
    return FirstWeights(
        lambda part: init.xavier_uniform_(_of(part)), lambda standard: 2 / sum(standard.fans)
    )


def lecun() -> FirstWeights:
    """N(0, 1 / fan in) (LeCun et al. 1998), fan in being the inputs that one output sums: it keeps a signal's size."""

    def draw(part: nn.Module) -> None:
        seen = _of(part)[0].numel()
        if isinstance(part, _ConvTransposeNd):
            size = math.prod(part.kernel_size) / math.prod(part.stride)
            seen = part.in_channels // part.groups * max(size, 1.0)
        init.normal_(_of(part), 0.0, seen**-0.5)

    return FirstWeights(draw, lambda standard: 1 / max(standard.summed, standard.in_channels))


def orthogonal() -> FirstWeights:
    """Orthonormal rows or columns of the weights as a matrix (Saxe et al. 2014, arXiv 1312.6120), as in BigGAN."""
    return FirstWeights(lambda part: init.orthogonal_(_of(part)), lambda standard: 1 / max(standard.matrix))


def torch() -> FirstWeights:
    """Uniform within 1 / sqrt(fan in), as torch's layers draw their weights."""
    return FirstWeights(
        lambda part: init.kaiming_uniform_(_of(part), 5**0.5), lambda standard: 1 / (3 * standard.fans[0])
    )


rules = Catalogue("rule for first weights", dcgan, keras, lecun, orthogonal, torch, has=("draw", "variance", "norms"))


def initialise(module: nn.Module, rule: str | FirstWeights) -> None:
    """Give every layer of `module` first weights by a rule, all biases 0.

    Args:
        rule: one of `rules`, by name, or a `FirstWeights` of one's own.

    Raises UserError for an unknown name.
    """
    chosen = rules.find(rule) if isinstance(rule, str) else rule
    for part in module.modules():
        if isinstance(part, (_ConvNd, nn.Linear)):
            chosen.draw(part)
            if part.bias is not None:
                init.zeros_(part.bias)
        elif chosen.norms is not None and isinstance(part, _BatchNorm) and part.affine:
            chosen.norms(part)
    for layer, standard in composites(module):
        calibrate(layer, chosen.variance(standard))


def _of(part: nn.Module, name: str = "weight") -> Tensor:
    return getattr(part, name)
