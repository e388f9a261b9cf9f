"""Self-attention between the places of a map, as in SAGAN and BigGAN."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """Adds to every place what it attends to: x + strength * out(softmax(queries keys) values).

    Zhang et al. 2019 (arXiv 1805.08318, section 3), with BigGAN's sizes: queries and keys have an eighth of the
    channels, values half of them, all by 1 x 1 layers without biases; keys and values are pooled 2 x 2. The products
    are not divided by a root. `strength` begins at 0, so that the layer begins as the identity.
    Input and output: ``[n, channels, h, w]``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.queries = nn.Conv2d(channels, narrow, 1, bias=False)
        self.keys = nn.Conv2d(channels, narrow, 1, bias=False)
        self.values = nn.Conv2d(channels, half, 1, bias=False)
        self.out = nn.Conv2d(half, channels, 1, bias=False)
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        queries = self.queries(x).flatten(2)                                  # [n, c / 8, places]
        keys = functional.max_pool2d(self.keys(x), 2).flatten(2)              # [n, c / 8, places / 4]
        values = functional.max_pool2d(self.values(x), 2).flatten(2)          # [n, c / 2, places / 4]
        weights = torch.bmm(queries.transpose(1, 2), keys).softmax(dim=-1)    # [n, places, places / 4]
        attended = torch.bmm(values, weights.transpose(1, 2))                 # [n, c / 2, places]
        return x + self.strength * self.out(attended.unflatten(2, x.shape[2:]))

    def macs_attention(self, input_shape: tuple[int, ...]) -> int:
        """Each query with each pooled key, and each pooled value with each weight."""
        count, _, height, width = input_shape
        places, pooled = height * width, (height // 2) * (width // 2)
        return count * places * pooled * (self.queries.out_channels + self.values.out_channels)
