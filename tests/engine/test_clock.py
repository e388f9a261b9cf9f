"""Progress in images: schedules and random numbers are pure functions of it."""

from __future__ import annotations

import math

import pytest
import torch

from frugan.engine.clock import Clock, Progress, check_schedule, follows_the_end, scheduled
from frugan.engine.processes import Processes
from frugan.registry import UserError


def test_schedules_by_images_seen():
    assert scheduled("constant", {}, 500, 1000) == 1
    line = [scheduled("linear", {}, images, 1000) for images in (0, 250, 1000, 2000)]
    assert line == pytest.approx([1, 0.75, 0, 0])
    own = {"start": 200, "end": 600, "to": 0.5}
    assert [scheduled("linear", own, images, 10**6) for images in (0, 200, 400, 600, 900)] == pytest.approx(
        [1, 1, 0.75, 0.5, 0.5]
    )
    cosine = [scheduled("cosine", {"to": 0.25}, images, 1000) for images in (0, 500, 1000)]
    assert cosine == pytest.approx([1, 0.625, 0.25])
    assert scheduled("cosine", {}, 250, 1000) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_schedules_that_hold_and_go_in_steps():
    late = [scheduled("linear", {"hold": 0.5}, images, 1000) for images in (0, 500, 750, 1000)]
    assert late == pytest.approx([1, 1, 0.5, 0])
    late = [scheduled("cosine", {"hold": 0.5, "to": 0.5}, images, 1000) for images in (400, 750, 1000)]
    assert late == pytest.approx([1, 0.75, 0.5])
    steps = [scheduled("linear", {"steps": 4}, images, 1000) for images in (0, 249, 250, 999, 2000)]
    assert steps == pytest.approx([0.8, 0.8, 0.6, 0.2, 0.2])
    with pytest.raises(UserError, match="from 0 to below 1"):
        check_schedule("linear", {"hold": 1.0})


def test_which_schedules_follow_the_end():
    assert not follows_the_end("constant", {})
    assert follows_the_end("linear", {"start": 100})
    assert not follows_the_end("cosine", {"end": 100})


def test_unknown_schedules_and_options_are_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'linear'"):
        check_schedule("liner", {})
    with pytest.raises(UserError, match="Did you mean 'start'"):
        check_schedule("cosine", {"strat": 3})


def test_random_numbers_follow_from_seed_name_and_images_alone():
    def drawn(images: int = 64, seed: int = 0, name: str = "latents") -> torch.Tensor:
        return torch.randn(4, generator=Progress(images, 1, seed).generator(name))

    torch.manual_seed(1)
    one = drawn()
    torch.manual_seed(2)
    Progress(64, 1, 0).generator("something else")
    assert torch.equal(one, drawn())
    assert not any(torch.equal(one, other) for other in (drawn(images=128), drawn(seed=1), drawn(name="targets")))


def test_the_share_of_a_process_is_its_slice_of_the_whole():
    whole = torch.arange(6)
    shares = [Progress(0, 0, 0, Processes(rank, 3)).share(whole).tolist() for rank in range(3)]
    assert shares == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(UserError, match="set batch_size to a multiple"):
        Progress(0, 0, 0, Processes(0, 4)).share(whole)


def test_the_clock_round_trips():
    clock = Clock()
    clock.load_state_dict(Clock(640, 10, 1.5).state_dict())
    assert clock == Clock(640, 10, 1.5)
