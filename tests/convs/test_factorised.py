"""The factorised family against the sheet: weights left, holes, rank one."""

from __future__ import annotations

import pytest
import torch

from frugan import convs
from frugan.registry import UserError

FACTORISED = convs.find("factorised")


def weights(layer: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("form", "kernel", "cin", "cout", "percent"),
    [
        ("pair", 5, 64, 64, 40.0), ("pair", 3, 64, 64, 66.7), ("pair", 7, 64, 64, 28.6), ("small", 5, 64, 64, 72.0),
        ("both", 5, 64, 64, 48.0), ("pair", 5, 64, 32, 30.0), ("pair", 3, 32, 64, 100.0),
    ],
)
@pytest.mark.parametrize("kind", ["same", "down", "up"])
def test_factorised_sheet_2_percentages(form: str, kernel: int, cin: int, cout: int, percent: float, kind: str) -> None:
    layer = getattr(FACTORISED, kind)(cin, cout, kernel, bias=False, form=form)
    assert round(100 * weights(layer) / (kernel**2 * cin * cout), 1) == percent


@pytest.mark.parametrize("middle", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("kind", ["same", "down", "up"])
def test_factorised_sheet_2_weight_table(middle: float, kind: str) -> None:
    cin, cout, m = 12, 8, round(8 * middle)
    build = getattr(FACTORISED, kind)
    arguments = {"bias": False, "middle": middle}
    assert weights(build(cin, cout, 7, **arguments)) == 7 * cin * m + 7 * m * cout
    assert weights(build(cin, cout, 5, form="small", **arguments)) == 9 * cin * m + 9 * m * cout
    assert weights(build(cin, cout, 5, form="both", **arguments)) == 3 * (cin * m + m * m + m * m + m * cout)


def test_factorised_sheet_2_a_split_layer_gains_a_bias_of_the_middle_width() -> None:
    assert weights(FACTORISED.same(128, 256, 5)) == 164_096 + 327_936  # sheet 3.3, row 2
    with_bias, without = (FACTORISED.same(8, 4, 5, middle=3.0, bias=bias) for bias in (True, False))
    assert weights(with_bias) - weights(without) == 12 + 4


def test_the_mnist_rows_of_the_sheet() -> None:
    both = FACTORISED.up(256, 128, 5, stride=1, bias=False, form="both", inner_norm=torch.nn.BatchNorm2d)
    assert [weights(part) for part in both] == [98_304 + 49_152, 256, 49_152 + 49_152]
    assert both(torch.zeros(1, 256, 7, 7)).shape == (1, 128, 7, 7)


@pytest.mark.parametrize(("kernel", "fraction"), [(3, 0.625), (5, 0.5)])
def test_factorised_sheet_9_6_holes(kernel: int, fraction: float) -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 8, 7, 7) + 0.1
    holed = FACTORISED.up(8, 4, kernel, bias=False, holes=True)(images)
    assert holed.shape == (1, 4, 28, 28)
    assert (holed == 0).float().mean().item() == fraction
    if kernel == 3:
        zero = (holed == 0).all(1)[0]
        assert zero[1::2].all()
        assert zero[:, 3::4].all()
    split = FACTORISED.up(8, 4, kernel, bias=False)(images)
    assert split.shape == (1, 4, 14, 14)
    assert (split == 0).sum() == 0


def test_holes_going_down_divide_by_the_square() -> None:
    assert FACTORISED.down(2, 2, 5, holes=True)(torch.zeros(1, 2, 16, 16)).shape == (1, 2, 4, 4)


@pytest.mark.parametrize(("kind", "kernel", "stride"), [("same", 5, 1), ("up", 4, 2), ("up", 5, 2), ("down", 5, 2)])
def test_factorised_sheet_9_7_rank_one(kind: str, kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    pair = getattr(FACTORISED, kind)(1, 1, kernel, stride=stride, bias=False).double()
    dense = getattr(convs.find("standard"), kind)(1, 1, kernel, stride=stride, bias=False).double()
    with torch.no_grad():
        dense.weight.copy_(pair.tall.weight * pair.wide.weight)
    images = torch.randn(2, 1, 12, 12, dtype=torch.double)
    assert torch.allclose(pair(images), dense(images), atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", ["same", "down", "up"])
def test_two_smaller_kernels_look_at_the_centre_of_the_large_one(kind: str) -> None:
    """With all weights one, a single bright pixel spreads symmetrically about the same centre as under K x K."""
    images = torch.zeros(1, 1, 24, 24)
    images[..., 12, 12] = 1.0
    for kernel in (5, 7):
        layers = [getattr(convs.find("standard"), kind)(1, 1, kernel, bias=False)]
        layers += [getattr(FACTORISED, kind)(1, 1, kernel, bias=False, form=form) for form in ("pair", "small", "both")]
        centres = []
        for layer in layers:
            with torch.no_grad():
                for parameter in layer.parameters():
                    parameter.fill_(1.0)
                spread = layer(images)[0, 0].sum(1)
            centres.append((spread * torch.arange(len(spread))).sum().item() / spread.sum().item())
        assert max(centres) - min(centres) <= (0.5 if kernel == 7 else 0.0) + (0.5 if kind == "down" else 0.0), centres


def test_forms_that_do_not_apply_are_declined() -> None:
    for kernel, form in ((1, "pair"), (3, "small"), (4, "both"), (6, "small")):
        with pytest.raises(convs.Declined):
            FACTORISED.same(4, 4, kernel, form=form)
    with pytest.raises(UserError, match=r"holes .* only works with form=pair"):
        FACTORISED.up(4, 4, 5, form="both", holes=True)
