"""Batches: the order follows from the seed and the position alone."""

from __future__ import annotations

import pytest
import torch

from frugan.batch import UNIT, ImageShape
from frugan.data import Batches, Dataset
from frugan.registry import UserError


def counted(count: int, name: str = "counted") -> Dataset:
    """A data set whose image i is all i, with label i."""
    numbers = torch.arange(count)
    images = numbers.to(torch.uint8).reshape(-1, 1, 1, 1).repeat(1, 1, 2, 2)
    return Dataset(name, "train", ImageShape(1, 2, 2), images, numbers, tuple(map(str, range(count))), "0" * 16)


def labels_of(batches: Batches, counts: list[int], stream: str = "real") -> list[int]:
    taken = [batches.take(stream, count).labels for count in counts]
    return torch.cat([labels for labels in taken if labels is not None]).tolist()


def test_every_image_of_an_epoch_is_seen_exactly_once() -> None:
    seen = labels_of(Batches({"real": counted(10)}, seed=3), [4] * 5)
    assert sorted(seen[:10]) == list(range(10))
    assert sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_the_order_depends_on_seed_and_stream_and_not_on_the_batch_size() -> None:
    data = {"a": counted(50), "b": counted(50)}
    seen = labels_of(Batches(data, seed=0), [7] * 20, "a")
    assert seen == labels_of(Batches(data, seed=0), [70, 70], "a")
    assert seen != labels_of(Batches(data, seed=1), [70, 70], "a")
    assert seen != labels_of(Batches(data, seed=0), [70, 70], "b")


def test_streams_do_not_shift_one_another() -> None:
    data = {"a": counted(9), "b": counted(5)}
    mixed = Batches(data, seed=0)
    mixed.take("b", 3)
    assert labels_of(mixed, [8, 8], "a") == labels_of(Batches(data, seed=0), [16], "a")


def test_continuing_from_saved_positions_equals_an_unbroken_stream() -> None:
    data = {"real": counted(11)}
    unbroken = labels_of(Batches(data, seed=5), [4] * 8)
    begun = Batches(data, seed=5)
    first = labels_of(begun, [4] * 3)
    continued = Batches(data, seed=5)
    continued.load_state_dict(begun.state_dict())
    assert first + labels_of(continued, [4] * 5) == unbroken
    assert continued.taken == 32
    assert labels_of(Batches(data, seed=5), [4] * 5) != unbroken[12:]  # the control: positions at zero do not


def test_two_processes_together_equal_one() -> None:
    data = {"real": counted(10)}
    one = labels_of(Batches(data, seed=2), [6] * 7)
    ranks = [Batches(data, seed=2, rank=rank, world=2) for rank in (0, 1)]
    together = [label for _ in range(7) for batches in ranks for label in labels_of(batches, [6])]
    assert together == one
    assert ranks[0].state_dict() == ranks[1].state_dict() == {"real": 42}


def test_a_data_set_smaller_than_the_batch_wraps() -> None:
    seen = labels_of(Batches({"real": counted(3)}, seed=0), [10])
    assert [sorted(seen[start : start + 3]) for start in (0, 3, 6)] == [[0, 1, 2]] * 3


def test_images_are_in_the_asked_range_with_channels_last() -> None:
    data = counted(256)
    batch = Batches({"real": data}, seed=0).take("real", 256)
    assert batch.images.dtype == torch.float32
    assert batch.images.shape == (256, 1, 2, 2)
    assert (batch.images.min(), batch.images.max()) == (-1, 1)
    unit = Batches({"real": data}, seed=0, image_range=UNIT).take("real", 256).images
    assert (unit.min(), unit.max()) == (0, 1)
    colour = Dataset("c", "train", ImageShape(3, 4, 4), torch.zeros(5, 3, 4, 4, dtype=torch.uint8), None, (), "0" * 16)
    batch = Batches({"real": colour}, seed=0).take("real", 2)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels is None


def test_the_first_images_move_nothing_and_leave_the_data_as_it_was() -> None:
    data = counted(4)
    batches = Batches({"real": data}, seed=0)
    batch = batches.first("real", 6)
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 1, 2, 3, 0, 1]
    batch.images.fill_(9)
    assert batches.taken == 0
    assert torch.equal(data.images[:, 0, 0, 0], torch.arange(4, dtype=torch.uint8))


def test_wrong_counts_streams_and_positions_are_refused() -> None:
    batches = Batches({"real": counted(4)}, seed=0, world=2)
    with pytest.raises(UserError, match="3 images cannot be divided equally among 2 processes"):
        batches.take("real", 3)
    with pytest.raises(UserError, match="Did you mean 'real'"):
        batches.take("reel", 2)
    with pytest.raises(UserError, match="streams a, b"):
        batches.load_state_dict({"a": 1, "b": 2})
