"""What a comparison can be asked for: the arguments of ``frugan.compare`` and ``frugan compare``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from frugan.arguments import Changes, Code, Count, File, Name, Names, Source, WholeNumbers
from frugan.comparison.planning.arms import Arms
from frugan.ranges import Times


@dataclass(frozen=True)
class ComparisonArguments:
    """What to compare, what is the same for all arms, and how the arms are judged."""

    arms: Arms = ()
    """What to compare, each in quotes: "[name:] RECIPE [--family F] [key=value ...]", e.g. "thin: mnist
    architecture.width=0.7". The first is the baseline. A key=value outside the quotes applies to all arms. In Python
    also a `Recipe` or an `Arm`. If left out: the recipe that train chooses for the images of --data."""
    _: KW_ONLY
    out: File | None = None
    """The comparison's folder. If it holds a comparison that was begun, that one is continued. If left out:
    runs/compare-ARM-ARM."""
    families: Names = ()
    """With one recipe: make one arm for each of these families, e.g. standard,factorised,depthwise."""
    seeds: WholeNumbers = range(5)
    """Seeds, e.g. 0-4 or 0,1,5. Every arm is trained once with each, and arms are compared seed by seed. Fewer than
    five seeds give a direction but no verdict."""
    images: Count | None = None
    """How many real images each run is shown: 60k, 2M. If left out, what each recipe says."""
    minutes: float | None = None
    """If no recipe is named: how many minutes the baseline trains in each run; all arms get as many images. If left
    out: 20."""
    data: Source | None = None
    """Where the images come from, for all arms: as for train."""
    changes: Changes | None = None
    """Values of the recipes as key=value, for all arms."""
    jobs: Times = 1
    """How many runs are trained at the same time. They share the cores equally."""
    launcher: Name = "local"
    """Where the runs are trained: local (here), files (commands that you run), slurm, ray (docs/cluster.md). The same
    command with another launcher continues the comparison."""
    launcher_options: File | Mapping[str, Any] | None = None
    """A TOML file with options of the launcher, e.g. cpus = 4 (docs/cluster.md lists them); in Python also a map."""
    metrics: Names | None = None
    """Metrics. The first decides the verdicts; the others only describe. If left out: as for evaluate, with fid
    first."""
    view: Name | None = None
    """Which network turns images into the features that metrics compare. If left out, one that suits the data."""
    count: Count | None = None
    """How many images to make for each evaluation. If left out: as for evaluate."""
    reference: Name | None = None
    """test or train: which real images to compare with. If left out: test, if the data have enough held-out images."""
    allow_few: Names = ()
    """Metrics to compute even if there are too few images. Such values are never put in one table with others."""
    baseline: Name | None = None
    """The name of the arm that the others are compared with. If left out: the first arm."""
    margin: float | None = None
    """An arm that is worse by less than this, in the first metric, counts as not worse. If left out, extra runs of the
    baseline before the test (pilots) measure what a tenth less training costs. That is the margin, unless the metric's
    own convention is larger."""
    pilot_seeds: WholeNumbers | None = None
    """Seeds of the pilots; they must differ from --seeds. If left out: 1000-1002. "none" (in Python an empty list): no
    pilots."""
    match: Name | None = None
    """parameters, macs or latency. For each arm, also train a control: the baseline, made thinner until it costs the
    same by this measure. An arm that does not beat its control has saved nothing."""
    equal: Name = "images"
    """What every arm gets the same amount of: images; seconds (as many as the baseline takes); or a number of seconds,
    e.g. 600s."""
    tune: int | None = None
    """Tune every arm before the test: train it in N trials, each with other settings from one fixed list of 9 to 23, by
    recipe. The better half goes on, and the test uses the settings of the arm's best trial. The first trial is
    the unchanged recipe. If left out, no arm is tuned."""
    tune_images: Count | None = None
    """How many real images the longest trials of the baseline are shown; of three or more, others end after a quarter
    or half of that. Trials of other arms get the same share of their own budgets. If left out: half of the budget."""
    tune_seeds: WholeNumbers | None = None
    """Seeds of the trials; they must differ from --seeds. If left out: 2000. With several seeds, the mean of a trial
    counts."""
    untuned: File | None = None
    """The folder of a finished comparison of the same arms without --tune. The report shows its verdicts beside the new
    ones."""
    no_damaged: bool = False
    """Do not add the arm that is damaged on purpose. Then no arm can be called not worse."""
    rounds: int | None = None
    """How many rounds to train, instead of --images: then all arms get equally many updates."""
    batch_size: int | None = None
    """How many real images each step of the discriminator sees, for all arms."""
    device: Name | None = None
    """Where to train and evaluate: cpu, cuda ... If left out: the best that this machine has."""
    precision: Name | None = None
    """Number format of the computation: auto, float32 or bf16."""
    evaluate_every: Count | None = None
    """Every N images (e.g. 20k), also measure each run while it trains, for curves in the report. This changes no
    weights."""
    runtime: Name | None = None
    """Also export each arm's network, and measure its time and memory in this runtime: onnxruntime. The report shows it
    in a column and a plot of its own."""
    retry_failed: bool = False
    """Train the runs that failed once more, in all arms. Use it after you have fixed the cause."""
    code: Code | None = None
    """A Python file of your own that adds families, networks, games, metrics or recipes (docs/extending.md); may be
    repeated. The plan keeps their hashes; a comparison that you continue knows its files."""
    trust_code: bool = False
    """Run the Python files that the plan names even if you never ran them on this machine. They could do anything: read
    them first."""
    allow_changed_code: bool = False
    """Continue even if Python files of your own have changed since. The plan and the runs record it."""
    quiet: bool = False
    """Print nothing."""
