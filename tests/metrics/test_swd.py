from __future__ import annotations

import numpy
import pytest
import scipy.ndimage
import torch
from torch import Tensor

import frugan.metrics
from frugan import seeds
from frugan.metrics.swd import apart, descriptors, down, laplacian, level_sizes, normalise, unit_vectors, up
from frugan.registry import UserError


def noise(count: int, channels: int = 1, side: int = 32, seed: int = 0) -> Tensor:
    numbers = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=numbers)


def blobs(count: int, channels: int = 1, side: int = 32, seed: int = 0) -> Tensor:
    """Smooth images with a structure: noise, blurred twice and stretched."""
    smooth = up(down(up(down(noise(count, channels, side, seed).float()))))
    return ((smooth - 127.5) * 4 + 127.5).clamp(0, 255).round().byte()


def compute(real: Tensor, fake: Tensor, **options: int) -> dict[str, float]:
    return frugan.metrics.swd.compute(real_pixels=real, pixels=fake, **options)


QUICK = {"patches": 16, "directions": 64}


def test_pggan_sheet_5_11_down_of_an_impulse() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 4, 4] = 256
    expected = torch.zeros(4, 4)
    expected[1:4, 1:4] = torch.tensor([[1.0, 6, 1], [6, 36, 6], [1, 6, 1]])
    assert torch.equal(down(image)[0, 0], expected)


def test_pggan_sheet_5_12_up_of_an_impulse() -> None:
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 1, 1] = 64
    found = up(image)[0, 0]
    assert found.shape == (8, 8)
    assert [float(found[place]) for place in ((2, 2), (2, 3), (3, 3), (2, 4), (4, 4))] == [36, 24, 16, 6, 1]


def test_pggan_sheet_5_13_a_constant_image() -> None:
    image = torch.full((1, 3, 32, 48), 77.0)
    assert torch.equal(down(image), torch.full((1, 3, 16, 24), 77.0))
    assert torch.equal(up(image), torch.full((1, 3, 64, 96), 77.0))
    assert not laplacian(image, 0, last=False).any()
    assert not laplacian(image, 1, last=False).any()
    assert torch.equal(laplacian(image, 1, last=True), torch.full((1, 3, 16, 24), 77.0))


def test_pggan_sheet_5_14_a_ramp() -> None:
    image = (10.0 * torch.arange(8)).expand(1, 1, 8, 8)
    assert down(image)[0, 0, 0].tolist() == [7.5, 20, 40, 58.75]
    first = laplacian(image, 0, last=False)[0, 0, 0].tolist()
    assert first == [-10.625, -3.75, -0.9375, 0, 0.15625, 0.625, 3.59375, 11.25]


def test_pggan_sheet_5_15_reconstruction() -> None:
    images = noise(3, 3, 64).float()
    assert level_sizes(64, 64) == ["64", "32", "16"]
    levels = [laplacian(images, level, last=level == 2) for level in range(3)]
    assert torch.allclose(up(up(levels[2]) + levels[1]) + levels[0], images, atol=1e-3)


def test_pggan_sheet_5_16_in_one_dimension() -> None:
    assert apart(torch.tensor([[1.0], [0.0]]), torch.tensor([[2.0], [4.0]]), torch.ones(1, 1)) == 2.5


def test_pggan_sheet_5_17_itself_and_another_brightness_and_contrast() -> None:
    one, other = (torch.rand(500, 147, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    slices = unit_vectors(147, 64, torch.Generator().manual_seed(2))
    assert apart(one, one.clone(), slices) == 0
    value = apart(normalise(one.clone(), 3), normalise(other.clone(), 3), slices)
    assert value > 0
    changed = apart(normalise(one.clone(), 3), normalise(3 * other + 5, 3), slices)
    assert changed == pytest.approx(value, rel=1e-5)


def test_metrics_sheet_5_25_swd_of_the_same_patches() -> None:
    images, slices = blobs(10), unit_vectors(49, 32, torch.Generator().manual_seed(0))
    cut = [descriptors(images, torch.arange(10), 0, 8, torch.Generator().manual_seed(1)) for _ in range(2)]
    assert apart(*(normalise(one, 1) for one in cut), slices) == 0


def test_pggan_sheet_5_18_independent_normal_descriptors() -> None:
    numbers = torch.Generator().manual_seed(0)
    for count, expected, tolerance in ((8_192, 19.6, 1.0), (32_768, 9.8, 0.6)):
        one, other = (torch.randn(count, 147, generator=numbers) for _ in range(2))
        value = 1000 * apart(normalise(one, 3), normalise(other, 3), unit_vectors(147, 128, numbers))
        assert value == pytest.approx(expected, abs=tolerance)


def test_levels_end_at_sixteen_pixels() -> None:
    assert level_sizes(128, 128) == ["128", "64", "32", "16"]
    assert level_sizes(28, 28) == ["28"]
    assert level_sizes(45, 90) == ["45x90"]
    assert level_sizes(64, 32) == ["64x32", "32x16"]


def plainly(real: Tensor, fake: Tensor, patches: int, directions: int, seed: int) -> dict[str, float]:
    """The protocol again in float64, by scipy's convolution and a loop over patches; only the draws are shared."""
    binomial = numpy.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256

    def blur(image: numpy.ndarray, gain: int) -> numpy.ndarray:
        return scipy.ndimage.convolve(image, gain * binomial, mode="mirror")

    def pyramid(image: numpy.ndarray, count: int) -> list[numpy.ndarray]:
        levels = []
        for _ in range(count - 1):
            lower = blur(image, 1)[::2, ::2]
            spread = numpy.zeros_like(image)
            spread[::2, ::2] = lower
            levels.append(image - blur(spread, 4))
            image = lower
        return [*levels, image]

    def normal(cut: numpy.ndarray) -> numpy.ndarray:  # [descriptors, channels, 7, 7]
        mean, deviation = cut.mean((0, 2, 3), keepdims=True), cut.std((0, 2, 3), keepdims=True)
        return ((cut - mean) / deviation).reshape(len(cut), -1)

    def distance(one: numpy.ndarray, other: numpy.ndarray) -> float:
        lists = [numpy.sort(normal(cut) @ slices, axis=0) for cut in (one, other)]
        return 1000 * float(numpy.abs(lists[0] - lists[1]).mean())

    channels, sizes = real.shape[1], level_sizes(*real.shape[2:])
    count = min(len(real), len(fake))
    slices = unit_vectors(49 * channels, directions, seeds.generator(seed, "swd", "directions")).double().numpy()
    values: dict[str, float] = {}
    for level, size in enumerate(sizes):
        cuts = []
        for name, images in (("real", real), ("fake", fake)):
            rows = torch.randperm(len(images), generator=seeds.generator(seed, "swd", "images"))[:count]
            places = seeds.generator(seed, "swd", name, level)
            high, wide = images.shape[2] >> level, images.shape[3] >> level
            y, x = (torch.randint(side - 6, (count, patches), generator=places) for side in (high, wide))
            cut = []
            for number, row in enumerate(rows):
                planes = [pyramid(plane.double().numpy(), len(sizes))[level] for plane in images[row]]
                for top, left in zip(y[number].tolist(), x[number].tolist(), strict=True):
                    cut.append([plane[top : top + 7, left : left + 7] for plane in planes])
            cuts.append(numpy.array(cut))
        half = count // 2 * patches
        values[f"swd_{size}"] = distance(*cuts)
        values[f"swd_floor_{size}"] = distance(cuts[0][:half], cuts[0][half : 2 * half])
    for name in ("swd", "swd_floor"):
        values[name] = float(numpy.mean([values[f"{name}_{size}"] for size in sizes]))
    return values


@pytest.mark.parametrize(("channels", "counts"), [(1, (40, 40)), (3, (31, 50))])
def test_agrees_with_scipy_in_float64(channels: int, counts: tuple[int, int]) -> None:
    real, fake = blobs(counts[0], channels), noise(counts[1], channels, seed=1)
    found = compute(real, fake, patches=8, directions=40, seed=3)
    expected = plainly(real, fake, 8, 40, 3)
    assert (
        set(found) == set(expected) == {f"swd{kind}{level}" for kind in ("", "_floor") for level in ("", "_32", "_16")}
    )
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5), name


def test_faults_stand_out_from_the_floor_and_another_contrast_does_not() -> None:
    """The pattern of the sheet's measurements (pggan, 4.2, "what it sees")."""
    images = blobs(600)
    real, fake = images[:300], images[300:]
    same = compute(real, fake, **QUICK)
    assert same["swd"] < 1.2 * same["swd_floor"]
    grainy = (fake.float() + 10 * torch.randn(fake.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255)
    assert compute(real, grainy.round().byte(), **QUICK)["swd_32"] > 3 * same["swd_32"]
    flatter = (fake.float() / 2 + 64).round().byte()
    assert compute(real, flatter, **QUICK)["swd_16"] < 1.3 * same["swd_floor_16"]


def test_the_floor_falls_with_the_root_of_the_count() -> None:
    few, many = (compute(blobs(count), blobs(count, seed=1), **QUICK)["swd_floor"] for count in (100, 1600))
    assert few / many == pytest.approx(4, rel=0.3)


def test_the_floor_mixes_images_that_are_sorted() -> None:
    """Folders are read class by class, so halves in order would be halves of the classes."""
    kinds = torch.cat([blobs(200), noise(200)])
    assert compute(kinds, kinds, **QUICK)["swd_floor"] < 100 < compute(kinds[:200], kinds[200:], **QUICK)["swd"]


def test_a_generator_of_one_flat_image_has_a_value() -> None:
    flat = torch.full((50, 1, 32, 32), 200, dtype=torch.uint8)
    value = compute(blobs(50), flat, **QUICK)
    assert value["swd"] > 5 * value["swd_floor"]


def test_draws_follow_the_seed_and_nothing_else() -> None:
    real, fake = blobs(30), blobs(20, seed=1)
    torch.manual_seed(0)
    first, state = compute(real, fake, **QUICK), torch.get_rng_state()
    torch.manual_seed(1)
    assert compute(real, fake, **QUICK) == first != compute(real, fake, **QUICK, seed=1)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_images_without_a_value_are_named() -> None:
    good = noise(4)
    with pytest.raises(UserError, match=r"^swd: 'pixels' is torch.float32 \[4, 1, 32, 32\]. It needs images as bytes"):
        compute(good, good.float() / torch.nan)
    with pytest.raises(UserError, match=r"'real_pixels' is torch.uint8 \[4, 32, 32\]"):
        compute(good[:, 0], good)
    with pytest.raises(UserError, match=r"^swd: 1 image in 'pixels', but it needs 2 or more"):
        compute(good, good[:1])
    with pytest.raises(UserError, match="images of 'pixels' are 14 x 14, but it needs at least 16 x 16"):
        compute(good, noise(4, side=14))
    with pytest.raises(UserError, match="the real images are 1 x 32 x 32 and the fakes 3 x 32 x 32"):
        compute(good, noise(4, 3))
    with pytest.raises(UserError, match="all 4 real images are equal"):
        compute(good[:1].expand(4, 1, 32, 32), good)
    with pytest.raises(UserError, match="1 or more of each"):
        compute(good, good, patches=0)
