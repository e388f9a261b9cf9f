"""The encoder that most architectures here return: stages that can be looked at, then one head per output asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from frugan.batch import ImageShape
from frugan.nets._condition import Entrance
from frugan.registry import UserError


class Encoder(nn.Module):
    """Images ``[n, c, h, w]``, and labels if it takes any, to a dict of outputs.

    An output is ``[n, size]``, or a map ``[n, size, h, w]`` where its head judges more than one place.

    Args:
        stages: modules that follow each other, each ending in a non-linearity (and its dropout).
        neck: what stands between the last stage and the heads.
        outputs: the heads that the game asks for and their sizes.
        head: builds one head from its name and size.
    """

    def __init__(
        self, image: ImageShape, outputs: Mapping[str, int], entrance: nn.Module, classes: int,
        stages: Sequence[nn.Module], neck: nn.Module, head: Callable[[str, int], nn.Module],
    ) -> None:
        super().__init__()
        self.image = image
        self.classes = classes
        self.outputs = dict(outputs)
        self.entrance = entrance
        self.stages = nn.ModuleList(stages)
        self.neck = neck
        self.heads = nn.ModuleDict({name: head(name, size) for name, size in outputs.items()})

    @property
    def joins(self) -> bool:
        """Whether images are judged in one call as in several: no layer looks at a batch, or moves with every call."""
        return not any(isinstance(part, _BatchNorm) or is_parametrized(part) for part in self.modules())

    def features(self, images: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """The activations after each stage's non-linearity (in training also after its dropout), first to last."""
        check_images(images, self.image)
        x = self.entrance(images, condition)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def forward(self, images: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        last = self.neck(self.features(images, condition)[-1])
        return {name: _places(head(last)) for name, head in self.heads.items()}


def _places(output: Tensor) -> Tensor:
    """A map of a single place as the numbers of that place."""
    return output if output.dim() == 4 and output.shape[2:].numel() > 1 else output.flatten(1)


def simple_encoder(
    image: ImageShape, outputs: Mapping[str, int], entrance: Entrance, stages: Sequence[nn.Module], size: int, *,
    dropout: nn.Module | None = None, bias: bool = True,
) -> Encoder:
    """An encoder whose last stage, `size` numbers for one image, is flattened and meets one dense layer per output."""
    neck = Flatten() if dropout is None else nn.Sequential(Flatten(), dropout)
    return Encoder(
        image, outputs, entrance, entrance.classes, stages, neck,
        lambda name, outputs: nn.Linear(size, outputs, bias=bias),
    )


class Flatten(nn.Flatten):
    """`nn.Flatten` whose gradient has its input's layout: in another one the layers before take four times as long."""

    def forward(self, input: Tensor) -> Tensor:
        last = input.dim() == 4 and input.is_contiguous(memory_format=torch.channels_last)
        return super().forward(_LastBack.apply(input) if last and input.requires_grad else input)


class _LastBack(Function):
    """The images as they are; their gradient in channels-last layout."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor) -> Tensor:  # pyrefly: ignore
        return images.view_as(images)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyrefly: ignore
        # Not `contiguous(memory_format=...)`, which torch cannot do for many gradients at once (vmap).
        return (grad.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),)

    @staticmethod
    def jvp(ctx: Any, direction: Tensor) -> Tensor:  # pyrefly: ignore
        return direction.view_as(direction)


def check_images(images: Tensor, expected: ImageShape) -> None:
    """Raise UserError if the images are not ``[n, channels, height, width]`` of the expected shape."""
    if tuple(images.shape[1:]) != tuple(expected):
        shape = ", ".join(map(str, expected))
        raise UserError(f"The images have the shape {list(images.shape)}, but this network needs [count, {shape}].")
