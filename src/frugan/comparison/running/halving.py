"""Successive halving: all are trained a little, the better half further, and the last few to the end.

Jamieson and Talwalkar 2016 (arXiv 1502.07943). A run is stopped and continued as if it had not stopped; where a
schedule follows a run's end, each stage is a run of its own. The order of GANs after little training says little about
their order at the end, so there are few stages, and the first is not short.
"""

from __future__ import annotations

import math

SHARES = (0.25, 0.5, 1.0)
"""Up to which share of the whole length the candidates of each stage are trained."""

LAST = 2
"""How many candidates the last stage has at least, if so many were begun."""


def going_on(count: int) -> int:
    """How many of so many candidates, the best ones, go on to the next stage."""
    return max(min(LAST, count), math.ceil(count / 2))


def shown(share: float, whole: int, batch_size: int) -> int:
    """How many images a candidate has been shown at the end of a stage, of `whole` in the last one."""
    return min(whole, max(batch_size, round(share * whole)))
