"""The mean of each map, which ends an encoder of images of any size."""

from __future__ import annotations

from torch import Tensor, nn


class MapMeans(nn.Module):
    """Maps ``[n, c, h, w]`` to their means ``[n, c, 1, 1]``.

    torch's adaptive pooling gives the same, but with channels last it changes a tensor in place, which `torch.func`
    (and so the tangents of an encoder) can only do image by image.
    """

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3), keepdim=True)
