"""A trained generator: images from latents."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor, nn

from frugan.arithmetic import exact
from frugan.artefact._labels import standing_labels
from frugan.artefact._onnx import Running
from frugan.artefact._trained import CHUNK, TrainedNetwork
from frugan.batch import to_bytes
from frugan.engine.average import STANDING_BATCH, measure_standing
from frugan.fusing import fuse
from frugan.latents import Latents
from frugan.ranges import Range, Unfit, fitted
from frugan.registry import UserError
from frugan.seeds import derive

if TYPE_CHECKING:
    import numpy as np


class Generator(TrainedNetwork):
    """A trained generator: call it with latents, or `sample` images.

    Attributes:
        module: the network, in evaluation mode; call it with ``(latents, labels)``.
        config: what it is and how it was made, as stored in ``config.json``.
    """

    def __init__(self, module: nn.Module, config: Mapping[str, Any]) -> None:
        super().__init__(module, "decoder", config)
        self.latents = Latents(**config["latents"])
        self._truncated: tuple[float, nn.Module] | None = None

    def __call__(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``[n, c, h, w]`` in the network's range from latents ``[n, size]`` and labels ``[n]``."""
        return self.module(latents, labels) if labels is not None else self.module(latents)

    def sample(
        self, count: int, seed: int = 0, labels: Any = None, truncation: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray[Any, Any]:
        """Make `count` images: bytes ``[count, height, width, channels]``. Image i depends on (seed, i) only.

        Args:
            labels: one class number for all, or one for each image. If left out, a conditional generator makes every
                class in turn. If its condition is values instead of classes: ``[size]`` for all, or ``[count, size]``.
            truncation: see `Latents.rows`. A network whose latents reach its later blocks (BigGAN's ``skip``) then has
                batch norm statistics of images made under it.
            progress: called with (images made, all images) now and then.

        Images are always computed in chunks of 32 in float32, so on one machine the bytes do not depend on `count`.
        Raises UserError for labels that the generator cannot use, or for the wrong number of labels.
        """
        import numpy as np

        made: list[Tensor] = []
        for number, part in enumerate(self.batches(count, seed, labels, truncation)):
            made.append(part)
            if progress is not None:
                progress(number * CHUNK + len(part), count)
        stacked = torch.cat(made) if made else torch.empty(0, *self.config["image"], dtype=torch.uint8)
        return np.ascontiguousarray(stacked.permute(0, 2, 3, 1).numpy())

    def batches(
        self, count: int, seed: int = 0, labels: Any = None, truncation: float | None = None
    ) -> Iterator[Tensor]:
        """The images of `sample`, chunk by chunk: bytes ``[up to 32, channels, height, width]`` on the CPU."""
        count, seed = _whole("count", count, Range(0)), _whole("seed", seed, Range(0, most=math.inf))
        wanted = self.condition(count, labels)
        truncation = self.truncation if truncation is None else truncation
        module = self.module if truncation is None else self.under(truncation)
        for start in range(0, count, CHUNK):
            latents = self.latents.rows(start, CHUNK, seed, truncation)
            yield self._chunk(module, latents, None if wanted is None else wanted[start : start + CHUNK], count - start)

    def images_of(
        self, latents: Any, labels: Any = None, truncation: float | None = None
    ) -> np.ndarray[Any, Any]:
        """The images of latents ``[count, size]``, a tensor or array: bytes ``[count, height, width, channels]``.

        Those of `Latents.rows` give the same bytes as `sample`.

        Args:
            labels: as of `sample`.
            truncation: under which the latents were drawn. The latents stay as they are; see `sample` for its norms.

        Raises UserError for latents of another size or that are not finite, and as `sample` does.
        """
        import numpy as np

        rows = self._rows_of(latents)
        wanted = self.condition(len(rows), labels)
        module = self.module if truncation is None else self.under(truncation)
        made = [torch.empty(0, *self.config["image"], dtype=torch.uint8)]
        for start in range(0, len(rows), CHUNK):
            part = None if wanted is None else wanted[start : start + CHUNK]
            made.append(self._chunk(module, rows[start : start + CHUNK], part, len(rows) - start))
        return np.ascontiguousarray(torch.cat(made).permute(0, 2, 3, 1).numpy())

    def _rows_of(self, latents: Any) -> Tensor:
        """Latents as float32. Raises UserError for what is none."""
        import numpy as np

        try:  # a copy: torch warns of arrays that cannot be written to
            rows = latents if isinstance(latents, Tensor) else torch.from_numpy(np.array(latents))
        except (TypeError, ValueError, RuntimeError):
            rows = torch.tensor(torch.nan)
        if rows.is_complex() or not bool(rows.isfinite().all()):
            raise UserError(f"latents: give finite real numbers [count, {self.latents.size}], in a tensor or an array.")
        if rows.ndim != 2 or rows.shape[1] != self.latents.size:
            raise UserError(
                f"The latents have the shape {list(rows.shape)}, but this generator takes [count, {self.latents.size}]."
            )
        return rows.float()

    def _chunk(self, module: nn.Module, latents: Tensor, labels: Tensor | None, count: int) -> Tensor:
        """The first `count` images of up to 32 latents: bytes on the CPU. The rest of a whole chunk is computed too."""

        def whole(rows: Tensor) -> Tensor:
            return torch.cat([rows, rows.new_zeros(CHUNK - len(rows), *rows.shape[1:])]).to(self.device)

        given = (whole(latents),) if labels is None else (whole(latents), whole(labels))
        with exact(self.device):
            images = module(*given)
        return to_bytes(images, self.image_range)[:count].cpu()

    @property
    def truncation(self) -> float | None:
        """The truncation that an exported file was made for; None of any other network."""
        return self.config.get("exported", {}).get("truncation")

    def shown(self, number: int, truncation: float | None = None) -> Tensor:
        """A batch of images to measure batch norm statistics on, a different one for each number.

        Its labels are like those of the training data: training saw such, and evaluation asks for such.
        """
        latents = self.latents.rows(0, STANDING_BATCH, derive(self.config["seed"], "standing", number), truncation)
        told = self.blueprint
        with exact(self.device):
            if not told.condition:
                return self(latents.to(self.device))
            labels = standing_labels(self.config.get("label_sample"), number, told.condition, classes=told.labels)
            return self(latents.to(self.device), labels.to(self.device))

    def under(self, truncation: float) -> nn.Module:
        """The network for latents of this truncation; the last one is kept.

        It is `module` itself, or, if its norms follow truncation, one with standing statistics of images made under
        it: the maps of truncated latents vary less, so norms would divide them by too much with the statistics of all
        images (Brock et al. 2019, arXiv 1809.11096). Raises UserError for a truncation that the latents cannot have.
        """
        self.latents.check_truncation(truncation)
        follows = getattr(self.module, "norms_follow_truncation", False)
        if follows and isinstance(self.module, Running) and truncation != self.truncation:
            raise UserError(
                f"This file has the norms of a truncation of {self.truncation}. For {truncation}, export the run "
                f"again: frugan export RUN --truncation {truncation}"
            )
        if not follows or isinstance(self.module, Running):
            return self.module
        if self._truncated is None or self._truncated[0] != truncation:
            under = Generator(copy.deepcopy(self.module), self.config)
            measure_standing([under.module], lambda number: under.shown(number, truncation))
            self._truncated = truncation, under.module
        return self._truncated[1]

    def fused(self, batch: int = CHUNK) -> Generator:
        """A faster form of this generator, see `frugan.fusing`. Its images are equal up to rounding; bytes may differ.

        Args:
            batch: the usual number of latents in a call; `sample` uses 32.

        Raises UserError for a batch below 1.
        """
        batch = _whole("batch", batch, Range(1))
        _, *condition = (one.to(self.device) for one in self.blueprint.example(batch))
        inputs = (self.latents.rows(0, batch, 0).to(self.device), *condition)
        return Generator(fuse(self.module, *inputs), self.config)


def _whole(name: str, value: Any, allowed: Range) -> int:
    try:
        return fitted(Annotated[int, allowed], value)
    except Unfit as unfit:
        raise UserError(f"{name}={value}: {unfit}.") from None
