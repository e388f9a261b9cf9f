"""How far an image that was translated there and back lies from itself, in grey levels of 255.

What StarGAN and CycleGAN train (Choi et al. 2018, arXiv 1711.09020, eq. 4; Zhu et al. 2017, arXiv 1703.10593, eq. 2),
measured on images that are rounded to bytes after either translation, as files are: what was hidden for the way back in
less than a level is lost, as it is for users. A translator that changes nothing has an error of 0.
"""

from __future__ import annotations

from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._translated import apart


def compute(*, source_pixels: Tensor, returned_pixels: Tensor) -> dict[str, float]:
    """``{"reconstruction_error": mean absolute difference}`` of bytes ``[count, channels, height, width]`` in pairs.

    Raises UserError for images that are no bytes, fewer than two, or not in pairs.
    """
    error = apart("reconstruction_error", "source_pixels", source_pixels, "returned_pixels", returned_pixels)
    return {"reconstruction_error": error}


variant = Metric(
    "reconstruction_error", compute, needs=("source_pixels", "returned_pixels"), better="lower",
    headline="reconstruction_error", least=50,
)  # fmt: skip
