"""Balanced streams: every class or combination of attributes alike, resumed and shared without a change."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from frugan.batch import ImageShape
from frugan.data import Batches, Dataset
from frugan.registry import UserError

COUNTS = (90, 9, 1)  # images of each class


def unbalanced(attributes: bool = False) -> Dataset:
    """100 images, image i all i; classes of 90, 9 and 1, or two attributes in the same three combinations."""
    numbers = torch.arange(sum(COUNTS))
    classes = torch.arange(3).repeat_interleave(torch.tensor(COUNTS))
    labels = torch.tensor([[0, 0], [1, 0], [1, 1]])[classes] if attributes else classes
    images = numbers.to(torch.uint8).reshape(-1, 1, 1, 1).repeat(1, 1, 2, 2)
    shape, classes_ = ImageShape(1, 2, 2), () if attributes else ("x", "y", "z")
    return Dataset("u", "train", shape, images, labels, classes_, "0", attributes=("a", "b") if attributes else ())


def even(seed: int = 0, attributes: bool = False, **options: int) -> Batches:
    return Batches({"real": unbalanced(attributes)}, seed=seed, balance={"real": "even"}, **options)


def taken(batches: Batches, counts: list[int]) -> list[int]:
    """Numbers of the images of some batches."""
    images = torch.cat([batches.take("real", count).images for count in counts])
    return ((images[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


@pytest.mark.parametrize("attributes", [False, True])
def test_every_class_or_combination_is_drawn_alike(attributes: bool) -> None:
    seen = taken(even(attributes=attributes), [7] * 60)
    kinds = [0 if number < 90 else 1 if number < 99 else 2 for number in seen]
    assert all(sorted(kinds[start : start + 3]) == [0, 1, 2] for start in range(0, 420, 3))
    assert len({tuple(kinds[start : start + 3]) for start in range(0, 420, 3)}) == 6  # in every order
    # Each group's images are all seen before one comes again: 140 rounds are 15 times 9 and 5 more.
    times = Counter(seen)
    assert times[99] == 140
    assert sorted(times[number] for number in range(90, 99)) == [15] * 4 + [16] * 5
    assert {times[number] for number in range(90)} == {1, 2}
    nine = [number for number in seen if 90 <= number < 99]
    orders = {tuple(nine[start : start + 9]) for start in range(0, 135, 9)}
    assert len(orders) == 15  # another order each time


def test_without_balance_the_stream_is_what_it_was() -> None:
    data = {"real": unbalanced()}
    plain = taken(Batches(data, seed=4), [50, 50])
    assert plain == taken(Batches(data, seed=4, balance={"real": None}), [50, 50])
    assert sorted(plain) == list(range(100))


def test_the_order_follows_from_seed_and_position_whatever_the_batches() -> None:
    assert taken(even(), [5] * 20) == taken(even(), [100])
    assert taken(even(), [100]) != taken(even(seed=1), [100])


def test_continuing_a_balanced_stream_equals_an_unbroken_one() -> None:
    unbroken = taken(even(), [7] * 700)  # beyond the groups that are drawn at once
    begun = even()
    first = taken(begun, [7] * 31)
    continued = even()
    continued.load_state_dict(begun.state_dict())
    assert first + taken(continued, [7] * 669) == unbroken


def test_two_processes_together_equal_one_balanced_stream() -> None:
    ranks = [even(rank=rank, world=2) for rank in (0, 1)]
    together = [number for _ in range(9) for batches in ranks for number in taken(batches, [6])]
    assert together == taken(even(), [6] * 9)


def test_what_cannot_be_balanced_is_refused() -> None:
    with pytest.raises(UserError, match=r"data.balance=evn: Did you mean 'even'"):
        Batches({"real": unbalanced()}, seed=0, balance={"real": "evn"})
    bare = Dataset("bare", "train", ImageShape(1, 2, 2), torch.zeros(3, 1, 2, 2, dtype=torch.uint8), None, (), "0")
    with pytest.raises(UserError, match=r"data.balance needs labels, but .*bare.* has none"):
        Batches({"real": bare}, seed=0, balance={"real": "even"})
