"""The arguments of ``frugan.fit`` and ``frugan fit``."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from frugan.arguments import Changes, Code, Count, File, Limit, Name, Names, Source
from frugan.ranges import Times
from frugan.recipe import Recipe


@dataclass(frozen=True)
class FitArguments:
    """What the generator may cost, what it is trained on, and how long to search."""

    recipe: str | Recipe | None = None
    """The recipe whose network that makes images is varied, and by which all are trained; or a recipe.json. If left
    out: small, with settings that suit the images of --data, as for train."""
    _: KW_ONLY
    data: Source | None = None
    """Where the images come from: as for train. If left out: the recipe's."""
    max_latency: Limit | None = None
    """The most time that one image may take, e.g. 5ms: the median at batch 1, in --runtime with --threads, on this
    machine."""
    max_bytes: Limit | None = None
    """How large the exported file may be, e.g. 2MB (a million bytes each) or 500kB."""
    runtime: Name = "onnxruntime"
    """What will run the generator: onnxruntime, or torch. It is measured there."""
    threads: Times = 1
    """How many threads it will run on."""
    images: Count | None = None
    """How many real images the finalists are shown: 60k, 2M. If left out: as many as --minutes allow, but no more than
    the recipe says."""
    minutes: float | None = None
    """How long the whole search may take, with everything. If left out: until it is finished."""
    to: Name = "onnx"
    """What the winner is exported as: an export target, perhaps with options, e.g. onnx, hub-folder, or
    web,single_file=true."""
    out: File | None = None
    """The folder of the search. A search that was begun there is continued. If left out: runs/fit-RECIPE-DATA."""
    families: Names | None = None
    """Which convolution families to try. If left out: all that change the network."""
    widths: Names | None = None
    """By which factors to make the recipe's network wider or thinner. If left out: 1.4,1,0.7,0.5,0.35,0.25,0.18."""
    depths: Names | None = None
    """How deep to make it: OPTION=VALUE/VALUE..., an option of the architecture, e.g. blocks=2/4/6. If left out: as in
    the recipe."""
    candidates: Times | None = None
    """How many networks are trained at most; the others are only built and measured. If left out: 10, but with few
    --minutes one for each, and 3 at least."""
    metric: Name | None = None
    """The metric that decides, measured against held-out images if the data have enough. If left out: fid, or kid if
    there are too few images for fid."""
    view: Name | None = None
    """Which network turns images into the features that the metric compares. If left out, one that suits the data."""
    count: Count | None = None
    """How many images to make for the finalists' values. If left out: as for evaluate. Earlier values use 2,000."""
    seed: int = 0
    """The seed of every run."""
    changes: Changes | None = None
    """Values of the recipe as key=value, for all candidates."""
    jobs: Times = 1
    """How many runs are trained at the same time. They share the cores equally."""
    device: Name | None = None
    """Where to train: cpu, cuda ... If left out: the best that this machine has. Latency is measured on the CPU."""
    code: Code | None = None
    """A Python file of your own that adds families, networks, games, metrics or recipes (docs/extending.md); may be
    repeated."""
    trust_code: bool = False
    """Run the Python files that the search names even if you never ran them on this machine. They could do anything:
    read them first."""
    quiet: bool = False
    """Print nothing."""
