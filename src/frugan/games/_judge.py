"""Real and fake images judged in one pass, where that is the same."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def judge(discriminator: nn.Module, real: Tensor, fake: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a discriminator says of real and of fake images ``[n, c, h, w]``: in one call if it says that it `joins`.

    One pass over its weights, forward and backward, in place of two.
    """
    if not getattr(discriminator, "joins", False):
        return discriminator(real), discriminator(fake)
    together, count = discriminator(torch.cat([real, fake.to(real)])), len(real)
    return (
        {name: value[:count] for name, value in together.items()},
        {name: value[count:] for name, value in together.items()},
    )
