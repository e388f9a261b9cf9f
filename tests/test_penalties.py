"""Gradient penalties: the numbers of the losses sheet, where slopes are taken, and that they can be differentiated."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils._python_dispatch import TorchDispatchMode

from frugan import losses, penalties
from frugan.batch import Batch
from frugan.penalties import Judgement
from frugan.registry import UserError

SLOPES = [name for name in penalties.names() if not penalties.find(name).needs_scores]
"""The penalties that look at slopes; `drift` looks at scores."""
AT = torch.tensor([[1.0, 5.0], [-2.0, 0.0]], dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def step(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, random: torch.Generator
) -> Judgement:
    """A step of a discriminator that takes no labels."""
    return Judgement(lambda images, labels: discriminator(images), Batch(real), Batch(fake), random)


def linear(images: Tensor) -> Tensor:
    """D(x) = 3 x1 + 4 x2, whose slope is 5 everywhere."""
    return 3 * images[:, 0] + 4 * images[:, 1]


def quadratic(images: Tensor) -> Tensor:
    """D(x) = x1^2 + 2 x2."""
    return images[:, 0] ** 2 + 2 * images[:, 1]


def steep() -> torch.nn.Sequential:
    """A network from 8 numbers to a logit, with slopes above 1, so that the one-sided penalty is not 0 either."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Softplus(), torch.nn.Linear(16, 1))
    torch.nn.init.normal_(network[2].weight, std=10.0)
    return network


class Operations(TorchDispatchMode):
    """Counts torch's operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counted[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("inplace", [False, True])
def test_zeros_are_not_sent_back_through_rectified_layers(inplace: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.LeakyReLU(0.1, inplace=inplace), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=inplace),
        nn.Conv2d(4, 1, 2),
    ).double()  # fmt: skip
    weights = [layer.weight for layer in network if isinstance(layer, nn.Conv2d)]
    real = torch.randn(3, 1, 6, 6, dtype=torch.float64)
    with Operations() as spent:
        penalties.r1(weight=2.0)(step(network, real, real, seeded())).backward()
    points = real.clone().requires_grad_()
    (slope,) = torch.autograd.grad(network(points).sum(), points, create_graph=True)
    wanted = torch.autograd.grad(slope.flatten(1).square().sum(1).mean(), weights)
    pairs = zip(weights, wanted, strict=True)
    assert all(torch.allclose(weight.grad, grad, rtol=1e-12, atol=1e-14) for weight, grad in pairs)
    # Forward 3, slope 3; then 2 forwards of the slope's own change and 3 gradients of weights, and nothing else.
    assert spent.counted["convolution"] == 5
    assert spent.counted["convolution_backward"] == 6


@pytest.mark.parametrize("layer", [
    nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, (4, 3), (2, 1), (1, 2), bias=False), nn.Conv2d(3, 5, 3, dilation=2, padding=1),
    nn.Conv2d(3, 4, 3, padding="same"), nn.Conv2d(3, 6, 3, groups=3), spectral_norm(nn.Conv2d(3, 4, 3)),
])
def test_penalties_have_the_gradients_of_torchs_own_convolutions(layer: nn.Module) -> None:
    """Of curved discriminators also, whose slope depends on where it is."""
    layer = copy.deepcopy(layer).double().eval()
    weights = list(layer.parameters())
    real = torch.randn(2, 3, 7, 8, dtype=torch.float64, generator=seeded())

    def discriminator(images: Tensor) -> Tensor:
        return layer(images).sigmoid().flatten(1).sum(1)

    penalties.r1(weight=2.0)(step(discriminator, real, real, seeded())).backward()
    points = real.clone().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(points).sum(), points, create_graph=True)
    wanted = torch.autograd.grad(slope.flatten(1).square().sum(1).mean(), weights)
    pairs = zip(weights, wanted, strict=True)
    assert all(torch.allclose(weight.grad, grad, rtol=1e-12, atol=1e-14) for weight, grad in pairs)


def at(discriminator: Callable[[Tensor], Tensor], name: str, **options: object) -> float:
    """The penalty where real and fake images are the same, so that every point between them is as well."""
    return penalties.find(name, **options)(step(discriminator, AT, AT, seeded())).item()


@pytest.mark.parametrize("name", ["wgan_gp", "wgan_lp", "dragan"])
def test_losses_sheet_2_slope_penalties_of_a_linear_discriminator(name: str) -> None:
    assert at(linear, name) == pytest.approx(160, abs=1e-5)


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_losses_sheet_2_r1_of_a_linear_discriminator(name: str) -> None:
    assert at(linear, name) == pytest.approx(125)
    assert at(linear, name, weight=1.0) == pytest.approx(12.5)


def test_losses_sheet_2_quadratic_discriminator() -> None:
    assert at(quadratic, "r1", weight=1.0) == pytest.approx(7.0)
    assert at(quadratic, "wgan_gp") == pytest.approx(76.994369, abs=1e-5)


def test_pggan_sheet_5_9_slopes_of_750() -> None:
    """Of slopes of 3 everywhere: 10 (3 - 750)^2 / 750^2."""
    given = {"weight": 10.0, "target": 750.0}
    assert at(lambda images: 3 * images[:, 0], "wgan_gp", **given) == pytest.approx(9.92016, abs=1e-5)
    with pytest.raises(UserError, match=r"'wgan_gp' has target=0\. Give the slope that is asked for, above 0"):
        penalties.find("wgan_gp", target=0.0)


def test_pggan_sheet_5_9_drift_and_the_whole_loss_of_the_discriminator() -> None:
    """D(real) = 2, D(fake) = -1, and slopes of 3 between them: -1 - 2 + 10 (3 - 1)^2 + 0.001 2^2."""
    real, fake = torch.full((4, 1), 2.0), torch.full((4, 1), -1.0)
    judgement = Judgement(lambda images, labels: 3 * images[:, 0], Batch(AT), Batch(AT), seeded(), (real, fake))
    drift = penalties.find("drift")
    assert drift.needs_scores
    assert drift(judgement).item() == pytest.approx(0.004)
    whole = losses.find("wgan").discriminator(real, fake) + penalties.find("wgan_gp")(judgement) + drift(judgement)
    assert whole.item() == pytest.approx(37.004, abs=1e-5)
    assert losses.find("wgan").generator(fake).item() == 1.0
    assert penalties.find("drift", weight=0.1, every=4)(judgement).item() == pytest.approx(1.6)
    with pytest.raises(UserError, match=r"'drift' has weight -1\. Give a weight of 0 or more, e\.g\. weight=0\.001"):
        penalties.find("drift", weight=-1.0)


def test_losses_sheet_2_one_sided_penalty_spares_gentle_slopes() -> None:
    def gentle(images: Tensor) -> Tensor:
        return 0.1 * linear(images)

    assert at(gentle, "wgan_lp") == 0
    assert at(gentle, "wgan_gp") == pytest.approx(10 * 0.25, abs=1e-5)


def test_losses_sheet_2_lazy_penalty_weighs_as_often_as_it_is_left_out() -> None:
    assert at(quadratic, "r1", weight=1.0, every=16) == pytest.approx(16 * 7.0)


def test_losses_sheet_2_squares_are_summed_over_channels_height_and_width() -> None:
    images = torch.randn(3, 2, 4, 5)
    penalty = penalties.find("r1", weight=2.0)
    assert penalty(step(lambda x: x.sum((1, 2, 3)), images, images, seeded())).item() == pytest.approx(2 * 4 * 5)
    # a map of logits counts like a vector of them
    assert penalty(step(lambda x: x.sum(1), images, images, seeded())).item() == pytest.approx(2 * 4 * 5)


def test_losses_sheet_2_slope_zero_has_a_gradient() -> None:
    weight = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for name in SLOPES:
        value = penalties.find(name)(step(lambda images: images @ weight, AT, AT, seeded()))
        (gradient,) = torch.autograd.grad(value, weight)
        assert gradient.isfinite().all()


def test_losses_sheet_2_points_of_each_penalty() -> None:
    real, fake = torch.rand(64, 1, 4, 4) + 10, torch.rand(64, 1, 4, 4) - 10
    seen: dict[str, Tensor] = {}
    for name in SLOPES:
        penalty = penalties.find(name)

        def discriminator(images: Tensor, name: str = name) -> Tensor:
            seen[name] = images.detach()
            return images.square().sum((1, 2, 3))

        penalty(step(discriminator, real, fake, seeded()))
    assert torch.equal(seen["r1"], real)
    assert torch.equal(seen["r2"], fake)
    for name in ("wgan_gp", "wgan_lp"):
        share = (seen[name] - fake) / (real - fake)
        assert (share.amax((1, 2, 3)) - share.amin((1, 2, 3))).max() < 1e-4  # one share for a whole image
        assert share.mean((1, 2, 3)).std() > 0.2  # and another for the next
        assert 0 <= share.min() <= share.max() <= 1
    around = seen["dragan"] - real
    assert 0 <= around.min() <= around.max() <= 0.5 * real.std() + 1e-5
    assert around.std() > 0


def test_losses_sheet_2_dragan_of_the_paper_adds_normal_noise() -> None:
    images = torch.zeros(2000, 1, 2, 2)
    penalty = penalties.find("dragan", perturbation="gaussian", variance=4.0)
    assert penalty.place(images, images, seeded()).std().item() == pytest.approx(2.0, rel=0.05)
    with pytest.raises(UserError, match="'gaussian'"):
        penalties.find("dragan", perturbation="gausian")


@pytest.mark.parametrize("name", SLOPES)
def test_losses_sheet_7_penalties_can_be_differentiated_twice(name: str) -> None:
    source = seeded(1)
    first, second, real, fake = (
        torch.randn(shape, generator=source, dtype=torch.float64) for shape in ((3, 4), (4, 1), (2, 3), (2, 3))
    )
    penalty = penalties.find(name, weight=1.0)

    def value(first: Tensor, second: Tensor) -> Tensor:
        return penalty(step(lambda images: torch.tanh(images @ first) @ second, real, fake, seeded(2)))

    weights = (first.requires_grad_(), second.requires_grad_())
    assert value(*weights).dtype == torch.float64
    assert torch.autograd.gradcheck(value, weights)
    assert torch.autograd.gradgradcheck(value, weights)


@pytest.mark.parametrize("name", SLOPES)
def test_losses_sheet_7_penalties_of_a_doubled_batch(name: str) -> None:
    """Repeating changes nothing; where points are random, images or slopes are equal, so that only the mean counts."""
    real = AT if name in ("r1", "r2") else AT[:1]
    penalty = penalties.find(name)
    discriminator = linear if name == "dragan" else quadratic
    once = penalty(step(discriminator, real, real, seeded()))
    torch.testing.assert_close(penalty(step(discriminator, real.repeat(2, 1), real.repeat(2, 1), seeded())), once)


@pytest.mark.parametrize("name", SLOPES)
def test_losses_sheet_6_penalties_are_computed_in_float32_under_mixed_precision(name: str) -> None:
    network = steep()
    real, fake = torch.randn(4, 8), torch.randn(4, 8)
    penalty = penalties.find(name)
    plain = penalty(step(network, real, fake, seeded()))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = penalty(step(network, real, fake, seeded()))
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, plain, rtol=0, atol=0)
    assert penalty(step(network, real.bfloat16(), fake.bfloat16(), seeded())).dtype == torch.float32


@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_mixed_precision_keeps_the_slope_and_changes_its_gradient_by_less_than_a_percent(
    name: str, scale: float
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 4, 2, 1), nn.LeakyReLU(0.01),
        nn.Conv2d(16, 32, 4, 2, 1), nn.LeakyReLU(0.01), nn.Conv2d(32, 1, 4),
    )  # fmt: skip
    with torch.no_grad():
        for layer in network[::2]:
            layer.weight.mul_(2 * scale)
    real, fake = (torch.randn(8, 3, 16, 16, generator=seeded(seed)) for seed in (0, 1))

    def computed(mixed: bool) -> tuple[float, Tensor]:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            value = penalties.find(name)(step(network, real, fake, seeded()))
        value.backward()
        found = [layer.weight.grad.flatten() for layer in network[::2]]
        assert all(one.dtype == torch.float32 for one in found)
        return value.item(), torch.cat(found)

    (value, exact), (mixed, near) = computed(False), computed(True)
    assert mixed == value
    assert (near - exact).norm() <= 0.005 * exact.norm()
    assert torch.equal(near, exact) == (not exact.any())  # gentle slopes cost nothing in wgan_lp


@pytest.mark.parametrize("name", SLOPES)
def test_penalties_send_no_gradient_to_images_and_follow_from_their_random_numbers(name: str) -> None:
    network = steep()
    real, fake = torch.randn(4, 8, requires_grad=True), torch.randn(4, 8, requires_grad=True)
    penalty = penalties.find(name)
    values = [penalty(step(network, real, fake, seeded(seed))) for seed in (0, 0, 1)]
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2]) == (penalty.points in ("real", "fake"))
    values[0].backward()
    assert real.grad is None
    assert fake.grad is None
    assert network[0].weight.grad.abs().sum() > 0


def test_wrong_penalties_are_refused_with_what_to_type() -> None:
    with pytest.raises(UserError, match="Did you mean 'wgan_gp'"):
        penalties.find("wgan-gp")
    for every in (0, 2.5):
        with pytest.raises(UserError, match="every=16"):
            penalties.find("r1", every=every)
    with pytest.raises(UserError, match="0 or more"):
        penalties.find("r1", weight=-1.0)
    with pytest.raises(UserError, match="as many fakes"):
        penalties.find("wgan_gp")(step(linear, AT, AT[:1], seeded()))
    assert penalties.options("r1") == {"weight": 10.0, "every": 1}
