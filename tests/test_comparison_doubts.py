"""A comparison in which the multiply-accumulates of an arm may be wrong."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan import nets, reporting
from frugan.batch import ImageShape
from frugan.comparison import Comparison, compare
from frugan.comparison.running import jobs
from frugan.nets import Architecture
from frugan.registry import UserError

CHANGES = {"data.size": 12, "data.limit": 1200, "discriminator.hidden": [16]}
ARMS = ["vanilla generator.hidden=[16]", "outside: vanilla generator.architecture=outside generator.options={}"]
COMMON: dict[str, Any] = {
    "data": "glyphs:digits", "images": 32, "changes": CHANGES, "metrics": ["fid"], "view": "pixels", "count": 1000,
    "device": "cpu", "quiet": True, "seeds": (0,),
}  # fmt: skip


class Outside(nn.Module):
    """A dense layer, and a convolution called as a function."""

    image_range = (-1.0, 1.0)

    def __init__(self, image: ImageShape, latents: int) -> None:
        super().__init__()
        self.shape = image
        self.layer = nn.Linear(latents, image.height * image.width)
        self.weight = nn.Parameter(torch.randn(image.channels, 1, 3, 3) / 3)

    def forward(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        planes = self.layer(latents).view(len(latents), 1, self.shape.height, self.shape.width)
        return functional.conv2d(planes, self.weight, padding=1).tanh()


nets.add("outside", Architecture("outside", decoder=lambda image, latents, layers, classes=0: Outside(image, latents)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, in_this_process: Callable[..., None]) -> Comparison:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "run_jobs", in_this_process)
        out = tmp_path_factory.mktemp("comparison") / "out"
        return compare(ARMS, out=out, runtime="onnxruntime", **COMMON)


def test_a_functional_convolution_is_flagged_in_table_report_and_words(finished: Comparison) -> None:
    plain, outside = finished.data["arms"]
    assert plain["generator"]["doubts"] == []
    (doubt,) = outside["generator"]["doubts"]
    assert "Outside multiplies outside of a layer (convolution 1,296)" in doubt
    _, first, second = reporting.main_table(finished.data)
    assert first[2] == "0.00 M"
    assert second[2] == "0.01 M ?"  # and no per cent
    assert second[1].endswith(" %")
    line = f"outside: its MACs (?) may be wrong and are not compared: {doubt}"
    assert line in finished.words()
    page = html.unescape(finished.report.read_text())
    assert line in page
    assert "<td class=\"number\">0.01 M ?</td>" in page


def test_a_runtime_has_a_column_of_its_own_and_leaves_out_what_cannot_be_exported(finished: Comparison) -> None:
    plain, outside = finished.data["arms"]
    assert "runtime" not in outside  # it takes the length of a batch for a number
    cost = plain["runtime"]
    assert cost["latency"][0]["median_ms"] > 0
    assert cost["file_bytes"] > plain["file_bytes"]
    head, first, second = reporting.main_table(finished.data)
    assert head[-1] == f"ms in {cost['runtime']}, batch 1"
    assert first[-1].endswith(f"{cost['peak_bytes']['1'] / 1e6:.0f} MB")
    assert second[-1] == "–"
    page = html.unescape(finished.report.read_text())
    assert head[-1] in page
    assert "the exported files, median of" in page
    assert [len(row) for row in reporting.short_table(finished.data)] == [7, 7, 7]  # a terminal is too narrow for it


def test_what_is_in_doubt_stands_on_no_front_and_in_no_plot(finished: Comparison) -> None:
    assert [front["cost"] for front in finished.data["fronts"]] == ["parameters", "latency", "file"]
    page = finished.report.read_text()
    assert "against parameters of the generator" in page


def test_matching_multiply_accumulates_in_doubt_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"of 'outside' cannot be counted .*convolution 1,296.*--match latency"):
        compare(ARMS, match="macs", out=tmp_path / "out", **COMMON)
    assert not (tmp_path / "out").exists()
