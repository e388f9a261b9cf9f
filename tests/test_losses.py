"""Adversarial losses against the numbers of the losses sheet, all on its check batch."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from frugan import losses
from frugan.registry import UserError

REAL = torch.tensor([2.0, -1.0], dtype=torch.float64)
FAKE = torch.tensor([0.5, -1.5], dtype=torch.float64)


def both_sides(name: str, real: Tensor = REAL, fake: Tensor = FAKE, **options: object) -> tuple[float, float]:
    loss = losses.find(name, **options)
    random = torch.Generator().manual_seed(0)
    return loss.discriminator(real, fake, random).item(), loss.generator(fake, real, random).item()


def near(*expected: float) -> object:
    return pytest.approx(expected, abs=1e-5)


# --------------------------------------------------------------------------------------- section 1: values on the batch


def test_losses_sheet_1_minimax() -> None:
    assert both_sides("minimax") == near(1.307840, -0.587745)


def test_losses_sheet_1_minimax_parts_of_the_first_row() -> None:
    far = torch.full((2,), 1e4, dtype=torch.float64)
    assert both_sides("minimax", REAL, -far)[0] == pytest.approx(0.720095, abs=1e-5)
    assert both_sides("minimax", far, FAKE)[0] == pytest.approx(0.587745, abs=1e-5)


def test_losses_sheet_1_non_saturating() -> None:
    assert both_sides("non_saturating") == near(1.307840, 1.087745)


def test_losses_sheet_1_lsgan() -> None:
    assert both_sides("lsgan") == near(1.875, 1.625)


def test_losses_sheet_1_lsgan_with_targets_minus_one_one_zero() -> None:
    assert both_sides("lsgan", fake_target=-1.0, generator_target=0.0) == near(1.875, 0.625)


def test_losses_sheet_1_lsgan_at_its_equilibrium() -> None:
    half = torch.full((4,), 0.5, dtype=torch.float64)
    assert both_sides("lsgan", half, half) == near(0.25, 0.125)


def test_losses_sheet_1_hinge() -> None:
    assert both_sides("hinge") == near(1.75, 0.5)


def test_losses_sheet_1_wgan() -> None:
    assert both_sides("wgan") == near(-1.0, 0.5)


def test_losses_sheet_1_relativistic() -> None:
    assert both_sides("relativistic") == near(0.337745, 1.337745)


def test_losses_sheet_1_relativistic_average() -> None:
    assert both_sides("relativistic_average") == near(0.936521, 2.936521)


def test_losses_sheet_1_ra_lsgan() -> None:
    assert both_sides("ra_lsgan") == near(3.25, 11.25)


def test_biggan_sheet_5_5_hinge() -> None:
    hinge = losses.find("hinge")
    real, fake, none = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-2.0, 0.0, 1.0]), torch.tensor([-9.0])
    assert hinge.discriminator(real, none).item() == pytest.approx(0.833333, abs=1e-6)
    assert hinge.discriminator(-none, fake).item() == pytest.approx(1.0, abs=1e-6)
    assert hinge.generator(fake).item() == pytest.approx(0.333333, abs=1e-6)


def test_losses_sheet_1_ra_hinge() -> None:
    assert both_sides("ra_hinge") == near(1.25, 4.0)


def test_losses_sheet_1_halved_forms() -> None:
    assert both_sides("relativistic_average", halved=True) == near(0.468260, 1.468260)
    assert both_sides("non_saturating", halved=True) == near(1.307840 / 2, 1.087745)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minimax", (1.386294, -0.693147)),
        ("non_saturating", (1.386294, 0.693147)),
        ("lsgan", (0.5, 0.5)),
        ("hinge", (2.0, 0.0)),
        ("relativistic", (0.693147, 0.693147)),
        ("relativistic_average", (1.386294, 1.386294)),
    ],
)
def test_losses_sheet_1_at_all_zero_logits(name: str, expected: tuple[float, float]) -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    assert both_sides(name, zero, zero) == near(*expected)


def test_dcgan_sheet_7_8_losses_at_zero_logits() -> None:
    zero = torch.zeros(3, 1)
    assert both_sides("non_saturating", zero, zero) == near(1.386294, 0.693147)


@pytest.mark.parametrize(("name", "slope"), [("minimax", -0.006693), ("non_saturating", -0.993307)])
def test_losses_sheet_1_gradient_of_the_generator_at_minus_five(name: str, slope: float) -> None:
    fake = torch.tensor([-5.0], requires_grad=True)
    losses.find(name).generator(fake).backward()
    assert fake.grad is not None
    assert fake.grad.item() == pytest.approx(slope, abs=1e-6)


# ------------------------------------------------------------------------------------------------ section 1: identities


@pytest.mark.parametrize("name", ["relativistic", "relativistic_average", "ra_lsgan", "ra_hinge"])
def test_losses_sheet_1_relativistic_generator_is_the_discriminator_swapped(name: str) -> None:
    loss = losses.find(name)
    assert loss.needs_real
    torch.testing.assert_close(loss.generator(FAKE, REAL), loss.discriminator(FAKE, REAL))


@pytest.mark.parametrize("name", losses.names())
def test_losses_sheet_1_who_is_unchanged_by_a_constant_added_to_all_logits(name: str) -> None:
    before, after = both_sides(name), both_sides(name, REAL + 0.7, FAKE + 0.7)
    compares = name in ("relativistic", "relativistic_average", "ra_lsgan", "ra_hinge")
    assert (after[0] == pytest.approx(before[0])) == (compares or name == "wgan")
    assert (after[1] == pytest.approx(before[1])) == compares


def test_losses_sheet_1_relativistic_pairs_sample_with_sample() -> None:
    crossed = both_sides("relativistic", REAL.flip(0), FAKE)
    assert crossed != pytest.approx(both_sides("relativistic"))
    by_hand = [math.log1p(math.exp(fake - real)) for real, fake in zip((-1.0, 2.0), (0.5, -1.5), strict=True)]
    assert crossed[0] == pytest.approx(sum(by_hand) / 2)


@pytest.mark.parametrize("name", ["relativistic", "relativistic_average"])
def test_losses_sheet_1_gradient_reaches_the_generator_only_through_the_fakes(name: str) -> None:
    torch.manual_seed(0)
    discriminator = torch.nn.Linear(3, 1).requires_grad_(False)
    weight = torch.randn(3, 3, requires_grad=True)
    images = torch.randn(4, 3)

    def gradient(real: Tensor) -> Tensor:
        loss = losses.find(name).generator(discriminator(images.flip(0) @ weight), real)
        return torch.autograd.grad(loss, weight)[0]

    logits = discriminator(images)
    assert gradient(logits).abs().sum() > 0
    torch.testing.assert_close(gradient(logits), gradient(logits.detach()))


def test_losses_sheet_6_relativistic_with_unequal_batches_is_refused() -> None:
    for name, shapes in (("relativistic", ((4,), (3,))), ("relativistic", ((4,), (4, 1)))):
        with pytest.raises(UserError, match="relativistic_average"):
            losses.find(name).discriminator(*(torch.zeros(shape) for shape in shapes))
    losses.find("relativistic_average").discriminator(torch.zeros(4), torch.zeros(3))


def test_a_relativistic_generator_without_real_logits_is_told_to_give_them() -> None:
    with pytest.raises(UserError, match=r"generator\(fake, real\)"):
        losses.find("relativistic_average").generator(FAKE)


# ---------------------------------------------------------------------------------------- section 4: smoothing, targets


def test_losses_sheet_4_one_sided_label_smoothing() -> None:
    smoothed, plain = both_sides("non_saturating", smoothing=0.9), both_sides("non_saturating")
    assert smoothed == near(1.357840, plain[1])


def test_losses_sheet_4_label_smoothing_is_least_at_the_entropy_of_its_target() -> None:
    far = torch.full((1,), -1e4, dtype=torch.float64)
    logits = torch.linspace(-5, 5, 20001, dtype=torch.float64)
    loss = losses.find("minimax", smoothing=0.9)
    values = torch.stack([loss.discriminator(logit[None], far) for logit in logits])
    assert values.min().item() == pytest.approx(0.325083, abs=1e-5)
    assert logits[values.argmin()].sigmoid().item() == pytest.approx(0.9, abs=1e-3)


def test_coursework_sheet_6_5_label_smoothing_on_the_real_logits() -> None:
    far = torch.full((2,), -1e4, dtype=torch.float64)
    assert both_sides("non_saturating", REAL, far, smoothing=0.9)[0] == pytest.approx(0.770095, abs=1e-5)
    assert both_sides("non_saturating", REAL, far)[0] == pytest.approx(0.720095, abs=1e-5)


def best_discriminator(discriminator: Callable[[Tensor, Tensor], Tensor], real: list[int], fake: list[int]) -> Tensor:
    """D of each of the places seen so often in `real` and `fake` images, at the least loss (Newton's method)."""
    logits = torch.zeros(len(real), dtype=torch.float64)

    def total(logits: Tensor) -> Tensor:
        seen_real = logits.repeat_interleave(torch.tensor(real))
        return discriminator(seen_real, logits.repeat_interleave(torch.tensor(fake)))

    for _ in range(20):
        slope = torch.autograd.functional.jacobian(total, logits)
        logits = logits - torch.linalg.solve(torch.autograd.functional.hessian(total, logits), slope)
    return logits.sigmoid()


def test_coursework_sheet_6_6_optimal_discriminator_under_one_sided_smoothing() -> None:
    loss = losses.find("non_saturating", smoothing=0.9)
    best = best_discriminator(loss.discriminator, real=[1, 3, 2], fake=[1, 1, 4])
    # alpha p_d / (p_d + p_g); both batches have six images, so counts serve as densities
    torch.testing.assert_close(best, 0.9 * torch.tensor([1 / 2, 3 / 4, 2 / 6], dtype=torch.float64))
    assert best[0].item() == pytest.approx(0.45)


def test_coursework_sheet_6_6_optimal_discriminator_under_two_sided_smoothing() -> None:
    loss = losses.find("binary_targets", real_target=0.9, fake_target=0.2)
    best = best_discriminator(loss.discriminator, real=[1, 3, 2], fake=[1, 1, 4])
    expected = [(0.9 * p_d + 0.2 * p_g) / (p_d + p_g) for p_d, p_g in ((1, 1), (3, 1), (2, 4))]
    torch.testing.assert_close(best, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("name", ["hinge", "wgan", "relativistic", "relativistic_average", "ra_lsgan", "ra_hinge"])
def test_losses_sheet_6_label_smoothing_without_targets_is_refused(name: str) -> None:
    assert not losses.find(name).has_targets
    with pytest.raises(UserError, match="no targets"):
        losses.find(name, smoothing=0.9)


def test_label_smoothing_of_a_loss_with_targets_of_its_own_says_which_option_to_use() -> None:
    with pytest.raises(UserError, match=r"real_target=0\.9"):
        losses.find("lsgan", smoothing=0.9)
    with pytest.raises(UserError, match=r"at most 1"):
        losses.find("minimax", smoothing=1.5)


def test_binary_targets_are_non_saturating_by_default() -> None:
    assert both_sides("binary_targets") == pytest.approx(both_sides("non_saturating"))


def test_factorised_sheet_6_8_targets_above_one_leave_the_loss_unbounded() -> None:
    loss = losses.find("binary_targets", real_target=1.05, fake_target=0.0)
    far = torch.tensor([-1e4], dtype=torch.float64)
    assert loss.discriminator(torch.tensor([100.0], dtype=torch.float64), far).item() == pytest.approx(-5.0)
    # the probability form refuses such targets, which is why there is only the logit form here
    with pytest.raises(RuntimeError):
        torch.nn.functional.binary_cross_entropy(torch.tensor([0.5]), torch.tensor([1.05]))


def test_binary_targets_of_the_frog_recipe_draw_their_noise_from_the_given_generator() -> None:
    frog = {"real_target": 0.0, "fake_target": 1.0, "generator_target": 0.0, "noise": 0.05}
    loss = losses.find("binary_targets", **frog)
    real, fake = torch.zeros(1), torch.full((1000,), 100.0)

    def value(loss: losses.AdversarialLoss, seed: int) -> float:
        return loss.discriminator(real, fake, torch.Generator().manual_seed(seed)).item()

    assert value(loss, 0) == value(loss, 0) != value(loss, 1)
    # a real logit of 0 costs ln 2 whatever its target; the fake targets exceed 1 by 0.025 on average, at a logit of 100
    assert value(loss, 0) == pytest.approx(math.log(2) - 2.5, abs=0.1)
    inward = losses.find("binary_targets", **frog, inward=True)
    assert value(inward, 0) == pytest.approx(math.log(2) + 2.5, abs=0.1)
    with pytest.raises(UserError, match="random"):
        loss.discriminator(REAL, FAKE)
    assert loss.generator(FAKE).item() == pytest.approx(torch.nn.functional.softplus(FAKE).mean().item())


def test_binary_targets_halved_are_the_mean_over_real_and_fake_images_in_one_batch() -> None:
    real, fake = torch.tensor([0.3, -1.0]), torch.tensor([2.0, 0.5])
    targets = torch.tensor([0.1, 0.1, 0.8, 0.8])
    joined = torch.nn.functional.binary_cross_entropy_with_logits(torch.cat([real, fake]), targets)
    loss = losses.find("binary_targets", real_target=0.1, fake_target=0.8, halved=True)
    assert loss.discriminator(real, fake).item() == pytest.approx(joined.item())


def test_what_counts_as_taken_for_real_follows_the_targets() -> None:
    logits = torch.tensor([-2.0, 0.3, 2.0])
    assert losses.find("hinge").takes_for_real(logits).tolist() == [False, True, True]
    assert losses.find("lsgan").takes_for_real(logits).tolist() == [False, False, True]
    frog = losses.find("binary_targets", real_target=0.0, fake_target=1.0)
    assert frog.takes_for_real(logits).tolist() == [True, False, False]


# ----------------------------------------------------------------------------------------------------- feature matching


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 5.0), ("mean", 2.5), ("absolute", 1.5)])
def test_losses_sheet_4_feature_matching(reduction: str, expected: float) -> None:
    real, fake = torch.tensor([[1.0, 2.0], [3.0, 6.0]]), torch.tensor([[0.0, 0.0], [2.0, 4.0]])
    assert losses.feature_matching(real, fake, reduction=reduction).item() == pytest.approx(expected)


def test_losses_sheet_4_feature_matching_sends_no_gradient_to_the_real_features() -> None:
    real, fake = torch.randn(3, 2, requires_grad=True), torch.randn(3, 2, requires_grad=True)
    losses.feature_matching(real, fake).backward()
    assert real.grad is None
    assert fake.grad is not None
    with pytest.raises(UserError, match="'mean'"):
        losses.feature_matching(real, fake, reduction="means")


# ----------------------------------------------------------------------------------------------------- sections 6 and 7


def test_losses_sheet_6_compatibility_warns() -> None:
    assert losses.compatibility("non_saturating", ["r1"]) == []
    for penalty in ("wgan_gp", "r1", "r2", "dragan"):
        (text,) = losses.compatibility("non_saturating", [penalty], discriminator_has_batch_norm=True)
        assert "layer, instance or no normalisation" in text
    assert any("momentum" in text for text in losses.compatibility("wgan", beta1=0.5))
    assert losses.compatibility("wgan") == losses.compatibility("wgan", ["wgan_gp"], beta1=0.5) == []
    assert any("hinge" in text for text in losses.compatibility("hinge"))
    assert (
        losses.compatibility("hinge", discriminator_has_spectral_norm=True)
        == losses.compatibility("hinge", ["r1"])
        == []
    )


def test_losses_sheet_6_compatibility_refuses() -> None:
    with pytest.raises(UserError, match="no targets"):
        losses.compatibility("hinge", smoothing=0.9)
    with pytest.raises(UserError, match="2 or more"):
        losses.compatibility("non_saturating", discriminator_has_minibatch_layer=True, real_count=1, fake_count=1)
    with pytest.raises(UserError, match="pairs"):
        losses.compatibility("relativistic", real_count=96, fake_count=256)
    losses.compatibility("non_saturating", smoothing=0.9, real_count=96, fake_count=256)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", losses.names())
def test_losses_sheet_7_finite_for_huge_logits(name: str, dtype: torch.dtype) -> None:
    loss = losses.find(name)
    for one in (1e4, -1e4):
        for other in (1e4, -1e4):
            real = torch.tensor([one, 0.0], dtype=dtype, requires_grad=True)
            fake = torch.tensor([other, 0.0], dtype=dtype, requires_grad=True)
            for value in (loss.discriminator(real, fake), loss.generator(fake, real)):
                assert value.dtype == torch.float32
                assert value.isfinite()
                gradients = torch.autograd.grad(value, (real, fake), allow_unused=True)
                reached = [gradient for gradient in gradients if gradient is not None]
                assert reached
                assert all(gradient.isfinite().all() for gradient in reached)


@pytest.mark.parametrize("name", losses.names())
def test_losses_sheet_7_doubling_the_batch_changes_nothing(name: str) -> None:
    assert both_sides(name, REAL.repeat(2), FAKE.repeat(2)) == pytest.approx(both_sides(name))


@pytest.mark.parametrize("name", losses.names())
def test_losses_sheet_7_logits_of_any_shape(name: str) -> None:
    for shape in ((2, 1), (1, 1, 1, 2)):
        assert both_sides(name, REAL.view(shape), FAKE.view(shape)) == pytest.approx(both_sides(name))


@pytest.mark.parametrize("name", losses.names())
def test_losses_sheet_7_each_step_moves_one_side_only(name: str) -> None:
    loss = losses.find(name)
    torch.manual_seed(0)
    generator, discriminator = torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)
    real, latents = torch.randn(4, 3), torch.randn(4, 2)

    loss.discriminator(discriminator(real), discriminator(generator(latents).detach())).backward()
    assert all(parameter.grad is None for parameter in generator.parameters())
    assert discriminator.weight.grad is not None

    kept = discriminator.weight.grad.clone()
    discriminator.requires_grad_(False)
    loss.generator(discriminator(generator(latents)), discriminator(real)).backward()
    assert generator.weight.grad is not None
    torch.testing.assert_close(discriminator.weight.grad, kept, rtol=0, atol=0)


# -------------------------------------------------------------------------------------------------------------- by name


def test_losses_are_found_by_name_with_their_options() -> None:
    assert losses.options("lsgan") == {
        "real_target": 1.0, "fake_target": 0.0, "generator_target": 1.0, "generator_weight": 0.5,
    }  # fmt: skip
    assert [losses.find(name).name for name in losses.names()] == losses.names()
    with pytest.raises(UserError, match="Did you mean 'hinge'"):
        losses.find("hing")
    with pytest.raises(UserError, match="Did you mean 'real_target'"):
        losses.find("lsgan", real_targt=0.9)
