"""Balanced streams: each class (or combination of attributes) comes equally often, however many images it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugan import seeds
from frugan.registry import UserError, suggest

if TYPE_CHECKING:
    from frugan.data import Dataset

BALANCES = ("even",)
_TOGETHER = 4096  # places whose groups are drawn at once


def check_balance(name: str | None) -> None:
    """Raise UserError unless `name` is one of `BALANCES`, or None."""
    if name is not None and name not in BALANCES:
        raise UserError(f"data.balance={name}: {suggest(str(name), BALANCES)}")


class Even:
    """The order of a stream that draws each of its k groups once in every k positions.

    A group is a class, or a combination of attributes, that has images. The group at a position, and which of its
    images comes, depend on (seed, stream, position) only. The groups are shuffled anew every k positions. Each group's
    images come in random order, and all of them come once before one comes again.
    """

    def __init__(self, dataset: Dataset, seed: int, stream: str) -> None:
        if dataset.labels is None:
            raise UserError(f"data.balance needs labels, but {dataset.title} has none. Leave data.balance out.")
        _, group = dataset.labels.unique(dim=0, return_inverse=True)
        counts = group.bincount()
        self._members = group.argsort(stable=True).split(counts.tolist())
        self._rounds = max(1, _TOGETHER // len(counts))  # rounds over all groups whose order is drawn at once
        self._seed, self._stream = seed, stream
        self._drawn: tuple[int, Tensor] | None = None  # number of the newest draw of groups, and the draw
        self._orders: dict[int, tuple[int, Tensor]] = {}  # group -> its newest epoch and that epoch's order

    def numbers(self, start: int, count: int) -> Tensor:
        """Numbers of the images at the positions from `start` on, int64 ``[count]``."""
        return torch.tensor([self._number(position) for position in range(start, start + count)])

    def _number(self, position: int) -> int:
        round_, place = divmod(position, len(self._members))
        group = int(self._groups(round_ // self._rounds)[round_ % self._rounds, place])
        members = self._members[group]
        epoch, offset = divmod(round_, len(members))  # a group is drawn once a round
        known = self._orders.get(group)
        if known is None or known[0] != epoch:
            random = seeds.generator(self._seed, "order", self._stream, "group", group, epoch)
            known = self._orders[group] = (epoch, members[torch.randperm(len(members), generator=random)])
        return int(known[1][offset])

    def _groups(self, draw: int) -> Tensor:
        """Which group comes at each place of some rounds, ``[rounds, groups]``; each row has all groups."""
        if self._drawn is None or self._drawn[0] != draw:
            random = seeds.generator(self._seed, "order", self._stream, "groups", draw)
            self._drawn = (draw, torch.rand((self._rounds, len(self._members)), generator=random).argsort(dim=1))
        return self._drawn[1]
