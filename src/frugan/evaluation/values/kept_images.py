"""Keeps a generator's images in memory for the next evaluations of the same generator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from frugan.artefact import Generator
    from frugan.evaluation.opening.fakes import Images


class KeptImages:
    """The images that a generator made last."""

    def __init__(self) -> None:
        self.key: tuple[str, str] = ("", "")
        self.made: torch.Tensor | None = None

    def find_or_make(self, generator: Generator, images: Images) -> torch.Tensor:
        """The images' bytes: the kept ones if they are the same images, else made now."""
        import torch

        key = (generator.weights_hash, images.key)
        if self.made is None or self.key != key:
            self.key, self.made = key, torch.cat(list(images.batches()))
        return self.made


kept_images: ContextVar[KeptImages | None] = ContextVar("kept_images", default=None)


@contextlib.contextmanager
def made_once() -> Iterator[None]:
    """Inside, consecutive evaluations of one generator use the same images, which are made once and kept in memory."""
    before = kept_images.set(KeptImages())
    try:
        yield
    finally:
        kept_images.reset(before)
