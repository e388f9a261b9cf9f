"""Augmentations: what they change and leave, that they follow from their random numbers, and that gradients pass."""

from __future__ import annotations

import pytest
import torch

from frugan import augment, build
from frugan.penalties import Judgement
from frugan.recipes import find
from frugan.registry import UserError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", augment.names())
def test_every_augmentation_keeps_shape_and_follows_from_its_random_numbers(name: str, channels: int) -> None:
    images = torch.rand(16, channels, 12, 10) * 2 - 1
    kept = images.clone()
    change = augment.find(name)
    changed = change(images, seeded())
    assert change.name == name
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    assert torch.equal(images, kept)
    assert not torch.equal(changed, images)
    assert torch.equal(changed, change(images, seeded()))
    assert not torch.equal(changed, change(images, seeded(1)))
    assert change(images.bfloat16(), seeded()).dtype == torch.bfloat16


@pytest.mark.parametrize("name", augment.names())
def test_every_augmentation_lets_gradients_through_twice(name: str) -> None:
    images = torch.randn(3, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    change = augment.find(name)
    assert torch.autograd.gradcheck(lambda x: change(x, seeded()), (images,))
    assert torch.autograd.gradgradcheck(lambda x: change(x, seeded()).square(), (images,))


def test_flip_mirrors_some_images_left_to_right() -> None:
    images = torch.rand(200, 1, 3, 4)
    changed = augment.find("flip")(images, seeded())
    mirrored = (changed == images.flip(-1)).flatten(1).all(1)
    assert ((changed == images).flatten(1).all(1) ^ mirrored).all()
    assert 70 < mirrored.sum() < 130
    assert torch.equal(augment.find("flip", probability=0.0)(images, seeded()), images)
    assert torch.equal(augment.find("flip", probability=1.0)(images, seeded()), images.flip(-1))


def test_crop_shows_a_part_of_each_image_enlarged() -> None:
    ramp = torch.linspace(-0.9, 0.9, 32).expand(40, 1, 32, 32)
    changed = augment.find("crop", enlarge=1.25)(ramp, seeded())
    width = changed[:, 0, 0, -1] - changed[:, 0, 0, 0]
    assert torch.allclose(width, torch.tensor(1.8 / 1.25), atol=0.08)
    assert len((changed[:, 0, 0, 0] * 100).round().unique()) == 9  # of 40 columns 32 are kept, from 0, 1 ... or 8 on
    assert torch.equal(augment.find("crop", enlarge=1.0)(ramp, seeded()), ramp)
    assert changed.abs().max() <= 1
    with pytest.raises(UserError, match=r"enlarge=0\.5"):
        augment.find("crop", enlarge=0.5)


def test_diff_augment_with_everything_off_changes_nothing() -> None:
    images = torch.randn(4, 3, 8, 8)
    still = augment.find("diff_augment", colour=False, translation=0.0, cutout=0.0)
    assert torch.equal(still(images, seeded()), images)


def test_diff_augment_translation_moves_whole_images_and_fills_with_zero() -> None:
    images = torch.rand(300, 2, 8, 16) + 1
    changed = augment.find("diff_augment", colour=False, cutout=0.0)(images, seeded())
    moves = set()
    for before, after in zip(images, changed, strict=True):
        fits = []
        for down in range(-1, 2):
            for right in range(-2, 3):
                expected = torch.zeros_like(before)
                expected[:, max(down, 0) : 8 + min(down, 0), max(right, 0) : 16 + min(right, 0)] = before[
                    :, max(-down, 0) : 8 + min(-down, 0), max(-right, 0) : 16 + min(-right, 0)
                ]
                if torch.equal(expected, after):
                    fits.append((down, right))
        assert len(fits) == 1
        moves.update(fits)
    assert len(moves) == 3 * 5  # an eighth of each side, either way, and every move occurs


@pytest.mark.parametrize("cutout", [0.5, 0.3125])
def test_diff_augment_cutout_is_centred_anywhere_alike(cutout: float) -> None:
    """At either edge as much of the square may fall outside: half of an even side, all but the middle of an odd one."""
    change = augment.find("diff_augment", colour=False, translation=0.0, cutout=cutout)
    hidden = (change(torch.ones(3000, 1, 16, 16), seeded()) == 0)[:, 0]
    for lines in (hidden.any(2), hidden.any(1)):  # rows, then columns
        counts = lines.sum(1)
        first, last = counts[lines[:, 0]].min(), counts[lines[:, -1]].min()
        assert first == last == (round(16 * cutout) + 1) // 2


@pytest.mark.parametrize("side", [8, 10])
def test_diff_augment_cutout_clears_one_square(side: int) -> None:
    images = torch.rand(300, 2, side, side) + 1
    changed = augment.find("diff_augment", colour=False, translation=0.0)(images, seeded())
    hole = changed == 0
    assert torch.equal(changed[~hole], images[~hole])
    rows, columns = hole[:, 0].any(2), hole[:, 0].any(1)
    assert torch.equal(hole[:, 0], rows[:, :, None] & columns[:, None, :])
    assert torch.equal(hole[:, 0], hole[:, 1])
    assert rows.sum(1).max() == columns.sum(1).max() == side // 2
    assert rows.any(0).all()  # every place is cleared in some image
    assert columns.any(0).all()


def test_diff_augment_colour_keeps_what_each_change_keeps() -> None:
    images = torch.rand(500, 3, 6, 6) * 2 - 1
    changed = augment.find("diff_augment", translation=0.0, cutout=0.0)(images, seeded())
    # contrast and saturation keep an image's mean, which brightness moves by U(-1/2, 1/2)
    moved = (changed - images).mean((1, 2, 3))
    assert -0.5 <= moved.min() < -0.45
    assert 0.45 < moved.max() <= 0.5
    grey = images[:, :1]
    stretched = augment.find("diff_augment", translation=0.0, cutout=0.0)(grey, seeded()).std((1, 2, 3)) / grey.std(
        (1, 2, 3)
    )
    assert 0.5 <= stretched.min() < 0.55  # saturation leaves grey images alone; contrast is U(1/2, 3/2)
    assert 1.45 < stretched.max() <= 1.5


def moved(change: augment.Augmentation, scores: list[float], images: int) -> float:
    assert change.gauge is not None
    return change.gauge(Judgement(None, None, None, None, (torch.tensor(scores), torch.zeros(1)), images)).item()


def test_the_adaptive_probability_follows_how_sure_the_discriminator_is() -> None:
    """Karras et al. 2020, r_t in eq. 1: the mean sign of scores of real images, against 0.6."""
    change = augment.find("adaptive", images=1000)
    assert moved(change, [1.0] * 9 + [-1.0], 100) == pytest.approx(0.6)  # 0.8
    assert moved(change, [1.0] * 7 + [-9.0] * 3, 150) == pytest.approx(0.55)  # 0.4
    assert moved(change, [1.0] * 10, 150) == pytest.approx(0.55)  # a further step of the same round
    assert moved(change, [1.0], 9999) == 1
    assert moved(change, [-1.0], 99_999) == 0


def test_the_adaptive_change_is_made_to_that_share_of_images() -> None:
    change = augment.find("adaptive", start=0.3)
    images = torch.randn(2000, 1, 4, 4)
    same = (change(images, seeded()) == images).flatten(1).all(1)
    assert (~same).float().mean() == pytest.approx(0.3, abs=0.04)
    assert torch.equal(augment.find("adaptive", start=0.0)(images, seeded()), images)


def test_adaptive_needs_a_loss_whose_signs_mean_something() -> None:
    recipe = find("mnist")
    for loss in ("non_saturating", "hinge", "lsgan", "wgan", "relativistic"):
        changed = recipe.with_changes({"augment": "adaptive", "loss": loss})
        if loss not in ("wgan", "relativistic"):
            assert build.values(changed)["penalties"][-1].name == "augmentation"
        else:
            with pytest.raises(UserError, match=f"'{loss}' only compares"):
                build.values(changed)


def test_two_adaptive_changes_would_follow_one_gauge_each_and_are_refused() -> None:
    recipe = find("mnist").with_changes({"augment": "adaptive+adaptive,start=0.1", "loss": "non_saturating"})
    with pytest.raises(UserError, match="given twice"):
        build.assemble(recipe)


def test_wrong_augmentations_are_refused_with_what_to_type() -> None:
    with pytest.raises(UserError, match="Did you mean 'diff_augment'"):
        augment.find("diffaugment")
    with pytest.raises(UserError, match="Did you mean 'colour'"):
        augment.find("diff_augment", color=True)
    with pytest.raises(UserError, match="0 to 1"):
        augment.find("diff_augment", cutout=2.0)
    with pytest.raises(UserError, match="0 to 1"):
        augment.find("flip", probability=2.0)
    with pytest.raises(UserError, match="start from 0 to 1"):
        augment.find("adaptive", start=2.0)
    assert augment.options("flip") == {"probability": 0.5}
