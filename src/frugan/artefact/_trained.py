"""What all trained networks have in common: their weights, their config, and how to save them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frugan import costs
from frugan.arguments import File, strict
from frugan.artefact import _files
from frugan.artefact._config import blueprint_of
from frugan.artefact._onnx import Running
from frugan.batch import Range, from_bytes
from frugan.blueprint import Blueprint
from frugan.fusing import Fused
from frugan.registry import UserError

CHUNK = 32
"""Images are always made in chunks of so many, so that on one machine no image depends on how many are made."""


class TrainedNetwork:
    """A trained network of any role.

    Attributes:
        module: the network, in evaluation mode.
        config: what it is and how it was made, as stored in ``config.json``.
    """

    def __init__(self, module: nn.Module, part: str, config: Mapping[str, Any]) -> None:
        self.module = set_memory_layout(freeze(module), part)
        self.config = dict(config)

    @property
    def role(self) -> str:
        """What it is: generator, translator, encoder or classifier."""
        return str(self.config.get("role", "generator")).partition("_")[0]

    @property
    def blueprint(self) -> Blueprint:
        """All that is needed to build its network."""
        return blueprint_of(self.config)

    def inputs(self, batch: int = 1) -> list[tuple[int, ...] | Tensor]:
        """Inputs for the module, as `frugan.cost` takes them."""
        return self.blueprint.inputs(batch)

    def condition(self, count: int, labels: Any) -> Tensor | None:
        """The condition of the network for `count` inputs: classes ``[count]`` int64, or values ``[count, size]``.

        It is None for a network without a condition. If `labels` are left out, they are every class in turn, or values
        of zero.

        Raises UserError for labels that the network cannot use, or for the wrong number of labels.
        """
        blueprint = self.blueprint
        size = blueprint.condition
        if not size:
            if labels is not None:
                raise UserError(
                    f"This {self.role} was trained without labels. Leave labels out, or train it with them: "
                    f"{self.role}.labels=true."
                )
            return None
        if not blueprint.labels:
            given = torch.zeros(size) if labels is None else torch.as_tensor(labels, dtype=torch.float32)
            if given.ndim not in (1, 2) or given.shape[-1] != size or (given.ndim == 2 and len(given) != count):
                raise UserError(f"labels: give {size} values that hold for all images, or an array [{count}, {size}].")
            return given.expand(count, size)
        given = torch.arange(count) % size if labels is None else torch.as_tensor(labels, dtype=torch.int64)
        given = given.expand(count) if given.ndim == 0 else given
        unknown = given[(given < 0) | (given >= size)] if given.ndim == 1 else given[:0]
        if given.shape != (count,):
            raise UserError(
                f"labels: give {count} class numbers from 0 to {size - 1}, one for each image, or one number for all; "
                f"these are {list(given.shape)}."
            )
        if len(unknown):
            raise UserError(f"labels: there is no class {int(unknown[0])}; this {self.role}'s are 0 to {size - 1}.")
        return given

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""
        return next(self.module.parameters()).device

    @property
    def weights_hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of all weights and buffers, by name."""
        return _files.hash_of(self.module.state_dict())

    @property
    def image_range(self) -> tuple[float, float]:
        """The range of the images that it makes or takes."""
        return self.module.image_range  # type: ignore[return-value]

    @strict
    def save(self, path: File, overwrite: bool = False, **also: Any) -> Path:
        """Write an artefact folder. Networks that only a run folder has, such as a reader of labels, are not written.

        What is given as `also` is added to the config, and so to the card.

        Raises UserError if something is at `path` already and `overwrite` is False, or if the network is fused.
        """
        if isinstance(self.module, Running):
            raise UserError("This is an exported file already. Copy the file, or save the run that it came from.")
        if isinstance(self.module, Fused):
            raise UserError(
                "A fused network works on one machine only, so it cannot be saved. Save the network that it was made "
                "from."
            )
        cost = costs.cost(self.module, *self.inputs()).as_dict()
        return _files.write(Path(path), {**self.config, "cost": cost, **also}, self.module.state_dict(), overwrite)


def chunks_of(
    images: Any, shape: Sequence[int], image_range: Range, device: torch.device, who: str, multiple: int | None = None,
) -> Iterator[Tensor]:
    """Bytes ``[n, height, width, channels]`` as floats ``[up to 32, channels, height, width]`` in `image_range`.

    Args:
        shape: (channels, height, width) of the images that the network takes.
        who: the network's name in messages.
        multiple: if given, other sizes are allowed too, if both sides are multiples of this number.

    Raises UserError for images of another shape or type.
    """
    import numpy as np

    given = torch.from_numpy(np.array(images))  # a copy: torch warns of arrays that cannot be written to
    channels, *sides = shape
    fits = given.dtype == torch.uint8 and given.ndim == 4 and given.shape[-1] == channels
    if fits and multiple is None:
        fits = list(given.shape[1:3]) == list(sides)
    elif fits and multiple is not None:
        fits = all(side and side % multiple == 0 for side in given.shape[1:3])
    if not fits:
        wanted = f"height, width, {channels}] with sides that are multiples of {multiple}"
        if multiple is None:
            wanted = f"{sides[0]}, {sides[1]}, {channels}]"
        raise UserError(
            f"Images of {given.dtype} and shape {list(given.shape)} were given; {who} takes bytes [count, {wanted}."
        )
    for start in range(0, len(given), CHUNK):
        yield from_bytes(given[start : start + CHUNK].permute(0, 3, 1, 2), image_range).to(device)


def set_memory_layout(module: nn.Module, part: str) -> nn.Module:
    """The network in the memory layout in which it is fastest; `part` is as in its order.

    Decoders become channels-last: torch's convolutions and upsamplings take up to twice as long in the default layout.
    Translators keep the default: they have many instance norms, which are many times slower in channels-last.
    """
    layout = torch.channels_last if part == "decoder" else torch.contiguous_format
    return module.to(memory_format=layout)  # pyrefly: ignore


def freeze(module: nn.Module) -> nn.Module:
    """The network in evaluation mode, its weights without gradients, and marked as trained."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    module.frugan_trained = True  # type: ignore[assignment]
    return module.eval()
