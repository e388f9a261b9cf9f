"""Adversarial losses, as values: what the discriminator and the generator each minimise, given logits.

A discriminator puts out unbounded **logits** (never a sigmoid): `real` for real images, `fake` for generated ones, of
any shape. Every loss is the mean over all their elements, so repeating a batch changes nothing; everything is computed
in at least float32, whatever the networks ran in.

Ask for one by name, ``find("hinge")`` or ``find("lsgan", real_target=0.9)``, or build an `AdversarialLoss` of your own.

Conventions that papers and codes disagree on, as they are here: the discriminator's loss is the *sum* of its real and
its fake part (``halved=True`` gives the mean of the two), least squares alone carry the factor 1/2 of their paper, and
nothing is smoothed unless asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from frugan.registry import Catalogue, UserError, suggest


def _above_zero(logits: Tensor) -> Tensor:
    return logits > 0


@dataclass(frozen=True)
class AdversarialLoss:
    """What the two sides minimise.

    Attributes:
        name: as users type it.
        discriminator: ``(real, fake, random=None)`` -> scalar. `fake` comes from images cut off from the generator.
        generator: ``(fake, real=None, random=None)`` -> scalar.
        needs_real: whether the generator's loss compares with real logits, which must then be given. They are not cut
            off: in a game with an encoder they carry its gradient.
        has_targets: whether logits are pulled to stated targets, which label smoothing could move.
        takes_for_real: logits -> whether each says "real" rather than "fake", for reporting the discriminator's
            accuracy. Above 0, unless targets say otherwise; losses that only compare logits have no such point of
            their own.

    `random` is a CPU generator; only losses with noisy targets draw from it.
    """

    name: str
    discriminator: Callable[..., Tensor]
    generator: Callable[..., Tensor]
    needs_real: bool = False
    has_targets: bool = False
    takes_for_real: Callable[[Tensor], Tensor] = _above_zero


def compares_only(loss: AdversarialLoss) -> bool:
    """Whether only differences between logits count for the discriminator, so that their signs say nothing."""
    real, fake = torch.tensor([[0.7], [-1.1]]), torch.tensor([[-0.2], [0.4]])
    before, moved = (
        loss.discriminator(real + by, fake + by, random=torch.Generator().manual_seed(0)) for by in (0.0, 1.5)
    )
    return torch.allclose(before, moved)


# -------------------------------------------------------------------------------------------- losses of each side alone


def minimax(*, smoothing: float = 1.0, halved: bool = False) -> AdversarialLoss:
    """Goodfellow et al. 2014 (1406.2661, eq. 1). The generator's gradient fades where it loses; see `non_saturating`.

    `smoothing` is the target of real images (0.9 is one-sided label smoothing, Salimans et al. 2016, 1606.03498; 1 is
    none). `halved` takes the mean of the discriminator's two parts instead of their sum.
    """
    return _apart("minimax", _log_likelihood(smoothing, halved), lambda fake: -softplus(fake).mean(), has_targets=True)


def non_saturating(*, smoothing: float = 1.0, halved: bool = False) -> AdversarialLoss:
    """Goodfellow et al. 2014 (section 3): the generator maximises log D(fake). Options as for `minimax`."""
    return _apart(
        "non_saturating", _log_likelihood(smoothing, halved), lambda fake: softplus(-fake).mean(), has_targets=True
    )


def lsgan(
    *, real_target: float = 1.0, fake_target: float = 0.0, generator_target: float = 1.0, generator_weight: float = 0.5
) -> AdversarialLoss:
    """Least squares, Mao et al. 2017 (1611.04076, eq. 9). Targets (-1 for fake, 0 for the generator) give its eq. 8.

    `generator_weight` is the factor on the generator's square; CycleGAN has 1.
    """
    return _apart(
        "lsgan",
        lambda real, fake: 0.5 * ((real - real_target) ** 2).mean() + 0.5 * ((fake - fake_target) ** 2).mean(),
        lambda fake: generator_weight * ((fake - generator_target) ** 2).mean(),
        has_targets=True,
        takes_for_real=_nearer(real_target, fake_target),
    )


def sigmoid_lsgan() -> AdversarialLoss:
    """Least squares on the probability that D says "real", with targets 1 and 0: the mutation of E-GAN (1803.00657).

    `lsgan` is another operator, on the logit. This one's slope vanishes at both ends, where D is sure; that one's never
    does, and pulls the probability to 0.73 instead of 1. The generator's square has no factor, as published. The
    discriminator's side is ours, E-GAN's own having logarithms.
    """
    return _apart(
        "sigmoid_lsgan",
        lambda real, fake: 0.5 * ((real.sigmoid() - 1) ** 2).mean() + 0.5 * (fake.sigmoid() ** 2).mean(),
        lambda fake: ((fake.sigmoid() - 1) ** 2).mean(),
        has_targets=True,
    )


def hinge() -> AdversarialLoss:
    """Lim and Ye 2017 (1705.02894); Miyato et al. 2018 (1802.05957, eq. 16-17)."""
    return _apart("hinge", lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(), lambda fake: -fake.mean())


def wgan() -> AdversarialLoss:
    """Wasserstein, Arjovsky et al. 2017 (1701.07875). The discriminator must be kept smooth, e.g. by `wgan_gp`."""
    return _apart("wgan", lambda real, fake: fake.mean() - real.mean(), lambda fake: -fake.mean())


def binary_targets(
    *,
    real_target: float = 1.0,
    fake_target: float = 0.0,
    generator_target: float = 1.0,
    noise: float = 0.0,
    inward: bool = False,
    halved: bool = False,
) -> AdversarialLoss:
    """Binary cross-entropy towards targets of one's choice; the defaults are `non_saturating`.

    `noise`: a number drawn from U(0, noise) for every logit is added to each of the discriminator's targets. A target
    above 1 leaves the loss without a lower bound (it falls by the excess for each unit of the logit), as the CIFAR-10
    net of the factorised project had it; with ``inward=True`` the noise is subtracted from targets above 1/2 instead.
    `halved` halves the discriminator's loss: the mean over real and fake images in one batch, where it is else the sum
    of two means.
    """
    scale = 0.5 if halved else 1.0

    def noisy(target: float, logits: Tensor, random: torch.Generator | None) -> Tensor | float:
        if noise == 0:
            return target
        if random is None:
            raise UserError(
                "The loss 'binary_targets' with noise needs random numbers. Pass it random=progress.generator(...)."
            )
        # Drawn on the CPU, so that the numbers are the same on every device.
        drawn = noise * torch.rand(logits.shape, generator=random).to(logits, non_blocking=True)
        return target - drawn if inward and target > 0.5 else target + drawn

    def discriminator(real: Tensor, fake: Tensor, random: torch.Generator | None = None) -> Tensor:
        real, fake = _wide(real), _wide(fake)
        of_real = _cross_entropy(real, noisy(real_target, real, random))
        return scale * (of_real + _cross_entropy(fake, noisy(fake_target, fake, random)))

    def generator(fake: Tensor, real: Tensor | None = None, random: torch.Generator | None = None) -> Tensor:
        return _cross_entropy(_wide(fake), generator_target)

    nearer = _nearer(real_target, fake_target)
    return AdversarialLoss(
        "binary_targets",
        discriminator,
        generator,
        has_targets=True,
        takes_for_real=lambda logits: nearer(logits.sigmoid()),
    )


# ------------------------------------------- relativistic losses: the generator's is the discriminator's, sides swapped


def relativistic() -> AdversarialLoss:
    """Relativistic pairing (RpGAN), Jolicoeur-Martineau 2018 (1807.00734): real image i is compared with fake image i.

    Pairs must share their label where there are labels. Raises UserError if there are not as many fake logits as real
    ones.
    """
    return _compared("relativistic", lambda real, fake: softplus(fake - real).mean(), paired=True)


def relativistic_average(*, halved: bool = False) -> AdversarialLoss:
    """Relativistic average (RaGAN), same paper: each side against the other's mean. `halved` halves both losses."""
    scale = 0.5 if halved else 1.0
    return _compared(
        "relativistic_average",
        lambda real, fake: scale * (softplus(fake.mean() - real).mean() + softplus(fake - real.mean()).mean()),
    )


def ra_lsgan() -> AdversarialLoss:
    """Relativistic average least squares, same paper; without the factor 1/2 of `lsgan`, as published."""
    return _compared(
        "ra_lsgan",
        lambda real, fake: ((real - fake.mean() - 1) ** 2).mean() + ((fake - real.mean() + 1) ** 2).mean(),
    )


def ra_hinge() -> AdversarialLoss:
    """Relativistic average hinge, same paper."""
    return _compared(
        "ra_hinge",
        lambda real, fake: relu(1 - (real - fake.mean())).mean() + relu(1 + (fake - real.mean())).mean(),
    )


# -------------------------------------------------------------------------------------------------------- found by name

_known = Catalogue(
    "loss", minimax, non_saturating, lsgan, sigmoid_lsgan, hinge, wgan, binary_targets, relativistic,
    relativistic_average, ra_lsgan, ra_hinge,
    has=("discriminator", "generator", "needs_real", "has_targets", "takes_for_real"),
)  # fmt: skip
names, options, add = _known.names, _known.options, _known.add


def find(name: str, **given: Any) -> AdversarialLoss:
    """The loss called `name`, with options.

    Raises UserError for an unknown name or option, or smoothing without targets.
    """
    if "smoothing" in given and "smoothing" not in options(name):
        _refuse_smoothing(name, given["smoothing"])
    return _known.find(name, **given)


def compatibility(
    loss: str,
    penalties: Sequence[str] = (),
    *,
    discriminator_has_batch_norm: bool = False,
    discriminator_has_spectral_norm: bool = False,
    discriminator_has_minibatch_layer: bool = False,
    beta1: float = 0.0,
    real_count: int | None = None,
    fake_count: int | None = None,
    smoothing: float | None = None,
) -> list[str]:
    """What is known to go badly together, in words to show before a run; empty if nothing is.

    Args:
        loss, penalties: their names.
        beta1: the first momentum of the discriminator's Adam (0 for an optimiser without momentum).
        real_count, fake_count: images of each kind per step of the discriminator, where known.
        smoothing: the real target under label smoothing, where one is asked for.

    Raises UserError for what cannot work: smoothing a loss without targets, minibatch layers on one image, pairing
    unequal counts.
    """
    if smoothing is not None and "smoothing" not in options(loss):
        _refuse_smoothing(loss, smoothing)
    if discriminator_has_minibatch_layer and 1 in (real_count, fake_count):
        raise UserError(
            "A layer of this discriminator compares the images of a batch with each other, but a batch here has only 1 "
            "image in each process. Give each 2 or more (batch_size, and game.batches where sizes have batches of "
            "their own), or leave that layer out (discriminator.minibatch=none)."
        )
    if loss == "relativistic" and real_count is not None and fake_count is not None and real_count != fake_count:
        raise UserError(_unequal((real_count,), (fake_count,)))

    warnings = []
    slopes = [name for name in penalties if name in ("wgan_gp", "wgan_lp", "dragan", "r1", "r2")]
    if slopes and discriminator_has_batch_norm:
        warnings.append(
            f"{', '.join(slopes)} with batch normalisation in the discriminator: each image's slope then depends on "
            "the other images; use layer, instance or no normalisation there."
        )
    # With a penalty it is in everyday use: StarGAN trains with beta1=0.5.
    if loss == "wgan" and beta1 > 0 and not {"wgan_gp", "wgan_lp"} & set(penalties):
        warnings.append(
            f"wgan with momentum (Adam's beta1 is {beta1:g}) and without penalty: known to be unstable; use beta1=0, "
            "RMSprop or penalties=wgan_gp."
        )
    if loss == "hinge" and not discriminator_has_spectral_norm and "r1" not in penalties:
        warnings.append(
            "hinge without spectral normalisation or r1: nothing limits the discriminator's slope; add one of them."
        )
    return warnings


# --------------------------------------------------------------------------------------------------------- other losses


def feature_matching(real: Tensor, fake: Tensor, *, reduction: str = "sum") -> Tensor:
    """Distance of the mean features of real and generated images, Salimans et al. 2016 (1606.03498, section 3.1).

    Args:
        real, fake: ``[count, ...]`` features of one of the discriminator's layers; the counts may differ. No gradient
            reaches the real ones; the discriminator's weights are kept out by the step that calls this for the
            generator.
        reduction: of the differences: ``sum`` of squares (paper), ``mean`` of squares (its released MNIST code) or mean
            ``absolute`` (its released CIFAR-10 code).
    """
    gap = _wide(real).detach().mean(0) - _wide(fake).mean(0)
    reductions: dict[str, Callable[[], Tensor]] = {
        "sum": lambda: (gap**2).sum(),
        "mean": lambda: (gap**2).mean(),
        "absolute": lambda: gap.abs().mean(),
    }
    if reduction not in reductions:
        raise UserError(f"feature_matching has no reduction '{reduction}'. {suggest(reduction, reductions)}")
    return reductions[reduction]()


def classification(logits: Tensor, labels: Tensor) -> Tensor:
    """The classification loss of logits ``[n, size]``, as StarGAN takes it (1711.09020, eq. 2 and 3).

    Labels ``[n]`` are class numbers: the softmax cross-entropy. Bits ``[n, size]`` are independent attributes: binary
    cross-entropy, *summed* over the attributes. Both are means over the batch.
    """
    if labels.dim() == 1:
        return torch.nn.functional.cross_entropy(_wide(logits), labels)
    wide = _wide(logits)
    return (softplus(wide) - labels.to(wide) * wide).sum(1).mean()


# --------------------------------------------------------------------------------------------------------------- pieces


def _apart(
    name: str,
    discriminator: Callable[[Tensor, Tensor], Tensor],
    generator: Callable[[Tensor], Tensor],
    *,
    has_targets: bool = False,
    takes_for_real: Callable[[Tensor], Tensor] = _above_zero,
) -> AdversarialLoss:
    """A loss in which the generator looks at fake logits only, from formulas on float32 logits."""
    return AdversarialLoss(
        name,
        lambda real, fake, random=None: discriminator(_wide(real), _wide(fake)),
        lambda fake, real=None, random=None: generator(_wide(fake)),
        has_targets=has_targets,
        takes_for_real=takes_for_real,
    )


def _compared(name: str, formula: Callable[[Tensor, Tensor], Tensor], *, paired: bool = False) -> AdversarialLoss:
    """A loss in which both sides look at both kinds of logits: `formula` on (real, fake), swapped for the generator."""

    def required(real: Tensor | None, fake: Tensor) -> Tensor:
        if real is None:
            raise UserError(
                f"The loss '{name}' of the generator also needs the real logits. Call generator(fake, real)."
            )
        # Otherwise [count] and [count, 1] would silently be compared each with each.
        if paired and real.shape != fake.shape:
            raise UserError(_unequal(tuple(real.shape), tuple(fake.shape)))
        return real

    return AdversarialLoss(
        name,
        lambda real, fake, random=None: formula(_wide(required(real, fake)), _wide(fake)),
        lambda fake, real=None, random=None: formula(_wide(fake), _wide(required(real, fake))),
        needs_real=True,
    )


def _log_likelihood(smoothing: float, halved: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """The discriminator's side of the first two losses."""
    if not 0 < smoothing <= 1:
        raise UserError(f"smoothing={smoothing:g}: give the target of real images, above 0 and at most 1, e.g. 0.9.")
    scale = 0.5 if halved else 1.0
    return lambda real, fake: scale * (_cross_entropy(real, smoothing) + _cross_entropy(fake, 0.0))


def _cross_entropy(logits: Tensor, target: Tensor | float) -> Tensor:
    """-target log D - (1 - target) log(1 - D) with D the sigmoid of the logits, finite for all of them."""
    return (softplus(-logits) + (1 - target) * logits).mean()


def _nearer(real_target: float, fake_target: float) -> Callable[[Tensor], Tensor]:
    """Whether outputs are nearer to the target of real images, whichever of the two is the higher."""
    middle = 0.5 * (real_target + fake_target)
    return lambda outputs: (outputs - middle) * (real_target - fake_target) > 0


def _wide(logits: Tensor) -> Tensor:
    """At least float32: half-precision logits are widened, double ones stay."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _refuse_smoothing(name: str, smoothing: float) -> NoReturn:
    if _known.find(name).has_targets:
        raise UserError(f"The loss '{name}' has no option smoothing. To smooth it, give real_target={smoothing}.")
    raise UserError(
        f"The loss '{name}' has no targets, so smoothing={smoothing} cannot be used. Leave it out, or use "
        "'non_saturating' or 'minimax'."
    )


def _unequal(real: tuple[int, ...], fake: tuple[int, ...]) -> str:
    return (
        f"The loss 'relativistic' pairs real image i with fake image i, and there are {real} real and {fake} fake "
        "logits; draw as many fakes as there are real images, or use 'relativistic_average'."
    )
