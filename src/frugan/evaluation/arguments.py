"""The arguments of ``frugan.evaluate`` and ``frugan evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

import frugan
from frugan.arguments import Code, Count, File, Name, Names, Source

if TYPE_CHECKING:
    import frugan.views  # at a call it is imported by its name in the hint below


@dataclass(frozen=True)
class EvaluationArguments:
    """Which fakes to evaluate, against which real images, and how. What you leave out is chosen to suit the data."""

    fakes: File
    """A run, an artefact, or images: a folder (PNG, not JPEG), an .npz (`images`, uint8), a .parquet."""
    _: KW_ONLY
    real: Source | None = None
    """Real images to compare with: a folder, .parquet, .npz, a name (frugan data list), or, only for fid, an .npz with
    `mu` and `sigma`. If left out: the data that the run was trained on."""
    metrics: Names | None = None
    """Which metrics to compute. If left out: fid and kid, and class_coverage if the view knows the classes of the data.
    For a translator: fid, target_accuracy, preservation, reconstruction_error and identity_error, for every target.
    memorisation is added if fakes are compared with fewer than 20,000 training images."""
    view: Name | frugan.views.View | None = None
    """Which network turns images into features. If left out: classifier (a small net, trained on the real images) for
    data with two or more classes; stacked for stacked digits; inception for statistics of 2048 features; contrast (a
    small net, trained on the real images without labels) for everything else; pixels for fewer than 20 images."""
    count: Count | None = None
    """How many fakes to use; also the largest number of real images. If left out: all images that are given. A
    generator then makes as many as there are real images, but from 1,000 to 10,000; a translator 1,000 for each
    target."""
    seed: int = 0
    """Decides the latents, or which images are translated."""
    truncation: float | None = None
    """Limit a generator's normal latents to this value, as `frugan sample` does. Such values share no table with
    others."""
    reference: Name | None = None
    """test or train: which real images to compare with. If left out: test, if the data have enough held-out images."""
    allow_few: Names = ()
    """Metrics to compute even if there are too few images. Such values are never put in one table with others."""
    size: int | None = None
    """First resize the images of `real` to this width and height, as training would."""
    channels: int | None = None
    """First convert the images of `real` to 1 (grey) or 3 (colour) channels."""
    allow_unusable: bool = False
    """Continue even if more than 5 % of the given images cannot be used."""
    batch_size: int = 256
    """How many images the view takes at once."""
    view_seed: int = 0
    """Seed of a view that is trained. Another seed gives another classifier, whose values have another scale."""
    device: Name | None = None
    """Where to compute: cpu, cuda ... If left out: the best that this machine has."""
    code: Code | None = None
    """A Python file of your own that adds metrics, views or networks (docs/extending.md); may be repeated. The files
    that the run was trained with need not be named."""
    trust_code: bool = False
    """Run the Python files that a run names even if you never ran them on this machine. They could do anything: read
    them first."""
    progress: Callable[[str], None] | None = None
    """A function that is called with a line of text before slow steps and for remarks."""
