"""What the networks of bidirectional games share: vectors that are checked, outputs that are bounded or begin at 0."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import init

from frugan.registry import UserError

IMAGES_ALONE, VECTORS_ALONE = "score_of_images", "score_of_vectors"
"""Outputs of a joint part that see only the images, or only the vectors, of the pairs (see `frugan.nets`)."""


class Bounded(nn.Module):
    """A head whose numbers a lie in -1 to 1: 2 sigmoid(a) - 1, which is tanh(a / 2)."""

    def __init__(self, size: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(size, outputs, bias=bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.tanh(self.layer(hidden) / 2)


def begin_at_zero(heads: nn.ModuleDict) -> None:
    """Let the score begin at 0, so that the first loss is ln 2 whatever is judged."""
    if "score" in heads:
        init.zeros_(heads["score"].weight)  # pyrefly: ignore


def check_vectors(vectors: Tensor, expected: int) -> None:
    """Raise UserError if the vectors that come with images are not ``[n, expected]``."""
    if vectors.dim() != 2 or vectors.shape[1] != expected:
        raise UserError(
            f"The vectors have the shape {list(vectors.shape)}, but this network needs [count, {expected}]."
        )


def check_outputs(outputs: Mapping[str, int], owner: str) -> None:
    """Raise UserError if a joint part that sees pairs alone is asked for scores of one half of them."""
    alone = [name for name in outputs if name in (IMAGES_ALONE, VECTORS_ALONE)]
    if alone:
        raise UserError(
            f"The joint part of '{owner}' judges images and vectors only together, but the game asks it for "
            f"{' and '.join(alone)}. Take discriminator.architecture=bigbigan discriminator.options={{}}, or leave "
            "these scores out."
        )
