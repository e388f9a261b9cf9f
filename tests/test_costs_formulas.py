"""What layers multiply, against numbers written out; what may be wrong; how many images there were.

A product with weights counts as `macs`, one of two things that follow from the image, in attention, as
`macs_attention`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from frugan.costs import Cost, cost
from frugan.registry import UserError


def counts(counted: Cost) -> tuple[int, int]:
    """Both numbers of a count that has to be believed, and that torch's counter agrees with."""
    assert not counted.doubts
    assert counted.macs_flop_counter == counted.macs + counted.macs_attention
    return counted.macs, counted.macs_attention


# ------------------------------------------------------------------------------------------------------------ attention

SELF = 4 * 10 * 32 * 32  # queries, keys, values and result: four projections of 10 steps, 32 wide
SCORES = 2 * 10 * 10 * 32  # each query with each key, and with each value


class Itself(nn.Module):
    """Attention of a sequence to itself, in a module of one's own."""

    def __init__(self, attention: nn.Module, weights: bool = False) -> None:
        super().__init__()
        self.attention, self.weights = attention, weights

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=self.weights)[0]


@pytest.mark.parametrize("weights", [False, True])  # torch computes them in two ways
def test_multihead_attention_is_four_projections_and_two_products(weights: bool) -> None:
    attention = nn.MultiheadAttention(32, 4, batch_first=True)
    counted = cost(Itself(attention, weights), (2, 10, 32))
    assert counts(counted) == (SELF, SCORES) == (40_960, 6_400)
    assert counted.macs_flop_counter == counted.all_macs == 47_360
    assert not counted.notes  # its projections run without being called
    assert counted.activation_bytes == 4 * 10 * (32 + 10 * weights)
    assert counts(cost(attention, *[(2, 10, 32)] * 3)) == (SELF, SCORES)
    assert counts(cost(nn.MultiheadAttention(32, 4), *[(10, 32)] * 3)) == (SELF, SCORES)  # one image without a batch
    assert counts(cost(nn.MultiheadAttention(32, 4), *[(10, 3, 32)] * 3, batch=3)) == (SELF, SCORES)


def test_attention_to_another_sequence() -> None:
    """7 queries of 32; 5 keys of 12 and values of 20; a learnt key and a zero beside them."""
    attention = nn.MultiheadAttention(32, 2, kdim=12, vdim=20, add_bias_kv=True, add_zero_attn=True, batch_first=True)
    counted = cost(attention, (3, 7, 32), {"value": (3, 5, 20), "key": (3, 5, 12)})
    assert counts(counted) == (2 * 7 * 32 * 32 + 5 * (12 + 20) * 32, 2 * 7 * (5 + 2) * 32)


def test_transformer_layers_are_counted_layer_by_layer() -> None:
    dense = 2 * 10 * 32 * 64
    encoder = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    assert torch.backends.mha.get_fastpath_enabled()
    counted = cost(encoder, (2, 10, 32))
    assert torch.backends.mha.get_fastpath_enabled()
    assert counts(counted) == (SELF + dense, SCORES) == (81_920, 6_400)
    assert not counted.notes
    assert sum(layer.macs + layer.macs_attention for layer in counted.layers) == counted.all_macs
    stack = nn.TransformerEncoder(encoder, 3, enable_nested_tensor=False)
    assert counts(cost(stack, (2, 10, 32))) == (3 * (SELF + dense), 3 * SCORES)
    crossed = 2 * 10 * 32 * 32 + 2 * 6 * 32 * 32
    decoder = nn.TransformerDecoderLayer(32, 4, 64, batch_first=True)
    assert counts(cost(decoder, (2, 10, 32), (2, 6, 32))) == (SELF + crossed + dense, SCORES + 2 * 10 * 6 * 32)
    assert cost(nn.TransformerEncoderLayer(32, 4, 64), (2, 10, 32)).macs == 81_920  # steps first, and it says so


class Called(nn.Module):
    """Attention called as a function, of one head or of many."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.queries, self.options = nn.Linear(8, 8, bias=False), options

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(self.queries(x), key=told, value=told, **self.options)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"attn_mask": torch.ones(10, 6, dtype=torch.bool)}])
def test_the_attention_function_counts_whatever_torch_runs_for_it(options: dict[str, object]) -> None:
    heads = cost(Called(**options), (2, 4, 10, 8), (2, 4, 6, 8))
    assert counts(heads) == (4 * 10 * 8 * 8, 2 * 4 * 10 * 6 * 8)  # a mask saves nothing
    assert counts(cost(Called(**options), (2, 10, 8), (2, 6, 8))) == (10 * 8 * 8, 2 * 10 * 6 * 8)
    assert not heads.notes
    assert [(layer.name, layer.macs_attention) for layer in heads.layers] == [("queries", 0), ("", 3840)]


def test_heads_may_share_keys() -> None:
    shared = cost(Called(enable_gqa=True), (2, 4, 10, 8), (2, 2, 6, 8))
    assert counts(shared) == (4 * 10 * 8 * 8, 2 * 4 * 10 * 6 * 8)


def test_attention_that_a_module_declares_is_not_counted_twice() -> None:
    class Declared(Called):
        def macs_attention(self, shape: tuple[int, ...]) -> int:
            return 2 * shape[0] * shape[1] * 6 * 8

    assert counts(cost(Declared(), (2, 10, 8), (2, 6, 8))) == (10 * 8 * 8, 2 * 10 * 6 * 8)


# --------------------------------------------------------------------------------------------- recurrent and bilinear

RECURRENT = [
    (nn.LSTM(8, 16), 4 * 16 * (8 + 16)),
    (nn.GRU(8, 16), 3 * 16 * (8 + 16)),
    (nn.RNN(8, 16), 16 * (8 + 16)),
    (nn.LSTM(8, 16, num_layers=2, bidirectional=True), 2 * 4 * 16 * (8 + 16) + 2 * 4 * 16 * (32 + 16)),
    (nn.LSTM(8, 16, proj_size=5), 4 * 16 * (8 + 5) + 5 * 16),
    (nn.GRU(8, 16, num_layers=2, bias=False), 3 * 16 * (8 + 16) + 3 * 16 * (16 + 16)),
]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(("layer", "a_step"), RECURRENT)
def test_a_recurrent_layer_is_every_weight_matrix_once_a_step(layer: nn.RNNBase, a_step: int) -> None:
    layer.batch_first = True
    assert counts(cost(layer, (3, 10, 8))) == (10 * a_step, 0)
    assert counts(cost(layer, (10, 8))) == (10 * a_step, 0)  # a sequence without a batch
    layer.batch_first = False
    assert counts(cost(layer, (10, 3, 8), batch=3)) == (10 * a_step, 0)
    packed = nn.utils.rnn.pack_sequence([torch.zeros(6, 8), torch.zeros(4, 8)])
    assert counts(cost(layer, packed, batch=2)) == (5 * a_step, 0)


def test_recurrent_cells_make_one_step() -> None:
    for cell, a_step in ((nn.LSTMCell(8, 16), 4), (nn.GRUCell(8, 16), 3), (nn.RNNCell(8, 16), 1)):
        assert counts(cost(cell, (5, 8))) == (a_step * 16 * (8 + 16), 0)


def test_a_bilinear_layer_is_a_dense_one_of_all_products() -> None:
    counted = cost(nn.Bilinear(8, 16, 4), (2, 8), (2, 16))
    assert counts(counted) == (4 * 8 * 16, 0)
    assert counts(cost(nn.Bilinear(8, 16, 4), (2, 3, 8), (2, 3, 16))) == (3 * 4 * 8 * 16, 0)
    assert (counted.layers[0].in_channels, counted.layers[0].out_channels) == (8, 4)


# --------------------------------------------------------------------------------------------------- not to be believed


class Functional(nn.Module):
    """A layer, and a convolution outside of one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.weight = nn.Parameter(torch.zeros(5, 4, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(self.first(x), self.weight, padding=1)


LAYER, OUTSIDE = 64 * 3 * 4, 64 * 5 * 4 * 9


def test_a_convolution_outside_of_a_layer_is_a_doubt() -> None:
    counted = cost(nn.Sequential(Functional()), (2, 3, 8, 8))
    assert (counted.macs, counted.macs_flop_counter) == (LAYER, LAYER + OUTSIDE)
    (doubt,) = counted.doubts
    assert "counter sees 12,288 multiply-accumulates, but the formulas give 768" in doubt
    assert "'0' (Functional) multiplies outside of a layer (convolution 11,520)" in doubt
    assert "macs(input_shape) -> int" in doubt
    assert counted.notes[0] == doubt
    assert "768 ?" in str(counted)
    assert counted.as_dict()["doubts"] == counted.doubts


def test_a_module_that_says_what_it_multiplies_is_believed() -> None:
    class Says(Functional):
        def macs(self, shape: tuple[int, ...]) -> int:
            return shape[0] * OUTSIDE

    counted = cost(Says(), (2, 3, 8, 8))
    assert counts(counted) == (LAYER + OUTSIDE, 0)
    assert not counted.notes

    class Lies(Functional):
        def macs(self, shape: tuple[int, ...]) -> int:
            return 64

    (doubt,) = cost(Lies(), (2, 3, 8, 8)).doubts
    assert "Lies computes something else than its formula (32; seen: convolution 11,520)" in doubt

    class Other(Functional):
        def macs(self) -> int:
            return 0

    with pytest.raises(UserError, match=r"Other\.macs says what the module multiplies: \(macs\(self, input_shape\)"):
        cost(Other(), (2, 3, 8, 8))


PRODUCTS: list[Callable[[Tensor], Tensor]] = [
    lambda x: functional.linear(x, torch.ones(3, 8)),
    lambda x: x @ torch.ones(8, 3),
    lambda x: torch.einsum("bi,ij->bj", x, torch.ones(8, 3)),
    lambda x: torch.stack([torch.ones(3, 8) @ row for row in x]),
    lambda x: torch.addmm(torch.ones(3), x, torch.ones(8, 3)),
    lambda x: torch.bmm(x[:, None], torch.ones(len(x), 8, 3)),
    lambda x: torch.stack([(row * 1).dot(torch.ones(8)) for row in x for _ in range(3)]).view(-1, 3),
    lambda x: functional.bilinear(x, torch.ones(len(x), 1), torch.ones(3, 8, 1)),
]


class Calls(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("function", PRODUCTS)
def test_a_product_outside_of_a_layer_is_seen_in_whatever_form(function: Callable[[Tensor], Tensor]) -> None:
    counted = cost(Calls(function), (2, 8))
    assert (counted.macs, counted.macs_flop_counter) == (0, 24)
    assert "Calls multiplies outside of a layer" in counted.doubts[0]


@pytest.mark.parametrize("function", [torch.fft.fft, lambda x: torch.cdist(x, x), torch.Tensor.to_sparse])
def test_operations_that_nobody_can_price_are_named(function: Callable[[Tensor], Tensor]) -> None:
    counted = cost(Calls(function), (2, 8))
    if function is torch.Tensor.to_sparse:
        assert not counted.doubts  # it multiplies nothing
    else:
        assert "of some operations: aten._" in counted.doubts[0]


@pytest.mark.filterwarnings("ignore:`torch.jit.script`", "ignore:torch.jit.script")
def test_a_compiled_script_is_a_doubt() -> None:
    counted = cost(nn.Sequential(torch.jit.script(nn.Linear(8, 4)), nn.Linear(4, 4)), (2, 8))
    assert (counted.macs, counted.macs_flop_counter) == (16, 48)
    assert "Sequential multiplies outside of a layer (matrix product 32)" in counted.doubts[0]


def test_an_operation_of_somebody_else_is_named() -> None:
    library = torch.library.Library("frugan_test", "DEF")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: 2 * x, "CompositeExplicitAutograd")
    (doubt,) = cost(Calls(torch.ops.frugan_test.twice), (2, 8)).doubts
    assert doubt.endswith("of some operations: frugan_test.twice in Calls.")
    library._destroy()


def test_a_layer_that_computes_otherwise_is_told_even_where_the_sums_agree() -> None:
    class Adapted(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) + input @ torch.ones(8, 2) @ torch.ones(2, 8)

    assert "Adapted computes something else than its formula (64; seen: matrix product 96)" in cost(
        Adapted(8, 8), (2, 8)
    ).doubts[0]

    class Wraps(nn.Linear):  # counted as a layer, and so is the one in it that does the work
        def __init__(self) -> None:
            super().__init__(8, 8)
            self.inner = nn.Linear(8, 8)

        def forward(self, input: Tensor) -> Tensor:
            return self.inner(input)

    (doubt,) = cost(Wraps(), (2, 8)).doubts
    assert "Wraps computes something else than its formula (64; seen: nothing)" in doubt
    both = cost(nn.Sequential(Wraps(), Calls(lambda x: x @ torch.ones(8, 8))), (2, 8))
    assert both.macs == both.macs_flop_counter == 128
    assert "'0' (Wraps) computes something else" in both.doubts[0]
    assert "'1' (Calls) multiplies outside of a layer (matrix product 64)" in both.doubts[0]


def test_a_module_that_holds_weights_and_has_no_formula_is_named() -> None:
    class Gain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gains = nn.ParameterList([nn.Parameter(torch.ones(8))])

        def forward(self, x: Tensor) -> Tensor:
            return x * self.gains[0]

    known = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.PReLU(), nn.BatchNorm1d(8))
    assert not cost(known, (2, 8)).notes
    counted = cost(nn.Sequential(known, Gain(), parametrizations.weight_norm(nn.Linear(8, 8))), (2, 8))
    assert counted.notes == (
        "some modules with weights have no formula, so they count as free: '1' (Gain).",
    )
    assert not counted.doubts


def test_what_makes_weights_is_done_once_for_all_images() -> None:
    spectral = parametrizations.spectral_norm(nn.Linear(8, 8))
    orthogonal = parametrizations.orthogonal(nn.Linear(8, 8))
    older = nn.utils.spectral_norm(nn.ConvTranspose2d(8, 4, 3))
    assert counts(cost(nn.Sequential(spectral, orthogonal), (2, 8))) == (2 * 64, 0)
    assert counts(cost(older, (2, 8, 3, 3))) == (9 * 8 * 4 * 9, 0)


def test_a_layer_that_fails_and_is_passed_over_leaves_the_count_in_order() -> None:
    class Tries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.failing, self.layer = nn.Linear(5, 5), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.failing(x)
            except RuntimeError:
                return self.layer(x) @ torch.ones(8, 1)

    assert "64: Tries multiplies outside of a layer (matrix product 8)" in cost(Tries(), (2, 8)).doubts[0]


def test_only_a_layer_that_did_nothing_is_said_not_to_have_run() -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle, self.around = nn.LSTM(8, 8), nn.Linear(8, 8)
            self.read = parametrizations.weight_norm(nn.Linear(8, 8))

        def forward(self, x: Tensor) -> Tensor:
            return self.around.forward(x) + functional.linear(x, self.read.weight)

    counted = cost(Parts(), (2, 8))
    assert "did not run" in counted.notes[-1]
    assert counted.notes[-1].endswith(": idle.")
    assert "Parts multiplies outside of a layer (matrix product 128)" in counted.doubts[0]


# ------------------------------------------------------------------------------------------------------ how many images


class Denoiser(nn.Module):
    """An image and a time step, the step first."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.image = nn.Linear(1, 4), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, step: Tensor, x: Tensor) -> Tensor:
        return self.image(x) + self.step(step.float().reshape(-1, 1)).view(-1, 4, 1, 1)


def test_a_time_step_counts_no_images() -> None:
    image = 64 * 3 * 4 * 9
    for step in (torch.tensor(3.0), torch.tensor([3.0]), torch.zeros(8), (8,), 0):
        given = torch.tensor(step) if isinstance(step, int) else step
        counted = cost(Denoiser(), given, (8, 3, 8, 8))
        many = isinstance(given, tuple) or given.numel() == 8
        assert counted.macs == image + (4 if many else 0)  # a step for all eight images is an eighth of 4, rounded
        assert bool(counted.notes) != many
        if not many:
            assert "some work is done once for all 8 images" in counted.notes[0]
        assert not counted.doubts
    assert counts(cost(Denoiser(), torch.tensor([3.0]), (1, 3, 8, 8))) == (image + 4, 0)



class Dense(nn.Module):
    """Layers that take any shape; the code of the step, and a learnt constant, go through them without a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.coded, self.style = nn.Linear(8, 4), nn.Linear(6, 5), nn.Conv1d(1, 1, 1)
        self.constant = nn.Parameter(torch.zeros(1, 1, 4))

    def forward(self, step: Tensor, x: Tensor) -> Tensor:
        coded = self.coded(torch.cos(step.reshape(()) * torch.ones(6)))
        return self.layer(x) * coded.sum() + self.style(self.constant)[0]


def test_what_has_no_batch_by_itself_is_not_taken_for_an_image() -> None:
    once = 6 * 5 + 4
    for step in (torch.tensor(3.0), torch.tensor([3.0])):
        assert cost(Dense(), step, (5, 8)).macs == round((5 * 8 * 4 + once) / 5)
        assert counts(cost(Dense(), step, (1, 8))) == (8 * 4 + once, 0)


def test_an_image_without_a_batch_axis_is_one_image() -> None:
    image = 64 * 3 * 3 * 9
    translator = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())
    assert counts(cost(translator, (3, 8, 8))) == (image, 0)  # although what comes out is three again
    assert cost(translator, (3, 8, 8)).layers[0].output == (3, 8, 8)


class Unsqueezed(nn.Module):
    """Adds a batch axis to an image, or takes images one by one."""

    def __init__(self, one_by_one: bool) -> None:
        super().__init__()
        self.layer, self.one_by_one = nn.Conv2d(3, 3, 3, padding=1), one_by_one

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.layer(one) for one in x]) if self.one_by_one else self.layer(x[None])[0]


def test_layers_tell_a_channel_from_an_image() -> None:
    image = 64 * 3 * 3 * 9
    assert counts(cost(Unsqueezed(one_by_one=False), (3, 8, 8))) == (image, 0)
    assert counts(cost(Unsqueezed(one_by_one=True), (3, 3, 8, 8))) == (image, 0)
    assert counts(cost(nn.Linear(8, 4), (8,))) == (32, 0)
    assert counts(cost(nn.Conv2d(1, 3, 3), (3, 1, 8, 8))) == (36 * 3 * 9, 0)


class Told(nn.Module):
    """Images beside a table of words that belongs to all of them."""

    def forward(self, words: Tensor, x: Tensor) -> Tensor:
        return x + functional.scaled_dot_product_attention(x, words, words)


def test_a_table_beside_images_counts_none() -> None:
    attended = 2 * 6 * 7 * 4
    assert counts(cost(Told(), (7, 4), (1, 6, 4))) == (0, attended)
    assert counts(cost(Told(), (7, 4), (6, 4))) == (0, attended)  # one image of six steps

    class Convolved(Told):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv1d(6, 6, 1, bias=False)

        def forward(self, words: Tensor, x: Tensor) -> Tensor:
            return super().forward(words, self.layer(x))

    assert counts(cost(Convolved(), (7, 4), (5, 6, 4))) == (6 * 6 * 4, attended)


def test_it_asks_where_it_cannot_know() -> None:
    with pytest.raises(UserError, match=r"unclear how many images Told was called with.*batch=1"):
        cost(Told(), (7, 4), (5, 6, 4))
    assert counts(cost(Told(), (7, 4), (5, 6, 4), batch=5)) == (0, 2 * 6 * 7 * 4)
    for wrong in (0, -1, 2.0, True):
        with pytest.raises(UserError, match="say how many images the inputs hold"):
            cost(Told(), (7, 4), (5, 6, 4), batch=wrong)
    with pytest.raises(UserError, match="is unclear"):
        cost(nn.Embedding(4, 8), torch.tensor(3))
    with pytest.raises(UserError, match="is unclear"):
        cost(Calls(torch.Tensor.t), (5, 6))


def test_steps_before_sequences_are_a_doubt_until_the_batch_is_said() -> None:
    counted = cost(nn.GRU(8, 16), (2, 5, 8))
    assert "the first axis, 2, was taken for the number of images, but GRU uses it for time steps" in counted.doubts[0]
    assert counts(cost(nn.GRU(8, 16), (2, 5, 8), batch=5)) == (2 * 3 * 16 * (8 + 16), 0)

    class Inside(nn.Module):  # images first, steps first only where torch wants them
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(8, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.transpose(0, 1))[0].transpose(0, 1)

    assert counts(cost(Inside(), (5, 2, 8))) == (2 * 3 * 16 * (8 + 16), 0)


@dataclass
class Made:
    """What a module may give back."""

    image: Tensor


def test_a_record_may_come_out() -> None:
    class Records(nn.Linear):
        def forward(self, input: Tensor) -> Made:  # pyrefly: ignore
            return Made(super().forward(input))

    assert counts(cost(Records(8, 4), (3, 8))) == (32, 0)
