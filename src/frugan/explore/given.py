"""What a projection is given: images of files or sources, and the encoder of a run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from frugan import data
from frugan.artefact import Encoder, Generator, open_shipped
from frugan.engine.run import RunFolder
from frugan.explore.projecting import ENCODER, SEARCH, latents_of
from frugan.files import expanded
from frugan.registry import UserError, suggest


def open_encoder(run: Path, generator: Generator, by: str | None, device: str = "cpu") -> Encoder | None:
    """The encoder of the generator's latents that a run ships, unless a search is asked for.

    (InfoGAN ships an encoder, too, but of codes.) Raises UserError if an encoder is asked for and there is none.
    """
    if by not in (None, ENCODER, SEARCH):
        raise UserError(f"--by {by}: {suggest(by, (ENCODER, SEARCH))}")
    folder = RunFolder(run)
    ships = folder.exists() and ENCODER in folder.read_json(folder.facts)["shipped"]
    if by == ENCODER and not ships:
        raise UserError(f"{run} ships no encoder, so latents must be searched: --by search.")
    if not ships or by == SEARCH:
        return None
    encoder = open_shipped(run, role=ENCODER, device=device)
    if by is None and generator.latents.size not in encoder.outputs.values():
        return None
    latents_of(encoder, generator.latents.size)
    return encoder


def read(
    sources: Sequence[str], network: Generator | Encoder, count: int, split: str | None = None, *, resize: bool = False
) -> Any:
    """The images of files, folders or sources in the network's shape: bytes ``[n, height, width, channels]``.

    Raises UserError if there are none, one cannot be read, or one of the user's own has another size and `resize` is
    False.
    """
    import numpy as np

    channels, height, width = network.config["image"]
    if not sources:
        raise UserError("No images were given. Name files, folders or a source: frugan explore project RUN IMAGES.")
    pixels = []
    for source in sources:
        own = expanded(source).exists()  # a named source is resized as in training
        for one in islice(data.read_images(source, size=(height, width), channels=channels, split=split), count):
            if one.pixels is None or one.own_size is None:
                raise UserError(f"{one.path} cannot be used: {one.reason}")
            tall, wide = one.own_size
            if own and not resize and (tall, wide) != (height, width):
                raise UserError(
                    f"{one.path} has {wide} x {tall} pixels, but this {network.role} "
                    f"{'makes' if isinstance(network, Generator) else 'sees'} {width} x {height}. Give images of that "
                    "size, or --resize."
                )
            pixels.append(one.pixels)
    return np.stack(pixels[:count]).transpose(0, 2, 3, 1)
