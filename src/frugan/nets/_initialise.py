"""How weights begin: the rules for a network's layers, and the one function that applies a rule.

A layer of a family that stands for a standard one is drawn by the rule piece by piece, and scaled to start as the
standard layer would by the same rule (`frugan.convs.calibrate`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torch.nn import init
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from frugan.convs import Standard, calibrate, composites
from frugan.registry import UserError, suggest


@dataclass(frozen=True)
class FirstWeights:
    """How the weights of one layer are drawn.

    Attributes:
        draw: draws the weights of a convolution or dense layer in place, by torch's global random numbers.
        variance: the variance of the weights that a standard layer gets.
        norms: draws a batch norm's scale and shift; None leaves torch's, 1 and 0.
    """

    draw: Callable[[nn.Module], object]
    variance: Callable[[Standard], float]
    norms: Callable[[nn.Module], object] | None = None


def _dcgan(part: nn.Module) -> None:
    init.normal_(part.weight, 0.0, 0.02)  # type: ignore[arg-type]


def _dcgan_norms(norm: nn.Module) -> None:
    init.normal_(norm.weight, 1.0, 0.02)  # type: ignore[arg-type]
    init.zeros_(norm.bias)  # type: ignore[arg-type]


def _lecun(part: nn.Module) -> None:
    seen = part.weight[0].numel()  # type: ignore[index]
    if isinstance(part, _ConvTransposeNd):
        size = math.prod(part.kernel_size) / math.prod(part.stride)
        seen = part.in_channels // part.groups * max(size, 1.0)
    init.normal_(part.weight, 0.0, seen**-0.5)  # type: ignore[arg-type]


RULES = {
    # Weights from N(0, 0.02), scales of batch norms from N(1, 0.02), shifts 0 (DCGAN, section 4).
    "dcgan": FirstWeights(_dcgan, lambda standard: 0.02**2, _dcgan_norms),
    # Uniform within sqrt(6 / (fan in + fan out)): Keras' default (Glorot and Bengio 2010).
    "keras": FirstWeights(
        lambda part: init.xavier_uniform_(part.weight), lambda standard: 2 / sum(standard.fans)  # type: ignore[arg-type]
    ),
    # N(0, 1 / fan in) (LeCun et al. 1998), fan in being the inputs that one output sums: it keeps a signal's size.
    "lecun": FirstWeights(_lecun, lambda standard: 1 / max(standard.summed, standard.in_channels)),
}


def initialise(module: nn.Module, rule: str | FirstWeights) -> None:
    """Give every layer of `module` first weights by a rule, all biases 0.

    Args:
        rule: "dcgan", "keras", "lecun", or a `FirstWeights` of one's own.

    Raises UserError for an unknown name.
    """
    if isinstance(rule, str) and rule not in RULES:
        raise UserError(f"initialise={rule!r} is not known. {suggest(rule, RULES)}")
    chosen = RULES[rule] if isinstance(rule, str) else rule
    for part in module.modules():
        if isinstance(part, (_ConvNd, nn.Linear)):
            chosen.draw(part)
            if part.bias is not None:
                init.zeros_(part.bias)
        elif chosen.norms is not None and isinstance(part, _BatchNorm) and part.affine:
            chosen.norms(part)
    for layer in composites(module):
        standard = layer.stands_for
        assert isinstance(standard, Standard)
        calibrate(layer, chosen.variance(standard))
