"""Dropout whose mask is drawn quickly on the CPU.

torch draws one random number per element, on one thread; here every 64 random bits decide for four elements. Measured
on ``[256, 64, 14, 14]`` with two threads, forward and backward took 16 ms instead of 60 ms.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan.registry import UserError

LEVELS = 1 << 16  # what 16 bits can tell apart


class Dropout(nn.Module):
    """Sets a share `p` of the elements to zero in training and scales the others so that the mean is kept.

    On the CPU the share is exact to 1/65536 and the mask follows torch's global random generator, though not in the
    order of `torch.nn.Dropout`. Elsewhere this is torch's own dropout. Raises UserError unless 0 <= p < 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise UserError(f"dropout={p}: give a share of the elements, 0 or more and below 1.")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.p, training=True)
        dropped = round(self.p * LEVELS)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[: x.numel()]
        # In the memory order of x, so that a channels-last mask meets channels-last activations.
        order = torch.empty_like(x, device="meta").stride()
        mask = (bits.as_strided(x.shape, order) >= dropped - LEVELS // 2).to(x.dtype)
        return x * mask.mul_(LEVELS / (LEVELS - dropped))

    def extra_repr(self) -> str:
        return f"p={self.p}"
