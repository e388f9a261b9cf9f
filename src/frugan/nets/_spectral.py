"""Spectral norm on every weight of a network."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize


def spectral(
    module: nn.Module, *, eps: float = 1e-12, kinds: tuple[type[nn.Module], ...] = (_ConvNd, nn.Linear)
) -> None:
    """Divide the weights of every convolution and dense layer by their largest singular value (Miyato et al. 2018).

    One power iteration per training forward; 15 when the norm is laid on, where the authors' codes begin with a random
    vector. A layer that a family splits is divided piece by piece, and a depthwise or grouped kernel group by group:
    its groups are matrices that never meet. As one matrix of ``[channels, 9]`` a depthwise kernel would be divided by
    up to the root of its channels too much, 16 times at 256.

    Args:
        eps: the least length of a vector that is divided by its length.
        kinds: the layers, by class.
    """
    for part in list(module.modules()):
        if isinstance(part, kinds):
            parametrize.register_parametrization(part, "weight", SpectralNorm(part, eps))


class SpectralNorm(nn.Module):
    """A layer's weight divided by its largest singular value, or each group's by its own.

    The buffers are named and shaped as those of torch's own, which knows no groups; of groups they hold the vectors one
    after the other. A group of one row, as all are of a depthwise layer, is divided by its length, which is exact.
    """

    _u: Tensor
    _v: Tensor

    def __init__(self, layer: nn.Module, eps: float) -> None:
        super().__init__()
        self.groups: int = getattr(layer, "groups", 1)
        self.transposed = isinstance(layer, _ConvTransposeNd)
        self.eps = eps
        weight: Tensor = layer.weight  # pyrefly: ignore
        matrices = self._matrices(weight.detach())
        self.exact = min(matrices.shape[1:]) == 1
        if not self.exact:
            self.register_buffer("_u", functional.normalize(torch.randn_like(matrices[:, :, 0]), dim=1).flatten())
            self.register_buffer("_v", functional.normalize(torch.randn_like(matrices[:, 0]), dim=1).flatten())
            if not weight.is_meta:  # where iterations take seconds, for nothing
                self._iterate(matrices, 15)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight as it is used; while training, after one power iteration."""
        matrices = self._matrices(weight)
        if self.exact:
            largest = matrices.flatten(1).norm(dim=1)
        else:
            if self.training and not weight.is_meta:
                self._iterate(matrices.detach(), 1)
            # Copies, since the next iteration would change what the backward pass needs.
            rows, columns = self._u.clone().view(self.groups, -1), self._v.clone().view(self.groups, -1)
            largest = (rows * _times(matrices, columns)).sum(1)
        if self.groups == 1:
            return weight / largest.clamp_min(self.eps)
        first = weight.view(self.groups, -1, *weight.shape[1:])
        shape = (-1, *(1 for _ in first.shape[1:]))
        return (first / largest.clamp_min(self.eps).view(shape)).view_as(weight)

    def _matrices(self, weight: Tensor) -> Tensor:
        """``[groups, outputs, all else]``; of a transposed layer the outputs lie on the second axis."""
        grouped = weight.reshape(self.groups, -1, *weight.shape[1:])
        return (grouped.transpose(1, 2) if self.transposed else grouped).flatten(2)

    @torch.no_grad()
    def _iterate(self, matrices: Tensor, times: int) -> None:
        for _ in range(times):
            rows = _times(matrices, self._v.view(self.groups, -1))
            rows = functional.normalize(rows, dim=1, eps=self.eps)
            columns = functional.normalize(_times(matrices.transpose(1, 2), rows), dim=1, eps=self.eps)
            self._u.copy_(rows.flatten())
            self._v.copy_(columns.flatten())


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Matrices ``[n, rows, columns]`` by vectors ``[n, columns]``: ``[n, rows]``."""
    # In the weights' own precision: in autocast's bf16 the largest singular value would be off by a thousandth.
    with nullcontext() if matrices.is_meta else torch.autocast(matrices.device.type, enabled=False):
        return (matrices @ vectors[:, :, None])[:, :, 0]
