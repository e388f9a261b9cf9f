"""Progress in images: random numbers are pure functions of it."""

from __future__ import annotations

import pytest
import torch

from frugan.engine.clock import Clock, Progress
from frugan.engine.processes import Processes
from frugan.registry import UserError


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
    with pytest.raises(UserError, match="Set batch_size to a multiple"):
        Progress(0, 0, 0, Processes(0, 4)).share(whole)


def test_the_clock_round_trips():
    clock = Clock()
    clock.load_state_dict(Clock(640, 10, 1.5).state_dict())
    assert clock == Clock(640, 10, 1.5)
