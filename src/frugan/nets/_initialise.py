"""How weights begin. A family's layers are made of torch's convolutions, so one rule reaches all of them."""

from __future__ import annotations

import math

from torch import nn
from torch.nn import init
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from frugan.nets._choices import one_of


def dcgan(module: nn.Module) -> None:
    """Weights from N(0, 0.02), scales of batch norms from N(1, 0.02), biases and shifts 0 (DCGAN, section 4)."""
    for part in module.modules():
        if isinstance(part, (_ConvNd, nn.Linear)):
            init.normal_(part.weight, 0.0, 0.02)
            if part.bias is not None:
                init.zeros_(part.bias)
        elif isinstance(part, _BatchNorm) and part.affine:
            init.normal_(part.weight, 1.0, 0.02)
            init.zeros_(part.bias)


def keras(module: nn.Module) -> None:
    """Weights uniform within sqrt(6 / (fan in + fan out)), biases 0: Keras' default (Glorot and Bengio 2010)."""
    for part in module.modules():
        if isinstance(part, (_ConvNd, nn.Linear)):
            init.xavier_uniform_(part.weight)
            if part.bias is not None:
                init.zeros_(part.bias)


def lecun(module: nn.Module) -> None:
    """Weights from N(0, 1 / fan in), biases 0 (LeCun et al. 1998), which keeps the size of a signal in every family.

    The fan in is the number of inputs that one output sums: a depthwise kernel sees one channel, a transposed one is
    thinned by its stride. Glorot's rule counts a depthwise layer's fan out over all channels, and shrinks it.
    """
    for part in module.modules():
        if isinstance(part, (_ConvNd, nn.Linear)):
            seen = part.weight[0].numel()
            if isinstance(part, _ConvTransposeNd):
                size = math.prod(part.kernel_size) / math.prod(part.stride)
                seen = part.in_channels // part.groups * max(size, 1.0)
            init.normal_(part.weight, 0.0, seen**-0.5)
            if part.bias is not None:
                init.zeros_(part.bias)


RULES = {"dcgan": dcgan, "keras": keras, "lecun": lecun}


def initialise(module: nn.Module, rule: str) -> None:
    """Initialise every layer of `module` by the rule of that name. Raises UserError for an unknown one."""
    RULES[one_of("initialise", rule, RULES)](module)
