"""How much of an image its reconstruction G(E(x)) keeps, for generators with an encoder: 0 is all of it, 1 nothing.

The mean distance of images from their own reconstructions, over that from the reconstruction of another image, drawn at
random, as the authors of BiGAN log it (Donahue et al. 2016, arXiv 1605.09782; released code). Such reconstructions keep
what an image shows, and not its pixels, so the distance alone says little.
"""

from __future__ import annotations

from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._pixels import accept_pixels
from frugan.metrics._rows import ratio_of_distances


def compute(*, real_pixels: Tensor, reconstructed_pixels: Tensor) -> dict[str, float]:
    """``{"ratio", "standard_error", "distance", "distance_of_others"}`` of bytes ``[count, c, h, w]`` in pairs.

    Distances are L2 norms of images in 0 to 1. Raises UserError for images that are no bytes, not in pairs, fewer than
    two, or all alike.
    """
    name, given = "reconstruction_ratio", {"real_pixels": real_pixels, "reconstructed_pixels": reconstructed_pixels}
    accepted = {key: accept_pixels(name, key, pixels, side=1).cpu().float() / 255 for key, pixels in given.items()}
    return ratio_of_distances(name, accepted)


variant = Metric(
    "reconstruction_ratio", compute, needs=("real_pixels", "reconstructed_pixels"), better="lower", headline="ratio",
    least=50, version=2,
)  # fmt: skip
