"""Schedules, as values: the factor on a learning rate, as a pure function of how many real images were shown.

A run that is continued computes the same factor again, so a schedule keeps no state. It counts real images, so that
runs with other batches can be compared.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from frugan.ranges import Range
from frugan.registry import Catalogue, UserError


@dataclass(frozen=True)
class Schedule:
    """A factor on a learning rate; call it with ``(images, budget)``.

    Attributes:
        factor: ``(images, budget)`` -> the factor, 0 or more: `images` real images were shown, of `budget` in the whole
            run.
        follows_the_end: whether the factor depends on the budget. Such a run cannot be trained to another length
            afterwards, since its first part would have been trained otherwise.
    """

    factor: Callable[[int, int], float]
    follows_the_end: bool = False

    def __call__(self, images: int, budget: int) -> float:
        return self.factor(images, budget)


Stages = Annotated[Sequence[Sequence[float]], Range(such_as="stages,factors=[[50000,0.5],[100000,0.1]]")]


def constant() -> Schedule:
    """The rate stays as it is."""
    return Schedule(lambda images, budget: 1.0)


Moment = Annotated[int, Range(0)]
End = Annotated[int | None, Range(1)]
Share = Annotated[float, Range(0, most=1, such_as="0.1")]
Held = Annotated[float, Range(0, below=1, such_as="0.5")]
Steps = Annotated[int, Range(0)]


def linear(
    *, start: Moment = 0, end: End = None, to: Share = 0.0, hold: Held = 0.0, steps: Steps = 0
) -> Schedule:
    """From 1 at `start` images in a straight line to `to` at `end` images.

    Args:
        end: the run's budget if left out.
        hold: the share of the way over which the factor stays at 1: 0.5 is the first half.
        steps: divides the whole way into so many parts of one value each. The part after the last would be the first at
            `to`: so CycleGAN counts epochs. 0 for none.
    """
    return _falling("linear", lambda share: share, start, end, to, hold, steps)


def cosine(
    *, start: Moment = 0, end: End = None, to: Share = 0.0, hold: Held = 0.0, steps: Steps = 0
) -> Schedule:
    """From 1 to `to` along half a wave of a cosine; options as of `linear`."""
    return _falling("cosine", lambda share: (1 - math.cos(math.pi * share)) / 2, start, end, to, hold, steps)


def stages(*, factors: Stages = ()) -> Schedule:
    """The rate is multiplied by one factor in each stage of a run.

    Args:
        factors: pairs ``[images, factor]`` by rising images. ``[[50000, 0.5], [100000, 0.1]]`` halves the rate when
            50,000 real images were shown, and from 100,000 on takes a tenth. Before the first pair the factor is 1.
    """
    pairs = [tuple(pair) for pair in factors if isinstance(pair, (list, tuple)) and len(pair) == 2]
    rising = all(one[0] < other[0] for one, other in itertools.pairwise(pairs))
    if not pairs or len(pairs) < len(factors) or not rising or any(factor < 0 for _, factor in pairs):
        raise UserError(
            f"The schedule 'stages' has factors={[*factors]}. Give pairs [images, factor] with rising images and "
            "factors of 0 or more, e.g. stages,factors=[[50000,0.5],[100000,0.1]]."
        )

    def factor(images: int, budget: int) -> float:
        return next((float(value) for begin, value in reversed(pairs) if images >= begin), 1.0)

    return Schedule(factor)


def _falling(
    name: str, curve: Callable[[float], float], start: int, end: int | None, to: float, hold: float, steps: int
) -> Schedule:
    """From 1 to `to` along a curve that leads from 0 to 1."""
    if end is not None and end <= start:
        raise UserError(f"The schedule '{name}' has start={start} and end={end}. Give an end after the start.")

    def factor(images: int, budget: int) -> float:
        last = budget if end is None else end
        way = max(last - start, 1)
        gone = min(max(images - start, 0), way)
        share = gone / way
        kept = hold * steps
        if steps:
            part = min(gone * steps // way, steps - 1)  # in whole numbers: a rounded share would be late by a part
            share = max(0.0, part + 1 - kept) / (steps + 1 - kept)
        elif hold:
            share = max(0.0, share - hold) / (1 - hold)
        return 1 + (to - 1) * curve(share)

    return Schedule(factor, follows_the_end=end is None)


_known = Catalogue("schedule", constant, linear, cosine, stages, has=("__call__", "follows_the_end"))
names, options, add, find = _known.names, _known.options, _known.add, _known.find
