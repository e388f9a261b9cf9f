"""Every kernel gives what the plain form gives; which one is called is measured once, kept, and can be forced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan import kernels, penalties
from frugan.batch import Batch
from frugan.convs._primitives import Convolution, Transposed, exact
from frugan.kernels import Call, Choices, Norm, _compiler, im2col
from frugan.penalties import Judgement
from frugan.registry import UserError

LAST = torch.channels_last
compiles = pytest.mark.skipif(_compiler.compiler() is None, reason="needs a C++ compiler")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of times; libraries that are loaded stay so."""
    monkeypatch.setenv("FRUGAN_CACHE", str(tmp_path))
    return tmp_path


def images(count: int, channels: int, high: int, wide: int, dtype: torch.dtype = torch.float32) -> Tensor:
    made = torch.randn(count, channels, high, wide, generator=torch.Generator().manual_seed(0))
    return made.to(dtype).contiguous(memory_format=LAST).requires_grad_()


def gradients(layer: nn.Module, given: Tensor, mode: str) -> list[Tensor]:
    """What a layer gives, and the gradients of its input, weight and bias, by the kernels of `mode`."""
    with Choices(mode).active():
        out = layer(given)
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    return [out, *torch.autograd.grad(out, [given, *layer.parameters()], direction)]


def assert_near(one: list[Tensor], other: list[Tensor], relative: float) -> None:
    for mine, theirs in zip(one, other, strict=True):
        assert mine.shape == theirs.shape
        assert mine.dtype == theirs.dtype
        assert (mine.float() - theirs.float()).abs().max() <= relative * theirs.float().abs().max()


def used(layer: nn.Module, given: Tensor, mode: str) -> set[str]:
    choices = Choices(mode)
    with choices.active():
        layer(given)
    return set(choices.chosen.values())


def depthwise(channels: int, kernel: tuple[int, int], stride: int, bias: bool = True) -> Convolution:
    (above, left), step = (exact(size, stride if size > 1 else 1) for size in kernel), stride
    strides = tuple(step if size > 1 else 1 for size in kernel)
    return Convolution(channels, channels, kernel, stride=strides, rows=above, columns=left, groups=channels, bias=bias)


def transposed(channels: int, kernel: int, stride: int, crop: tuple[int, int]) -> Transposed:
    return Transposed(
        channels, channels, (kernel, kernel), stride=(stride, stride), rows=crop, columns=crop, groups=channels
    )


# Channels that fill vectors and such that do not; sizes that fill tiles and such that do not; few kernels, for each is
# compiled.
CONVOLUTIONS = [(24, (3, 3), 1, (2, 9, 33)), (3, (3, 3), 1, (1, 5, 12)), (21, (4, 4), 2, (2, 10, 38)),
                (17, (1, 5), 2, (1, 4, 24))]  # fmt: skip
TRANSPOSED = [
    (20, 4, 2, (1, 1), (2, 5, 21)), (3, 4, 2, (2, -1), (1, 4, 9)), (5, 3, 2, (0, 1), (2, 4, 18)),
    (4, 3, 1, (1, 1), (2, 6, 20)),
]  # fmt: skip


@compiles
@pytest.mark.parametrize(("channels", "kernel", "stride", "shape"), CONVOLUTIONS)
def test_a_compiled_depthwise_layer_equals_the_plain_one(
    channels: int, kernel: tuple[int, int], stride: int, shape: tuple[int, int, int]
) -> None:
    layer, given = depthwise(channels, kernel, stride), images(shape[0], channels, *shape[1:])
    assert used(layer, given, "compiled") == {"compiled"}
    assert_near(gradients(layer, given, "compiled"), gradients(layer, given, "plain"), 1e-5)


@compiles
@pytest.mark.parametrize(("channels", "kernel", "stride", "crop", "shape"), TRANSPOSED)
def test_a_compiled_transposed_layer_equals_the_plain_one(
    channels: int, kernel: int, stride: int, crop: tuple[int, int], shape: tuple[int, int, int]
) -> None:
    layer, given = transposed(channels, kernel, stride, crop), images(shape[0], channels, *shape[1:])
    assert used(layer, given, "compiled") == {"compiled"}
    assert_near(gradients(layer, given, "compiled"), gradients(layer, given, "plain"), 1e-5)


@compiles
@pytest.mark.parametrize("up", [False, True])
def test_in_bf16_only_the_images_are_rounded(up: bool) -> None:
    layer = transposed(20, 4, 2, (1, 1)) if up else depthwise(20, (4, 4), 2)
    given = images(2, 20, 10, 38, torch.bfloat16)
    exactly = gradients(layer, given.detach().float().requires_grad_(), "plain")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(layer, given, "compiled")
    # Float sums, rounded once: half a step of bf16's 8 bits. The gradient that arrives is itself rounded so.
    assert_near([found[0].float()], [exactly[0]], 2**-8)
    assert_near([one.float() for one in found[1:]], exactly[1:], 2**-7)


@compiles
def test_padding_by_reflection() -> None:
    layer = Convolution(6, 6, (3, 3), rows=(1, 1), columns=(1, 1), groups=6, padding_mode="reflect")
    given = images(2, 6, 8, 8)
    assert used(layer, given, "compiled") == {"compiled"}
    assert_near(gradients(layer, given, "compiled"), gradients(layer, given, "plain"), 1e-5)


@compiles
@pytest.mark.parametrize("up", [False, True])
def test_penalties_differentiate_twice(up: bool) -> None:
    layer = (transposed(4, 4, 2, (1, 1)) if up else depthwise(4, (4, 4), 2)).double()

    def slopes(mode: str, dtype: torch.dtype) -> list[Tensor]:
        layer.to(dtype)
        given = images(2, 4, 8, 8, dtype)
        with Choices(mode).active():
            out = layer(given)
        (first,) = torch.autograd.grad(out.square().sum(), given, create_graph=True)
        return list(torch.autograd.grad(first.square().sum(), [given, *layer.parameters()]))

    assert_near([one.double() for one in slopes("compiled", torch.float32)], slopes("plain", torch.float64), 1e-5)


@compiles
@pytest.mark.parametrize("up", [False, True])
def test_derivatives_of_third_order_are_whole_whatever_layout_gradients_have(up: bool) -> None:
    layer = (transposed(4, 4, 2, (1, 1)) if up else depthwise(4, (4, 4), 2)).double()

    def third(mode: str, dtype: torch.dtype) -> list[Tensor]:
        layer.to(dtype)
        given = images(2, 4, 8, 8, dtype).detach().contiguous().requires_grad_()
        with Choices(mode).active():
            out = layer(given.contiguous(memory_format=LAST)).contiguous()  # so that gradients come in torch's layout
        wanted = [given, *layer.parameters()]
        (first,) = torch.autograd.grad(out.pow(4).sum(), given, create_graph=True)
        second = torch.autograd.grad(first.square().sum(), wanted, create_graph=True)
        return list(torch.autograd.grad(sum(one.square().sum() for one in second), wanted))

    assert_near([one.double() for one in third("compiled", torch.float32)], third("plain", torch.float64), 1e-4)


# ----------------------------------------------------------------------------------------------------------------- norm


class Normalised(nn.Module):
    def __init__(self, channels: int, affine: bool, rectify: bool) -> None:
        super().__init__()
        self.settings = Norm(1e-5, rectify)
        draws = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(torch.rand(channels, generator=draws) - 0.3) if affine else None
        self.bias = nn.Parameter(torch.randn(channels, generator=draws)) if affine else None

    def forward(self, given: Tensor) -> Tensor:
        def plain(given: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
            made = functional.instance_norm(given, weight=weight, bias=bias, eps=1e-5)
            return made.relu() if self.settings.rectify else made

        return kernels.apply(Call("instance_norm", self.settings, plain), given, self.weight, self.bias)


@compiles
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize(("channels", "side"), [(24, 9), (3, 40)])
def test_a_compiled_norm_equals_the_plain_one(affine: bool, rectify: bool, channels: int, side: int) -> None:
    layer = Normalised(channels, affine, rectify)
    given = (images(2, channels, side, side).detach() * 3 + 100).requires_grad_()
    assert used(layer, given, "compiled") == {"compiled"}
    layer.double()
    exactly = gradients(layer, given.detach().double().requires_grad_(), "plain")
    layer.float()
    found = gradients(layer, given, "compiled")
    assert_near([one.double() for one in found], exactly, 1e-4)  # of values of 100 with a spread of 3
    near = images(2, channels, side, side)
    assert_near(gradients(layer, near, "compiled"), gradients(layer, near, "plain"), 1e-5)


@compiles
def test_a_compiled_norm_differentiates_twice_by_its_plain_form() -> None:
    layer, given = Normalised(4, True, False), images(2, 4, 6, 6)

    def slopes(mode: str) -> list[Tensor]:
        with Choices(mode).active():
            out = layer(given)
        direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
        (first,) = torch.autograd.grad((out.pow(3) * direction).sum(), given, create_graph=True)
        return list(torch.autograd.grad(first.square().sum(), [given, *layer.parameters()]))

    assert_near(slopes("compiled"), slopes("plain"), 1e-4)


@compiles
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_a_number_stays_none(dtype: torch.dtype) -> None:
    given = images(1, 16, 8, 8, dtype).detach()
    given[0, 3, 4, 4] = float("nan")
    with Choices("compiled").active(), torch.no_grad():
        assert depthwise(16, (3, 3), 1)(given)[0, 3].isnan().sum() == 9
        assert Normalised(16, True, True)(given)[0, 3].isnan().all()


@compiles
def test_numbers_do_not_depend_on_threads_or_batch() -> None:
    layer, given = depthwise(20, (4, 4), 2), images(3, 20, 40, 40)
    normalised = Normalised(20, True, True)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append([*gradients(layer, given, "compiled"), *gradients(normalised, given, "compiled")])
    finally:
        torch.set_num_threads(before)
    # The gradient of a bias is torch's own sum.
    assert all(torch.equal(one, other) for n, (one, other) in enumerate(zip(*found, strict=True)) if n != 3)
    alone = images(3, 20, 40, 40)[1:2].detach().requires_grad_()
    assert torch.equal(gradients(layer, alone, "compiled")[0], found[0][0][1:2])


# --------------------------------------------------------------------------------------------------------------- choice


PRODUCTS = ["im2col", *(["im2col_onednn"] if torch.backends.mkldnn.is_available() else [])]


def last_layer(
    in_channels: int = 96, out_channels: int = 192, kernel: tuple[int, int] = (4, 4), stride: tuple[int, int] = (2, 2),
    rows: tuple[int, int] = (1, 1), columns: tuple[int, int] = (1, 1), mode: str = "zeros",
) -> Convolution:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # made while tests are collected: else the weights depend on which others are
        layer = Convolution(
            in_channels, out_channels, kernel, stride=stride, rows=rows, columns=columns, padding_mode=mode
        )
    return layer.to(memory_format=LAST)  # pyrefly: ignore


@pytest.mark.parametrize(
    "layer",
    [
        last_layer(),
        last_layer(512, 1, (23, 23), rows=(0, 0), columns=(0, 0)),
        last_layer(128, 256, (3, 5), (1, 2), (2, 0), (0, 3)),
        last_layer(128, 256, (3, 3), (1, 1), (1, 1), (1, 1), mode="reflect"),
        last_layer(700, 400, (1, 1), (1, 1), (0, 0), (0, 0)),
    ],
    ids=["halving", "to one number", "uneven", "reflected", "pointwise"],
)
@pytest.mark.parametrize("kernel", PRODUCTS)
def test_a_product_of_matrices_equals_the_plain_full_layer(layer: Convolution, kernel: str) -> None:
    side = 23 if layer.kernel_size[0] == 23 else 6
    given = images(3, layer.in_channels, side, side)
    assert used(layer, given, kernel) == {kernel}
    assert_near(gradients(layer, given, kernel), gradients(layer, given, "plain"), 1e-5)


@pytest.mark.parametrize("kernel", PRODUCTS)
def test_penalties_differentiate_a_product_of_matrices_twice(kernel: str) -> None:
    layer, given = last_layer(), images(2, 96, 4, 4)

    def penalty(mode: str, power: int) -> list[Tensor]:
        with Choices(mode).active():
            out = layer(given)
        slope = torch.autograd.grad(out.pow(power).sum(), given, create_graph=True)[0]
        wanted = [layer.weight, given][:power]  # of a linear one, the slope does not depend on the images
        return list(torch.autograd.grad(slope.square().sum(), wanted))

    for power in (1, 2):
        assert_near(penalty(kernel, power), penalty("plain", power), 1e-5)
        # Added to a gradient that lies otherwise, a large one costs more than the product.
        assert penalty(kernel, power)[0].is_contiguous(memory_format=LAST)


def judged(layers: nn.Module, given: Tensor, random: torch.Generator) -> Judgement:
    return Judgement(lambda images, labels: layers(images), Batch(given), Batch(given), random)


def test_a_trial_may_fall_into_a_penalty(cache: Path) -> None:
    layers = nn.Sequential(depthwise(96, (3, 3), 1), nn.LeakyReLU(0.2), last_layer()).to(memory_format=LAST)
    given, random = images(2, 96, 4, 4), torch.Generator()
    choices, found = Choices("measured"), []
    for mode in (choices, Choices("plain")):
        with mode.active():
            value = penalties.find("wgan_gp")(judged(layers, given, random.manual_seed(0)))
        found.append(list(torch.autograd.grad(value, [layer.weight for layer in layers[::2]])))
    assert len(choices.times) == (2 if _compiler.compiler() else 1)
    assert_near(found[0], found[1], 1e-4)


@compiles
def test_a_penalty_computes_no_gradient_that_nobody_asked_for() -> None:
    layers = nn.Sequential(depthwise(8, (3, 3), 1), nn.LeakyReLU(0.2), depthwise(8, (4, 4), 2)).to(memory_format=LAST)
    spent: Counter[str] = Counter()
    given = images(2, 8, 6, 6)
    with Choices("compiled").active(), kernels.watched(lambda name, *rest: spent.update([name])):
        penalties.find("wgan_gp")(judged(layers, given, torch.Generator().manual_seed(0))).backward()
    # Two forwards and two slopes; then how the first slope changes the second, and what each weight does to its own.
    assert dict(spent) == {"depthwise_forward": 3, "depthwise_transposed": 2, "depthwise_weight": 2}


def test_in_bf16_a_product_of_matrices_is_about_as_exact_as_the_plain_one() -> None:
    layer, given = last_layer(), images(2, 96, 4, 4)
    exactly = gradients(layer, given, "plain")
    errors = {}
    for mode in ("im2col", "plain"):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = [one.detach() for one in gradients(layer, given, mode)]
        assert found[0].dtype is torch.bfloat16
        pairs = zip(found, (one.detach() for one in exactly), strict=True)
        errors[mode] = [float((one - other).norm() / other.norm()) for one, other in pairs]
    # Where patches overlap, what they send back to a pixel is rounded once each before it is added.
    assert all(mine < 1.3 * theirs for mine, theirs in zip(errors["im2col"], errors["plain"], strict=True))


def test_the_product_of_onednn_is_for_float32(cache: Path) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "im2col_onednn" not in used(last_layer(), images(2, 96, 4, 4), "im2col_onednn")


def test_im2col_takes_large_weights_in_their_layout_where_less_is_put_out(cache: Path) -> None:
    assert used(last_layer(), images(2, 96, 4, 4), "im2col") == {"im2col"}
    assert used(last_layer(), images(400, 96, 4, 4), "im2col") == set()  # 1,600 pixels, of 1,536 products each
    small = last_layer(32, 64)
    assert small.weight.numel() < im2col.LEAST
    assert used(small, images(2, 32, 4, 4), "im2col") == set()
    elsewhere = last_layer().to(memory_format=torch.contiguous_format)  # pyrefly: ignore
    assert used(elsewhere, images(2, 96, 4, 4), "im2col") == set()


@pytest.mark.parametrize("bias", [True, False])
def test_a_transposed_layer_of_one_pixel_is_a_product(cache: Path, bias: bool) -> None:
    layer = Transposed(10, 24, (4, 3), bias=bias).to(memory_format=LAST)  # pyrefly: ignore
    given = images(5, 10, 1, 1)
    assert used(layer, given, "one_pixel") == {"one_pixel"}
    assert_near(gradients(layer, given, "one_pixel"), gradients(layer, given, "plain"), 1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, plain = gradients(layer, given, "one_pixel"), gradients(layer, given, "plain")
    assert_near(half, plain, 0.02)
    assert used(layer, images(5, 10, 2, 1), "one_pixel") == set()
    assert used(Transposed(10, 24, (4, 4), rows=(1, 1)), given, "one_pixel") == set()


def test_im2col_is_one_of_those_that_are_measured_and_full_layers_without_a_choice_go_untold(cache: Path) -> None:
    measured, small = Choices("measured"), last_layer(32, 64)
    with measured.active():
        last_layer()(images(2, 96, 4, 4))
        small(images(2, 32, 4, 4))
    assert [set(times) for times in measured.times.values()] == [{*PRODUCTS, "plain"}]
    assert len(measured.chosen) == len(measured.used) == 1


def test_outside_a_run_the_rule_holds() -> None:
    layer, given = depthwise(6, (3, 3), 1), images(1, 6, 5, 5)
    assert torch.equal(layer(given), functional.conv2d(given, layer.weight, layer.bias, padding=1, groups=6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert kernels.by_rule(Call("grouped", None, None), given).name == "float32"  # type: ignore[arg-type]


@compiles
def test_a_choice_is_measured_once_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from frugan.kernels import _trial

    layer, given = depthwise(8, (3, 3), 1), images(1, 8, 6, 6)
    choices = Choices("measured")
    with choices.active():
        layer(given)
    (key,) = choices.chosen
    assert set(choices.times[key]) == {"plain", "compiled"}
    assert choices.chosen[key] == min(choices.times[key], key=choices.times[key].__getitem__)
    # Another process on this machine chooses alike, whatever it would have measured.
    monkeypatch.setattr(_trial, "_measured", lambda *given: pytest.fail("measured again"))
    again = Choices("measured")
    with again.active():
        layer(given)
    assert again.chosen == choices.chosen


@compiles
def test_a_choice_is_measured_where_a_network_is_only_sampled(cache: Path) -> None:
    layer, given = depthwise(8, (3, 3), 1), images(1, 8, 6, 6)
    choices = Choices("measured")
    with torch.inference_mode(), choices.active():
        layer(layer(given))
    assert len(choices.times) == 1


@compiles
def test_what_was_chosen_is_state_and_beats_what_the_cache_says(cache: Path) -> None:
    layer, given = depthwise(8, (3, 3), 1), images(1, 8, 6, 6)
    first = Choices("measured")
    with first.active():
        layer(given)
    (key,) = first.chosen
    for name in ("plain", "compiled"):
        later = Choices("measured")
        later.load_state_dict({"chosen": {key: name}})
        with later.active():
            layer(given)
        assert later.state_dict() == {"chosen": {key: name}}


def test_a_layer_that_a_forced_kernel_does_not_take_goes_by_the_rule() -> None:
    grouped = Convolution(6, 6, (3, 3), rows=(1, 1), columns=(1, 1), groups=3)
    assert used(grouped, images(1, 6, 5, 5), "compiled") == {"plain"}
    assert used(depthwise(6, (3, 3), 1).double(), images(1, 6, 5, 5, torch.float64), "compiled") == {"plain"}
    contiguous = torch.randn(1, 6, 5, 5)
    assert used(depthwise(6, (3, 3), 1), contiguous, "compiled") == {"plain"}


def test_an_unknown_choice_is_told() -> None:
    with pytest.raises(UserError, match=r"kernels=compild is unknown\. Did you mean 'compiled'\?"):
        Choices("compild")


def test_without_a_compiler_everything_is_computed_plainly(tmp_path: Path) -> None:
    program = """
import torch
from frugan.convs._primitives import Convolution
from frugan.kernels import Choices
layer = Convolution(6, 6, (3, 3), rows=(1, 1), columns=(1, 1), groups=6)
given = torch.randn(1, 6, 5, 5).contiguous(memory_format=torch.channels_last)
for mode in ("measured", "compiled"):
    choices = Choices(mode)
    with choices.active():
        layer(given)
    print(*choices.chosen.values())
"""
    told = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "CXX": "false", "FRUGAN_CACHE": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )
    assert told.stdout.split() == ["plain", "plain"]
    assert told.stderr == ""


def test_a_compiler_that_fails_is_told_once(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "broken 1.0" && exit 0\necho "no room" >&2; exit 1\n')
    broken.chmod(0o755)
    program = "from frugan.kernels import _compiler; print(_compiler.load('norm'), _compiler.load('norm'))"
    told = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "CXX": str(broken), "FRUGAN_CACHE": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )
    assert told.stdout.split() == ["None", "None"]
    assert told.stderr == "frugan: norm could not be compiled (no room); torch's own functions are used.\n"
    assert json.dumps([path.name for path in (tmp_path / "kernels").glob("*")]) == "[]"


def test_labels_joined_to_images_keep_their_layout() -> None:
    from frugan.nets._condition import join

    given, labels = images(2, 3, 8, 8).detach(), torch.ones(2, 5)
    assert join(given, labels).is_contiguous(memory_format=LAST)
    assert torch.equal(join(given, labels), join(given.contiguous(), labels))
