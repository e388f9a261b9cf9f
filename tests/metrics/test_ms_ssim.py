from __future__ import annotations

import numpy
import pytest
import scipy.signal
import torch
from torch import Tensor

import frugan.metrics
from frugan.metrics.ms_ssim import scales_of, similarity
from frugan.registry import UserError

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def smooth(count: int, channels: int = 1, side: int = 32, seed: int = 0) -> Tensor:
    numbers = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 6, 6, generator=numbers) * 255
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear").round().byte()


def compute(images: Tensor, labels: Tensor | None = None, **options: int) -> dict[str, float]:
    return frugan.metrics.ms_ssim.compute(pixels=images, labels=labels, **options)


def test_pggan_sheet_5_19_identical_images_and_black_against_white() -> None:
    images = smooth(3, 3, 128)
    assert similarity(images, images).tolist() == pytest.approx([1, 1, 1], abs=1e-12)
    black = torch.zeros(1, 1, 128, 128)
    assert float(similarity(black, black + 255)) == pytest.approx(0.29295, abs=5e-6)


@pytest.mark.parametrize("side", [28, 32, 64])
def test_metrics_sheet_5_25_ms_ssim_of_a_set_with_itself(side: int) -> None:
    one = smooth(1, 1, side).expand(20, 1, side, side)
    assert compute(one) == pytest.approx({"ms_ssim": 1, "ms_ssim_worst_class": 1}, abs=1e-12)


def test_metrics_sheet_2_9_scales() -> None:
    sides = {11: 1, 21: 1, 22: 2, 28: 2, 32: 2, 45: 3, 64: 3, 96: 4, 127: 4, 128: 5, 256: 5}
    assert {side: scales_of(side, side) for side in sides} == sides
    assert scales_of(32, 300) == 2


def plainly(one: Tensor, other: Tensor, scales: int) -> list[float]:
    """The published formula image by image, with scipy's convolution."""
    found = []
    for images in zip(one.double().numpy(), other.double().numpy(), strict=True):
        score, planes = 1.0, [list(image) for image in images]
        for scale in range(scales):
            side = min(11, *planes[0][0].shape)
            place = numpy.arange(side) - (side - 1) / 2
            kernel = numpy.exp(-(place**2) / (2 * (1.5 * side / 11) ** 2))
            window = numpy.outer(kernel, kernel) / kernel.sum() ** 2
            wholes, contrasts = [], []
            for x, y in zip(*planes, strict=True):
                mx, my, xx, yy, xy = (scipy.signal.convolve2d(z, window, "valid") for z in (x, y, x * x, y * y, x * y))
                contrast = (2 * (xy - mx * my) + 7.65**2) / (xx - mx**2 + yy - my**2 + 7.65**2)
                contrasts.append(contrast)
                wholes.append(contrast * (2 * mx * my + 2.55**2) / (mx**2 + my**2 + 2.55**2))
            factor = max(0.0, float(numpy.mean(wholes if scale == scales - 1 else contrasts)))
            score *= factor ** (BETAS[scale] / (1 if scales == 5 else sum(BETAS[:scales])))
            even = [side // 2 * 2 for side in planes[0][0].shape]
            planes = [
                [sum(x[i : even[0] : 2, j : even[1] : 2] for i in (0, 1) for j in (0, 1)) / 4 for x in image]
                for image in planes
            ]
        found.append(score)
    return found


def by_torchmetrics(one: Tensor, other: Tensor, scales: int) -> list[float]:
    """From torchmetrics' factors. Its own product counts the mirrored border in the last one, which is cut off here."""
    library = pytest.importorskip("torchmetrics.functional.image")
    one, other, score = one.double(), other.double(), torch.ones(len(one), dtype=torch.float64)
    for scale in range(scales):
        options = {"data_range": 255.0, "reduction": "none"}
        if scale < scales - 1:
            factor = library.multiscale_structural_similarity_index_measure(
                one, other, betas=(1.0, 0.0), normalize="relu", **options
            )
        else:
            pair = library.structural_similarity_index_measure(one, other, return_full_image=True, **options)
            factor = pair[1][:, :, 5:-5, 5:-5].flatten(1).mean(1).relu()
        score *= factor ** (BETAS[scale] / (1 if scales == 5 else sum(BETAS[:scales])))
        one, other = (torch.nn.functional.avg_pool2d(images, 2) for images in (one, other))
    return score.tolist()


@pytest.mark.parametrize(
    ("side", "channels", "scales"),
    [(11, 3, 1), (28, 1, 2), (32, 3, 2), (45, 1, 3), (64, 3, 3), (96, 1, 4), (128, 3, 5), (192, 1, 5)],
)
def test_agrees_with_scipy_and_torchmetrics(side: int, channels: int, scales: int) -> None:
    """Between a pattern and a changed one, so that hardly a factor is clipped to 0."""
    one, other = smooth(3, channels, side), smooth(3, channels, side, 1)
    other = (0.6 * one.float() + 0.4 * other.float()).round().byte()
    found = similarity(one, other).tolist()
    assert min(found) > 0.1
    assert found == pytest.approx(plainly(one, other, scales), rel=1e-9)
    if side != 128:  # torchmetrics has no window smaller than 11
        assert found == pytest.approx(by_torchmetrics(one, other, scales), rel=1e-9)


def test_negative_contrast_is_no_similarity() -> None:
    image = smooth(1)
    assert float(similarity(image, 255 - image)) == 0


def test_pairs_are_within_a_class() -> None:
    # Two images, each many times: within its class every image is like every other, across the classes they are not.
    first, second = smooth(1), smooth(1, seed=1)
    images = torch.cat([first.expand(30, 1, 32, 32), second.expand(31, 1, 32, 32)])
    labels = torch.tensor([7] * 30 + [3] * 31)
    assert compute(images, labels)["ms_ssim"] == pytest.approx(1, abs=1e-12)
    assert compute(images)["ms_ssim"] < 0.9
    attributes = torch.tensor([[1, 0]] * 30 + [[1, 1]] * 31)
    assert compute(images, attributes)["ms_ssim"] == pytest.approx(1, abs=1e-12)


def test_a_class_that_repeats_itself_is_seen() -> None:
    varied, repeated = smooth(20), smooth(1, seed=1).expand(20, 1, 32, 32)
    found = compute(torch.cat([varied, repeated]), torch.arange(2).repeat_interleave(20))
    alone = compute(varied)["ms_ssim"]
    assert found["ms_ssim_worst_class"] == pytest.approx(1, abs=1e-12)
    assert alone < 0.5 < found["ms_ssim"] < 0.9


def test_every_image_stands_in_one_pair() -> None:
    from frugan.metrics.ms_ssim import _pairs

    classes = torch.tensor([0, 1, 1, 2, 0, 1, 0, 0, 3, 1, 1])
    pairs = _pairs(classes, 0)
    assert [len(part) for part in pairs] == [2, 2]
    assert all(int(classes[one]) == int(classes[other]) for part in pairs for one, other in part)
    chosen = torch.cat(pairs).flatten()
    assert len(chosen.unique()) == len(chosen) == 8


def test_pairs_follow_the_seed_and_nothing_else() -> None:
    images = smooth(21)
    torch.manual_seed(0)
    first, state = compute(images), torch.get_rng_state()
    torch.manual_seed(1)
    assert compute(images) == first != compute(images, seed=1)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_images_without_a_value_are_named() -> None:
    good = smooth(4)
    with pytest.raises(UserError, match=r"^ms_ssim: 'pixels' is torch.float32 \[4, 1, 32, 32\]. It needs images as"):
        compute(good.float())
    with pytest.raises(UserError, match=r"^ms_ssim: 1 image in 'pixels', but it needs 2 or more"):
        compute(good[:1])
    with pytest.raises(UserError, match="images of 'pixels' are 8 x 8, but it needs at least 11 x 11"):
        compute(good[:, :, :8, :8])
    with pytest.raises(UserError, match="4 images but 3 labels"):
        compute(good, torch.arange(3))
    with pytest.raises(UserError, match="no two of the 4 images have the same class"):
        compute(good, torch.arange(4))
