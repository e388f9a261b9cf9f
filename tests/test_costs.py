"""Counting and measuring: formulas, shared and frozen weights, buffers, attention, any module."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from frugan import convs
from frugan.costs import cost, latencies, latency, machine, observe, parameters
from frugan.registry import UserError


def test_the_formulas_of_the_plain_form() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.BatchNorm2d(8), nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1, groups=2, bias=False), nn.Flatten(), nn.Linear(4 * 16 * 16, 2),
    )
    counted = cost(network, (3, 3, 16, 16))
    conv, dense = 8 * 8 * 8 * 3 * 25, 4 * 16 * 16 * 2
    transposed = 8 * 8 * 8 * 2 * 16  # at the input's resolution
    assert [layer.macs for layer in counted.layers] == [conv, 0, transposed, dense]
    assert counted.macs == counted.macs_flop_counter == conv + transposed + dense
    assert counted.macs_attention == 0
    assert counted.trainable == 3 * 8 * 25 + 8 + 16 + 8 * 2 * 16 + 4 * 16 * 16 * 2 + 2
    assert counted.parameters == counted.trainable + 16  # running mean and variance
    assert counted.buffers == 1  # num_batches_tracked
    assert counted.activation_bytes == 4 * (3 * 8 * 8 * 8 + 4 * 16 * 16 + 2)
    assert counted.layers[0].output == (8, 8, 8)
    assert (counted.layers[0].kernel, counted.layers[0].in_channels, counted.layers[0].out_channels) == ((5, 5), 3, 8)
    assert not counted.notes


def test_a_count_does_not_depend_on_how_the_input_is_given() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Dropout())
    given = ((1, 3, 9, 9), torch.zeros(5, 3, 9, 9), [(2, 3, 9, 9)], {"input": (1, 3, 9, 9)})
    counts = [cost(network, inputs) for inputs in given]
    assert counts[0] == counts[1] == counts[2] == counts[3]
    assert counts[0].activation_bytes == 4 * 4 * 7 * 7  # neither the in-place layer nor idle dropout adds


def test_counting_leaves_the_module_and_the_random_numbers_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    cost(network, torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(random, torch.get_rng_state())
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


class Called(nn.Module):
    """Takes a condition by keyword, draws noise, looks at numbers, and multiplies outside of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 6)
        self.gain = nn.Parameter(torch.ones(6))
        self.embedding = nn.Embedding(10, 6)
        self.never = nn.Linear(6, 6)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        hidden = self.dense(x) * self.gain + torch.randn(len(x), 6)
        if condition is not None:
            if condition.max() > 9:
                raise ValueError("a label above 9")
            hidden = hidden + self.embedding(condition)
        return {"score": functional.linear(hidden, self.never.weight).sum(1)}


def test_any_module_with_keywords_and_numbers() -> None:
    counted = cost(Called(), (2, 4), {"condition": torch.tensor([1, 2])})
    assert counted.macs == 24
    assert counted.macs_flop_counter == 24 + 36
    assert counted.parameters == counted.trainable == 30 + 6 + 60 + 42
    assert "Called multiplies outside of a layer (matrix product 36)" in counted.doubts[0]
    assert counted.notes == counted.doubts  # 'never' was not called, but its weights were read
    assert {layer.kind: layer.parameters for layer in counted.layers}["Called"] == 6
    assert observe(Called(), (2, 4)).outputs == [(2,)]
    with pytest.raises(UserError, match=r"Called fails with an input .* a label above 9"):
        cost(Called(), (2, 4), {"condition": torch.tensor([1, 12])})


def test_shared_weights_count_once_and_work_twice() -> None:
    layer = nn.Linear(8, 8, bias=False)
    twin = nn.Linear(8, 8, bias=False)
    twin.weight = layer.weight
    counted = cost(nn.Sequential(layer, layer, twin), (1, 8))
    assert counted.parameters == counted.trainable == 64
    assert counted.macs == 3 * 64
    assert [row.parameters for row in counted.layers] == [64, 0]


def test_frozen_weights_are_parameters_and_spectral_vectors_buffers() -> None:
    convolution = parametrizations.spectral_norm(nn.Conv2d(3, 8, 3))
    counted = cost(nn.Sequential(convolution, nn.Conv2d(8, 1, 1).requires_grad_(False)), (1, 3, 8, 8))
    assert counted.parameters == 3 * 8 * 9 + 8 + 9
    assert counted.trainable == 3 * 8 * 9 + 8
    assert counted.buffers == 8 + 27
    assert [row.kind for row in counted.layers] == ["Conv2d", "Conv2d"]
    assert parameters(convolution) == 3 * 8 * 9 + 8


def test_the_older_weight_norm_is_counted_after_a_forward() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = nn.utils.weight_norm(nn.Conv2d(3, 4, 3))
    layer(torch.zeros(1, 3, 5, 5))
    assert cost(layer, (1, 3, 5, 5)).macs == 9 * 4 * 27


class Attention(nn.Module):
    """Says what its products cost."""

    def macs_attention(self, shape: tuple[int, ...]) -> int:
        n, c, h, w = shape
        return 2 * n * c * (h * w) ** 2

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        return (flat @ (flat.transpose(1, 2) @ flat).softmax(-1)).view(x.shape)


def test_attention_stands_apart() -> None:
    counted = cost(nn.Sequential(nn.Conv2d(3, 4, 1), Attention()), (2, 3, 4, 4))
    assert (counted.macs, counted.macs_attention) == (16 * 12, 2 * 4 * 256)
    assert counted.macs_flop_counter == counted.macs + counted.macs_attention
    assert not counted.notes


def test_rows_carry_roles() -> None:
    layers = convs.Layers([("*", convs.find("factorised"))])
    counted = cost(nn.Sequential(layers.up("up.0", 8, 4, 5), nn.Tanh()), (1, 8, 7, 7))
    assert [(row.name, row.role) for row in counted.layers] == [("0.tall", "up.0"), ("0.wide", "up.0")]
    text = str(counted)
    assert "up.0" in text
    assert text.splitlines()[-1].split() == ["total", f"{counted.parameters:,}", f"{counted.macs:,}"]


def test_as_dict_is_json() -> None:
    counted = cost(nn.Conv2d(1, 1, 3), (1, 1, 4, 4))
    assert "layers" not in counted.as_dict()
    assert json.loads(json.dumps(counted.as_dict(layers=True)))["layers"][0]["macs"] == 36


def test_factorised_sheet_7_macs_of_the_mnist_pair() -> None:
    """51,744,000 and 17,164,112, from layers called by hand as the sheet's table 3.1 lists them."""
    factorised, standard = convs.find("factorised"), convs.find("standard")
    dense = [nn.Linear(100, 12544, bias=False), nn.Unflatten(1, (256, 7, 7))]
    naive = nn.Sequential(
        *dense, standard.up(256, 128, 5, stride=1, bias=False), standard.up(128, 64, 5, bias=False),
        standard.up(64, 1, 5, bias=False),
    )
    small = nn.Sequential(
        *dense, factorised.up(256, 128, 5, stride=1, bias=False, form="both"),
        factorised.up(128, 64, 3, bias=False, holes=True),
        factorised.up(64, 1, 5, stride=1, bias=False, between="tanh"),
    )
    assert cost(naive, (1, 100)).macs == 51_744_000
    assert cost(small, (1, 100)).macs == 17_164_112


def test_mistakes_are_answered() -> None:
    with pytest.raises(UserError, match="fails with an input \\(1, 4, 8, 8\\)"):
        cost(nn.Conv2d(3, 4, 3), (1, 4, 8, 8))
    with pytest.raises(UserError, match="fails with 'image'") as error:
        cost(nn.Conv2d(3, 4, 3), "image")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="shape that begins with the batch"):
        cost(nn.Conv2d(3, 4, 3))
    with pytest.raises(UserError, match="lazy layers"):
        cost(nn.LazyConv2d(4, 3), (1, 3, 8, 8))
    with pytest.raises(UserError, match="needs a torch module"):
        cost("mnist", (1, 3, 8, 8))


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 2])
def test_left_out_products_have_the_shapes_of_real_ones(stride: int, padding: int, dilation: int) -> None:
    for layer in (
        nn.Conv2d(4, 6, (3, 4), stride=stride, padding=padding, dilation=dilation, groups=2),
        nn.ConvTranspose2d(4, 6, (5, 4), stride=stride, padding=padding, dilation=dilation, groups=2,
                           output_padding=min(1, max(stride, dilation) - 1)),
    ):
        images = torch.zeros(2, 4, 11, 13)
        assert observe(layer, images).outputs == [tuple(layer(images).shape)]
    images = torch.zeros(2, 3, 12)
    assert observe(nn.Conv1d(3, 2, 3), images).outputs == [(2, 2, 10)]
    assert observe(nn.Linear(12, 5), images).outputs == [(2, 3, 5)]


def test_latency_names_the_machine_and_restores_the_mode() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    found = latency(network, (1, 3, 8, 8), batches=(1, 3), repeats=6, warm_up=1)
    assert [one.batch for one in found] == [1, 3]
    for one in found:
        low, high = one.range_ms
        first, third = one.quartiles_ms
        assert 0 < low <= first <= one.median_ms <= third <= high
        assert one.images_per_second == pytest.approx(1000 * one.batch / one.median_ms)
        assert (one.repeats, one.precision, one.threads) == (6, "float32", torch.get_num_threads())
        assert one.machine == machine()
        assert f"torch {torch.__version__}" in str(one)
    assert network.training
    assert network[1].num_batches_tracked == 0
    json.dumps(found[0].as_dict())


class Recorder(nn.Module):
    """Writes its name down whenever it runs."""

    def __init__(self, name: str, order: list[str]) -> None:
        super().__init__()
        self.name, self.order = name, order

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        assert len(x) == len(labels)
        self.order.append(self.name)
        return x


def test_latencies_are_measured_in_turn() -> None:
    order: list[str] = []
    labels = torch.tensor([3, 4])
    arms = {name: (Recorder(name, order), (2, 5), labels) for name in "ab"}
    found = latencies(arms, batches=(5,), repeats=4, warm_up=0)
    assert order == ["a", "b"] * 4
    assert [one.repeats for one in found["b"]] == [4]


class Stepped(nn.Module):
    """An image beside a time step and a table of words; writes down what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Conv2d(3, 4, 1), []

    def forward(self, step: Tensor, words: Tensor, x: Tensor) -> Tensor:
        self.seen.append((tuple(step.shape), tuple(words.shape), len(x)))
        return self.layer(x) * step.sum() + words.sum()


def test_only_what_holds_the_batch_is_enlarged() -> None:
    for step in (torch.tensor(2.0), torch.tensor([2.0])):
        network = Stepped()
        latency(network, step, (7, 5), (2, 3, 4, 4), batches=(1, 6), repeats=1, warm_up=0)
        assert network.seen == [(tuple(step.shape), (7, 5), count) for count in (1, 6)]
    network = Stepped()
    latency(network, (1,), (1, 5), (1, 3, 4, 4), batches=(6,), repeats=1, warm_up=0)
    assert network.seen == [((6,), (6, 5), 6)]


def test_a_slow_network_is_repeated_less_often() -> None:
    (found,) = latency(nn.Linear(2, 2), (1, 2), batches=(1,), repeats=1000, warm_up=1, seconds=0.0)
    assert found.repeats == 5


@pytest.mark.parametrize(("module", "shape", "batch", "told"), [
    (nn.Linear(4, 5), (2, 4), 7, r"batch=7: an input \(2, 4\) holds neither so many images nor a multiple"),
    (nn.Conv2d(3, 4, 1), (1, 3, 64, 64), 2, "batch=2: an input"),
    (nn.Linear(4, 5), (0, 4), None, r"an input \(0, 4\): this holds no images"),
])  # fmt: skip
def test_a_number_of_images_that_the_inputs_cannot_hold_is_refused(module, shape, batch, told) -> None:
    with pytest.raises(UserError, match=told):
        cost(module, shape, batch=batch)
