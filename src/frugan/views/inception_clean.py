"""The view `inception` with Pillow's bicubic resizing: distances through it are what the literature calls clean-FID.

Parmar et al. (2022, arXiv 2104.11222) found that the usual bilinear resizing aliases where images shrink, and that
libraries differ in it by whole points. Values through this view compare with none through `inception`.
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
    """See `frugan.views.inception.build`; its converted weights serve here too."""
    return inception.build(
        dataset=dataset, cache=cache, device=device, announce=announce, weights=weights, resizing="clean"
    )


variant = Builder("inception_clean", build, needs=("weights",))
