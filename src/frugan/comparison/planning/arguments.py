"""What a comparison can be asked for: the arguments of ``frugan.compare`` and ``frugan compare``."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from frugan.arguments import Changes, Code, Count, File, Name, Names, Source, WholeNumbers
from frugan.comparison.planning.arms import Arms


@dataclass(frozen=True)
class ComparisonArguments:
    """What is compared, what is the same for all arms, and how it is judged."""

    arms: Arms
    """Each "[name:] RECIPE [--family F] [key=value ...]" in quotes, e.g. "thin: mnist architecture.width=0.7". The
    first is the baseline. key=value outside of quotes is meant for all arms. In Python also a `Recipe` or an `Arm`."""
    _: KW_ONLY
    out: File | None = None
    """The comparison's folder, in which what is there is continued; runs/compare-ARM-ARM if left out."""
    families: Names = ()
    """With a single recipe: one arm for each family, e.g. standard,factorised,depthwise."""
    seeds: WholeNumbers = range(5)
    """Shared by all arms, which are compared seed by seed: 0-4 or 0,1,5. Fewer than five give a direction, no
    verdict."""
    images: Count | None = None
    """Real images each run is shown: 60k, 2M; the recipes' own if left out."""
    data: Source | None = None
    """Where images come from, for all arms."""
    changes: Changes | None = None
    """Values of the recipe, by dotted key, for all arms."""
    jobs: int = 1
    """Runs at a time; the cores are shared out among them, alike for all."""
    metrics: Names | None = None
    """The first decides, the others describe. As for evaluate if left out, fid first."""
    view: Name | None = None
    """Which network looks at the images; chosen by the data if left out."""
    count: Count | None = None
    """Images made for each evaluation; as for evaluate if left out."""
    reference: Name | None = None
    """test or train: the real images to compare with; the held-out ones if left out and there are enough."""
    allow_few: Names = ()
    """Metrics to compute even of too few images. Such values share no table with others."""
    baseline: Name | None = None
    """The name of the arm that the others are compared with; the first if left out."""
    margin: float | None = None
    """How much worse in the first metric still counts as not worse. Left out, pilot runs of the baseline say before
    the test what a tenth less training costs, and it is no less than the metric's convention."""
    pilot_seeds: WholeNumbers | None = None
    """Seeds of the pilots, outside the test; 1000-1002 if left out, "none" (in Python an empty list) for no pilots."""
    match: Name | None = None
    """parameters, macs or latency: each frugal arm also brings its control, the baseline made thinner until it has the
    same; an arm that does not beat it has saved nothing."""
    equal: Name = "images"
    """What arms have the same of: images; seconds, those that the baseline takes; or e.g. 600s."""
    tune: int | None = None
    """Short trials of every arm before the test, 1 to 18, over one stated list of settings; each arm is then tested
    with those of its best trial. The first trial is the recipe as it stands. Left out, no arm is tuned."""
    tune_images: Count | None = None
    """Real images each trial of the baseline is shown, other arms in proportion to their budgets; a quarter of the
    budget if left out."""
    tune_seeds: WholeNumbers | None = None
    """Seeds of the trials, outside the test; 2000 if left out. With several, a trial is judged by its mean."""
    untuned: File | None = None
    """A finished comparison of the same arms without tune, whose verdicts the report sets beside these."""
    no_damaged: bool = False
    """Add no arm damaged on purpose; then no arm can be called not worse."""
    rounds: int | None = None
    """Rounds instead of images, where equal updates are wanted."""
    batch_size: int | None = None
    """Real images in each step of the discriminator, for all arms."""
    device: Name | None = None
    """Where to train and evaluate: cpu, cuda ...; the best there is if left out."""
    precision: Name | None = None
    """auto, float32 or bf16."""
    evaluate_every: Count | None = None
    """Also measure every run whenever so many images were seen (20k), for curves in the report. No weight is changed
    by it."""
    retry_failed: bool = False
    """Train failed runs of all arms once more, after the cause has been mended."""
    code: Code | None = None
    """A Python file of your own that adds families, networks, games, metrics or recipes (docs/extending.md); as often
    as wanted. Their hashes stand in the plan, and a comparison that is continued knows its files."""
    trust_code: bool = False
    """Run the Python files that the plan names even if you never ran them on this machine. They could do anything: read
    them first."""
    allow_changed_code: bool = False
    """Continue though Python files of your own have changed since; it is written down in the plan and in the runs."""
    quiet: bool = False
    """Print nothing."""
