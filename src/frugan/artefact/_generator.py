"""A trained generator: images from latents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from frugan.artefact._config import blueprint_of
from frugan.artefact._made import CHUNK, Made
from frugan.batch import to_bytes
from frugan.engine.average import STANDING_BATCH
from frugan.fusing import fuse
from frugan.latents import Latents
from frugan.registry import UserError
from frugan.seeds import derive

if TYPE_CHECKING:
    import numpy as np


class Generator(Made):
    """A trained generator. Call it on tensors, or ask it for images.

    Attributes:
        module: the network, in evaluation mode, called ``(latents, labels)``.
        config: what it is and how it was made, as stored in ``config.json``.
    """

    def __init__(self, module: nn.Module, config: Mapping[str, Any]) -> None:
        super().__init__(module, "decoder", config)
        self.latents = Latents(**config["latents"])

    def __call__(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``[n, c, h, w]`` in the network's range from latents ``[n, size]`` and labels ``[n]``."""
        return self.module(latents, labels) if labels is not None else self.module(latents)

    def sample(
        self, count: int, seed: int = 0, labels: Any = None, truncation: float | None = None
    ) -> np.ndarray[Any, Any]:
        """`count` images as bytes ``[count, height, width, channels]``; image i depends on (seed, i) alone.

        Args:
            labels: one class number for all, or one for each; left out, a conditional generator makes every class in
                turn. For a generator that is told other values, these: ``[size]`` for all, or ``[count, size]``.
            truncation: see `Latents.rows`.

        Images are always computed in chunks of 32 in float32, so on one machine the bytes do not depend on `count`.
        Raises UserError for labels that the generator does not take, or of the wrong number.
        """
        import numpy as np

        made = list(self.batches(count, seed, labels, truncation))
        stacked = torch.cat(made) if made else torch.empty(0, *self.config["image"], dtype=torch.uint8)
        return np.ascontiguousarray(stacked.permute(0, 2, 3, 1).numpy())

    def batches(
        self, count: int, seed: int = 0, labels: Any = None, truncation: float | None = None
    ) -> Iterator[Tensor]:
        """The images of `sample`, as they are made: bytes ``[up to 32, channels, height, width]`` on the CPU."""
        if count < 0:
            raise UserError(f"count is {count}. Give how many images to make, 0 or more.")
        wanted = self.told(count, labels)
        for start in range(0, count, CHUNK):
            latents = self.latents.rows(start, CHUNK, seed, truncation).to(self.device)
            chunk = None
            if wanted is not None:
                part = wanted[start : start + CHUNK]
                chunk = torch.cat([part, part.new_zeros(CHUNK - len(part))]).to(self.device)
            with torch.no_grad():
                images = self(latents, chunk)
            yield to_bytes(images, self._range)[: count - start].cpu()

    def shown(self, number: int) -> Tensor:
        """A batch of images to measure statistics on, one for every number."""
        latents = self.latents.rows(0, STANDING_BATCH, derive(self.config["seed"], "standing", number))
        labels = self.told(STANDING_BATCH, None)
        return self(latents.to(self.device), None if labels is None else labels.to(self.device))

    def fused(self, batch: int = CHUNK) -> Generator:
        """The same generator made for speed, see `frugan.fusing`: its images agree to rounding, its bytes need not.

        Args:
            batch: how many latents it will mostly be called with; `sample` calls it with 32.
        """
        _, *condition = (one.to(self.device) for one in blueprint_of(self.config).example(batch))
        inputs = (self.latents.rows(0, batch, 0).to(self.device), *condition)
        return Generator(fuse(self.module, *inputs), self.config)
