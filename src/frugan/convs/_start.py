"""How a layer that a family builds of several pieces starts: with the variance of the standard layer in its place.

A rule for first weights is made for one layer. Given to each piece of a composite, it makes the output too small (N(0,
0.02) twice in a row) or too large. Here the pieces keep the distribution that the rule drew them from and are scaled:
every piece preserves the variance of what it is given, and the first ones, through which all else passes, bring the
whole to the gain of the standard layer; or the last ones, where a norm or an activation stands between.

The gradient that reaches the input is then right by itself. The variance gain of a linear map L is |L|^2 / outputs
forward and |L|^2 / inputs backward, |L|^2 being the sum of its squared elements; so two maps of the same shapes that
agree in one agree in the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

STARTS = ("composite", "layerwise")
"""A composite starts as one layer, or each of its pieces as if it stood alone (as published nets do)."""

SIDE = 8
"""Pixels of the smaller of a layer's two images on which variances are measured; their middle half counts."""

NUMBERS = 8192
"""How many numbers a variance is measured of, at least."""

LARGEST_BATCH = 64


@dataclass(frozen=True)
class Standard:
    """The standard layer that a composite stands for.

    Attributes:
        kind: "same", "down" or "up".
    """

    kind: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int

    @property
    def summed(self) -> float:
        """How many inputs one output sums, away from the borders; of a transposed layer on average."""
        thinned = self.stride**2 if self.kind == "up" else 1
        return self.in_channels * self.kernel**2 / thinned

    @property
    def fans(self) -> tuple[int, int]:
        """Fan in and fan out as torch counts them: of a transposed layer they change places."""
        fans = self.in_channels * self.kernel**2, self.out_channels * self.kernel**2
        return fans[::-1] if self.kind == "up" else fans

    def torch_default(self) -> float:
        """The variance of its weights as torch draws them: uniform within 1 / sqrt(fan in)."""
        return 1 / (3 * self.fans[0])


def composites(module: nn.Module) -> Iterator[nn.Module]:
    """The layers inside `module` that stand for a standard one; `stands_for` says for which."""
    yield from (part for part in module.modules() if isinstance(getattr(part, "stands_for", None), Standard))


@torch.no_grad()
def calibrate(module: nn.Module, variance: float) -> None:
    """Scale the pieces of a composite so that it starts as its standard layer with weights of this variance does.

    Measured on white noise, of random numbers of its own. Norms inside count as what they leave: variance 1.
    """
    standard: Standard = module.stands_for  # type: ignore[assignment]
    pieces = [part for part in module.modules() if isinstance(part, _ConvNd)]
    if not pieces or any(piece.weight.is_meta for piece in pieces):
        return
    first, last = _ends(module, pieces, standard)
    was_training = {part: part.training for part in module.modules()}
    module.eval()  # norms then pass on what the pieces preserve, and store nothing
    hooks = [piece.register_forward_hook(_preserve) for piece in pieces]
    try:
        whole = _power(module(_noise(standard, pieces[0].weight)))
        for piece in last if any(map(_closes, module.modules())) else first:
            piece.weight.mul_(math.sqrt(standard.summed * variance / max(whole, 1e-30)))
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in was_training.items():
            part.training = training


def _preserve(piece: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """A hook that scales a piece's weights: its output then has the variance of its input, its bias apart."""
    assert isinstance(piece, _ConvNd)
    if piece.bias is not None:
        output = output - piece.bias.view(1, -1, 1, 1)
    factor = math.sqrt(_power(given[0]) / max(_power(output), 1e-30))
    piece.weight.mul_(factor)
    return output * factor


def _closes(part: nn.Module) -> bool:
    """Whether what stands before a module does not decide how large its output is: a norm, an activation."""
    norms = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
    return isinstance(part, norms) or type(part).__module__ == nn.Tanh.__module__


def _power(images: Tensor) -> float:
    """The mean square of the middle half of images: borders, where zeros were added, do not count."""
    rows, columns = (slice(side // 4, side - side // 4) for side in images.shape[2:])
    return float(images[..., rows, columns].square().mean())


def _noise(standard: Standard, like: Tensor) -> Tensor:
    """White noise as the layer's input, as much as a variance takes."""
    side = SIDE * (standard.stride if standard.kind == "down" else 1) * math.ceil(standard.kernel / 5)
    middle = (side - 2 * (side // 4)) ** 2 * standard.in_channels
    batch = min(max(1, math.ceil(NUMBERS / middle)), LARGEST_BATCH)
    random = torch.Generator().manual_seed(0)
    return torch.randn(batch, standard.in_channels, side, side, generator=random).to(like)


def _ends(
    module: nn.Module, pieces: list[_ConvNd], standard: Standard
) -> tuple[list[_ConvNd], list[_ConvNd]]:
    """The pieces that no other piece precedes, and those that no other piece follows."""
    if _is_chain(module):
        return pieces[:1], pieces[-1:]
    scales = {piece: torch.ones((), requires_grad=True) for piece in pieces}
    inputs: dict[nn.Module, Tensor] = {}

    def record(piece: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        inputs[piece] = given[0]
        return output * scales[piece]  # pyrefly: ignore

    hooks = [piece.register_forward_hook(record) for piece in pieces]
    first, followed = [], set()
    try:
        with torch.enable_grad():
            side = 2 * standard.kernel * standard.stride
            module(torch.ones(1, standard.in_channels, side, side))
            for piece in pieces:
                reached, before = inputs.get(piece), []
                if reached is not None and reached.requires_grad:
                    grads = torch.autograd.grad(
                        reached.sum(), list(scales.values()), retain_graph=True, allow_unused=True
                    )
                    before = [one for one, grad in zip(pieces, grads, strict=True) if grad is not None]
                followed.update(before)
                first += [] if before else [piece]
    finally:
        for hook in hooks:
            hook.remove()
    return first, [piece for piece in pieces if piece not in followed]


def _is_chain(module: nn.Module) -> bool:
    """Whether a module is pieces one after the other."""
    return not list(module.children()) or (
        isinstance(module, nn.Sequential) and all(map(_is_chain, module.children()))
    )
