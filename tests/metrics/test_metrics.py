from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import frugan.metrics
from frugan.metrics import Metric, Need, parse_need
from frugan.registry import UserError, options_of


@pytest.mark.parametrize("name", frugan.metrics.names())
def test_every_metric_declares_what_it_takes(name: str) -> None:
    metric = frugan.metrics.find(name)
    assert metric.name == name
    parameters = inspect.signature(metric.compute).parameters
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters.values())
    required = {key for key, value in parameters.items() if value.default is inspect.Parameter.empty}
    assert required == {need.removesuffix("?") for need in metric.needs}
    assert set(options_of(metric.compute)) == set(parameters) - required
    assert metric.least >= 2


def test_a_metric_is_reached_by_its_name_and_listing_them_imports_no_torch() -> None:
    code = (
        "import sys, frugan.metrics as m; m.names(); t = sys.modules; print('torch' in t); m.fid; print('torch' in t)"
    )
    printed = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    assert printed.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="no attribute 'fidd'"):
        _ = frugan.metrics.fidd
    with pytest.raises(UserError, match="Did you mean 'fid'"):
        frugan.metrics.find("fidd")


def test_needs_are_words_of_one_list() -> None:
    assert parse_need("fake") == Need("fake", "features")
    assert parse_need("pixels") == Need("fake", "pixels")
    assert parse_need("real_labels") == Need("real", "labels")
    assert parse_need("held_out_pixels") == Need("held_out", "pixels")
    assert parse_need("labels?") == Need("fake", "labels", optional=True)
    assert parse_need("real_labels?") == Need("real", "labels", optional=True)
    assert parse_need("held_out?") == Need("held_out", "features", optional=True)
    with pytest.raises(UserError, match="cannot need 'pixels\\?'"):
        parse_need("pixels?")
    with pytest.raises(UserError, match=r"cannot need 'reel'. Did you mean 'real'"):
        Metric("mine", lambda *, reel: {}, needs=("reel",), better="lower", headline="mine", least=2)
    with pytest.raises(UserError, match="'lower' or 'higher'"):
        Metric("mine", lambda: {}, needs=(), better="smaller", headline="mine", least=2)  # pyrefly: ignore


def test_a_metric_of_ones_own_is_found() -> None:
    mine = Metric("count_of_fakes", lambda *, fake: {"count": float(len(fake))}, ("fake",), "higher", "count", 2)
    frugan.metrics.add("count_of_fakes", mine)
    assert frugan.metrics.find("count_of_fakes") is mine
    assert "count_of_fakes" in frugan.metrics.names()
