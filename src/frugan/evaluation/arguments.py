"""What an evaluation can be asked for: the arguments of ``frugan.evaluate`` and ``frugan evaluate``."""

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
    """What is judged, by what it is compared with, and how. What is left out follows from the data."""

    fakes: str | Path | RunFolder
    """A run, an artefact, or images: a folder (PNG, not JPEG), an .npz (`images`, uint8), a .parquet."""
    _: KW_ONLY
    real: Source | None = None
    """Real images to compare with: a folder, .parquet, .npz, a name (frugan data list), or an .npz of `mu` and `sigma`
    for fid alone. A run knows its own."""
    metrics: Names | None = None
    """Which metrics. If left out fid and kid, and class_coverage where the view knows the classes of the data; of a
    translator fid, target_accuracy, preservation, reconstruction_error and identity_error, each for every target.
    Where the reference is fewer than 20,000 training images, memorisation comes with any that compares with real
    ones."""
    view: Name | View | None = None
    """Which network looks at the images. If left out, classifier for labelled data of two classes or more (a small net
    trained on the real images alone), stacked for three such images in one, else pixels; inception for statistics of
    2048 features."""
    count: Count | None = None
    """How many fakes, and how many real images at most. If left out all given ones; of a generator as many as there
    are real ones, but 1,000 at least and 10,000 at most; of a translator 1,000 for each target."""
    seed: int = 0
    """Of the latents, or of which images are translated."""
    reference: Name | None = None
    """test or train: the real images to compare with; the held-out ones if left out and there are enough."""
    allow_few: Names = ()
    """Metrics to compute even of too few images. Such a value shares no table with others."""
    size: int | None = None
    """Bring the images of `real` to this side first, as training would."""
    channels: int | None = None
    """Bring the images of `real` to 1 (grey) or 3 (colour) channels first."""
    allow_unusable: bool = False
    """Go on even if more than 5 % of the given images cannot be used."""
    batch_size: int = 256
    """Images that the view looks at together."""
    view_seed: int = 0
    """Of a view that learns: another judge of the same kind, on a scale of its own."""
    device: Name | None = None
    """cpu, cuda ...; the best there is if left out."""
    code: Code | None = None
    """A Python file of your own that adds metrics, views or networks (docs/extending.md); as often as wanted. Those of
    a run are known to it."""
    trust_code: bool = False
    """Run the Python files that a run names even if you never ran them on this machine. They could do anything: read
    them first."""
    progress: Callable[[str], None] | None = None
    """Called with a line of text before something slow, or something to be known."""
