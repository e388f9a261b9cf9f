"""Images held out for evaluation, of sources that have no test split of their own."""

from __future__ import annotations

from frugan.arguments import Source, strict
from frugan.data._known import known
from frugan.data._sources import Classes, find, has_split, wanted_of
from frugan.data.pack import open_content
from frugan.registry import UserError

HELD_OUT, MOST_HELD_OUT, FEWEST_TO_HOLD_OUT = 10, 5000, 200
"""One image in ten is held out, at most 5,000, of sources with 200 images or more."""

ENOUGH_TO_KEEP, FEWEST_HELD_OUT = 1000, 16
"""Of 1,000 images or more so many are kept to train on and to compare with. Fewer than 16 are not held out at all."""


@strict
def usual_holdout(source: Source, *, only: Classes = ()) -> int:
    """How many images of a source are held out for evaluation unless the user says otherwise.

    0 if it has a test split of its own, or too few images. No image is read, and the source is opened only the first
    time. Raises UserError if there is no such source or class.
    """
    if has_split(source, "test"):
        return 0
    found, wanted = find(source, "train", None, None), wanted_of(None, None, only, None)
    count = known(found, "train", ["count", wanted.only], None, lambda: len(open_content(found, wanted)[1]))
    held = 0 if count < FEWEST_TO_HOLD_OUT else min(count // HELD_OUT, MOST_HELD_OUT)
    if count >= ENOUGH_TO_KEEP:
        held = min(held, count - ENOUGH_TO_KEEP)
    return held if held >= FEWEST_HELD_OUT else 0


def check_holdout(source: str, holdout: int) -> None:
    """Raise UserError for a number of images that cannot be held out of a source."""
    if holdout < 0:
        raise UserError(f"data.holdout={holdout}: give a number of images, 0 or more.")
    if has_split(source, "test"):
        raise UserError(
            f"data.holdout={holdout}: the data '{source}' have held-out images of their own (split test). Leave "
            "holdout out."
        )
