"""How much an image differs after it was translated to a target and back, in grey levels of 255.

StarGAN and CycleGAN train this (Choi et al. 2018, arXiv 1711.09020, eq. 4; Zhu et al. 2017, arXiv 1703.10593, eq. 2).
Here images are rounded to bytes after each translation, as in image files. So information that a translator hides in
less than one grey level is lost, as it is for users. A translator that changes nothing has an error of 0.
"""

from __future__ import annotations

from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._translated import apart


def compute(*, source_pixels: Tensor, returned_pixels: Tensor) -> dict[str, float]:
    """``{"reconstruction_error": mean absolute difference}`` of bytes ``[count, channels, height, width]`` in pairs.

    Raises UserError if images are not bytes, fewer than two, or not in pairs.
    """
    error = apart("reconstruction_error", "source_pixels", source_pixels, "returned_pixels", returned_pixels)
    return {"reconstruction_error": error}


variant = Metric(
    "reconstruction_error", compute, needs=("source_pixels", "returned_pixels"), better="lower",
    headline="reconstruction_error", least=50,
)  # fmt: skip
