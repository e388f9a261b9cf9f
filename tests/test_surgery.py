"""Rewriting convolutions of foreign modules: what is swapped, what is left and named, and the sheets' counts."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import frugan
from frugan import convs
from frugan.costs import cost
from frugan.registry import UserError
from frugan.surgery import swap


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True, track_running_stats=True)


def stargan_generator(labels: int = 5) -> nn.Sequential:
    """The StarGAN generator as its sheet's table 2.1 lists it, in torch's own layers."""

    def conv(*arguments: int) -> list[nn.Module]:
        return [nn.Conv2d(*arguments, bias=False), norm(arguments[1])]

    body = [*conv(3 + labels, 64, 7, 1, 3), nn.ReLU()]
    body += [*conv(64, 128, 4, 2, 1), nn.ReLU(), *conv(128, 256, 4, 2, 1), nn.ReLU()]
    body += [Residual(*conv(256, 256, 3, 1, 1), nn.ReLU(), *conv(256, 256, 3, 1, 1)) for _ in range(6)]
    for cin, cout in ((256, 128), (128, 64)):
        body += [nn.ConvTranspose2d(cin, cout, 4, 2, 1, bias=False), norm(cout), nn.ReLU()]
    return nn.Sequential(*body, nn.Conv2d(64, 3, 7, 1, 3, bias=False), nn.Tanh())


def cyclegan_generator(blocks: int) -> nn.Sequential:
    """The CycleGAN generator in torch's own layers, reflection padding apart."""

    def norm(channels: int) -> nn.Module:
        return nn.InstanceNorm2d(channels)

    def block() -> Residual:
        half = [nn.ReflectionPad2d(1), nn.Conv2d(256, 256, 3), norm(256)]
        other = [nn.ReflectionPad2d(1), nn.Conv2d(256, 256, 3), norm(256)]
        return Residual(*half, nn.ReLU(), *other)

    return nn.Sequential(
        nn.ReflectionPad2d(3), nn.Conv2d(3, 64, 7), norm(64), nn.ReLU(),
        nn.Conv2d(64, 128, 3, 2, 1), norm(128), nn.ReLU(), nn.Conv2d(128, 256, 3, 2, 1), norm(256), nn.ReLU(),
        *(block() for _ in range(blocks)),
        nn.ConvTranspose2d(256, 128, 3, 2, 1, 1), norm(128), nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 3, 2, 1, 1), norm(64), nn.ReLU(),
        nn.ReflectionPad2d(3), nn.Conv2d(64, 3, 7), nn.Tanh(),
    )


@pytest.mark.parametrize(("labels", "count", "macs"), [
    (5, 8_430_528, 9_960_423_424), (7, 8_436_800, 10_063_183_872), (8, 8_439_936, 10_114_564_096),
    (15, 8_461_888, 10_474_225_664),
])
def test_stargan_sheet_2_1_generator_counts(labels: int, count: int, macs: int) -> None:
    counted = cost(stargan_generator(labels), (1, 3 + labels, 128, 128))
    assert (counted.trainable, counted.macs) == (count, macs)
    assert counted.parameters - counted.trainable + counted.buffers == 7_441


@pytest.mark.parametrize(("arguments", "count", "macs"), [
    ({"kinds": ("same", "down")}, 1_525_128, "2.050"),
    ({"kinds": ("same",), "keep_first": True, "keep_last": True}, 2_166_720, "3.546"),
    ({"kinds": ("same", "down"), "keep_first": True, "keep_last": True}, 1_555_392, "2.546"),
    ({"keep_first": True, "keep_last": True}, 947_136, "1.753"),
    ({}, 916_872, "1.257"),
    ({"layers": lambda name, layer: layer.kernel_size != (7, 7)}, 947_136, "1.753"),
    ({"minimum_channels": 9}, 947_136, "1.753"),
])
def test_stargan_sheets_2_4_and_2_5_by_swapping(arguments: dict, count: int, macs: str) -> None:
    module, report = swap(stargan_generator(), "depthwise", inputs=(1, 8, 128, 128), **arguments)
    counted = cost(module, (1, 8, 128, 128))
    assert counted.trainable == count
    assert f"{counted.macs / 1e9:.3f}" == macs
    assert (report.parameters_after, report.macs_after) == (counted.parameters, counted.macs)
    assert report.macs_before == 9_960_423_424
    assert len(report.rows) == 18
    assert all(row.reason for row in report.left)
    changes = sum(row.macs_after - row.macs_before for row in report.rows)
    assert changes == report.macs_after - report.macs_before


def test_stargan_sheet_2_2_discriminator_and_its_depthwise_form() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.src = nn.Conv2d(2048, 1, 3, 1, 1, bias=False)
            self.cls = nn.Conv2d(2048, 5, 2, bias=False)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.src(x), self.cls(x).flatten(1)

    widths = (3, 64, 128, 256, 512, 1024, 2048)
    with torch.device("meta"):
        layers = [nn.Conv2d(cin, cout, 4, 2, 1) for cin, cout in itertools.pairwise(widths)]
        network = nn.Sequential(*(part for layer in layers for part in (layer, nn.LeakyReLU(0.01))), Heads())
    counted = cost(network, (1, 3, 128, 128))
    assert (counted.trainable, counted.macs) == (44_762_048, 683_786_240)
    module, report = swap(network, "depthwise", layers=["2", "4", "6", "8"], inputs=(1, 3, 128, 128))
    assert report.parameters_after == 34_333_568
    assert f"{report.macs_after / 1e9:.4f}" == "0.1824"
    assert {row.name for row in report.changed} == {"2", "4", "6", "8"}
    assert next(module.parameters()).is_meta


@pytest.mark.parametrize(("blocks", "arguments", "count", "macs"), [
    (6, {"layers": []}, 7_837_699, "8.764"),
    (6, {"layers": "*.layers.*", "kinds": ("valid",)}, 1_576_963, "2.350"),
    (6, {"keep_first": True, "keep_last": True, "kinds": ("valid", "down", "up")}, 927_363, "1.488"),
    (6, {"kinds": ("valid", "down", "up")}, 912_281, "1.240"),
    (9, {"layers": []}, 11_378_179, "12.388"),
])
def test_cyclegan_sheet_2_3_by_swapping(blocks: int, arguments: dict, count: int, macs: str) -> None:
    _, report = swap(cyclegan_generator(blocks), "depthwise", inputs=(1, 3, 128, 128), **arguments)
    assert report.parameters_after == count
    assert f"{report.macs_after / 1e9:.3f}" == macs


def small() -> nn.Sequential:
    """One layer of every sort."""
    return nn.Sequential(
        nn.Conv2d(8, 8, 5, padding="same"),
        nn.Conv2d(8, 8, 4, stride=2, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(8, 8, 5, stride=2, padding=2, output_padding=1),
        nn.ConvTranspose2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2),
        nn.Conv2d(8, 8, (3, 5), padding=(1, 2)),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, 3, padding=3),
        nn.ConvTranspose2d(8, 8, 4),
        parametrizations.spectral_norm(nn.Conv2d(8, 8, 3, padding=1)),
        nn.Conv2d(8, 8, 3, padding=(1, 0)),
    )


@pytest.mark.parametrize("family", convs.names())
def test_what_cannot_be_rewritten_is_named_and_left(family: str) -> None:
    network = small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    module, report = swap(network, family, inputs=(2, 8, 16, 16))
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    images = torch.randn(2, 8, 16, 16)
    assert module(images).shape == network(images).shape
    reasons = {row.name: row.reason for row in report.rows}
    expected = {
        "4": "1 x 1", "5": "dilation 2 x 2", "6": "its kernel 3 x 5", "7": "2 groups already", "8": "kind 'valid'",
        "9": "makes the image larger", "10": "does not enlarge the image 1 times", "11": "spectral norm",
        "12": "padding (1, 1) x (0, 0) differs",
    }
    for name, reason in expected.items():
        assert reason in reasons[name]
    changed = {row.name for row in report.changed}
    assert changed == ({"2"} if family == "bilinear_additive" else {"0", "1", "2", "3"})
    text = str(report)
    assert f"{len(changed)} of 13 rewritten" in text
    assert "the new layers start afresh" in text


def test_the_standard_family_keeps_the_very_function() -> None:
    """Padding of every form survives: with the same weights, the rewritten module computes the same."""
    network = small()[:3]
    module, report = swap(network, "standard")
    assert len(report.changed) == 3
    assert report.macs_before is None
    module.load_state_dict(network.state_dict())
    images = torch.randn(2, 8, 15, 17)
    assert torch.allclose(module(images), network(images), atol=1e-6)


def test_our_own_layers_are_rewritten_and_keep_their_roles() -> None:
    layers = convs.Layers()
    network = nn.Sequential(layers.up("up.0", 8, 8, 5), layers.same("output", 8, 8, 4))
    module, report = frugan.swap(network, "factorised", inputs=(1, 8, 7, 7), middle=0.5, inner_norm="batch_norm")
    assert len(report.changed) == 2
    assert [part.role for part in module] == ["up.0", "output"]
    assert isinstance(module[0].norm, nn.BatchNorm2d)
    assert module[0].tall.weight.shape == (8, 4, 5, 1)
    assert module[0].tall.rows == (1, 2)


def test_a_layer_alone_and_a_layer_used_twice() -> None:
    module, report = swap(nn.Conv2d(4, 4, 3, padding=1), "depthwise", inputs=(1, 4, 8, 8))
    assert isinstance(module, nn.Sequential)
    assert "(itself)" in str(report)
    layer = nn.Conv2d(4, 4, 3, padding=1)
    module, _ = swap(nn.Sequential(layer, nn.ReLU(), layer), "depthwise", inputs=(1, 4, 8, 8))
    assert module[0] is module[2]
    twin = nn.Conv2d(4, 4, 3, padding=1)
    twin.weight = layer.weight
    _, report = swap(nn.Sequential(layer, twin), "depthwise")
    assert not report.changed
    assert "shared with another layer" in report.left[0].reason
    assert "no layer was rewritten" in str(report)


def test_first_and_last_follow_the_running_order() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.late, self.middle, self.early = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.late(self.middle(self.early(x)))

    _, report = swap(Backwards(), "depthwise", inputs=(1, 4, 8, 8), keep_first=True)
    assert [row.name for row in report.rows] == ["early", "middle", "late"]
    assert [row.name for row in report.left] == ["early"]
    _, report = swap(Backwards(), "depthwise", keep_first=True)
    assert [row.name for row in report.left] == ["late"]


@pytest.mark.parametrize("mark", ["gradient", "batches", "artefact", "statistics"])
def test_trained_weights_are_not_dropped_unasked(mark: str) -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
    if mark == "gradient":
        network.eval()(torch.zeros(1, 4, 8, 8)).sum().backward()
    elif mark == "batches":
        network(torch.zeros(1, 4, 8, 8))
    elif mark == "statistics":  # in weights of torch before 0.4.1, norms count no batches
        network[1].running_mean.fill_(0.5)
    else:
        network.frugan_trained = True
    with pytest.raises(UserError, match="start_afresh=True"):
        swap(network, "depthwise")
    _, report = swap(network, "depthwise", start_afresh=True)
    assert "as agreed" in str(report)


def test_the_new_layers_take_type_mode_and_gradient() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False)).double().eval()
    module, _ = swap(network, "depthwise", inputs=(1, 4, 8, 8), inner_norm="batch_norm")
    assert all(parameter.dtype == torch.double for parameter in module.parameters())
    assert not module[0].training
    names = ["0.depthwise.weight", "0.norm.bias", "0.norm.weight", "0.pointwise.weight"]
    assert sorted(dict(module.named_parameters())) == names


class UsesWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x) * self.convolution.weight.mean()


def test_mistakes_are_answered() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))
    for wrong, answer in (
        ({"family": "deptwise"}, "Did you mean 'depthwise'"),
        ({"family": "depthwise", "ordr": "x"}, "no option 'ordr'. Did you mean 'order'"),
        ({"family": "depthwise", "kernel": 5}, "no option 'kernel'"),
        ({"family": "depthwise", "layers": ["conv1"]}, "This module has no convolution called 'conv1'"),
        ({"family": "depthwise", "kinds": ("dwon",)}, "Did you mean 'down'"),
        ({"family": "depthwise", "inner_norm": "batchnorm"}, "Did you mean 'batch_norm'"),
        ({"family": "depthwise", "inputs": (1, 3, 8, 8)}, "fails with an input"),
    ):
        with pytest.raises(UserError) as error:
            swap(network, **wrong)
        assert answer in str(error.value)
    with pytest.raises(UserError, match="Swap all layers but that one"):
        swap(UsesWeights(), "depthwise", inputs=(1, 4, 8, 8))


def test_a_family_of_ones_own_that_changes_the_shape_is_found_out() -> None:
    def wrong(cin: int, cout: int, kernel: int, **contract: object) -> nn.Module:
        return nn.Conv2d(cin, cout, kernel)

    family = convs.ConvFamily("wrong", same=wrong, down=wrong, up=wrong)
    with pytest.raises(UserError, match=r"'wrong' returns .* at '0', but the original returns"):
        swap(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)), family, inputs=(1, 4, 8, 8))


class MultipliesOutside(nn.Module):
    """A convolution, and a product that is no layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x) @ torch.ones(8, 8)


def test_a_report_says_whether_its_multiply_accumulates_are_to_be_believed() -> None:
    network = MultipliesOutside()
    report = swap(network, "depthwise", inputs=(4, 8, 8), batch=1).report
    assert report.macs_before == 64 * 4 * 4 * 9
    assert "may be wrong: torch's flop counter sees" in str(report)
    assert "believed" not in str(swap(network.convolution, "depthwise", inputs=(1, 4, 8, 8)).report)
