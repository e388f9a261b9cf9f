"""The view `inception` with Pillow's bicubic resizing. Its Fréchet distances are called clean-FID in the literature.

Parmar et al. (2022, arXiv 2104.11222) found that the usual bilinear resizing aliases when images shrink, and that
libraries differ by whole points of FID because of it. Never compare values of this view with values of `inception`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from frugan.views import Builder, View, inception

if TYPE_CHECKING:
    from frugan.data import Dataset


def build(
    *,
    dataset: Dataset | None,
    cache: Path,
    device: str,
    announce: Callable[[str], None],
    weights: str | None = None,
) -> View:
    """See `frugan.views.inception.build`. The same converted weights are used."""
    return inception.build(
        dataset=dataset, cache=cache, device=device, announce=announce, weights=weights, resizing="clean"
    )


variant = Builder("inception_clean", build, needs=("weights",))
