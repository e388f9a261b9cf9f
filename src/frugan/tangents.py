"""Tangents: the directions in which an image can move and stay an image of its kind, as a trained encoder knows them.

An encoder h with h(g(z)) = z answers to moves along the images' manifold and to no others. So the right singular
vectors of its Jacobian at x with the largest singular values are tangents there (Kumar et al. 2017, arXiv 1705.08850).
`dominant` finds them, without the Jacobian where that takes fewer passes. `along` and `everywhere` are the penalties by
which a classifier learns not to change with them (Simard et al. 1992).

Functions here are called with images ``[n, c, h, w]`` and give numbers ``[n, m]``, each row from its own image alone:
batch norm must be in evaluation mode. Networks are computed by torch's own functions, whatever kernels a run has
chosen, since others have no forward derivatives. Angles are in degrees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from frugan.kernels import Choices
from frugan.registry import UserError

Function = Callable[[Tensor], Tensor]

METHODS = ("auto", "exact", "iterated")
OVERSAMPLING = 3
"""How many directions beyond those asked for are iterated, which makes these converge faster."""
ROUNDS = 4
"""Of passes forward and back. With `OVERSAMPLING` they cost what the exact way costs for 8 (count + 3) numbers."""
_AT_ONCE = 2**18
"""How many pixels go through a network in one pass."""


class Tangents(NamedTuple):
    """Tangents of images, the strongest first.

    Attributes:
        directions: ``[n, count, c, h, w]``, orthonormal for each image; their signs mean nothing.
        strengths: ``[n, count]``, how far the encoder's output moves by one step of length 1 (the singular values).
    """

    directions: Tensor
    strengths: Tensor


def dominant(
    function: Function, images: Tensor, count: int, *, method: str = "auto", random: torch.Generator | None = None
) -> Tangents:
    """The `count` dominant tangents of each image.

    Args:
        method: "exact" takes the whole Jacobian, in one backward pass for each of the m numbers; "iterated" takes
            2 (count + 3) passes a round, and no Jacobian; "auto" takes the cheaper one.
        random: where the iteration begins; seeded by 0 if left out.

    Raises UserError for more tangents than an image has pixels or the function numbers.
    """
    if method not in METHODS:
        raise UserError(f"The tangents' method '{method}' is unknown. Choose from: {', '.join(METHODS)}.")
    with Choices("plain").active():
        values, pull, *_ = vjp(function, images)
        numbers = values.shape[1]
        most = min(numbers, images[0].numel())
        if not 1 <= count <= most:
            raise UserError(
                f"{count} tangents of images of {images[0].numel()} pixels were asked for, from {numbers} numbers of "
                f"an encoder. Ask for 1 to {most}."
            )
        block = count + OVERSAMPLING
        if method == "exact" or (method == "auto" and numbers <= 2 * ROUNDS * block):
            return _exact(pull, values, images, count)
        return _iterated(function, pull, values, images, count, min(block, most), random)


def _exact(pull: Callable[..., tuple[Tensor]], values: Tensor, images: Tensor, count: int) -> Tangents:
    """From J J', which is small: its eigenvectors U give the tangents J' U. In doubles, since it is squared."""
    numbers = values.shape[1]
    each = torch.eye(numbers, dtype=values.dtype, device=values.device)[:, None].expand(-1, len(images), -1)
    jacobian = _pulled(pull, each, images).transpose(0, 1)  # [n, m, pixels]
    directions, strengths = [], []
    for rows in jacobian.split(max(1, _AT_ONCE // jacobian[0].numel())):  # one after the other: doubles are large
        squares, left = torch.linalg.eigh(rows.double() @ rows.double().mT)
        top = left[..., -count:].flip(-1).to(rows.dtype)
        # They are orthogonal already, up to rounding, so this keeps their order; and it fills up where J has less rank.
        directions.append(torch.linalg.qr(rows.mT @ top)[0].mT)
        strengths.append(squares[:, -count:].flip(-1).clamp_min(0).sqrt().to(rows.dtype))
    return Tangents(torch.cat(directions).unflatten(2, images.shape[1:]), torch.cat(strengths))


def _iterated(
    function: Function, pull: Callable[..., tuple[Tensor]], values: Tensor, images: Tensor, count: int, block: int,
    random: torch.Generator | None,
) -> Tangents:
    """By block Krylov iteration: what J' J makes of a few directions again and again spans almost all of the dominant
    ones, and J is small on that span (Golub, Luk, Overton 1981; Musco, Musco 2015, arXiv 1504.05477)."""
    generator = torch.Generator().manual_seed(0) if random is None else random
    now = torch.randn(block, *values.shape, generator=generator, dtype=values.dtype).to(values.device)
    pixels = images[0].numel()
    basis, mapped = images.new_empty(len(images), pixels, 0), values.new_empty(*values.shape, 0)
    while mapped.shape[2] < ROUNDS * block and mapped.shape[2] + block <= pixels:
        fresh = _without(basis, _pulled(pull, now, images).permute(1, 2, 0))
        basis = torch.cat([basis, fresh], 2)
        now = _pushed(function, images, fresh.permute(2, 0, 1).unflatten(2, images.shape[1:]))
        mapped = torch.cat([mapped, now.permute(1, 2, 0)], 2)
    _, strengths, right = torch.linalg.svd(mapped, full_matrices=False)
    directions = (basis @ right[:, :count].mT).mT
    return Tangents(directions.unflatten(2, images.shape[1:]), strengths[:, :count])


def _without(basis: Tensor, vectors: Tensor) -> Tensor:
    """An orthonormal basis ``[n, pixels, b]`` of what `vectors` have outside of `basis`.

    Done twice: what is left of vectors that lie inside is rounding, and has to be made orthogonal by itself.
    """
    for _ in range(2):
        vectors = torch.linalg.qr(vectors - basis @ (basis.mT @ vectors))[0]
    return vectors


def _pulled(pull: Callable[..., tuple[Tensor]], cotangents: Tensor, images: Tensor) -> Tensor:
    """J' u ``[k, n, pixels]`` for u ``[k, n, m]``."""
    return vmap(pull, chunk_size=max(1, _AT_ONCE // images.numel()))(cotangents)[0].flatten(2)


def _pushed(function: Function, images: Tensor, directions: Tensor) -> Tensor:
    """J v ``[k, n, m]`` for v ``[k, n, c, h, w]``; it can be differentiated by the weights of `function`."""

    def push(direction: Tensor) -> Tensor:
        return jvp(function, (images,), (direction,))[1]

    # What chance there is inside (dropout) is the same for all directions.
    return vmap(push, randomness="same", chunk_size=max(1, _AT_ONCE // images.numel()))(directions)


def changes(function: Function, images: Tensor, directions: Tensor, *, step: float = 0.0) -> Tensor:
    """How fast the function changes along directions ``[n, count, c, h, w]``: ``[n, count, m]``.

    Args:
        step: 0 for exact derivatives; otherwise the difference of two points so far apart, divided by it, for networks
            that have no forward derivatives.
    """
    moves = directions.transpose(0, 1)
    with Choices("plain").active(), torch.autocast(images.device.type, enabled=False):
        if not step:
            return _pushed(function, images, moves).transpose(0, 1)
        moved = function((images + step * moves).flatten(0, 1)).unflatten(0, moves.shape[:2])
        return ((moved - function(images)) / step).transpose(0, 1)


def along(function: Function, images: Tensor, directions: Tensor, *, step: float = 0.0) -> Tensor:
    """The tangent penalty: the mean over images of the summed squares of `changes`. Signs do not matter."""
    return changes(function, images, directions, step=step).square().sum((1, 2)).mean()


def everywhere(function: Function, images: Tensor, random: torch.Generator, *, step: float = 0.0) -> Tensor:
    """The Jacobian penalty: the mean of ||J||^2 over images, estimated by the change along one random direction.

    Its elements are 1 or -1, so that the mean of ||J u||^2 is ||J||^2 (Hutchinson 1990). `random` is of the CPU.
    """
    drawn = torch.randint(2, images.shape, generator=random)
    signs = (2 * drawn - 1).to(device=images.device, dtype=images.dtype, non_blocking=True)
    return along(function, images, signs[:, None], step=step)


def angles(one: Tensor, other: Tensor) -> Tensor:
    """The principal angles between two spans of directions, smallest first: ``[n, min(a, b)]`` in degrees.

    Args:
        one, other: ``[n, a, ...]`` and ``[n, b, ...]`` of images or vectors; they need not be orthonormal.
    """
    first, second = (torch.linalg.qr(span.double().flatten(2).mT)[0] for span in (one, other))
    return torch.rad2deg(torch.linalg.svdvals(first.mT @ second).clamp(max=1).acos())
