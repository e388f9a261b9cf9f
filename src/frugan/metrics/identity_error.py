"""How much an image changes when it is translated to the class that it already has, in grey levels of 255.

A translator should not change such an image (the identity loss of Zhu et al. 2017, arXiv 1703.10593, section 5.2). It
is measured on bytes, as in image files.
"""

from __future__ import annotations

from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._translated import apart


def compute(*, real_pixels: Tensor, unchanged_pixels: Tensor) -> dict[str, float]:
    """``{"identity_error": mean absolute difference}`` of bytes ``[count, channels, height, width]`` in pairs.

    Raises UserError if images are not bytes, fewer than two, or not in pairs.
    """
    return {"identity_error": apart("identity_error", "real_pixels", real_pixels, "unchanged_pixels", unchanged_pixels)}


variant = Metric(
    "identity_error", compute, needs=("real_pixels", "unchanged_pixels"), better="lower", headline="identity_error",
    least=50,
)  # fmt: skip
