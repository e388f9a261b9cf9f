"""Where a run may be computed, and how precisely."""

from __future__ import annotations

import pytest
import torch

from frugan import arithmetic, training
from frugan.engine import precision
from frugan.engine.precision import choose_device
from frugan.registry import UserError


@pytest.mark.parametrize(("device", "told"), [
    ("mps", "it computes no float64"), ("xpu", "it was never tried"), ("gpu", "There is no device 'gpu'"),
    ("meta", "There is no device 'meta'"),
])  # fmt: skip
def test_a_device_that_frugan_does_not_run_on_is_refused_by_name(device, told):
    with pytest.raises(UserError, match=told):
        choose_device(device)


def test_a_card_that_the_machine_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1").index == 1
    with pytest.raises(UserError, match=r"cuda:2: this machine has no such card\. Choose from: cpu, cuda:0, cuda:1"):
        choose_device("cuda:2")


@pytest.mark.parametrize(("instructions", "slower", "chosen"), [
    (True, torch.float32, "bf16"), (True, torch.bfloat16, "float32"), (False, torch.float32, "float32"),
])  # fmt: skip
def test_auto_is_bf16_only_where_a_product_in_it_is_faster(monkeypatch, instructions, slower, chosen):
    """Instructions alone do not tell: some CPUs that have them take longer."""
    clock = [0.0]

    class Slow(torch.Tensor):
        def __matmul__(self, other):
            clock[0] += 2.0 if self.dtype is slower else 1.0
            return self

    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *size, dtype: ones(*size, dtype=dtype).as_subclass(Slow))
    monkeypatch.setattr(arithmetic.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    arithmetic._on_this_cpu.cache_clear()
    try:
        assert precision.resolve("auto", torch.device("cpu")) == chosen
    finally:
        arithmetic._on_this_cpu.cache_clear()


@pytest.mark.parametrize(("instructions", "goes_on"), [(True, "bf16"), (False, "float32")])
def test_a_run_goes_on_in_the_precision_that_it_began_with(tmp_path, monkeypatch, capsys, instructions, goes_on):
    """A clock decided at its beginning, and must not decide again; but no machine is asked for what it cannot do."""
    monkeypatch.setattr(arithmetic, "has_bf16", lambda device: True)
    monkeypatch.setattr(arithmetic, "_on_this_cpu", lambda: True)
    small = {"data": "glyphs", "out": tmp_path, "batch_size": 4, "quiet": True}
    training.train("vanilla", rounds=1, **small)
    monkeypatch.setattr(arithmetic, "has_bf16", lambda device: instructions)
    monkeypatch.setattr(arithmetic, "_on_this_cpu", lambda: False)
    played = []
    autocast = precision.autocast
    monkeypatch.setattr(precision, "autocast", lambda name, device: played.append(name) or autocast(name, device))
    training.train("vanilla", rounds=2, **small)
    assert played == [goes_on]
    assert ("precision bf16 -> float32" in capsys.readouterr().err) == (not instructions)
