"""From what was typed to what is measured: a generator's fakes, given images, or what translators make of real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from frugan.engine.run import RunFolder
from frugan.evaluation import refusals as _choice
from frugan.evaluation.opening.fakes import open_fakes
from frugan.evaluation.opening.reals import open_reals
from frugan.evaluation.opening.targets import groups
from frugan.evaluation.opening.translators import ship, splits_of
from frugan.evaluation.values.of_fakes import Task
from frugan.evaluation.values.of_translations import COUNT, Translations

if TYPE_CHECKING:
    from frugan.views import View


def open_task(
    fakes: str | Path | RunFolder, *, real: str | None, reference: str | None, size: int | None, channels: int | None,
    allow_unusable: bool, view: str | View | None, view_seed: int, count: int | None, seed: int, batch_size: int,
    few: Sequence[str], device: str, announce: Callable[[str], None],
) -> Task | Translations:  # fmt: skip
    """What is to be measured; arguments as of `frugan.evaluate`, which has run the code by now. Raises as that does."""
    shipping = ship(fakes, device=device)
    if shipping is not None:
        splits = splits_of(shipping, real, reference, size=size, channels=channels, allow_unusable=allow_unusable)
        return Translations(
            shipping, groups(shipping.translators, shipping.shipped, splits),
            *_choice.views_for(view, view_seed, device, announce), count or COUNT, seed, batch_size, announce,
            tuple(few),
        )
    opened = open_fakes(fakes, device=device, allow_unusable=allow_unusable, announce=announce)
    reals = open_reals(opened, real, reference, size=size, channels=channels, allow_unusable=allow_unusable)
    many = _choice.count_of(opened, reals, count)
    look_through = partial(_choice.view_of, view, view_seed, opened, reals, device, announce)
    return Task(opened, reals, look_through, many, seed, batch_size, announce, tuple(few))
