"""Comparisons of translators: arms, cost, targets side by side, the same images through all, curves, damaged arm."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from frugan.comparison import Comparison, compare
from frugan.comparison.planning.arms import damage, parse
from frugan.comparison.running import jobs
from frugan.registry import UserError

SMALL: dict[str, Any] = {
    "generator.width": 0.0625, "generator.blocks": 1, "discriminator.width": 0.0625, "data.size": 16, "batch_size": 4,
    "data.limit": 2600, "game.discriminator_steps": 1, "precision": "float32", "data.attributes": ["glasses"],
}  # fmt: skip
COMMON: dict[str, Any] = {
    "images": 16, "changes": SMALL, "count": 500, "metrics": ["fid", "target_accuracy"], "device": "cpu", "quiet": True,
}  # fmt: skip
ARMS = ["stargan", "depthwise: stargan --family depthwise", "damaged: stargan generator.blocks=0"]


@pytest.fixture(scope="module", autouse=True)
def _classifiers_learn_little() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frugan.views.classifier.BUDGETS", (1280,))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, in_this_process: Callable[..., None]) -> Comparison:
    out = tmp_path_factory.mktemp("comparison") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "run_jobs", in_this_process)
        return compare(ARMS, seeds=(0,), out=out, evaluate_every=16, **COMMON)


def test_translators_are_compared_by_the_mean_over_their_targets(finished: Comparison) -> None:
    found = json.loads((finished.folder / "comparison.json").read_text())
    assert (found["primary"], found["baseline"]) == ("fid", "stargan")
    plain, frugal, worse = found["arms"]
    assert worse["damaged"]
    values = [arm["runs"]["0"]["values"]["fid"]["values"] for arm in (plain, frugal)]
    assert found["differences"]["fid"]["depthwise"]["mean"] == pytest.approx(values[1]["fid"] - values[0]["fid"])
    targets = ("glasses", "not glasses")
    assert values[0]["fid"] == pytest.approx(sum(values[0][f"fid_to_{name}"] for name in targets) / 2)
    assert frugal["generator"]["parameters"] < plain["generator"]["parameters"]
    assert set(frugal["latency"]) == {"1", "64"}
    assert not any(arm["apart"] for arm in found["arms"])
    assert found["metrics"]["fid"]["floor"] > 0


def test_the_report_shows_targets_sheets_and_curves(finished: Comparison) -> None:
    page = finished.report.read_text()
    assert "By target: fid" in page
    assert "By target: target accuracy" in page
    assert "By target: fid: real against real" in page
    assert "not glasses" in page
    assert "In each row the image, then what becomes of it for glasses, not glasses" in page
    pictures = re.findall(r'<img src="data:image/[^"]+" alt="Images, then each translated[^"]*, (\w+), seed 0"', page)
    assert pictures == ["stargan", "depthwise", "damaged"]
    assert "FID 1k (classifier) while training, of 1,000 translated images for each target" in page
    assert page.count("real against real") >= 3


def test_the_page_of_a_run_has_a_row_for_each_target(finished: Comparison) -> None:
    from frugan.reporting import report

    page = report(finished.folder / "runs" / "stargan" / "seed-0").read_text()
    head = r"<h3>By target: target accuracy</h3>\s*<div[^>]*><table><thead><tr>(.*?)</tr>.*?<tbody>(.*?)</tbody>"
    found = re.search(head, page, flags=re.DOTALL)
    assert found is not None
    assert re.findall(r">([^<]+)</th>", found[1]) == [
        "target", "target accuracy", "before", "rise", "rise low", "rise high", "real against real",
    ]  # fmt: skip
    assert re.findall(r'<th scope="row">([^<]+)<', found[2]) == ["glasses", "not glasses"]
    assert 'alt="Images, then each translated to glasses, not glasses"' in page


def test_every_sheet_begins_with_the_same_images(finished: Comparison) -> None:
    from frugan.evaluation import sheets

    runs = [finished.folder / arm["runs"]["0"]["folder"] for arm in finished.data["arms"][:2]]
    one, other = (sheets(run, 3)[0] for run in runs)
    assert bool((one.images == other.images).all())
    assert list(one.made) == ["glasses", "not glasses"]
    assert one.images.shape == one.made["glasses"].shape == (3, 3, 16, 16)
    assert not bool((one.made["glasses"] == other.made["glasses"]).all())


def test_what_does_not_compare_is_found_before_any_training(tmp_path: Any) -> None:
    with pytest.raises(UserError, match="path_length needs a generator"):
        compare(ARMS[:2], seeds=(0,), out=tmp_path / "out", **{**COMMON, "metrics": ["path_length"]})
    with pytest.raises(UserError, match="fid takes 500 images of each target, and 400 were asked for"):
        compare(ARMS[:2], seeds=(0,), out=tmp_path / "out", **{**COMMON, "count": 400})
    few = {**COMMON, "changes": {**SMALL, "data.limit": 600}, "reference": "train"}
    with pytest.raises(UserError, match="fid takes 500 images of each target, and 'glasses' has "):
        compare(ARMS[:2], seeds=(0,), out=tmp_path / "out", **few)
    with pytest.raises(UserError, match="but the view 'classifier' knows attributes"):
        compare(ARMS[:2], seeds=(0,), out=tmp_path / "out", **{**COMMON, "metrics": ["class_coverage"]})
    few = {"data.size": 32, "data.limit": 200}
    cycle: dict[str, Any] = {"metrics": ["preservation"], "changes": few, "quiet": True}
    with pytest.raises(UserError, match="preservation needs attributes, but these images have one class each"):
        compare(["cyclegan-6", "thin: cyclegan-6 generator_ab.width=0.5"], seeds=(0,), out=tmp_path / "out", **cycle)
    with pytest.raises(UserError, match=r"target_accuracy judges .* but 'vanilla' does not translate"):
        compare(
            ["vanilla", "thin: vanilla generator.hidden=[4]"], seeds=(0,), data="glyphs", metrics=["target_accuracy"],
            out=tmp_path / "out", quiet=True, changes={"data.limit": 1200},
        )  # fmt: skip
    same = {"data.source": "portraits", "data.size": 16, "data.channels": 3, "data.attributes": [], "data.classes": 11}
    same["data.exclusive"] = []
    with pytest.raises(UserError, match=r"'stargan' has a translator and 'vanilla' a decoder. .* cannot be compared"):
        compare(["stargan", "vanilla"], seeds=(0,), out=tmp_path / "out", quiet=True, changes=same)
    assert not (tmp_path / "out").exists()


def test_the_damaged_translator_has_a_quarter_of_the_width() -> None:
    arm = damage(parse("stargan generator.width=0.5", {}, {}))
    assert arm.name == "damaged (width 0.125)"
    both = damage(parse("cyclegan", {}, {})).recipe.networks
    assert {both[name].options["width"] for name in ("generator_ab", "generator_ba")} == {0.25}
