from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import frugan.views
from frugan import seeds
from frugan.batch import ImageShape, from_bytes, to_bytes
from frugan.latents import Latents
from frugan.metrics import Need, parse_need
from frugan.metrics.path_length import compute, lerp, slerp
from frugan.registry import UserError

SIZE = 256


class Linear:
    """A generator of images ``[n, 1, 16, 16]`` that are the latents times `scale`, with what a loaded one has."""

    def __init__(
        self, scale: float = 0.01, distribution: str = "normal", image_range: tuple[float, float] = (-1.0, 1.0)
    ) -> None:
        self.scale, self.latents, self.device = scale, Latents(SIZE, distribution), torch.device("cpu")
        self.module = SimpleNamespace(image_range=image_range, classes=0)

    def __call__(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is None
        return (latents * self.scale).unflatten(1, (1, 16, 16))


def identity(images: Tensor) -> Tensor:
    return images.flatten(1)


def length(generator: Any, look: Any = identity, condition: Any = None, **options: Any) -> float:
    return compute(generator=generator, look=look, condition=condition, **options)["path_length"]


def test_metrics_sheet_2_10_a_linear_generator_has_a_known_length() -> None:
    # E |A (z1 - z0)|^2 = 2 tr A'A for normal latents, 2/3 tr A'A for uniform ones; leaving out the outermost percents
    # of 256 near-equal terms moves it by less than the draws do.
    assert length(Linear(), paths=2000) == pytest.approx(2 * SIZE * 1e-4, rel=0.01)
    assert length(Linear(distribution="uniform"), paths=2000) == pytest.approx(2 / 3 * SIZE * 1e-4, rel=0.01)
    # On the shell the step is the angle between two latents, a right one, times their norm: (pi / 2)^2 tr A'A.
    assert length(Linear(), path="slerp", paths=2000) == pytest.approx((math.pi / 2) ** 2 * SIZE * 1e-4, rel=0.01)


def test_a_linear_generator_has_one_length_at_every_step_and_scales_by_the_square() -> None:
    expected = length(Linear(), epsilon=1.0)
    assert length(Linear(), epsilon=1e-2) == pytest.approx(expected, rel=1e-4)
    assert length(Linear(scale=0.03), epsilon=1e-2) == pytest.approx(9 * expected, rel=1e-4)
    assert length(Linear(scale=0.0)) == 0


def test_agrees_with_its_definition_in_numpy() -> None:
    draws = seeds.generator(3, "path_length")
    lengths = []
    for count in (64, 64, 22):
        first, second = (torch.randn(count, SIZE, generator=draws).double().numpy() for _ in range(2))
        lengths += list((((second - first) * 0.01) ** 2).sum(1))
    low = np.percentile(lengths, 1, method="lower")
    high = np.percentile(lengths, 99, method="higher")
    kept = [value for value in lengths if low <= value <= high]
    assert 150 - len(kept) == 2
    assert length(Linear(), paths=150, seed=3) == pytest.approx(np.mean(kept), rel=1e-5)


def test_the_outermost_percents_are_left_out() -> None:
    def look(images: Tensor) -> Tensor:
        features = identity(images).clone()
        features[0] *= 1000  # one path of 64
        return features

    assert length(Linear(), look, paths=64 * 3) > 1000 * length(Linear(), paths=64 * 3)
    calls = iter(range(1000))

    def once(images: Tensor) -> Tensor:
        return look(images) if next(calls) == 1 else identity(images)

    assert length(Linear(), once, paths=300) == pytest.approx(length(Linear(), paths=300), rel=0.02)


def test_metrics_sheet_2_10_bytes_would_destroy_it() -> None:
    def through_bytes(images: Tensor) -> Tensor:
        return identity(from_bytes(to_bytes(images)))

    true = length(Linear(scale=0.3))
    # A step of a tenth of a level: bytes mostly do not move, and where they do, by a whole level.
    step = 0.1 * (2 / 255) / (0.3 * math.sqrt(2))
    assert length(Linear(scale=0.3), epsilon=step) == pytest.approx(true, rel=1e-3)
    assert length(Linear(scale=0.3), through_bytes, epsilon=step) > 3 * true
    assert length(Linear(scale=0.3), through_bytes, epsilon=step / 10) > 30 * true


def test_a_view_looks_at_floats_of_any_range() -> None:
    data: Any = SimpleNamespace(shape=ImageShape(1, 16, 16))
    view = frugan.views.build("pixels", dataset=data)
    expected = length(Linear(scale=0.1)) / 4  # pixels are in 0..1, half the range of images
    assert length(Linear(scale=0.1), view.features_of_floats) == pytest.approx(expected, rel=1e-3)
    # Images in 0..1 are half as far apart, and their range is twice as narrow.
    narrow = Linear(scale=0.05, image_range=(0.0, 1.0))
    assert length(narrow, view.features_of_floats) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("condition", [torch.arange(70), torch.arange(140).reshape(70, 2) % 3 % 2])
def test_both_ends_of_a_path_have_one_label_of_those_that_are_given(condition: Tensor) -> None:
    told: list[Tensor] = []

    class Labelled(Linear):
        def __call__(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
            assert labels is not None
            told.append(labels)
            return super().__call__(latents) + labels.reshape(len(labels), -1).sum(1)[:, None, None, None]

    assert length(Labelled(), condition=condition, paths=140) == pytest.approx(length(Linear(), paths=140), rel=1e-3)
    assert torch.equal(torch.cat(told[::2]), torch.cat([condition, condition]))


def test_great_circles() -> None:
    numbers = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 20, 8, generator=numbers, dtype=torch.float64)
    assert torch.allclose(slerp(first, second, 0.0), first)
    assert torch.allclose(slerp(first, second, 1.0), second)
    half = slerp(first, second, 0.5)
    assert torch.allclose(half.norm(dim=1), (first.norm(dim=1) + second.norm(dim=1)) / 2)
    cosines = [torch.cosine_similarity(half, end) for end in (first, second)]
    assert torch.allclose(*cosines)
    for other in (2 * first, -first):  # no circle, or too many
        assert torch.allclose(slerp(first, other, 0.25), lerp(first, other, 0.25))


def test_draws_follow_from_the_seed_alone() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert length(Linear(), seed=1) == length(Linear(), seed=1) != length(Linear(), seed=2)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_has_no_value_is_said() -> None:
    with pytest.raises(UserError, match=r"paths=99, epsilon=0.01. Give 100 paths or more"):
        length(Linear(), paths=99)
    with pytest.raises(UserError, match=r"epsilon=0. .*an epsilon above 0"):
        length(Linear(), epsilon=0.0)
    with pytest.raises(UserError, match=r"no path 'slurp'. Did you mean 'slerp'"):
        length(Linear(), path="slurp")
    with pytest.raises(UserError, match=r"not finite. Look at the generator's images"):
        length(Linear(), lambda images: identity(images) / 0)


def test_the_function_of_a_view_can_be_asked_for() -> None:
    assert parse_need("look") == Need("fake", "look")
