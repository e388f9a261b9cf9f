"""Named sources: well-known data sets, searched for in the user's data folders and never downloaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from frugan.cache import cache_root
from frugan.files import expanded
from frugan.registry import UserError


class Named(NamedTuple):
    """A well-known data set: what it is, how many classes it has, and how to get it.

    `asked`: whether the reader needs NAME:PATH, since the folder alone does not show what it is. `terms`: what its
    authors allow, in a sentence for whoever is given what was made from it; empty if frugan does not know.
    """

    what: str
    classes: int
    get: str
    asked: bool = False
    terms: str = ""


NAMED = {
    "mnist": Named(
        "MNIST: handwritten digits, 28 x 28 grey", 10, "type --data hub:ylecun/mnist",
        terms="Copyright of Yann LeCun and Corinna Cortes, Creative Commons Attribution-ShareAlike 3.0.",
    ),
    "emnist-letters": Named(
        "EMNIST Letters: handwritten letters, 28 x 28 grey", 26, "fetch its IDX files from its authors"
    ),
    "cifar10": Named(
        "CIFAR-10: ten kinds of things, 32 x 32 colour", 10, "type --data hub:uoft-cs/cifar10",
        terms="Its authors name no licence; they ask to cite Krizhevsky 2009.",
    ),
    "celeba": Named(
        "CelebA: photographs of faces with 40 attributes, 178 x 218 colour", 0,
        "ask its authors for img_align_celeba and list_attr_celeba.txt", asked=True,
        terms="Photographs of people. Its authors allow research that is not commercial, and nothing else.",
    ),
    "rafd": Named(
        "RaFD: photographs of faces with eight expressions", 8, "ask its authors for access", asked=True,
        terms="Photographs of people. Its authors allow research that is not commercial, to those who asked them.",
    ),
    "stirling": Named(
        "Stirling: photographs of faces with seven expressions", 7,
        "ask its authors for access, and name the files PERSON_EXPRESSION_ANGLE.jpg", asked=True,
    ),
}


def places(cache: Path | None = None) -> list[Path]:
    """The folders in which named sources are looked for: those of ``$FRUGAN_DATA``, then the cache's `data`."""
    listed = [expanded(part) for part in os.environ.get("FRUGAN_DATA", "").split(os.pathsep) if part]
    return [*listed, (cache or cache_root()) / "data"]


def find_folder(name: str, cache: Path | None = None) -> Path | None:
    """The folder that holds the named source, or None."""
    return next((place / name for place in places(cache) if (place / name).is_dir()), None)


def locate(name: str, cache: Path | None = None) -> str:
    """The folder of a named source, as its reader needs it. Raises UserError, with what to do, if there is none."""
    folder = find_folder(name, cache)
    if folder is None:
        searched = ", ".join(str(place / name) for place in places(cache))
        raise UserError(
            f"The data set {name} is not here: looked for {searched} (FRUGAN_DATA lists folders to look in)."
            f" Either {NAMED[name].get}, or --data {f'{name}:' if NAMED[name].asked else ''}PATH to say where it is,"
            " or --data glyphs for the built-in ones."
        )
    return f"{name}:{folder}" if NAMED[name].asked else str(folder)
