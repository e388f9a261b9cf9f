"""Images that several evaluations look at, made once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from frugan.artefact import Generator
    from frugan.evaluation.opening.fakes import Images


class Shared:
    """What a generator made last, for the evaluations that follow."""

    def __init__(self) -> None:
        self.key: tuple[str, str] = ("", "")
        self.made: torch.Tensor | None = None

    def of(self, generator: Generator, images: Images) -> torch.Tensor:
        """The images' bytes, made if they are others than before."""
        import torch

        key = (generator.weights_hash, images.key)
        if self.made is None or self.key != key:
            self.key, self.made = key, torch.cat(list(images.batches()))
        return self.made


shared: ContextVar[Shared | None] = ContextVar("shared", default=None)


@contextlib.contextmanager
def made_once() -> Iterator[None]:
    """Inside, evaluations of one generator that follow each other look at the same images, which are kept in memory."""
    before = shared.set(Shared())
    try:
        yield
    finally:
        shared.reset(before)
