"""How much of the latents the encoder finds in what was made of them, E(G(z)): 0 is all of it, 1 nothing.

The mean distance of latents from those that are found, over that from those found in another image: what
`reconstruction_ratio` is for images (BiGAN, arXiv 1605.09782: at the optimum each network inverts the other).
"""

from __future__ import annotations

from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._rows import ratio_of_distances


def compute(*, latents: Tensor, encoded: Tensor) -> dict[str, float]:
    """``{"ratio", "standard_error", "distance", "distance_of_others"}`` of vectors ``[count, size]`` in pairs.

    Raises UserError for other shapes, fewer than two, numbers that are not finite, or vectors that are all alike.
    """
    return ratio_of_distances("latent_ratio", {"latents": latents.cpu(), "encoded": encoded.cpu()})


variant = Metric(
    "latent_ratio", compute, needs=("latents", "encoded"), better="lower", headline="ratio", least=50, version=2,
)  # fmt: skip
