"""Schedules are pure functions of the images shown and of the budget."""

from __future__ import annotations

import math

import pytest

from frugan import schedules
from frugan.registry import UserError
from frugan.schedules import Schedule, find


def test_schedules_by_images_seen():
    assert find("constant")(500, 1000) == 1
    line = [find("linear")(images, 1000) for images in (0, 250, 1000, 2000)]
    assert line == pytest.approx([1, 0.75, 0, 0])
    own = {"start": 200, "end": 600, "to": 0.5}
    assert [find("linear", **own)(images, 10**6) for images in (0, 200, 400, 600, 900)] == pytest.approx(
        [1, 1, 0.75, 0.5, 0.5]
    )
    cosine = [find("cosine", to=0.25)(images, 1000) for images in (0, 500, 1000)]
    assert cosine == pytest.approx([1, 0.625, 0.25])
    assert find("cosine")(250, 1000) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_schedules_that_hold_and_go_in_steps():
    late = [find("linear", hold=0.5)(images, 1000) for images in (0, 500, 750, 1000)]
    assert late == pytest.approx([1, 1, 0.5, 0])
    late = [find("cosine", hold=0.5, to=0.5)(images, 1000) for images in (400, 750, 1000)]
    assert late == pytest.approx([1, 0.75, 0.5])
    steps = [find("linear", steps=4)(images, 1000) for images in (0, 249, 250, 999, 2000)]
    assert steps == pytest.approx([0.8, 0.8, 0.6, 0.2, 0.2])
    with pytest.raises(UserError, match="0 or more and below 1"):
        find("linear", hold=1.0)


def test_which_schedules_follow_the_end():
    assert not find("constant").follows_the_end
    assert find("linear", start=100).follows_the_end
    assert not find("cosine", end=100).follows_the_end


def test_unknown_schedules_and_options_are_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'linear'"):
        find("liner")
    with pytest.raises(UserError, match="Did you mean 'start'"):
        find("cosine", strat=3)


def test_stages_have_one_factor_each():
    staged = find("stages", factors=[[100, 0.5], [300, 0.0], [400, 2]])
    assert [staged(images, 1000) for images in (0, 99, 100, 299, 300, 399, 400, 10**6)] == [1, 1, 0.5, 0.5, 0, 0, 2, 2]
    assert not staged.follows_the_end


def test_a_schedule_in_steps_changes_at_the_start_of_each_step():
    """29 of 100 epochs are 0.29 of the way, and 0.29 * 100 is 28.999999999999996."""
    schedule, epoch = find("linear", steps=100), 1067
    for number in range(1, 100):
        before, at = (schedule(images, 100 * epoch) for images in (number * epoch - 1, number * epoch))
        assert (before, at) == pytest.approx((1 - number / 101, 1 - (number + 1) / 101))


@pytest.mark.parametrize("factors", [(), [[100, 1], [50, 2]], [[100, 1], [100, 2]], [[100]], [100], [[100, -1]]])
def test_stages_that_cannot_be_are_answered_with_what_to_type(factors):
    with pytest.raises(UserError, match=r"stages,factors=\[\[50000,0.5\],\[100000,0.1\]\]"):
        find("stages", factors=factors)


def test_a_schedule_of_ones_own(monkeypatch):
    def warm_up(*, over: int = 1000) -> Schedule:
        return Schedule(lambda images, budget: min(1.0, images / over))

    monkeypatch.setattr(schedules._known, "_added", {})
    schedules.add("warm_up", warm_up)
    assert "warm_up" in schedules.names()
    assert find("warm_up", over=200)(50, 1000) == 0.25
    with pytest.raises(UserError, match="Did you mean 'over'"):
        find("warm_up", ovr=200)
    schedules.add("bare", lambda: lambda images, budget: 1.0)
    with pytest.raises(UserError, match=r"'bare' makes a .* without 'follows_the_end'"):
        find("bare")


@pytest.mark.parametrize(("name", "options", "told"), [
    ("linear", {"to": -1}, "option 'to' is -1"), ("cosine", {"to": 1e9}, "option 'to' is 1000000000.0"),
    ("linear", {"steps": -3}, "option 'steps' is -3"), ("linear", {"hold": 1}, "option 'hold' is 1"),
    ("linear", {"end": -5}, "option 'end' is -5"), ("cosine", {"start": 100, "end": 10}, "an end after the start"),
])
def test_schedules_that_lead_nowhere_are_refused(name, options, told):
    with pytest.raises(UserError, match=told):
        schedules.find(name, **options)
