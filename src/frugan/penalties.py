"""Penalties, as values: what is added to the discriminator's loss for how it judges.

A penalty is called with a `Judgement`, one step of a discriminator: its images, their scores, and the discriminator
itself to try on further images. It may look at scores, at slopes or at both, and may keep state (`Penalty` says how).

The penalties of frugan's own look at the slope n(x), the L2 norm over *all* of an image's dimensions of the gradient of
the discriminator's output at x, at chosen points, and ask a price for it:

    ======== =============================== ======================== =============================================
    name     points                          price                    source
    ======== =============================== ======================== =============================================
    wgan_gp  between a real and a fake image weight (n - 1)^2         Gulrajani et al. 2017 (1704.00028, eq. 3)
    wgan_lp  between a real and a fake image weight max(0, n - 1)^2   Petzka et al. 2018 (1709.08894)
    dragan   around real images              weight (n - 1)^2         Kodali et al. 2017 (1705.07215)
    r1       real images                     weight / 2 n^2           Mescheder et al. 2018 (1801.04406, eq. 9)
    r2       fake images                     weight / 2 n^2           the same
    ======== =============================== ======================== =============================================

averaged over the batch. Give r1 and r2 together for both (R3GAN). The squares are summed over pixels, not averaged, so
the weight of r1 and r2 must follow the resolution. Batch normalisation in the discriminator makes slopes depend on the
other images of a batch: use another or none. `drift` alone looks at scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from frugan import kernels
from frugan.batch import Batch
from frugan.ranges import Range
from frugan.registry import Catalogue, UserError, suggest

# Under the root: at slope zero the derivative of the root is undefined.
_TINY = 1e-12

Every = Annotated[int, Range(1, such_as="every=16")]


def _of_one_process(tensor: Tensor) -> Tensor:
    """The mean over processes where there is one, without gradient."""
    return tensor.detach()


@dataclass(frozen=True, eq=False)
class Judgement:
    """One step of a discriminator, as a penalty sees it.

    Attributes:
        score: ``(images, labels)`` -> the discriminator's scores of further images, logits of any shape. A
            discriminator that takes no labels passes over them.
        real, fake: this step's images ``[n, c, h, w]`` with their labels, before augmentation. No gradient leads from
            them into a generator.
        random: CPU random numbers of this penalty and step, the same on every device.
        scores: the logits of real and of fake images that this step computes anyway (of augmented images, where there
            is augmentation), in float32 or double and with their graph; for penalties that say `needs_scores`.
        images: how many real images were shown before this round.
        mean: a tensor -> its mean over all processes, without gradient. State must be made of such means: each process
            sees only its share of the batch.
    """

    score: Callable[[Tensor, Tensor | None], Tensor]
    real: Batch
    fake: Batch
    random: torch.Generator
    scores: tuple[Tensor, Tensor] | None = None
    images: int = 0
    mean: Callable[[Tensor], Tensor] = _of_one_process

    @property
    def real_scores(self) -> Tensor:
        """The logits of this step's real images. Raises UserError if the penalty did not say `needs_scores`."""
        return self._asked_for()[0]

    @property
    def fake_scores(self) -> Tensor:
        """The logits of this step's fake images. Raises UserError if the penalty did not say `needs_scores`."""
        return self._asked_for()[1]

    def _asked_for(self) -> tuple[Tensor, Tensor]:
        if self.scores is None:
            raise UserError(
                "This penalty reads scores, but does not say so. Give it the attribute needs_scores = True."
            )
        return self.scores


class Penalty(Protocol):
    """What a game asks of a penalty.

    One that keeps state (a moving average) says it as modules of torch do, by the methods `state_dict` and
    `load_state_dict`: it is saved and resumed with the run. The tensors of a loaded state are on the CPU. Each
    discriminator of a game has a penalty of its own, so that states do not mix.
    """

    @property
    def name(self) -> str:
        """The name under which its value is logged: ``discriminator.NAME``."""
        ...

    @property
    def every(self) -> int:
        """It is applied in one of so many rounds."""
        ...

    @property
    def needs_scores(self) -> bool:
        """Whether it looks at `Judgement.real_scores` or `fake_scores`.

        It is then added to the discriminator's loss, whose graph has them. Otherwise it is a loss by itself, whose
        graph is gone before the next begins, which takes less memory.
        """
        ...

    def __call__(self, judgement: Judgement) -> Tensor:
        """A scalar to be added to the discriminator's loss, times its weight and `every`."""
        ...


@dataclass(frozen=True)
class SlopePenalty:
    """A price on the discriminator's slope at chosen points.

    Attributes:
        name: as users type it.
        points: where the slope is taken, in a word: ``real``, ``fake``, ``between`` or ``around``. At ``real`` points
            and ``around`` them a discriminator that takes labels is told those of the real images, else of the fakes.
        place: ``(real, fake, random)`` -> the points, images ``[n, c, h, w]`` all.
        price: squared slopes ``[n]`` -> what each costs, ``[n]``, before the weight.
        weight: lambda or gamma of the papers, 0 or more.
        every: the game applies it in one of so many rounds; it is then counted so many times (lazy regularisation,
            Karras et al. 2020, 1912.04958), which leaves its strength over a run as it was.
    """

    name: str
    points: str
    place: Callable[[Tensor, Tensor, torch.Generator], Tensor]
    price: Callable[[Tensor], Tensor]
    weight: float
    every: int = 1
    needs_scores = False

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise UserError(
                f"The penalty '{self.name}' has weight {self.weight:g}. Give a weight of 0 or more, e.g. weight=10."
            )

    def __call__(self, judgement: Judgement) -> Tensor:
        """The penalty times its weight and `every`: a scalar that can be differentiated by the discriminator's weights.

        It is computed in float32 (in double for double images) also under autocast, see `squared_slopes`.
        """
        labels = (judgement.real if self.points in ("real", "around") else judgement.fake).labels
        points = self.place(_wide(judgement.real.images), _wide(judgement.fake.images), judgement.random)
        slopes = squared_slopes(lambda images: judgement.score(images, labels), points)
        return self.weight * self.every * self.price(slopes).mean()


def squared_slopes(score: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """The squared L2 norm ``[n]`` of the gradient of each image's score, at images ``[n, c, h, w]``.

    It can be differentiated by the weights of `score`, a function of images to logits of any shape. It is computed in
    float32 (in double for double images) also under autocast: half precision changes the gradients of r1 by up to 12 %.
    How convolutions' weights change the slope is computed in bf16 where autocast is, which changes the penalty's
    gradient by less than 1 %. On an NVIDIA card float32 convolutions are TensorFloat32 (10 bits of mantissa) here, as
    everywhere in training, unless torch was told otherwise.
    """
    points = _wide(points)
    half = points.dtype is torch.float32 and kernels.computed(points) is torch.bfloat16
    precision = torch.bfloat16 if half else points.dtype
    with torch.autocast(device_type=points.device.type, enabled=False):
        points = points.detach().requires_grad_()
        with _Straight(precision), kernels.towards_images():
            (gradient,) = torch.autograd.grad(score(points).sum(), points, create_graph=True)
        return gradient.flatten(1).square().sum(1)


def wgan_gp(*, weight: float = 10.0, every: Every = 1, target: float = 1.0) -> SlopePenalty:
    """Slopes of 1 between real and fake images (for the loss `wgan`). Usually with 5 discriminator steps per round.

    `target` asks for slopes of so much instead: weight / target^2 (n - target)^2 (Karras et al. 2018, 1710.10196,
    appendix A.1, gamma; 750 for CIFAR-10).
    """
    if not 0 < target < float("inf"):
        raise UserError(f"The penalty 'wgan_gp' has target={target:g}. Give the slope that is asked for, above 0.")
    return SlopePenalty(
        "wgan_gp", "between", _between, lambda squared: _off_one(squared / target**2), weight, every
    )


def wgan_lp(*, weight: float = 10.0, every: Every = 1) -> SlopePenalty:
    """Slopes of at most 1 between real and fake images: the one-sided form of `wgan_gp`."""
    return SlopePenalty("wgan_lp", "between", _between, _above_one, weight, every)


def dragan(
    *, weight: float = 10.0, every: Every = 1, perturbation: str = "scaled", variance: float = 10.0
) -> SlopePenalty:
    """Slopes of 1 around real images.

    `perturbation`: ``scaled`` adds a * 0.5 * std(real) * u, with u from U(0, 1) for every pixel and a from U(0, 1) for
    every image, as most codes do; ``gaussian`` adds normal noise of the given `variance`, as in the paper.
    """
    perturbations = {"scaled": _around_scaled, "gaussian": _around_gaussian(variance)}
    if perturbation not in perturbations:
        raise UserError(
            f"The penalty 'dragan' has no perturbation '{perturbation}'. {suggest(perturbation, perturbations)}"
        )
    return SlopePenalty("dragan", "around", perturbations[perturbation], _off_one, weight, every)


def r1(*, weight: float = 10.0, every: Every = 1) -> SlopePenalty:
    """Slopes of 0 at real images. The weight is the paper's; lower it for small images."""
    return SlopePenalty("r1", "real", lambda real, fake, random: real, _half, weight, every)


def r2(*, weight: float = 10.0, every: Every = 1) -> SlopePenalty:
    """Slopes of 0 at fake images."""
    return SlopePenalty("r2", "fake", lambda real, fake, random: fake, _half, weight, every)


@dataclass(frozen=True)
class Drift:
    """A price on real scores that are far from 0: weight times the mean of their squares."""

    weight: float
    every: int = 1
    name = "drift"
    needs_scores = True

    def __call__(self, judgement: Judgement) -> Tensor:
        return self.weight * self.every * judgement.real_scores.square().mean()


def drift(*, weight: float = 0.001, every: Every = 1) -> Drift:
    """Keeps scores from drifting away, which the loss `wgan` allows (Karras et al. 2018, 1710.10196, appendix A.1)."""
    if weight < 0:
        raise UserError(f"The penalty 'drift' has weight {weight:g}. Give a weight of 0 or more, e.g. weight=0.001.")
    return Drift(weight, every)


_known: Catalogue[Penalty] = Catalogue(
    "penalty", wgan_gp, wgan_lp, dragan, r1, r2, drift, has=("name", "every", "needs_scores", "__call__")
)
names, options, add = _known.names, _known.options, _known.add


def find(name: str, **given: Any) -> Penalty:
    """The penalty called `name`, with options.

    Raises UserError for an unknown name or option, or an impossible value.
    """
    penalty = _known.find(name, **given)
    if penalty.every < 1 or penalty.every % 1:
        raise UserError(
            f"The penalty '{name}' has every={penalty.every}. Give a whole number, 1 or more, e.g. every=16."
        )
    return penalty


# --------------------------------------------------------------------------------------------------- second derivatives


class _Straight(TorchFunctionMode):
    """Inside, (leaky) ReLUs have no second derivative, and those of convolutions go by way of convolutions' gradients.

    Of ReLUs it is zero, but torch sends these zeros back through the whole forward pass: a third of the penalty's time.
    The gradient by a weight of a gradient by images torch computes as a convolution of images with images, whose
    kernels are as large as they are; as the gradient of a convolution by its weight it takes a third of the time.

    Args:
        precision: in which such a second derivative is computed.
    """

    def __init__(self, precision: torch.dtype) -> None:
        super().__init__()
        self.precision = precision

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.leaky_relu:
            return _straight_leaky_relu(*args, **(kwargs or {}))
        if func in (functional.relu, torch.relu):
            return _Rectified.apply(args[0], 0.0)
        if func is functional.conv2d:
            return _convolution(self.precision, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _straight_leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    return _Rectified.apply(input, negative_slope)  # not in place: the same numbers


class _Rectified(Function):
    """x where it is positive, `slope` times x elsewhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        ctx.set_materialize_grads(False)  # what has no gradient is passed on as such, not as zeros
        return functional.leaky_relu(x, slope)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:  # pyrefly: ignore
        return None if grad is None else _Passed.apply(grad, *ctx.saved_tensors, ctx.slope), None


class _Passed(Function):
    """A gradient on its way back through `_Rectified`: linear in the gradient, and x only says where it is cut."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return torch.ops.aten.leaky_relu_backward(grad, x, slope, False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyrefly: ignore
        return _Passed.apply(grad, *ctx.saved_tensors, ctx.slope), None, None


def _convolution(
    precision: torch.dtype, input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1,
    padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:
    """`functional.conv2d`; as it is where the gradients of the weight may lead to images, or are torch's own kind."""
    if isinstance(padding, str) or groups > 1 or not weight.is_leaf or input.dim() != 4:
        return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)
    pairs = tuple([one, one] if isinstance(one, int) else list(one) for one in (stride, padding, dilation))
    return _Convolved.apply(input, weight, bias, pairs, precision)


Pairs = tuple[list[int], list[int], list[int]]
"""Stride, padding and dilation along both axes."""


def _backward(grad: Tensor, images: Tensor, weight: Tensor, pairs: Pairs, *, by_weight: bool) -> Tensor:
    mask = [not by_weight, by_weight, False]
    return torch.ops.aten.convolution_backward(grad, images, weight, None, *pairs, False, [0, 0], 1, mask)[by_weight]


class _Convolved(Function):
    """A convolution whose gradient by its images is a `_Returned`."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, pairs: Pairs, precision: torch.dtype
    ) -> Tensor:
        ctx.save_for_backward(images, weight, bias)
        ctx.pairs, ctx.precision = pairs, precision
        ctx.set_materialize_grads(False)
        return functional.conv2d(images, weight, bias, *pairs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:  # pyrefly: ignore
        images, weight, bias = ctx.saved_tensors
        if grad is None:
            return (None,) * 5
        needed = ctx.needs_input_grad
        to_images = _Returned.apply(grad, images, weight, ctx.pairs, ctx.precision) if needed[0] else None
        to_weight = to_bias = None
        if needed[1] and kernels.wanted(weight):
            to_weight = _backward(grad, images, weight, ctx.pairs, by_weight=True)
        if needed[2] and kernels.wanted(bias):
            to_bias = grad.sum((0, 2, 3))
        return to_images, to_weight, to_bias, None, None


class _Returned(Function):
    """A gradient on its way back through a convolution: linear in it and in the weight. Images only say the shape."""

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, images: Tensor, weight: Tensor, pairs: Pairs, precision: torch.dtype
    ) -> Tensor:
        ctx.save_for_backward(grad, weight)
        ctx.pairs, ctx.precision = pairs, precision
        return _backward(grad, images, weight, pairs, by_weight=False)

    @staticmethod
    def backward(ctx: Any, further: Tensor) -> tuple[Tensor | None, ...]:  # pyrefly: ignore
        kind = further.dtype
        grad, weight, further = (one.to(ctx.precision) for one in (*ctx.saved_tensors, further))
        to_grad = to_weight = None
        if ctx.needs_input_grad[0]:
            to_grad = functional.conv2d(further, weight, None, *ctx.pairs).to(kind)
        if ctx.needs_input_grad[2]:
            to_weight = _backward(grad, further, weight, ctx.pairs, by_weight=True).to(kind)
        return to_grad, None, to_weight, None, None


# --------------------------------------------------------------------------------------------------------------- prices


def _off_one(squared_slopes: Tensor) -> Tensor:
    return ((squared_slopes + _TINY).sqrt() - 1).square()


def _above_one(squared_slopes: Tensor) -> Tensor:
    return ((squared_slopes + _TINY).sqrt() - 1).relu().square()


def _half(squared_slopes: Tensor) -> Tensor:
    return 0.5 * squared_slopes


# --------------------------------------------------------------------------------------------------------------- points


def _between(real: Tensor, fake: Tensor, random: torch.Generator) -> Tensor:
    """One random mixture per pair of images, not one for the whole batch."""
    if real.shape != fake.shape:
        raise UserError(
            f"A penalty between real and fake images needs both in the same shape, but real is {tuple(real.shape)} and "
            f"fake is {tuple(fake.shape)}. Make as many fakes as there are real images, of the same size, or use 'r1' "
            "or 'dragan'."
        )
    share = _per_image(real, random)
    return share * real + (1 - share) * fake


def _around_scaled(real: Tensor, fake: Tensor, random: torch.Generator) -> Tensor:
    share = _per_image(real, random)
    return real + share * 0.5 * real.std() * torch.rand(real.shape, generator=random).to(real, non_blocking=True)


def _around_gaussian(variance: float) -> Callable[[Tensor, Tensor, torch.Generator], Tensor]:
    def place(real: Tensor, fake: Tensor, random: torch.Generator) -> Tensor:
        drawn = torch.randn(real.shape, generator=random)
        return real + variance**0.5 * drawn.to(real, non_blocking=True)

    return place


def _per_image(images: Tensor, random: torch.Generator) -> Tensor:
    """U(0, 1), one number for each image, shaped to multiply it."""
    return torch.rand([len(images)] + [1] * (images.dim() - 1), generator=random).to(images, non_blocking=True)


def _wide(images: Tensor) -> Tensor:
    """At least float32: half-precision images are widened, double ones stay."""
    return images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
