"""The contract of `frugan.kernels`: faster results equal the plain ones up to rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frugan import kernels
from frugan.checking._contract import Contract, NotKept, Remark, Requirement
from frugan.checking._ground import Ground
from frugan.convs import Convolution, Transposed
from frugan.kernels import Call, Choices, Norm

ROUNDING = 1e-4
HALF = 3e-2
"""How far a kernel's numbers may be from the plain form's in float32, as a share of their norm: in float32, and under
autocast to bf16."""


@dataclass(frozen=True)
class Checked:
    """A kernel that is tested against its contract."""

    name: str
    ground: Ground


class InstanceNorm(nn.Module):
    """An instance norm that hands its call to the kernels, as translators do."""

    def __init__(self, rectify: bool) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(8) + 0.5), nn.Parameter(torch.randn(8))
        self.settings = Norm(1e-5, rectify)

    def forward(self, images: Tensor) -> Tensor:
        return kernels.apply(Call("instance_norm", self.settings, self._plain), images, self.weight, self.bias)

    def _plain(self, images: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        made = nn.functional.instance_norm(images, weight=weight, bias=bias, eps=self.settings.eps)
        return made.relu() if self.settings.rectify else made


def _layers() -> Iterator[tuple[str, Callable[[], nn.Module], tuple[int, ...]]]:
    """Layers that call kernels, each with its name and a shape that it takes."""
    forms = ((1, 8, 3), (2, 8, 3), (1, 8, 5), (2, 8, 4), (1, 4, 3), (1, 1, 3), (2, 1, 4), (1, 1, 1))
    for stride, groups, kernel in forms:
        pads = ((kernel - 1) // 2, kernel // 2)
        made = {"stride": (stride, stride), "rows": pads, "columns": pads, "groups": groups}
        form = f"{kernel} x {kernel}, stride {stride}, {groups} groups"
        yield (
            f"a convolution ({form})",
            lambda kernel=kernel, made=made: Convolution(8, 8, (kernel, kernel), **made), (3, 8, 10, 12),
        )
        yield (
            f"a transposed convolution ({form})",
            lambda kernel=kernel, made=made: Transposed(8, 8, (kernel, kernel), **made), (3, 8, 6, 5),
        )
    yield "a transposed convolution of one pixel", lambda: Transposed(16, 8, (4, 4)), (3, 16, 1, 1)
    yield "an instance norm", lambda: InstanceNorm(False), (3, 8, 10, 12)
    yield "an instance norm with a ReLU", lambda: InstanceNorm(True), (3, 8, 10, 12)


def _compute(layer: nn.Module, images: Tensor, mode: str, half: bool) -> tuple[list[Tensor], bool]:
    """Output and gradients of a layer by a kernel, and whether the kernel took the call."""
    given, choices = images.clone().requires_grad_(), Choices(mode)
    with choices.active(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        made = layer(given)
    weights = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    slope = torch.randn(made.shape, generator=torch.Generator().manual_seed(1)).to(made)
    gradients = torch.autograd.grad(made, [given, *weights], slope)
    return [made.detach().float(), *(gradient.float() for gradient in gradients)], mode in choices.chosen.values()


def _check(kernel: Checked, half: bool) -> int:
    """How many of the layers it takes, all of which it must compute as the plain form does."""
    taken, names = 0, ["its output", "its gradient by images", "its gradient by weights", "its gradient by biases"]
    for what, make, shape in _layers():
        for layout in (torch.contiguous_format, torch.channels_last):
            torch.manual_seed(0)
            layer = make().to(memory_format=layout)  # pyrefly: ignore
            images = torch.randn(shape).to(memory_format=layout)
            computed, took = _compute(layer, images, kernel.name, half)
            if not took:
                continue
            taken += 1
            plain, _ = _compute(layer, images, "plain", False)
            for number, mine, theirs in zip(names, computed, plain, strict=False):
                apart = float((mine - theirs).norm()) / max(float(theirs.norm()), 1e-6)
                if not apart <= (HALF if half else ROUNDING):
                    raise NotKept(
                        f"of {what}, {str(layout).removeprefix('torch.')}, {number} differs from the plain form by "
                        f"{apart:.2g} of its norm: compute the same, or return False in `takes`."
                    )
    return taken


def agrees_with_the_plain_form(kernel: Checked) -> None:
    """In float32, output and gradients equal those of the plain form up to rounding, for every layer that it takes."""
    if not _check(kernel, half=False):
        raise Remark("it takes none of the calls that are tried here, so nothing was compared.")


def agrees_under_autocast(kernel: Checked) -> None:
    """In bf16, output and gradients equal those of the plain form as closely as bf16 allows."""
    if not _check(kernel, half=True):
        raise Remark("it takes none of the calls that are tried here under autocast, so nothing was compared.")


CONTRACT = Contract("kernel", kernels.names, Checked, (
    Requirement(agrees_with_the_plain_form, "frugan.kernels, Kernel.run"),
    Requirement(agrees_under_autocast, "frugan.kernels, computed", (agrees_with_the_plain_form,)),
))  # fmt: skip
