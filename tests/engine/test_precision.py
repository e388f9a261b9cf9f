"""Where a run may be computed."""

from __future__ import annotations

import pytest

from frugan.engine.precision import choose_device
from frugan.registry import UserError


@pytest.mark.parametrize(("device", "told"), [
    ("mps", "it computes no float64"), ("xpu", "it was never tried"), ("gpu", "There is no device 'gpu'"),
])  # fmt: skip
def test_a_device_that_frugan_does_not_run_on_is_refused_by_name(device, told):
    with pytest.raises(UserError, match=told):
        choose_device(device)
