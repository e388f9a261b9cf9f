from __future__ import annotations

import pytest
import torch

from frugan.nets._dropout import Dropout
from frugan.registry import UserError


@pytest.mark.parametrize("p", [0.25, 0.3, 0.5])
def test_rate_and_scale(p):
    torch.manual_seed(0)
    output = Dropout(p)(torch.ones(400, 50, 10, 10))
    kept = output != 0
    assert (1 - kept.float().mean()).item() == pytest.approx(p, abs=2e-3)
    assert output[kept].unique().numel() == 1
    assert output[kept][0].item() == pytest.approx(1 / (1 - p), rel=1e-4)


def test_neighbours_are_independent():
    """Four decisions come from one draw of 64 bits: no two of the four may agree more often than by chance."""
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(100_000, 4)) != 0).double()
    assert torch.corrcoef(kept.T).fill_diagonal_(0).abs().max() < 0.02


def test_it_follows_the_global_generator():
    x, dropout = torch.ones(7, 3), Dropout(0.5)
    first, second = (torch.manual_seed(3), dropout(x))[1], dropout(x)
    assert torch.equal(first, (torch.manual_seed(3), dropout(x))[1])
    assert not torch.equal(first, second)


def test_eval_and_zero_leave_the_input_alone():
    x = torch.randn(5, 3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_any_memory_order_type_and_gradient():
    x = torch.randn(3, 5, 7, 9).to(memory_format=torch.channels_last).requires_grad_()
    output = Dropout(0.5)(x)
    assert output.is_contiguous(memory_format=torch.channels_last)
    output.sum().backward()
    torch.testing.assert_close(output, x * x.grad)
    strided = torch.randn(8, 9)[::2, ::3]
    assert Dropout(0.5)(strided).shape == strided.shape
    assert Dropout(0.5)(torch.randn(3, 3).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("p", [-0.1, 1.0, 30])
def test_a_share_out_of_range_is_refused(p):
    with pytest.raises(UserError, match="0 or more and below 1"):
        Dropout(p)
