"""How often the nearest real image by an encoder's features is of the same class: features tested without training.

The share of held-out images whose nearest neighbour (Euclidean) among the real ones has their class, by the latents
that the encoder finds; beside it by the encoder's last stage, and by the pixels themselves, which any use of the
encoder has to beat. This is how BiGAN is tested on MNIST (Donahue et al. 2016, arXiv 1605.09782, section 4.1).

An untrained encoder is far from chance (a random projection keeps distances), so compare with one.
"""

from __future__ import annotations

from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._neighbours import in_float64, nearest
from frugan.metrics._rows import check_classes

NAME = "nearest_neighbour"


def compute(
    *, real_encoded: Tensor, real_hidden: Tensor, real_pixels: Tensor, real_labels: Tensor, held_out_encoded: Tensor,
    held_out_hidden: Tensor, held_out_pixels: Tensor, held_out_labels: Tensor,
) -> dict[str, float]:  # fmt: skip
    """``{"accuracy", "standard_error", "accuracy_hidden", "accuracy_pixels"}``: shares of the held-out images.

    Args:
        real_encoded, held_out_encoded: the latents that the encoder finds, ``[count, size]``.
        real_hidden, held_out_hidden: its last stage, ``[count, width]``.
        real_pixels, held_out_pixels: bytes ``[count, c, h, w]``.
        real_labels, held_out_labels: classes ``[count]``.

    Raises UserError if labels are missing or not one an image, or features are not finite.
    """
    check_classes(NAME, "real_labels", real_labels, len(real_encoded))
    check_classes(NAME, "held_out_labels", held_out_labels, len(held_out_encoded))

    def accuracy(real: Tensor, held_out: Tensor) -> float:
        centres, points = (in_float64(NAME, "real", one.cpu().float().flatten(1)) for one in (real, held_out))
        rows = nearest(points, centres).rows
        return float((real_labels.cpu()[rows] == held_out_labels.cpu()).double().mean())

    share = accuracy(real_encoded, held_out_encoded)
    return {
        "accuracy": share, "standard_error": (share * (1 - share) / len(held_out_encoded)) ** 0.5,
        "accuracy_hidden": accuracy(real_hidden, held_out_hidden),
        "accuracy_pixels": accuracy(real_pixels, held_out_pixels),
    }  # fmt: skip


variant = Metric(
    NAME, compute, better="higher", headline="accuracy", least=100,
    needs=(
        "real_encoded", "real_hidden", "real_pixels", "real_labels",
        "held_out_encoded", "held_out_hidden", "held_out_pixels", "held_out_labels",
    ),
)  # fmt: skip
