"""A picture of fakes with their nearest training images. They are equal if the generator copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FAKES = 10
SEED = 0
CHUNK = 2**24
"""Numbers of training images that are compared at a time, 64 MB of them."""


def panel(path: Path) -> dict[str, str] | None:
    """A picture of the first fakes above their nearest training images; None if the data are not on this machine.

    "Nearest" is by Euclidean distance between pixels. This finds copies and slightly changed copies, but not shifted
    ones; the metric "memorisation" uses a view instead.
    """
    from frugan import artefact, build
    from frugan.engine.run import RunFolder
    from frugan.recipe import from_run
    from frugan.registry import UserError
    from frugan.reporting import _pictures as pictures

    run = RunFolder(path)
    stream, facts = next(iter(run.read_json(run.facts)["data"].items()))
    wanted = from_run(run).data_of(stream)
    try:
        train = build.open_data(wanted, allow_unusable=True)
        generator = artefact.open_shipped(path, role="generator")
    except UserError:
        return None
    if train.content_hash != facts["hash"]:
        return None
    fakes = generator.sample(FAKES, seed=SEED)
    rows, distances = nearest(fakes, train.images)
    apart = [float(distance) / fakes[0].size ** 0.5 for distance in distances]
    real = train.images.index_select(0, rows).permute(0, 2, 3, 1).numpy()
    return {
        "address": pictures.of_rows(fakes, real), "alt": f"{FAKES} generated images over their nearest training images",
        "caption": f"Above, the first {FAKES} images of seed {SEED}, none picked; below, the training image of "
        f"{len(train):,} that is nearest by Euclidean distance between pixels.",
        "apart": f"{min(apart):.1f} to {max(apart):.1f} of 255 apart in root mean square; 0 would be a copy",
    }  # fmt: skip


def nearest(fakes: Any, real: Any) -> Any:
    """The row of `real` ``[n, c, h, w]`` nearest to each of `fakes` ``[m, h, w, c]``, both bytes, and the distance."""
    import torch

    asked = torch.from_numpy(fakes).permute(0, 3, 1, 2).flatten(1).float()
    distances = torch.full((len(asked),), torch.inf)
    rows = torch.zeros(len(asked), dtype=torch.int64)
    many = max(1, CHUNK // real[0].numel())
    for start in range(0, len(real), many):
        part = real[start : start + many].flatten(1).float()
        # Not by products of matrices, whose rounding in float32 hides that a copy is at distance 0.
        closest = torch.cdist(asked, part, compute_mode="donot_use_mm_for_euclid_dist").min(1)
        closer = closest.values < distances
        distances = torch.where(closer, closest.values, distances)
        rows = torch.where(closer, closest.indices + start, rows)
    return rows, distances
