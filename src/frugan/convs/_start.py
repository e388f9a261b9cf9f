"""First weights of composites (layers of several pieces): their variance is that of the standard layer in their place.

A rule for first weights is made for one layer. If each piece of a composite gets it, the output is too small (N(0,
0.02) twice in a row) or too large. Here the pieces keep the distribution of the rule and are scaled. Every piece
preserves the variance of its input. Then the first pieces, which all images pass through, are scaled once more, so that
the whole has the gain of the standard layer. If there is a norm or an activation between the pieces, the last pieces
are scaled instead.

The gradient that reaches the input is then right too. The variance gain of a linear map L is |L|^2 / outputs forward
and |L|^2 / inputs backward, where |L|^2 is the sum of its squared elements. So two maps of the same shapes with the
same forward gain have the same backward gain.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd

from frugan.convs._primitives import Convolution, Transposed

STARTS = ("composite", "layerwise")
"""A composite starts as one layer, or each of its pieces as if it stood alone (as published nets do)."""

SIDE = 8
"""Pixels of the smaller of a layer's two images on which variances are measured; their middle half counts."""

NUMBERS = 8192
"""How many numbers a variance is measured of, at least."""

LARGEST_BATCH = 64

MANY = 16384
"""From so many weights on, a layer behaves as others that are made alike; of fewer each has gains of its own."""

TINY = 1e-30  # instead of the zero power of weights that are all 0

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


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
        """How many inputs are summed into one output, away from the borders; for a transposed layer, on average."""
        thinned = self.stride**2 if self.kind == "up" else 1
        return self.in_channels * self.kernel**2 / thinned

    @property
    def fans(self) -> tuple[int, int]:
        """Fan in and fan out as torch counts them: for a transposed layer they are swapped."""
        fans = self.in_channels * self.kernel**2, self.out_channels * self.kernel**2
        return fans[::-1] if self.kind == "up" else fans

    @property
    def matrix(self) -> tuple[int, int]:
        """The shape of its weights as a matrix: torch's first axis, and all other axes together."""
        before, after = self.in_channels, self.out_channels
        first, other = (before, after) if self.kind == "up" else (after, before)
        return first, other * self.kernel**2


class Start(NamedTuple):
    """How the pieces of a composite are scaled at the start. It depends on the structure, not on the weights.

    Attributes:
        norms: for each piece, the norm (root of the sum of squares) of its weights with which it preserves variance.
        ends: the numbers of the pieces that are scaled by one more factor, to give the whole its gain.
        power: the mean square of the output before this factor, for an input of variance 1.
    """

    standard: Standard
    norms: list[float]
    ends: list[int]
    power: float


def composites(module: nn.Module) -> Iterator[tuple[nn.Module, Standard]]:
    """The layers inside `module` that were built in place of a standard layer, each with that standard layer."""
    for part in module.modules():
        start = getattr(part, "starts_as", None)
        if isinstance(start, Start):
            yield part, start.standard


def start_of(module: nn.Module, standard: Standard) -> Start:
    """The start of a layer built in place of `standard`. Its convolutions must have weights that are not all 0."""
    pieces = pieces_of(module)
    return _counted(pieces, standard) if is_chain(module) else _measured(module, pieces, standard)


@torch.no_grad()
def calibrate(module: nn.Module, variance: float) -> None:
    """Scale a composite's pieces so that it starts like its standard layer with weights of this variance."""
    start: Start = module.starts_as  # type: ignore[assignment]
    if sum(piece.weight.numel() for piece in pieces_of(module)) < MANY:
        start = start_of(module, start.standard)
    whole = math.sqrt(start.standard.summed * variance / max(start.power, TINY))
    for number, (piece, norm) in enumerate(zip(pieces_of(module), start.norms, strict=True)):
        norm *= whole if number in start.ends else 1
        piece.weight.mul_(norm / max(float(torch.linalg.vector_norm(piece.weight)), TINY))


def pieces_of(module: nn.Module) -> list[_ConvNd]:
    """All convolutions inside a layer."""
    return [part for part in module.modules() if isinstance(part, _ConvNd)]


def is_chain(module: nn.Module) -> bool:
    """Whether a module is convolutions one after the other, or one alone, and nothing else."""
    return type(module) in (Convolution, Transposed, nn.Conv2d, nn.ConvTranspose2d) or (
        type(module) is nn.Sequential and all(map(is_chain, module))
    )


def _counted(pieces: list[_ConvNd], standard: Standard) -> Start:
    """The start of a chain, by arithmetic: a map's gain is the sum of its squared weights by the number of outputs."""
    norms = [
        math.sqrt(piece.out_channels * (math.prod(piece.stride) if piece.transposed else 1)) for piece in pieces
    ]
    return Start(standard, norms, [0], 1.0)


def _measured(module: nn.Module, pieces: list[_ConvNd], standard: Standard) -> Start:
    """The start of any composite, from what it makes of white noise. Norms count as what they leave: variance 1."""
    scales: dict[_ConvNd, float] = {}
    outputs: dict[_ConvNd, Tensor] = {}
    first = []

    def preserve(piece: _ConvNd, given: tuple[Tensor], output: Tensor) -> Tensor:
        if piece.bias is not None:
            output = output - piece.bias.view(1, -1, 1, 1)
        if piece not in scales:
            scales[piece] = math.sqrt(_power(given[0]) / max(_power(output), TINY))
            if not given[0].requires_grad:  # which only what comes from another piece does
                first.append(piece)
        outputs[piece] = (output * scales[piece]).detach().requires_grad_()
        return outputs[piece]

    def normalise(norm: nn.Module, given: tuple[Tensor], output: Tensor) -> Tensor:
        return given[0] / math.sqrt(max(_power(given[0]), TINY))

    parts = list(module.modules())
    inner, was_training = [part for part in parts if isinstance(part, NORMS)], [part.training for part in parts]
    hooks = [piece.register_forward_hook(preserve) for piece in pieces]  # type: ignore[arg-type]
    hooks += [norm.register_forward_hook(normalise) for norm in inner]  # type: ignore[arg-type]
    module.eval()  # so that norms store nothing
    try:
        with torch.inference_mode(False), torch.enable_grad():
            # Copies, since what was built in inference mode has no slopes.
            held = {name: value.detach().clone() for name, value in module.state_dict(keep_vars=True).items()}
            output = functional_call(module, held, _noise(standard, pieces[0].weight))
            total = output.sum()
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in zip(parts, was_training, strict=True):
            part.training = training
    ends = first
    if inner or any(type(part).__module__ == nn.Tanh.__module__ for part in parts):
        # What stands before a norm or an activation does not decide how large the output is.
        reached = torch.autograd.grad(total, list(outputs.values()), allow_unused=True)
        ends = [piece for piece, slope in zip(outputs, reached, strict=True) if slope is not None]
    norms = [scales.get(piece, 1.0) * float(torch.linalg.vector_norm(piece.weight.detach())) for piece in pieces]
    return Start(standard, norms, [pieces.index(piece) for piece in ends], _power(output))


def _power(images: Tensor) -> float:
    """The mean square of the middle half of images: borders, where zeros were added, do not count."""
    rows, columns = (slice(side // 4, side - side // 4) for side in images.shape[2:])
    return float(images[..., rows, columns].detach().square().mean())


def _noise(standard: Standard, like: Tensor) -> Tensor:
    """White noise as the layer's input, as much as a variance takes."""
    side = SIDE * (standard.stride if standard.kind == "down" else 1) * math.ceil(standard.kernel / 5)
    side += 2 * (standard.kernel - 1)  # a layer without padding may cut off as much, before its pieces pad with zeros
    middle = (side - 2 * (side // 4)) ** 2 * standard.in_channels
    batch = min(max(1, math.ceil(NUMBERS / middle)), LARGEST_BATCH)
    random = torch.Generator().manual_seed(0)
    shape = batch, standard.in_channels, side, side
    return torch.randn(shape, generator=random, device="cpu").to(like)
