"""A picture of images and their translations: one row for each image, first the image, then every target."""

from __future__ import annotations

from pathlib import Path

IMAGES = 6
"""How many images of each data set are shown."""


def translates(path: Path) -> bool:
    """Whether the main network of a run is a translator."""
    from frugan.engine.run import RunFolder

    run = RunFolder(path)
    return run.facts.is_file() and "generator" not in run.read_json(run.facts)["shipped"]


def sheet(path: Path) -> dict[str, str] | None:
    """A picture of images and their translations by a run; None if the data are not on this machine."""
    import torch

    from frugan.evaluation import sheets
    from frugan.registry import UserError
    from frugan.reporting import _pictures as pictures

    try:
        translated = sheets(path, IMAGES)
    except UserError:
        return None
    rows = [torch.stack([one.images, *one.made.values()], 1) for one in translated]
    wide = max(row.shape[1] for row in rows)
    filled = [torch.cat([row, row.new_full((len(row), wide - row.shape[1], *row.shape[2:]), 255)], 1) for row in rows]
    listed = "; then ".join(", ".join(one.made) for one in translated)
    return {
        "address": pictures.of_images(torch.cat(filled).flatten(0, 1).permute(0, 2, 3, 1).numpy(), wide),
        "alt": f"Images, then each translated to {listed}",
        "caption": f"the same images through every translator, the first ones drawn, none picked. In each row the "
        f"image, then what becomes of it for {listed}; one that is of a target already is translated to what it is.",
    }
