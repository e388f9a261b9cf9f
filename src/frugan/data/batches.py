"""Batches: endless streams of real images in a random order that depends on the seed.

The image at position p of a stream depends on (seed, the stream's name, p) only. Epoch e is a permutation drawn for
(seed, "order", name, e). A batch may end one epoch and begin the next. So a stream's only state is its position, and
two runs with the same seed get the same images in the same order. A balanced stream has another order, which depends on
the same three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugan import seeds
from frugan.batch import SIGNED, Batch, Range, from_bytes
from frugan.data._balance import Even, check_balance
from frugan.registry import UserError, suggest

if TYPE_CHECKING:
    from frugan.data import Dataset


class Batches:
    """Streams over data sets; the position of each stream is the only state.

    Args:
        streams: name of the stream -> its data set.
        seed: the order depends on it.
        image_range: the range of the float images.
        device: where batches are needed. Bytes are copied there, then become floats.
        rank: this process's number among `world`; each gets its slice of every batch.
        balance: name of a stream -> ``"even"`` to draw every class, or combination of attributes, equally often; the
            images of a small one then come more often than others. Streams that are not named are drawn as they are.

    Raises:
        UserError: the balance does not exist, or the data to be balanced have no labels.
    """

    def __init__(
        self,
        streams: Mapping[str, Dataset],
        *,
        seed: int,
        image_range: Range = SIGNED,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world: int = 1,
        balance: Mapping[str, str | None] | None = None,
    ) -> None:
        self.streams = dict(streams)
        self.seed = seed
        self.image_range = image_range
        self.device = torch.device(device)
        self.rank = rank
        self.world = world
        self._positions = dict.fromkeys(self.streams, 0)
        self._orders: dict[str, tuple[int, Tensor]] = {}  # stream -> the epoch drawn last and its order
        balanced = balance or {}
        for name in balanced.values():
            check_balance(name)
        self._even = {stream: Even(self._dataset(stream), seed, stream) for stream, name in balanced.items() if name}

    @property
    def taken(self) -> int:
        """Real images handed out so far, over all streams and processes."""
        return sum(self._positions.values())

    def take(self, stream: str, count: int) -> Batch:
        """Take the next `count` images over all processes. This process gets ``count / world`` of them, with labels.

        Raises:
            UserError: there is no such stream, or `count` cannot be divided among the processes.
        """
        dataset = self._dataset(stream)
        if count < 1 or count % self.world:
            raise UserError(
                f"A batch of {count} images cannot be divided equally among {self.world} processes. Give a multiple of "
                f"{self.world}."
            )
        share = count // self.world
        start = self._positions[stream] + self.rank * share
        batch = self._read(dataset, self._numbers(stream, start, share))
        self._positions[stream] += count
        return batch

    def first(self, stream: str, count: int) -> Batch:
        """The data set's first `count` images in its own order, for previews. The stream's position does not change.

        Every process gets all of them. A data set with fewer images starts again from its first.
        """
        dataset = self._dataset(stream)
        return self._read(dataset, torch.arange(count) % len(dataset))

    def at(self, stream: str, start: int, count: int) -> Batch:
        """The `count` images of a stream from the position `start` on. Its own position does not change.

        Every process gets all of them.
        """
        return self._read(self._dataset(stream), self._numbers(stream, start, count))

    def state_dict(self) -> dict[str, int]:
        """The position of each stream, in images over all processes."""
        return dict(self._positions)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from saved positions. Raises UserError if they belong to other streams."""
        if set(state) != set(self._positions):
            raise UserError(
                f"The checkpoint was saved with the streams {', '.join(sorted(state))}, but this run has "
                f"{', '.join(sorted(self._positions))}. Continue with the recipe that the run was begun with."
            )
        self._positions = {name: int(state[name]) for name in self._positions}

    def _dataset(self, stream: str) -> Dataset:
        if stream not in self.streams:
            raise UserError(f"There is no stream called '{stream}'. {suggest(stream, self.streams)}")
        return self.streams[stream]

    def _numbers(self, stream: str, start: int, count: int) -> Tensor:
        """Numbers of the images at the positions from `start` on."""
        if stream in self._even:
            return self._even[stream].numbers(start, count)
        size = len(self.streams[stream])
        parts = []
        while count > 0:
            epoch, offset = divmod(start, size)
            part = self._order(stream, epoch)[offset : offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return torch.cat(parts)

    def _order(self, stream: str, epoch: int) -> Tensor:
        known = self._orders.get(stream)
        if known is None or known[0] != epoch:
            random = seeds.generator(self.seed, "order", stream, epoch)
            drawn = torch.randperm(len(self.streams[stream]), generator=random)
            known = self._orders[stream] = (epoch, drawn)
        return known[1]

    def _read(self, dataset: Dataset, numbers: Tensor) -> Batch:
        labels = None if dataset.labels is None else self._moved(dataset.labels.index_select(0, numbers))
        finer = None if dataset.finer is None else self._floats(dataset.finer, numbers)
        return Batch(self._floats(dataset, numbers), labels, dataset.exclusive, finer)

    def _floats(self, dataset: Dataset, numbers: Tensor) -> Tensor:
        images = self._moved(dataset.images.index_select(0, numbers)).contiguous(memory_format=torch.channels_last)
        return from_bytes(images, self.image_range)

    def _moved(self, values: Tensor) -> Tensor:
        if self.device.type == "cpu":
            return values
        # Pinned, the copy need not be waited for.
        return (values.pin_memory() if self.device.type == "cuda" else values).to(self.device, non_blocking=True)
