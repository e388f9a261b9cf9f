"""Fakes beside the training images that are nearest to them: what a generator that copies would show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FAKES = 10
SEED = 0
CHUNK = 4096


def panel(path: Path, code: str | Path | None) -> dict[str, str] | None:
    """A picture of the first fakes over their nearest training images; None where the data are not at hand.

    Nearness is that of pixels, which sees copies and slightly changed ones, not shifted ones: the metric
    "memorisation" looks through a view.
    """
    from frugan import artefact
    from frugan import data as sources
    from frugan.engine.run import RunFolder
    from frugan.recipe import from_run
    from frugan.registry import UserError
    from frugan.reporting import _pictures as pictures

    run = RunFolder(path)
    stream, facts = next(iter(run.read_json(run.facts)["data"].items()))
    wanted = from_run(run).data_of(stream)
    try:
        train = sources.open_dataset(
            wanted.source, split=wanted.split, size=wanted.size, channels=wanted.channels, only=wanted.only,
            limit=wanted.limit, allow_unusable=True,
        )
        generator = artefact.load(path, role="generator", code=code)
    except UserError:
        return None
    if train.content_hash != facts["hash"]:
        return None
    fakes = generator.sample(FAKES, seed=SEED)
    rows = nearest(fakes, train.images)
    real = train.images.index_select(0, rows).permute(0, 2, 3, 1).numpy()
    return {
        "address": pictures.of_rows(fakes, real), "alt": f"{FAKES} generated images over their nearest training images",
        "caption": f"Above, the first {FAKES} images of seed {SEED}, none picked; below, the training image of "
        f"{len(train):,} that is nearest in pixels.",
    }  # fmt: skip


def nearest(fakes: Any, real: Any) -> Any:
    """The rows of `real` ``[n, c, h, w]`` nearest to each of `fakes` ``[m, h, w, c]``, both bytes."""
    import torch

    asked = torch.from_numpy(fakes).permute(0, 3, 1, 2).flatten(1).float()
    distances = torch.full((len(asked),), torch.inf)
    rows = torch.zeros(len(asked), dtype=torch.int64)
    for start in range(0, len(real), CHUNK):
        found = torch.cdist(asked, real[start : start + CHUNK].flatten(1).float()).min(1)
        closer = found.values < distances
        distances = torch.where(closer, found.values, distances)
        rows = torch.where(closer, found.indices + start, rows)
    return rows
