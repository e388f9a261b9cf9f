"""What you can ask of a training: the arguments of ``frugan.train`` and ``frugan train``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from frugan.arguments import Changes, Code, Count, File, Init, Name, Source
from frugan.recipe import Choice, Recipe

Observers = str | Sequence[str | Choice]
"""Observers by name, each perhaps with options; on the command line with + between them."""


@dataclass(frozen=True)
class TrainingArguments:
    """Which recipe is trained, what is changed in it, where the run is kept. What is left out is as in the recipe."""

    recipe: str | Recipe
    """A recipe's name (frugan recipes), or the recipe.json of another run; in Python also a `Recipe`."""
    _: KW_ONLY
    changes: Changes | None = None
    """Any value of the recipe as key=value; "frugan train RECIPE --help" lists them."""
    data: Source | None = None
    """Where images come from: glyphs, a folder, a .parquet, a .npz, hub:owner/name ... (frugan data list)."""
    family: Name | None = None
    """Convolution family of the networks that make images: factorised, or with options depthwise,multiplier=2."""
    images: Count | None = None
    """Real images to show in all: 60000, 60k, 2M. A larger number trains a finished run further."""
    seed: int | None = None
    """Decides initial weights, order of images and latents."""
    out: File | None = None
    """The run folder; runs/RECIPE-DATA-FAMILY-seed-SEED if left out."""
    discriminator_family: Name | None = None
    """Convolution family of the discriminators."""
    rounds: int | None = None
    """Rounds instead of images, where equal updates are wanted."""
    batch_size: int | None = None
    """Real images in each step of the discriminator."""
    device: Name | None = None
    """cpu, cuda, cuda:1 ...; the best there is if left out."""
    precision: Name | None = None
    """auto, float32 or bf16."""
    init: Init | None = None
    """An artefact or run whose weights the generator begins with; or NETWORK=PATH, several with commas (in Python a
    map). A network that no player trains, such as a teacher, needs this and keeps these weights."""
    code: Code | None = None
    """A Python file of your own that adds families, networks, games, metrics or recipes (docs/extending.md); may be
    repeated. The run keeps their hashes; a run that you continue knows its files."""
    trust_code: bool = False
    """Run the Python files that a run names even if you never ran them on this machine. They could do anything: read
    them first."""
    allow_changed_code: bool = False
    """Continue the run even if Python files of your own have changed since; the run records it."""
    allow_unusable: bool = False
    """Train even if more than 5 % of the images cannot be used."""
    evaluate_every: Count | None = None
    """Every N images (20k), measure what the run would ship. This is small and fast: fid_2k uses 2,000 images and is
    no final FID."""
    keep_best: Name | None = None
    """fid or class_coverage: keep the checkpoint that is best by it as an artefact in OUT/best, and evaluate that one
    anew with other latents. Training itself goes on from the last one."""
    observers: Observers = ()
    """Observers of your own that look at the run (docs/extending.md): NAME, or NAME,option=value+NAME. They change
    nothing, so you may continue a run with others."""
    quiet: bool = False
    """Print nothing."""
