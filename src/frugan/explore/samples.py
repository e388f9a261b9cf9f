"""Samples to explore from: latents and labels, those of ``frugan sample`` or of a file, chosen by their numbers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from frugan import files
from frugan.artefact import Generator
from frugan.files import DAMAGED_ARCHIVE
from frugan.registry import UserError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class Samples:
    """Latents ``[count, size]`` of a generator, with the condition of each if it has one.

    Attributes:
        truncation: under which the latents were drawn.
        where: what they are in messages, such as "the samples of seed 0".
    """

    generator: Generator
    latents: Tensor
    labels: Tensor | None = None
    truncation: float | None = None
    where: str = "the samples"

    def __len__(self) -> int:
        return len(self.latents)

    def images(self) -> np.ndarray[Any, Any]:
        """Bytes ``[count, height, width, channels]``."""
        return images_of(self.generator, self.latents, self.labels, self.truncation)

    def take(self, numbers: Sequence[int]) -> Samples:
        """Those with these numbers. Raises UserError for a number that there is not."""
        wrong = [number for number in numbers if not 0 <= number < len(self)]
        if wrong:
            raise UserError(
                f"There is no sample {wrong[0]}: {self.where} have the numbers 0 to {len(self) - 1}. See them by "
                "frugan explore grid; --count N makes more."
            )
        rows = torch.tensor(list(numbers), dtype=torch.int64)
        return Samples(
            self.generator, self.latents[rows], None if self.labels is None else self.labels[rows], self.truncation,
            self.where,
        )


def images_of(
    generator: Generator, latents: Tensor, labels: Tensor | None = None, truncation: float | None = None
) -> np.ndarray[Any, Any]:
    """The images of latents ``[..., size]``: bytes ``[..., height, width, channels]``; labels ``[...]`` as them."""
    flat = latents.reshape(-1, latents.shape[-1])
    told = None if labels is None else labels.reshape(len(flat), *labels.shape[latents.ndim - 1 :])
    made = generator.images_of(flat, told, truncation)
    return made.reshape(*latents.shape[:-1], *made.shape[1:])


def samples(
    generator: Generator, count: int, seed: int = 0, labels: Any = None, truncation: float | None = None
) -> Samples:
    """The first `count` samples of a seed: their images are those of `Generator.sample` with the same arguments."""
    if count < 1:
        raise UserError(f"--count {count}: give a whole number above 0.")
    latents = generator.latents.rows(0, count, seed, truncation)
    condition = generator.condition(count, labels)
    return Samples(generator, latents, condition, truncation, f"the samples of seed {seed}")


def read_samples(generator: Generator, path: Path) -> Samples:
    """The latents (and labels) that an earlier command wrote, from FILE.npz.

    Raises UserError if the file is not one of these, or its latents are of another generator.
    """
    import numpy as np

    try:
        loaded = np.load(io.BytesIO(path.read_bytes()))
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array")
        arrays = {name: loaded[name] for name in loaded.files}
    except DAMAGED_ARCHIVE as error:
        raise UserError(f"--latents {path}: it cannot be read as FILE.npz ({error}).") from None
    found, size = arrays.get("latents"), generator.latents.size
    if found is None or found.ndim != 2 or found.shape[1] != size or not len(found) or found.dtype.kind != "f":
        has = f"{list(found.shape)} {found.dtype}" if found is not None else f"only {', '.join(arrays) or 'nothing'}"
        raise UserError(
            f"--latents {path} must hold an array 'latents' of floats [count, {size}] for this generator, but it has "
            f"{has}. frugan explore project --out FILE.npz writes one."
        )
    labels = generator.condition(len(found), arrays.get("labels"))
    return Samples(generator, torch.from_numpy(found).float(), labels, None, f"the latents of {path}")


def write_samples(chosen: Samples, path: Path, **arrays: Any) -> None:
    """Write latents, labels and images as FILE.npz, which `read_samples` reads."""
    import numpy as np

    if chosen.labels is not None:
        arrays["labels"] = chosen.labels.numpy()
    arrays |= {"latents": chosen.latents.numpy(), "images": chosen.images()}
    with files.whole(path) as beside, beside.open("wb") as file:  # numpy would add its ending to FILE.NPZ
        np.savez_compressed(file, allow_pickle=False, **arrays)
