"""Latents: vector i follows from (seed, i) alone."""

from __future__ import annotations

import math

import pytest
import torch

from frugan.latents import Latents
from frugan.registry import UserError


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_rows_do_not_depend_on_how_many_are_asked_for(distribution):
    latents = Latents(7, distribution)
    whole = latents.rows(0, 200, seed=3)
    assert whole.shape == (200, 7)
    for start, count in ((0, 1), (0, 64), (63, 2), (64, 64), (31, 100), (199, 1)):
        assert torch.equal(latents.rows(start, count, seed=3), whole[start : start + count])
    assert not torch.equal(latents.rows(0, 5, seed=4), whole[:5])
    assert len(torch.unique(whole, dim=0)) == 200


def test_rows_leave_torchs_own_random_numbers_alone():
    before = torch.get_rng_state()
    Latents(3).rows(0, 10, seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_distributions():
    normal, uniform = (Latents(50, name).rows(0, 2000, 0) for name in ("normal", "uniform"))
    assert normal.mean().abs() < 0.01
    assert abs(normal.std() - 1) < 0.01
    assert (uniform.min(), uniform.max()) == pytest.approx((-1, 1), abs=1e-3)
    assert abs(uniform.std() - 1 / math.sqrt(3)) < 0.01
    with pytest.raises(UserError, match="Did you mean 'normal'"):
        Latents(3, "nomal")


def test_truncation_cuts_keeps_the_order_and_fades_out():
    latents = Latents(20)
    plain, cut = latents.rows(0, 500, 0), latents.rows(0, 500, 0, truncation=0.7)
    assert cut.abs().max() <= 0.7
    assert torch.equal(plain.flatten().argsort(), cut.flatten().argsort())
    # The normal distribution cut off at +-a has this variance.
    a, density = 0.7, math.exp(-0.245) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * a * density / math.erf(a / math.sqrt(2))
    assert cut.var().item() == pytest.approx(variance, rel=0.05)
    torch.testing.assert_close(latents.rows(0, 50, 0, truncation=8.0), plain[:50], atol=1e-4, rtol=0)
    assert torch.equal(latents.rows(17, 3, 0, truncation=0.7), cut[17:20])


@pytest.mark.parametrize(
    ("threshold", "accepted", "deviation"), [(0.5, 0.38292, 0.28388), (1.0, 0.68269, 0.53956), (2.0, 0.95450, 0.87963)]
)
def test_biggan_sheet_5_10_truncation_has_the_distribution_of_drawing_anew(threshold, accepted, deviation):
    plain, cut = (Latents(200).rows(0, 2000, 0, truncation=value).flatten() for value in (None, threshold))
    kept = plain[plain.abs() <= threshold]
    assert len(kept) / len(plain) == pytest.approx(accepted, abs=2e-3)
    assert cut.abs().max() <= threshold
    assert cut.std().item() == pytest.approx(deviation, abs=2e-3)
    shares = torch.linspace(0.01, 0.99, 50)
    assert (torch.quantile(cut[:100_000], shares) - torch.quantile(kept[:100_000], shares)).abs().max() < 0.02


@pytest.mark.parametrize(("distribution", "truncation", "told"), [
    ("uniform", 0.5, "only normal latents can be truncated"),
    *(("normal", wrong, "give a number above 0") for wrong in (0.0, -1.0, "1", True)),
])  # fmt: skip
def test_truncation_that_cannot_be_is_refused(distribution, truncation, told):
    with pytest.raises(UserError, match=told):
        Latents(3, distribution).rows(0, 4, 0, truncation=truncation)
