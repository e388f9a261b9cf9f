from __future__ import annotations

import math

import prdc
import pytest
import torch
from torch import Tensor

import frugan.metrics
from frugan.registry import UserError

REALS, FAKES = (torch.tensor(points)[:, None] for points in ([0.0, 1.0, 2.0, 10.0], [0.5, 1.5, 3.0, 20.0]))


def draw(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def compute(real: Tensor, fake: Tensor, **options: int) -> dict[str, float]:
    return frugan.metrics.precision_recall.compute(real=real, fake=fake, **options)


def test_metrics_sheet_5_12_k1() -> None:
    assert compute(REALS, FAKES, k=1) == {"precision": 0.75, "recall": 1, "f_score": pytest.approx(6 / 7)}


def test_metrics_sheet_5_13_k3_what_lies_at_the_radius_is_outside() -> None:
    # With "up to the radius" the fake at 20 would be inside the ball of the real one at 10, and the precision 1.
    assert compute(REALS, FAKES) == {"precision": 0.75, "recall": 1, "f_score": pytest.approx(6 / 7)}


def test_metrics_sheet_5_14_identical_sets() -> None:
    for features in (REALS, draw(100, 20), draw(100, 20).float() + 50):
        assert compute(features, features, k=1) == {"precision": 1, "recall": 1, "f_score": 1}


def test_metrics_sheet_5_15_a_collapsed_generator_is_precise_and_recalls_little() -> None:
    real, fake = 3 * draw(200, 16), 0.1 * draw(200, 16, 1)
    collapsed = compute(real, fake)
    assert collapsed["precision"] > 0.8
    assert collapsed["recall"] < 0.3
    scattered = compute(fake, real)  # the other way round, both change places
    assert (scattered["precision"], scattered["recall"]) == (collapsed["recall"], collapsed["precision"])


@pytest.mark.parametrize(("counts", "width", "k"), [((300, 200), 16, 5), ((150, 400), 64, 3), ((250, 250), 8, 1)])
def test_agrees_with_prdc(counts: tuple[int, int], width: int, k: int) -> None:
    real, fake = draw(counts[0], width, 2), 0.8 * draw(counts[1], width, 3) + 0.1
    theirs = prdc.compute_prdc(real.numpy(), fake.numpy(), k)
    ours = compute(real, fake, k=k, equal_counts=False)
    assert ours["precision"] == pytest.approx(theirs["precision"], abs=1e-9)
    assert ours["recall"] == pytest.approx(theirs["recall"], abs=1e-9)
    assert 0 < ours["recall"] < 1


def test_the_larger_set_is_thinned_by_the_seed_alone() -> None:
    real, fake = draw(300, 8), draw(120, 8, 1)
    torch.manual_seed(0)
    value, state = compute(real, fake), torch.get_rng_state()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert compute(real, fake) == value
    assert len({compute(real, fake, seed=seed)["recall"] for seed in range(5)}) > 1
    chosen = torch.randperm(300, generator=frugan.seeds.generator(0, "equal counts"))[:120]
    assert compute(real[chosen], fake) == value


def test_float32_features_are_taken_as_they_are() -> None:
    real, fake = (draw(200, 32, seed).float() + 100 for seed in (4, 5))
    assert compute(real, fake) == compute(real.double(), fake.double())


@pytest.mark.parametrize("metric", ["precision_recall", "density_coverage"])
def test_features_without_a_value_are_named(metric: str) -> None:
    judge = frugan.metrics.find(metric).compute
    good = draw(10, 4)
    broken = good.clone()
    broken[3, 2] = math.nan
    with pytest.raises(UserError, match=f"^{metric}: 1 of 10 images of 'fake' have features .* finite .*number 3"):
        judge(real=good, fake=broken)
    with pytest.raises(UserError, match=f"^{metric}: 1 image in 'fake', but it needs"):
        judge(real=good, fake=good[:1])
    with pytest.raises(UserError, match="3 images in 'real', but it needs 4 or more"):
        judge(real=good[:3], fake=good, k=3)
    with pytest.raises(UserError, match="'real' has 4 features per image, but 'fake' has 3"):
        judge(real=good, fake=good[:, :3])
    with pytest.raises(UserError, match="all 10 real images have equal features"):
        judge(real=good[:1].expand(10, 4), fake=good)
    with pytest.raises(UserError, match="features of 'fake' are too large for float64"):
        judge(real=good, fake=good * 1e200)
    with pytest.raises(UserError, match=r"k=0. .* give 1 or more"):
        judge(real=good, fake=good, k=0)


def test_a_generator_of_one_image_has_a_value() -> None:
    real = draw(100, 4)
    assert compute(real, real[:1].expand(100, 4)) == {"precision": 1, "recall": 0, "f_score": 0}
    assert compute(real, real[:1].expand(100, 4) + 100) == {"precision": 0, "recall": 0, "f_score": 0}
