"""A metric of your own: CMMD (Jayasumana et al. 2024, arXiv 2401.09603), with the features of any view.

The squared maximum mean discrepancy with a Gaussian kernel, times 1000. The paper uses
features of CLIP, which have norm 1, and a bandwidth of 10. Features of other views have other sizes. So here they are
divided by their root mean square over the real images, and the bandwidth is in units of that.

    frugan evaluate runs/first --code examples/extending/cmmd.py --metrics cmmd,fid
"""

from __future__ import annotations

import torch
from torch import Tensor

from frugan import metrics
from frugan.metrics import Metric


def compute(*, real: Tensor, fake: Tensor, bandwidth: float = 10.0) -> dict[str, float]:
    """``{"cmmd": value}`` of features ``[n, d]`` and ``[m, d]``: about 0 for equal distributions."""
    size = real.double().square().sum(1).mean().sqrt()
    real, fake = real.double() / size, fake.double() / size

    def similar(one: Tensor, other: Tensor) -> Tensor:
        rows = [torch.exp(-torch.cdist(some, other).square() / (2 * bandwidth**2)).sum() for some in one.split(1000)]
        return torch.stack(rows).sum() / (len(one) * len(other))

    value = similar(real, real) + similar(fake, fake) - 2 * similar(real, fake)
    return {"cmmd": 1000 * float(value)}


metrics.add("cmmd", Metric("cmmd", compute, ("real", "fake"), better="lower", headline="cmmd", least=200))
