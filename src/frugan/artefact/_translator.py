"""A trained translator: images from images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from frugan.arithmetic import exact
from frugan.artefact._trained import CHUNK, TrainedNetwork, chunks_of, freeze
from frugan.batch import to_bytes
from frugan.fusing import fuse
from frugan.registry import UserError, suggest

if TYPE_CHECKING:
    import numpy as np

NOT = "not "


class Translator(TrainedNetwork):
    """A trained translator of images: to any label that it was trained with, or in its one direction.

    Attributes:
        module: the network, in evaluation mode; call it with ``(images, labels)``.
        config: what it is and how it was made, as stored in ``config.json``.
        reader: the network that says which attributes an image has; it comes from a run folder, not from an artefact.
    """

    def __init__(self, module: nn.Module, config: Mapping[str, Any], reader: nn.Module | None = None) -> None:
        super().__init__(module, "translator", config)
        self.reader = None if reader is None else freeze(reader)

    @property
    def domains(self) -> tuple[str, ...]:
        """The names that `translate` takes as `to`."""
        return tuple(self.config["domains"]["names"])

    def __call__(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``[n, c, h, w]`` in the network's range to others as large; labels ``[n]`` or bits ``[n, size]``."""
        return self.module(images, labels) if labels is not None else self.module(images)

    def translate(self, images: Any, to: Any = None, labels: Any = None) -> np.ndarray[Any, Any]:
        """Translate images: bytes ``[n, height, width, channels]`` to bytes of the same shape.

        Args:
            to: the name of a class or attribute. Of attributes it may be several names; "glasses" adds glasses, "not
                glasses" takes them away. Labels may also be numbers ``[n]`` or bits ``[n, size]``. Left out for a
                translator of one direction.
            labels: the attributes that the images have now, as bits ``[n, size]`` or as names that hold for all. If
                left out, `reader` predicts them.

        Raises UserError for an unknown name, or images that the network cannot translate.
        """
        import numpy as np

        self.check_labels(labels)
        made, multiple = [], getattr(self.module, "multiple", 1)
        chunks = chunks_of(images, self.config["image"], self.image_range, self.device, "this translator", multiple)
        for number, chunk in enumerate(chunks):
            rows = slice(number * CHUNK, (number + 1) * CHUNK)
            with exact(self.device):
                made.append(to_bytes(self(chunk, self._condition(chunk, to, labels, rows)), self.image_range).cpu())
        stacked = torch.cat(made) if made else torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
        return np.ascontiguousarray(stacked.permute(0, 2, 3, 1).numpy())

    def _condition(self, images: Tensor, to: Any, labels: Any, rows: slice) -> Tensor | None:
        """The condition of the network for one chunk of images."""
        domains = self.config["domains"]
        if domains["kind"] == "direction":
            if to not in (None, *self.domains):
                raise UserError(f"This translator cannot translate to '{to}'. {suggest(str(to), self.domains)}")
            return None
        if to is None:
            raise UserError(f"Say what to translate to, with to=... {suggest('', self.domains)}")
        asked = [to] if isinstance(to, str) else list(to) if isinstance(to, (list, tuple)) else []
        if not asked or not all(isinstance(name, str) for name in asked):
            given = torch.as_tensor(to)
            return (given.expand(images.shape[0]) if given.ndim == 0 else given[rows]).to(self.device)
        if domains["kind"] == "classes":
            number = self._number(asked[0])
            if len(asked) > 1:
                raise UserError(
                    f"An image can have only one of {', '.join(self.domains)}, but {', '.join(asked)} were given. Give "
                    "one."
                )
            return torch.full((len(images),), number, device=self.device)
        bits = self._own(images, labels, rows)
        for name in asked:
            number = self._number(name.removeprefix(NOT), NOT if name.startswith(NOT) else "")
            if not name.startswith(NOT):
                bits[:, [other for group in domains["exclusive"] if number in group for other in group]] = 0
            bits[:, number] = 0 if name.startswith(NOT) else 1
        return bits

    def check_labels(self, labels: Any) -> None:
        """Raise UserError for labels of images that this translator does not know, or has no use for."""
        if labels is None:
            return
        if self.config["domains"]["kind"] != "attributes":
            raise UserError(
                "This translator does the same whatever an image is now: it takes no labels, only a translator of "
                "attributes does. Leave labels out."
            )
        for name in labels:
            if isinstance(name, str):
                self._number(name)

    def _number(self, name: str, before: str = "") -> int:
        if name not in self.domains:
            known = [f"{before}{one}" for one in self.domains]
            raise UserError(f"This translator does not know '{before}{name}'. {suggest(before + name, known)}")
        return self.domains.index(name)

    def _own(self, images: Tensor, labels: Any, rows: slice) -> Tensor:
        """The attributes of images, bits ``[n, size]``: from `labels`, or predicted by the reader."""
        if labels is not None and len(labels) and all(isinstance(name, str) for name in labels):
            bits = torch.zeros(len(images), len(self.domains), dtype=torch.int64)
            bits[:, [self._number(name) for name in labels]] = 1
            return bits.to(self.device)
        if labels is not None:
            return torch.as_tensor(labels)[rows].clone().to(self.device)
        if self.reader is None:
            raise UserError(
                "The translator must know which attributes each image has, and an artefact cannot find out. Give "
                f"labels, from {', '.join(self.domains)}; or load the run folder, whose discriminator finds them."
            )
        size = self.config["image"][1:]
        shrunk = images
        if list(images.shape[2:]) != size:
            side = min(images.shape[2:])
            top, left = ((length - side) // 2 for length in images.shape[2:])
            square = images[:, :, top : top + side, left : left + side]
            shrunk = torch.nn.functional.interpolate(square, size=size, mode="bilinear", antialias=True)
        return (self.reader(shrunk)["classes"] > 0).long()

    def fused(self, batch: int = CHUNK) -> Translator:
        """A faster form of this translator, see `frugan.fusing`. Its images are equal up to rounding; bytes may differ.

        Args:
            batch: the usual number of images in a call; `translate` uses 32.
        """
        inputs = (one.to(self.device) for one in self.blueprint.example(batch))
        return Translator(fuse(self.module, *inputs), self.config, self.reader)
