"""Norms by name, pixel norm, and class-conditional and virtual batch norm."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional, init
from torch.nn.modules.batchnorm import _BatchNorm

from frugan import kernels
from frugan.batch import ImageShape, Range
from frugan.kernels import Call, Norm
from frugan.nets._choices import one_of
from frugan.registry import UserError

ENCODER_NORMS = ("none", "batch_norm", "layer_norm", "spectral")


def encoder_norm(normalisation: str, channels: int) -> list[nn.Module]:
    """The norm to stand after a convolution of an encoder: no module, or one ("spectral" is laid on the weights)."""
    one_of("normalisation", normalisation, ENCODER_NORMS)
    if normalisation == "batch_norm":
        return [nn.BatchNorm2d(channels)]
    if normalisation == "layer_norm":
        return [nn.GroupNorm(1, channels)]
    return []


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm of the image's own statistics, also in eval mode, and with `rectify` a ReLU in the same pass.

    Input and output: ``[n, features, h, w]``.
    """

    def __init__(self, features: int, *, affine: bool, rectify: bool) -> None:
        super().__init__(features, affine=affine)
        self.rectify = rectify

    def forward(self, input: Tensor) -> Tensor:
        call = Call("instance_norm", Norm(self.eps, self.rectify), self._plain)
        return kernels.apply(call, input, self.weight, self.bias)

    def _plain(self, input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        output = functional.instance_norm(input, weight=weight, bias=bias, eps=self.eps)
        return output.relu_() if self.rectify else output

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rectify={self.rectify}"


class PixelNorm(nn.Module):
    """Each pixel's features divided by their root mean square (Karras et al. 2018, arXiv 1710.10196, section 4.2).

    ``b = a / sqrt(mean of a^2 over features + 1e-8)``, so the length becomes the root of the number of features and not
    1, as the paper's words have it. Computed in at least float32. Input and output: ``[n, features]`` or ``[n,
    features, h, w]``.
    """

    def forward(self, input: Tensor) -> Tensor:
        wide = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        return (wide * (wide.square().mean(1, keepdim=True) + 1e-8).rsqrt()).to(input.dtype)


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and shift follow from what the network is told: normed * (1 + gain(told)) + shift(told).

    Dumoulin et al. 2017 (arXiv 1610.07629), de Vries et al. 2017 (arXiv 1707.00683); in BigGAN, appendix C.
    Input and output: ``[n, features, h, w]``.

    Args:
        gain, shift: modules that turn what is told into ``[n, features]``, zero for a plain batch norm.
    """

    def __init__(self, features: int, gain: nn.Module, shift: nn.Module) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(features, affine=False)
        self.gain = gain
        self.shift = shift

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        gain, shift = (1 + self.gain(told))[:, :, None, None], self.shift(told)[:, :, None, None]
        return torch.addcmul(shift, self.norm(x), gain)


def set_batch_norms(module: nn.Module, *, eps: float, momentum: float) -> None:
    """Give all batch norms these settings, also those that a family put inside its layers.

    `momentum` is the weight of the new value, as in torch; Keras states the weight of the old one.
    """
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.eps, part.momentum = eps, momentum


class VirtualBatchNorm(nn.Module):
    """Batch norm against a fixed reference batch: no example depends on another of its batch (Salimans et al. 2016).

    In training the first `count` rows of its input are the reference batch and the rest is live; the reference is
    normalised by its own mean and mean of squares, each live example by 1 / (count + 1) of its own statistics over
    space and the rest of the reference's. In eval mode all rows are live and the stored statistics of the reference
    are used. Means of squares are mixed, not variances, because they are linear. Scale N(1, 0.02), shift 0.

    Input and output: ``[count + n, features]`` or ``[count + n, features, h, w]``.
    """

    averaging: ClassVar = {"reference_mean": "copy", "reference_square": "copy"}
    reference_mean: Tensor
    reference_square: Tensor

    def __init__(self, features: int, count: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.count = count
        self.eps = eps
        self.weight = nn.Parameter(init.normal_(torch.empty(features), 1.0, 0.02))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("reference_mean", torch.zeros(features))
        self.register_buffer("reference_square", torch.ones(features))

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """It multiplies by element, which is free (see `frugan.costs`)."""
        return 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self._live(x, self.reference_mean, self.reference_square)
        reference, live = x[: self.count], x[self.count :]
        # Float32 whatever the precision: the difference of two means of squares is taken.
        mean = reference.float().mean((0, *range(2, x.dim())))
        square = reference.float().square().mean((0, *range(2, x.dim())))
        with torch.no_grad():
            self.reference_mean.copy_(mean)
            self.reference_square.copy_(square)
        return torch.cat([self._normalised(reference, mean[None], square[None]), self._live(live, mean, square)])

    def _live(self, x: Tensor, reference_mean: Tensor, reference_square: Tensor) -> Tensor:
        own, space = 1 / (self.count + 1), tuple(range(2, x.dim()))
        wide = x.float()
        mean = wide.mean(space) if space else wide
        square = wide.square().mean(space) if space else wide.square()
        return self._normalised(x, own * mean + (1 - own) * reference_mean, own * square + (1 - own) * reference_square)

    def _normalised(self, x: Tensor, mean: Tensor, square: Tensor) -> Tensor:
        scale = (square - mean.square()).clamp_min(0).add(self.eps).rsqrt() * self.weight
        shift = self.bias - mean * scale
        shape = (*scale.shape, *(1 for _ in range(2, x.dim())))
        return x * scale.to(x.dtype).view(shape) + shift.to(x.dtype).view(shape)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, count={self.count}, eps={self.eps}"


class Referenced(nn.Module):
    """A decoder with virtual batch norms and the reference batch that they need, latents (and labels) drawn once.

    In training the reference batch travels in front of the live one, with gradients, so that each norm sees it under
    the current weights. In eval mode the stored statistics stand in for it: after the weights have changed, `settle`
    brings them up to date.
    """

    averaging: ClassVar = {"reference": "copy", "reference_labels": "copy"}
    reference: Tensor
    reference_labels: Tensor | None

    def __init__(self, network: nn.Module, count: int) -> None:
        super().__init__()
        if count < 2:
            raise UserError(
                f"reference={count}: virtual batch norm needs a reference batch of 2 images or more, better 16 or more."
            )
        self.network = network
        self.image: ImageShape = network.image  # pyrefly: ignore
        self.latents: int = network.latents  # pyrefly: ignore
        self.classes: int = network.classes  # pyrefly: ignore
        self.image_range: Range = network.image_range  # pyrefly: ignore
        self.register_buffer("reference", torch.randn(count, self.latents))
        self.register_buffer("reference_labels", torch.randint(self.classes, (count,)) if self.classes else None)

    def forward(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        if not self.training:
            return self.network(latents, condition)
        latents = torch.cat([self.reference.to(latents.dtype), latents])
        if self.reference_labels is not None and condition is not None:
            labels = self.reference_labels
            if condition.dim() == 2:
                labels = torch.nn.functional.one_hot(labels, self.classes)
            condition = torch.cat([labels.to(condition.dtype), condition])
        return self.network(latents, condition)[len(self.reference) :]

    @torch.no_grad()
    def settle(self) -> None:
        """Compute the stored statistics of the reference batch anew, with the weights as they are."""
        training = self.network.training
        self.network.train()
        self.network(self.reference, self.reference_labels)
        self.network.train(training)
