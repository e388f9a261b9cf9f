"""Sliced Wasserstein distance of image patches, level by level (Karras et al. 2018, arXiv 1710.10196, section 5).

It shows at which scale textures differ from the real ones. Each level of a Laplacian pyramid, from full size down to 16
pixels, gives a distance between patches of real images and of fakes. It cannot see brightness and contrast, which are
normalised in each set, nor where in the image a patch is.

Two sets of real images do not have the distance 0. Their distance, the floor, falls with the root of their count, and
is given with every value. It is measured between two halves of the real images, so it is about 1.4 times the floor of
the full count. Compare only values of equal counts, sizes and channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from frugan import seeds
from frugan.metrics import Metric
from frugan.metrics._pixels import accept_pixel_pair
from frugan.registry import UserError

_PATCH = 7  # pixels a side
_SMALLEST = 16  # the last level
_IMAGES_AT_ONCE = 256
_DIRECTIONS_AT_ONCE = 8
_BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def compute(
    *, real_pixels: Tensor, pixels: Tensor, patches: int = 128, directions: int = 512, seed: int = 0
) -> dict[str, float]:
    """``{"swd", "swd_floor", "swd_32", "swd_floor_32", "swd_16", ...}`` of bytes ``[n, c, h, w]`` and ``[m, c, h, w]``.

    All values are multiplied by 1000. `swd` is the mean over the levels. Each level has its own value, named by its
    height (or height x width): the image is halved as long as its sides are even and the result has at least 16 pixels.
    Grey images have one channel. If counts are unequal, only a random part of the larger set is used.

    It needs about 600 bytes of memory for each patch, image and channel.

    Args:
        patches: how many patches of 7 x 7 pixels are cut from each image and level, at random places.
        directions: how many random directions the patches are projected on.
        seed: for places, directions, halves and the choice of images.

    Raises:
        UserError: images are not bytes, fewer than 2, have sides under 16 pixels or unequal shapes; real images all
            equal.
    """
    if patches < 1 or directions < 1:
        raise UserError(f"swd: patches={patches}, directions={directions}. Give 1 or more of each.")
    real, fake = accept_pixel_pair("swd", real_pixels, pixels, side=_SMALLEST)
    count = min(len(real), len(fake))
    rows = [torch.randperm(len(one), generator=seeds.generator(seed, "swd", "images"))[:count] for one in (real, fake)]
    channels = real.shape[1]
    slices = unit_vectors(channels * _PATCH**2, directions, seeds.generator(seed, "swd", "directions"))
    half = count // 2 * patches
    values, floors = {}, {}
    for level, size in enumerate(level_sizes(*real.shape[2:])):
        one, other = (
            descriptors(images, chosen, level, patches, seeds.generator(seed, "swd", name, level))
            for name, images, chosen in (("real", real, rows[0]), ("fake", fake, rows[1]))
        )
        first, second = one[:half].clone(), one[half : 2 * half].clone()
        floors[size] = 1000 * apart(normalise(first, channels), normalise(second, channels), slices)
        del first, second
        values[size] = 1000 * apart(normalise(one, channels), normalise(other, channels), slices)
    means = {"swd": sum(values.values()) / len(values), "swd_floor": sum(floors.values()) / len(floors)}
    return means | {
        f"{name}_{size}": levels[size] for size in values for name, levels in (("swd", values), ("swd_floor", floors))
    }


def level_sizes(height: int, width: int) -> list[str]:
    """Names of the pyramid's levels, the full size first: ``["64", "32", "16"]``."""
    sizes = [(height, width)]
    while not any(side % 2 or side // 2 < _SMALLEST for side in sizes[-1]):
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return [str(high) if high == wide else f"{high}x{wide}" for high, wide in sizes]


def down(images: Tensor) -> Tensor:
    """Images ``[n, c, h, w]`` at half the size: blurred by (1, 4, 6, 4, 1)^2 / 256; even rows and columns are kept."""
    return _blurred(images, _BINOMIAL)[:, :, ::2, ::2]


def up(images: Tensor) -> Tensor:
    """Images ``[n, c, h, w]`` at twice the size: zeros between pixels, then blurred by 4 times `down`'s kernel."""
    count, channels, height, width = images.shape
    spread = images.new_zeros(count, channels, 2 * height, 2 * width)
    spread[:, :, ::2, ::2] = images
    return _blurred(spread, 2 * _BINOMIAL)


def laplacian(images: Tensor, level: int, *, last: bool) -> Tensor:
    """Level `level` of the Laplacian pyramid of float images. The last level is the remaining blurred image."""
    for _ in range(level):
        images = down(images)
    return images if last else images - up(down(images))


def descriptors(images: Tensor, rows: Tensor, level: int, patches: int, places: torch.Generator) -> Tensor:
    """Cut `patches` patches of each chosen image at one level: float32 ``[len(rows) * patches, channels * 49]``."""
    channels, height, width = images.shape[1:]
    last = level == len(level_sizes(height, width)) - 1
    chosen = torch.empty(len(rows), patches, channels, _PATCH, _PATCH)
    done = 0
    for part in rows.split(_IMAGES_AT_ONCE):
        windows = laplacian(images[part].float(), level, last=last).unfold(2, _PATCH, 1).unfold(3, _PATCH, 1)
        y, x = (torch.randint(windows.shape[axis], (len(part), patches), generator=places) for axis in (2, 3))
        chosen[done : done + len(part)] = windows[torch.arange(len(part))[:, None], :, y, x]
        done += len(part)
    return chosen.flatten(0, 1).flatten(1)


def normalise(descriptors: Tensor, channels: int) -> Tensor:
    """Normalise in place: subtract each channel's mean, then divide by its deviation unless that is 0."""
    for values in descriptors.view(len(descriptors), channels, -1).unbind(1):
        variance, mean = torch.var_mean(values, correction=0)
        values -= mean
        if variance > 0:
            values /= variance.sqrt()
    return descriptors


def unit_vectors(width: int, count: int, numbers: torch.Generator) -> Tensor:
    """Random directions ``[width, count]``, each of length 1."""
    vectors = torch.randn(width, count, generator=numbers)
    return vectors / vectors.norm(dim=0)


def apart(one: Tensor, other: Tensor, directions: Tensor) -> float:
    """The mean distance of two sets ``[n, width]`` of equal count, projected on each of `directions` ``[width, k]``.

    In one dimension the shortest way to move one set onto the other is in order: smallest to smallest.
    """
    distances = []
    # Room that is taken once: a new one for every few directions would break the memory up, to three times as much.
    rooms = [one.new_empty(_DIRECTIONS_AT_ONCE, len(one)) for _ in range(2)]
    for part in directions.T.split(_DIRECTIONS_AT_ONCE):
        ordered = [
            torch.mm(part, side.T, out=room[: len(part)]) for side, room in zip((one, other), rooms, strict=True)
        ]
        for projected in ordered:
            in_numpy: Any = projected.numpy()
            in_numpy.sort(axis=1)  # in place, and ten times faster than torch's
        distances.append(ordered[0].sub_(ordered[1]).abs_().mean(1))
    return float(torch.cat(distances).double().mean())


def _blurred(images: Tensor, kernel: Tensor) -> Tensor:
    """Each channel by the outer product of the kernel of 5 with itself; beyond the edge the image is mirrored."""
    alone = pad(images.flatten(0, 1)[:, None], (2, 2, 2, 2), mode="reflect")
    kernel = kernel.to(images.dtype)
    return conv2d(alone, torch.outer(kernel, kernel)[None, None]).view_as(images)


variant = Metric("swd", compute, needs=("real_pixels", "pixels"), better="lower", headline="swd", least=1000,
    least_side=_SMALLEST,
)
