"""What you can ask of an evaluation: the arguments of ``frugan.evaluate`` and ``frugan evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frugan.arguments import Code, Count, Name, Names, Source

if TYPE_CHECKING:
    from frugan.engine.run import RunFolder
    from frugan.views import View


@dataclass(frozen=True)
class EvaluationArguments:
    """Which fakes are evaluated, against which real images, and how. What is left out follows from the data."""

    fakes: str | Path | RunFolder
    """A run, an artefact, or images: a folder (PNG, not JPEG), an .npz (`images`, uint8), a .parquet."""
    _: KW_ONLY
    real: Source | None = None
    """Real images to compare with: a folder, .parquet, .npz, a name (frugan data list), or an .npz of `mu` and `sigma`
    for fid alone. A run knows its own."""
    metrics: Names | None = None
    """Which metrics. If left out fid and kid, and class_coverage if the view knows the classes of the data; for a
    translator fid, target_accuracy, preservation, reconstruction_error and identity_error, each for every target.
    If the reference is fewer than 20,000 training images, memorisation is added to any metric that compares with
    real images."""
    view: Name | View | None = None
    """What turns images into features. If left out: classifier (a small net trained on the real images alone) for
    labelled data of two classes or more, stacked for three such images in one, else pixels; inception for statistics
    of 2048 features."""
    count: Count | None = None
    """How many fakes, and at most how many real images. If left out: all given ones; for a generator as many as there
    are real ones, but at least 1,000 and at most 10,000; for a translator 1,000 for each target."""
    seed: int = 0
    """Decides the latents, or which images are translated."""
    reference: Name | None = None
    """test or train: the real images to compare with; the held-out ones if left out and there are enough."""
    allow_few: Names = ()
    """Metrics to compute even from too few images. Such a value shares no table with others."""
    size: int | None = None
    """Resize the images of `real` to this side first, as training would."""
    channels: int | None = None
    """Convert the images of `real` to 1 (grey) or 3 (colour) channels first."""
    allow_unusable: bool = False
    """Go on even if more than 5 % of the given images cannot be used."""
    batch_size: int = 256
    """Images that the view takes at a time."""
    view_seed: int = 0
    """Seed of a view that learns: another one gives another classifier of the same kind, with a scale of its own."""
    device: Name | None = None
    """cpu, cuda ...; the best there is if left out."""
    code: Code | None = None
    """A Python file of your own that adds metrics, views or networks (docs/extending.md); may be repeated. A run knows
    its own."""
    trust_code: bool = False
    """Run the Python files that a run names even if you never ran them on this machine. They could do anything: read
    them first."""
    progress: Callable[[str], None] | None = None
    """Called with a line of text before something slow, and with what you should know."""
