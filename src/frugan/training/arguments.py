"""The arguments of ``frugan.train`` and ``frugan train``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from frugan.arguments import Changes, Code, Count, File, Init, Name, Source
from frugan.recipe import Choice, Recipe

Observers = Annotated[str | Sequence[str | Choice], "an observer, such as 'mine,option=1', or a list of them"]
"""Observers by name, each perhaps with options; on the command line with + between them."""


@dataclass(frozen=True)
class TrainingArguments:
    """Which recipe to train, what to change in it, and where to keep the run. The rest is as in the recipe."""

    recipe: str | Recipe | None = None
    """A recipe's name (frugan recipes), or the recipe.json of another run; in Python also a `Recipe`. If left out:
    `small`, with settings that suit the images of --data, which are printed."""
    _: KW_ONLY
    changes: Changes | None = None
    """Any value of the recipe as key=value; "frugan train RECIPE --help" lists them."""
    data: Source | None = None
    """Where the images come from: glyphs, a folder, a .parquet, a .npz, hub:owner/name ... (frugan data list)."""
    family: Name | None = None
    """Convolution family of the networks that make images, e.g. factorised; with options: depthwise,multiplier=2."""
    images: Count | None = None
    """How many real images to show in total: 60000, 60k, 2M. A larger number trains a finished run further."""
    minutes: float | None = None
    """How many minutes to train, instead of --images. The speed here is measured first, and gives the number of images;
    the same command continues a run with that number."""
    holdout: Count | None = None
    """How many images to hold out for evaluation, or 0. If left out: one in ten (at most 5,000) of data that have no
    test split, if they are 200 or more."""
    seed: int | None = None
    """Decides the first weights, the order of the images and the latents."""
    out: File | None = None
    """The folder of the run. If left out: runs/RECIPE-DATA-FAMILY-seed-SEED."""
    discriminator_family: Name | None = None
    """Convolution family of the discriminators."""
    rounds: int | None = None
    """How many rounds to train, instead of --images: then runs of any batch size get equally many updates."""
    batch_size: int | None = None
    """How many real images each step of the discriminator sees."""
    device: Name | None = None
    """Where to train: cpu, cuda, cuda:1 ... If left out: the best that this machine has."""
    precision: Name | None = None
    """Number format of the computation: auto, float32 or bf16."""
    init: Init | None = None
    """Start the generator from the weights of this artefact or run. For other networks: NETWORK=PATH, several with
    commas (in Python a map). A network that is not trained, such as a teacher, needs this and keeps these weights."""
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
    """Every N images (e.g. 20k), measure the images that the run can make so far. This is small and fast: fid_2k uses
    2,000 images, so it is not a final FID."""
    keep_best: Name | None = None
    """fid or class_coverage: save the checkpoint with the best value as an artefact in OUT/best, and evaluate it again
    with other latents. Needs --evaluate-every. Training always continues from the last checkpoint."""
    observers: Observers = ()
    """Your own observers, which watch the run (docs/extending.md): NAME, or NAME,option=value+NAME. They change
    nothing, so you may continue a run with others."""
    quiet: bool = False
    """Print nothing."""
