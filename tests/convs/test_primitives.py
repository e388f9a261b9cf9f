"""The semantics of padding: Keras' 'same', forwards and transposed, on the numbers of the sheet."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from frugan import convs
from frugan.convs._primitives import AdditiveUpsample, Convolution, Transposed, exact

RAMP = [1.0, 10.0, 100.0, 1000.0, 10000.0]


def along_a_row(layer: torch.nn.Module, kernel: list[float], values: list[float]) -> list[float]:
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(kernel).view(1, 1, 1, -1))
        return layer(torch.tensor(values).view(1, 1, 1, -1)).flatten().tolist()


@pytest.mark.parametrize(
    ("kernel", "stride", "expected"),
    [
        (RAMP, 2, [10, 102, 1020, 10203, 2030, 20300]),
        (RAMP, 1, [123, 1230, 12300]),
        (RAMP[:3], 2, [1, 10, 102, 20, 203, 30]),
        (RAMP[:4], 2, [10, 102, 1020, 203, 2030, 300]),
        ([5.0], 2, [5, 0, 10, 0, 15, 0]),
    ],
)
def test_factorised_sheet_9_3_transposed_same(kernel: list[float], stride: int, expected: list[float]) -> None:
    length = len(kernel)
    layer = Transposed(1, 1, (1, length), stride=(1, stride), columns=exact(length, stride), bias=False)
    assert along_a_row(layer, kernel, [1.0, 2.0, 3.0]) == expected


def test_factorised_sheet_9_3_the_shifted_recipe_differs() -> None:
    layer = Transposed(1, 1, (1, 5), stride=(1, 2), columns=(2, 1), bias=False)
    assert (layer.padding, layer.output_padding) == ((0, 2), (0, 1))
    assert along_a_row(layer, RAMP, [1.0, 2.0, 3.0]) == [102, 1020, 10203, 2030, 20300, 3000]


@pytest.mark.parametrize(("around", "expected"), [(exact(5, 2), [43210, 432]), ((2, 2), [32100, 4321])])
def test_factorised_sheet_9_4_forward_same(around: tuple[int, int], expected: list[float]) -> None:
    layer = Convolution(1, 1, (1, 5), stride=(1, 2), columns=around, bias=False)
    assert along_a_row(layer, RAMP, [1.0, 2.0, 3.0, 4.0]) == expected


@pytest.mark.parametrize(
    ("kernel", "stride", "crop"),
    [(5, 1, (2, 2)), (3, 1, (1, 1)), (7, 1, (3, 3)), (4, 2, (1, 1)), (2, 2, (0, 0)), (5, 2, (1, 2)), (3, 2, (0, 1)),
     (1, 2, (0, -1)), (4, 1, (1, 2))],
)
def test_factorised_sheet_5_1_gradient_of_the_forward_layer(kernel: int, stride: int, crop: tuple[int, int]) -> None:
    assert exact(kernel, stride) == crop
    up = Transposed(1, 1, (kernel, kernel), stride=(stride, stride), rows=crop, columns=crop, bias=False).double()
    forward = Convolution(1, 1, (kernel, kernel), stride=(stride, stride), rows=crop, columns=crop, bias=False).double()
    with torch.no_grad():
        forward.weight.copy_(up.weight)
    large = torch.randn(1, 1, 6 * stride, 6 * stride, dtype=torch.double, requires_grad=True)
    small = torch.randn(1, 1, 6, 6, dtype=torch.double)
    (gradient,) = torch.autograd.grad(forward(large), large, small)
    assert torch.allclose(up(small), gradient, atol=1e-12)


def test_factorised_sheet_5_2_forward_same_pads_one_before_and_two_after() -> None:
    assert exact(5, 2) == (1, 2)
    layers = [Convolution(1, 1, (5, 5), stride=(2, 2), rows=(1, 2), columns=(1, 2)) for _ in range(2)]
    assert layers[1](layers[0](torch.zeros(1, 1, 28, 28))).shape[2:] == (7, 7)


@pytest.mark.parametrize("crop", [(0, 0), (1, 1), (2, 1), (0, 3), (-1, 2), (3, -2), (-2, -3), (1, -4)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_any_crop_is_taken_from_the_full_output(crop: tuple[int, int], stride: int) -> None:
    layer = Transposed(2, 3, (4, 4), stride=(stride, stride), rows=crop, columns=crop).double()
    images = torch.randn(1, 2, 5, 5, dtype=torch.double)
    full = functional.conv_transpose2d(images, layer.weight, stride=stride)
    wanted = functional.pad(full, [-side for side in (*crop, *crop)]) + layer.bias.view(1, -1, 1, 1)
    assert torch.allclose(layer(images), wanted, atol=1e-12)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])
def test_negative_padding_cuts_the_input(mode: str) -> None:
    layer = Convolution(1, 1, (3, 3), rows=(-1, -1), columns=(2, -1), padding_mode=mode)
    assert layer(torch.zeros(1, 1, 8, 8)).shape == (1, 1, 4, 7)


def test_factorised_sheet_9_8_additive_upsampling() -> None:
    images = torch.arange(16.0).view(1, 4, 2, 2)
    output = AdditiveUpsample(2)(images)
    assert output.shape == (1, 1, 4, 4)
    assert output[0, 0, 0].tolist() == [24, 25, 27, 28]
    assert output[0, 0, -1].tolist() == [32, 33, 35, 36]
    constant = torch.arange(8.0).view(1, 8, 1, 1).expand(1, 8, 2, 2)
    assert AdditiveUpsample(2)(constant)[0, :, 0, 0].tolist() == [6, 22]  # by blocks it would be 12 and 16


def test_factorised_sheet_9_9_bilinear_without_aligned_corners() -> None:
    one = torch.tensor([[0.0, 4.0], [8.0, 12.0]])
    images = torch.stack([one, *[torch.zeros(2, 2)] * 3])[None]
    assert AdditiveUpsample(2)(images)[0, 0, 0].tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize("kind", ["same", "down", "up"])
def test_a_depthwise_layer_computes_in_float32_on_a_cpu_even_under_autocast(kind):
    torch.manual_seed(0)
    layer = getattr(convs.Layers([("*", convs.find("depthwise"))]), kind)("role", 8, 8, 5, bias=False)
    images = torch.randn(2, 8, 8, 8)
    spatial = layer.depthwise
    exact = spatial(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = spatial(images)
    assert low.dtype == torch.bfloat16
    assert torch.equal(low, exact.bfloat16())  # rounded once, at the end: nothing was computed in less


@pytest.mark.parametrize("stride", [(2, 2), (3, 1), (1, 1)])
@pytest.mark.parametrize("crop", [(0, 0), (1, 1), (-1, 0)])
@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_a_strided_layer_of_single_pixels_is_trained_without_a_stride(stride, crop, mode, monkeypatch):
    """The gradient of its weights overwrites memory in torch 2.13 on CPUs with AVX2 alone; its values are the same."""
    torch.manual_seed(0)
    layer = Convolution(3, 2, (1, 1), stride=stride, rows=crop, columns=crop, padding_mode=mode).double()
    images = torch.randn(2, 3, 8, 7, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        expected = layer(images)  # with its stride
    asked = []
    convolve = functional.conv2d

    def seen(input, weight, bias=None, stride=1, *rest):
        asked.append(stride)
        return convolve(input, weight, bias, stride, *rest)

    monkeypatch.setattr("frugan.convs._primitives.functional.conv2d", seen)
    found = layer(images)
    assert torch.equal(found, expected)
    assert stride == (1, 1) or asked == [1]
    assert torch.autograd.gradcheck(layer, [images])
