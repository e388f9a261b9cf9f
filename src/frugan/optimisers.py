"""Optimisers: how the weights of a player follow its gradient.

Each is a function ``(parameters, learning_rate, betas, epsilon, weight_decay)`` that makes a `torch.optim.Optimizer`.
The four numbers are those of the recipe's player, and an optimiser says what it uses of them; keyword-only arguments
with defaults are options of its own. All that it keeps must stand in its `state_dict`, so that a run can be continued.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from frugan.registry import Catalogue


def adam(
    parameters: Sequence[nn.Parameter], learning_rate: float, betas: tuple[float, float], epsilon: float,
    weight_decay: float, *, decoupled: bool = False,
) -> torch.optim.Optimizer:
    """Kingma and Ba 2015 (1412.6980).

    `decoupled` takes the weight decay off the weights themselves instead of adding it to the gradient: AdamW,
    Loshchilov and Hutter 2019 (1711.05101).
    """
    return torch.optim.Adam(
        parameters, lr=learning_rate, betas=betas, eps=epsilon, weight_decay=weight_decay,
        decoupled_weight_decay=decoupled, fused=True,
    )


def rmsprop(
    parameters: Sequence[nn.Parameter], learning_rate: float, betas: tuple[float, float], epsilon: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Tieleman and Hinton 2012; the second of `betas` is its smoothing constant."""
    return torch.optim.RMSprop(parameters, lr=learning_rate, alpha=betas[1], eps=epsilon, weight_decay=weight_decay)


def sgd(
    parameters: Sequence[nn.Parameter], learning_rate: float, betas: tuple[float, float], epsilon: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Plain gradient descent; the first of `betas` is its momentum."""
    return torch.optim.SGD(parameters, lr=learning_rate, momentum=betas[0], weight_decay=weight_decay)


_known = Catalogue(
    "optimiser", adam, rmsprop, sgd, has=("param_groups", "state", "step", "zero_grad", "state_dict", "load_state_dict")
)
names, options, add, check = _known.names, _known.options, _known.add, _known.check


def build(
    name: str, own: Mapping[str, Any], parameters: Sequence[nn.Parameter], *, learning_rate: float,
    betas: tuple[float, float], epsilon: float, weight_decay: float,
) -> torch.optim.Optimizer:
    """The optimiser called `name`, with options of its own, for some parameters.

    Raises UserError for an unknown name or option.
    """
    return _known.find(name, parameters, learning_rate, betas, epsilon, weight_decay, **own)
