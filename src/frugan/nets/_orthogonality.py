"""How far a network's weights are from orthogonal: what orthogonal regularisation adds to a generator's loss."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.parametrize import is_parametrized


def orthogonality(network: nn.Module) -> Tensor:
    """The sum over weights of |W W^T * (1 - I)|^2, W being ``[outputs, all else]`` (Brock et al. 2019, 1809.11096,
    eq. 3): 0 where no two rows point the same way. A scalar that can be differentiated.

    Left out are the kernels of depthwise and grouped layers, which cannot be orthogonal (more rows than the 9 elements
    of each), and modules that say ``orthogonal = False``. Of a layer under spectral norm it is the weight before
    division. BigGAN's authors' code adds half of this gradient: its strength 1e-4 is 5e-5 here.
    """
    device = next(network.parameters()).device
    total = torch.zeros((), device=device)
    with torch.autocast(device.type, enabled=False):
        for weight in _weights(network):
            gram = weight @ weight.T
            total = total + (gram - gram.diag().diag()).square().sum()
    return total


def _weights(module: nn.Module) -> Iterator[Tensor]:
    if not getattr(module, "orthogonal", True):
        return
    if isinstance(module, (_ConvNd, nn.Linear, nn.Embedding)):
        if getattr(module, "groups", 1) == 1:
            held = module.parametrizations["weight"].original if is_parametrized(module) else module.weight  # type: ignore[index]
            yield (held.transpose(0, 1) if isinstance(module, _ConvTransposeNd) else held).flatten(1)  # pyrefly: ignore
        return
    for child in module.children():
        yield from _weights(child)
