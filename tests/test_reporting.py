from __future__ import annotations

import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from frugan import reporting
from frugan.engine.run import RunFolder
from frugan.registry import UserError
from frugan.reporting import _charts as charts
from frugan.reporting import _comparison, _run
from frugan.reporting import _words as words
from frugan.training import train

SMALL = {"data.size": 12, "data.limit": 200, "generator.hidden": [16], "discriminator.hidden": [16]}
PROTOCOL = {
    "data": "glyphs-digits", "split": "test", "content_hash": "0123456789abcdef", "real_count": 10_000,
    "fake_count": 10_000, "view": "classifier", "view_version": "classifier-cnn2-89abcdef0123-28-28",
    "resizing": "none", "view_accuracy": 0.991, "precision": "float32", "truncation": None, "labels": "none",
    "weights": "averaged", "checkpoint": "last",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was really trained, a little, with the log of a longer one that collapsed."""
    out = tmp_path_factory.mktemp("reporting") / "run"
    train("vanilla", data="glyphs", images=96, out=out, changes=SMALL, device="cpu", quiet=True)
    lines = []
    for images in range(800, 60_000, 800):
        scalars = {"generator.loss": 2.0 + images / 60_000, "discriminator.loss": 0.5, "generator.gradient_norm": 1.0}
        accuracy = {"discriminator.accuracy_real": 0.8, "discriminator.accuracy_fake": 0.9}
        lines.append({"images": images, "rounds": images // 32, "seconds": images / 500, **scalars, **accuracy})
        lines.append({"images": images, "rounds": images // 32, "health.spread": 0.2, "health.nearest": 0.1})
    (out / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    value = {"metric": "fid", "values": {"fid": 12.34}, "headline": "fid", "better": "lower", "images": 96}
    (out / "metrics.jsonl").write_text(json.dumps({**value, "protocol": PROTOCOL}) + "\n")
    return out


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    path = reporting.report(run)
    assert path == run / "report.html"
    return path.read_text()


def test_a_population_in_rounds_has_a_page(tmp_path: Path) -> None:
    """Its second parent stands in no recipe; a round of it shows six batches."""
    thin = {"architecture.width": 0.02, "discriminator.width": 0.02}
    changes = {"data.size": 32, "data.limit": 100, "game.parents": 2, **thin}
    train("egan-small", rounds=2, out=tmp_path / "run", changes=changes, batch_size=4, device="cpu", quiet=True)
    page = reporting.report(tmp_path / "run").read_text()
    assert "2 of 2 rounds and 48 images seen" in page
    assert "generator_1" in page


class Balanced(HTMLParser):
    """Raises where an element is not closed by its own end."""

    EMPTY = frozenset({"meta", "img", "br", "path", "use", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag


def test_the_page_stands_alone_and_is_whole(page: str) -> None:
    assert len(page) < 1_500_000
    addresses = re.findall(r'(?:src|href)="([^"]{0,40})', page)
    assert addresses
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert "@import" not in page
    assert "url(http" not in page
    assert "<script" not in page
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    names = re.findall(r'\bid="([^"]+)"', page)
    assert names
    assert len(names) == len(set(names))


def test_the_title_names_the_data_so_that_nothing_is_taken_for_mnist(page: str, run: Path) -> None:
    title = json.loads((run / "run.json").read_text())["data"]["train"]["title"]
    assert re.fullmatch(r"glyphs-digits \(train, 200 images, [0-9a-f]{8}\)", title)
    assert f"<h1>Recipe vanilla on {title}</h1>" in page


def test_a_run_shows_costs_curves_findings_values_and_its_recipe(page: str) -> None:
    assert page.count("<svg") == 4
    assert "mode collapse" in page
    assert "12.34" in page
    assert "10,000 fakes against 10,000 real images" in page
    assert "What it costs" in page
    assert "discriminator</th>" in page
    assert "What it makes" in page
    assert "While it trained" in page
    recipe = re.search(r"<summary>The whole recipe</summary><pre>(.*?)</pre>", page, flags=re.DOTALL)
    assert recipe is not None
    assert json.loads(recipe[1].replace("&#34;", '"').replace("&#39;", "'"))["name"] == "vanilla"
    assert "frugan train" in page
    assert "recipe.json --out again" in page
    assert "adam, rate 0.0002, betas" in page
    assert "Choice(" not in page


def test_what_users_named_is_text_and_never_markup(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    recipe = json.loads((copy / "recipe.json").read_text())
    (copy / "recipe.json").write_text(json.dumps({**recipe, "name": "<b>bold</b>"}))
    page = reporting.report(copy).read_text()
    assert "<b>bold</b>" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page


def test_a_run_without_log_values_or_checkpoint_has_a_page_too(run: Path, tmp_path: Path) -> None:
    for name in ("recipe.json", "run.json"):
        (tmp_path / name).write_text((run / name).read_text())
    page = reporting.report(tmp_path).read_text()
    assert "Nothing has been measured yet" in page
    assert "What it makes" not in page


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a run"):
        reporting.report(tmp_path)
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(UserError, match="not finished"):
        reporting.report(tmp_path)
    (tmp_path / "comparison.json").write_text('{"format": 99}')
    with pytest.raises(UserError, match="format 99"):
        reporting.report(tmp_path)
    (tmp_path / "comparison.json").write_text('{"format": 1}')
    with pytest.raises(UserError, match="another frugan"):
        reporting.report(tmp_path)


def test_nearest_training_images_are_found_over_all_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from frugan.reporting import _neighbours as neighbours

    monkeypatch.setattr(neighbours, "CHUNK", 7 * 36)
    real = torch.randint(0, 256, (50, 1, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    rows = [3, 0, 49, 13]
    near = (real[rows].int() + 1).clamp(max=255).to(torch.uint8)
    found, distances = neighbours.nearest(near.permute(0, 2, 3, 1).numpy(), real)
    assert found.tolist() == rows
    whole = (near.int() - real[rows].int()).square().flatten(1).sum(1).sqrt()
    assert distances.tolist() == pytest.approx(whole.tolist())
    # Of large, bright images that are nearly alike a copy is found, at distance 0.
    alike = torch.full((60, 3, 64, 64), 250, dtype=torch.uint8)
    alike[torch.arange(60), 0, 0, torch.arange(60)] = 249
    found, distances = neighbours.nearest(alike.permute(0, 2, 3, 1).numpy(), alike)
    assert found.tolist() == list(range(60))
    assert distances.tolist() == [0.0] * 60


def test_a_run_shows_the_training_images_that_are_nearest_and_the_floor(page: str) -> None:
    assert "Nearest training images" in page
    assert "the training image of 200 that is nearest by Euclidean distance between pixels" in page
    assert re.search(r"[\d.]+ to [\d.]+ of 255 apart in root mean square; 0 would be a copy", page)
    assert "real against real" in page


def test_numbers_of_every_class_are_told_apart_from_others() -> None:
    def tables(classes: list[str], **values: float) -> list[tuple[str, str, dict[str, float]]]:
        return words.tables({"metric": "fid", "values": values, "headline": "fid", "protocol": {}}, classes)

    values = {"accuracy_of_fakes": 0.9, "accuracy_of_class_0": 0.8, "accuracy_of_class_1": 1.0, "swd_16": 3.0}
    assert tables(["cat", "dog"], **values) == [("class", "fid: accuracy", {"cat": 0.8, "dog": 1.0})]
    assert tables([], accuracy_of_class_7=1.0) == [("class", "fid: accuracy", {"7": 1.0})]
    assert tables(["cat"], fid=1.0) == []


def test_numbers_of_every_target_stand_beside_what_real_images_reach() -> None:
    value = {
        "metric": "fid", "headline": "fid", "values": {"fid": 3.0, "fid_to_a": 2.0, "fid_to_not b": 4.0},
        "floor": {"values": {"fid": 1.0, "fid_to_a": 0.5, "fid_to_not b": 1.5}},
        "protocol": {"targets": {"a": "", "not b": ""}},
    }  # fmt: skip
    assert words.tables(value, []) == [
        ("target", "fid", {"a": 2.0, "not b": 4.0}), ("target", "fid: real against real", {"a": 0.5, "not b": 1.5}),
    ]  # fmt: skip
    assert words.others(value) == {}
    generators = {**value, "values": {"fid": 3.0, "distance_to_a": 2.0}, "floor": None, "protocol": {}}
    assert words.tables(generators, []) == []
    assert words.others(generators) == {"distance_to_a": 2.0}


# -------------------------------------------------------------------------------------------------------------- tables


def arm(name: str, parameters: int, milliseconds: float, fid: float, sd: float | None, **run: Any) -> dict[str, Any]:
    one = {"failed": None, "images_per_second": 1000.0, "seconds": 120.0, "findings": [], **run}
    latency = {batch: {"median_ms": milliseconds, "threads": 2} for batch in ("1", "64")}
    summary = {"n": 3, "mean": fid, "sd": sd, "median": fid, "low": fid, "high": fid, "failed": 0}
    return {
        "name": name, "damaged": False, "apart": [], "generator": {"parameters": parameters, "macs": 3 * parameters},
        "latency": latency, "runs": {str(seed): one for seed in range(3)}, "summary": {"fid": summary},
    }  # fmt: skip


def data(kind: str, text: str, **run: Any) -> dict[str, Any]:
    difference = {"mean": -1.5, "sd": 0.4, "n": 3, "interval_95": [-2.5, -0.5], "kind": kind, "text": text}
    machine = {"machine": "a processor", "device": "cpu", "precision": "float32", "versions": {}}
    return {
        "title": "plain against thin", "baseline": "plain", "primary": "fid", "seeds": [0, 1, 2], "threads": 1,
        "jobs": 2, "machine": machine, "controls": [], "fixed": {}, "evaluation_sd": None, "margin": None,
        "metrics": {"fid": {"better": "lower", "protocol": PROTOCOL}}, "differences": {"fid": {"thin": difference}},
        "arms": [arm("plain", 1_000_000, 4.0, 20.0, 0.5), arm("thin", 500_000, 3.0, 18.5, None, **run)],
    }  # fmt: skip


def test_the_main_table_says_cost_quality_and_what_may_be_said() -> None:
    head, plain, thin = reporting.main_table(data("direction", "lower in 3 of 3 seeds"))
    assert head[6] == "FID (classifier) ↓"
    assert plain[:4] == ["plain", "1,000,000", "3.00 M", "4.00"]
    assert plain[6:] == [
        "20.00 ± 0.50\nsd of 3 runs", "baseline", "", "0 of 3",
    ]
    assert thin[1:5] == ["500,000\n−50 %", "1.50 M\n−50 %", "3.00\n−25 %", "0.0469\n−25 %"]
    assert thin[7:] == ["−1.50\n95 %: −2.50 to −0.50", "better in 3 of 3 seeds\ndirection only, no verdict", "0 of 3"]


def test_counts_in_doubt_are_marked_explained_and_compared_with_nothing() -> None:
    found = data("direction", "lower in 3 of 3 seeds")
    plain, thin = (arm["generator"] for arm in found["arms"])
    thin["macs_attention"] = 300_000
    assert reporting.main_table(found)[2][2] == "1.80 M\n−40 %"
    thin["doubts"] = ["torch's flop counter sees more."]
    assert reporting.main_table(found)[2][2] == "1.80 M ?"
    line = "thin: its MACs (?) may be wrong and are not compared: torch's flop counter sees more."
    assert line in reporting.sayings(found)
    plain["doubts"] = thin.pop("doubts")
    assert [row[2] for row in reporting.main_table(found)[1:]] == ["3.00 M ?", "1.80 M"]
    del plain["doubts"]  # as an earlier frugan wrote it
    plain |= {"macs_flop_counter": 4_000_000, "notes": ["torch's flop counter sees 4,000,000"]}
    assert reporting.main_table(found)[1][2] == "3.00 M ?"
    assert any(line.endswith("sees 4,000,000") for line in reporting.sayings(found))


def test_failed_runs_and_the_floor_stand_beside_the_quality() -> None:
    found = data("direction", "lower in 3 of 3 seeds")
    found["metrics"]["fid"]["floor"] = 0.412
    found["arms"][0]["runs"]["2"] = {**found["arms"][0]["runs"]["2"], "failed": "loss is not finite"}
    head, plain, _ = reporting.main_table(found)
    assert head[6] == "FID (classifier) ↓\nreal against real 0.412"
    assert plain[6] == "20.00 ± 0.50\nsd of 3 runs, 1 failed"
    assert "real against real 0.412. Seeds" in reporting.protocol_line(found)
    assert all("real against" not in cell for row in reporting.short_table(found) for cell in row)


def test_an_arm_without_any_finished_run_has_a_row_and_no_difference() -> None:
    found = data("direction", "lower in 3 of 3 seeds")
    found["differences"]["fid"] = {}
    found["arms"][1]["summary"]["fid"] = None
    thin = reporting.main_table(found)[2]
    assert thin[6:9] == ["–\n0 run", "–", "in each seed a run failed: nothing to compare"]


WALL = "its images are all alike (flat output): 0.003 as far apart as real ones. Try penalties=r1."


def test_runs_that_did_not_train_are_called_so_everywhere_and_say_what_to_try() -> None:
    found = data("direction", "lower in 2 of 2 seeds")
    thin = found["arms"][1]
    thin["runs"]["2"] = {**thin["runs"]["2"], "failed": WALL, "untrained": True}
    thin["summary"]["fid"]["n"] = 2
    assert reporting.main_table(found)[2][6] == "18.5\nsd of 2 runs, 1 did not train"
    assert reporting.sayings(found)[0].endswith("direction only, no verdict; 1 of 3 runs did not train")
    assert reporting.sayings(found)[1] == f"thin did not train with seed 2, which counts as failed: {WALL}"
    thin["runs"]["1"] = {**thin["runs"]["1"], "failed": "loss is not finite"}
    assert reporting.sayings(found)[0].endswith("; 1 of 3 runs failed; 1 of 3 runs did not train")


def test_an_arm_that_never_trained_has_a_row_that_says_so() -> None:
    found = data("direction", "lower in 3 of 3 seeds", failed=WALL, untrained=True)
    found["differences"]["fid"] = {}
    found["arms"][1]["summary"]["fid"] = None
    thin = reporting.main_table(found)[2]
    assert thin[1] == "500,000\n−50 %"
    assert thin[6:9] == ["did not train\n3 runs", "–", "did not train: nothing to compare"]
    assert reporting.sayings(found)[0] == "thin: did not train: nothing to compare"
    assert f"thin did not train with seeds 0-2, which counts as failed: {WALL}" in reporting.sayings(found)
    assert "did not train" in reporting.short_table(found)[2][5]


def test_pilots_that_did_not_train_are_told_with_the_margin() -> None:
    found = data("direction", "lower in 3 of 3 seeds")
    found["fixed"]["pilots"] = {"untrained": {"1001": WALL}}
    line = f"Pilots with seed 1001 did not train and are left out of the margin: {WALL}"
    assert line in reporting.sayings(found)


def test_saturated_discriminators_of_runs_that_trained_are_told() -> None:
    saturated = [{"kind": "saturated", "images": 5000, "text": "saturated discriminator"}]
    found = data("not worse", "not worse (margin 1.2, 5 seeds)", findings=saturated)
    assert reporting.sayings(found)[0].endswith("; 3 of 3 runs had a saturated discriminator")


def test_runs_before_the_test_that_were_trained_again_are_told() -> None:
    found = data("direction", "lower in 3 of 3 seeds")
    found["fixed"]["retried"] = {"pilots/seed-1000": "the disk was full"}
    line = "pilots/seed-1000, before the test, was trained again after it had failed: the disk was full"
    assert line in reporting.sayings(found)


def test_seconds_that_were_not_equal_after_all_are_told() -> None:
    found = data("direction", "lower in 3 of 3 seeds", seconds=140.0)
    found["fixed"]["equal_seconds"] = {"seconds": 120.0, "images": {"plain": 1000, "thin": 2000}}
    assert "differ by more than a tenth" in reporting.sayings(found)[-1]
    found["arms"][1]["runs"] = found["arms"][0]["runs"]
    assert "differ by more than a tenth" not in reporting.sayings(found)[-1]


def test_runs_say_themselves_how_they_were_trained() -> None:
    found = data("direction", "lower in 3 of 3 seeds")
    for one, threads in zip(found["arms"], (1, 2), strict=True):
        run = {**one["runs"]["0"], "threads": threads, "trained_on": "a processor, cpu"}
        one["runs"] = {"0": run, "1": {**run, "retried": "the disk was full"}}
    lines = reporting.sayings(found)
    assert "plain, seed 1, was trained again after it had failed: the disk was full" in lines
    assert (
        "Runs were trained on 2 kinds of hardware: (a) a processor, cpu, 1 thread; (b) a processor, cpu, 2 threads. No "
        "times of training are compared, since no kind trained runs of every arm."
    ) in lines
    assert any(line.startswith("Seeds 0-1: not all arms had the same hardware.") for line in lines)
    assert "training with 1 or 2 threads a run, 2 at a time" in reporting.protocol_line(found)
    assert "at a time" not in reporting.protocol_line({**found, "trained_before": ["runs/plain/seed-0"]})


def test_times_of_training_are_those_of_one_kind_of_machine() -> None:
    found = data("direction", "lower in 3 of 3 seeds")
    fast, slow = ({"threads": 1, "trained_on": name, "torch": "2.13"} for name in ("fast, cpu", "slow, cpu"))
    moved = {**slow, "continued": [fast]}
    for one, kinds in zip(found["arms"], ((fast, slow, slow), (fast, fast, moved)), strict=True):
        first = one["runs"]["0"]
        one["runs"] = {
            str(seed): {**first, **kind, "images_per_second": 900.0 if kind["trained_on"][0] == "f" else 100.0}
            for seed, kind in enumerate(kinds)
        }
    lines = "\n".join(reporting.sayings(found))
    assert "(b) slow, cpu, 1 thread, torch 2.13; (c) slow, cpu, 1 thread, torch 2.13 then fast, cpu" in lines
    assert "Times of training are those of (a) alone." in lines
    assert "Seeds 1-2: not all arms had the same hardware." in lines
    assert [row[5].partition("\n")[0] for row in reporting.main_table(found)[1:]] == ["900 images/s"] * 2


def test_numbers_are_not_rounded_to_what_they_are_not() -> None:
    assert [words.number(99.96), words.number(999.97, 4), words.number(9.996)] == ["100", "1,000", "10.0"]
    assert [words.macs(999_999_999), words.macs(999_000_000)] == ["1.00 G", "999.00 M"]
    assert [words.against(0.3, 100), words.against(0.0001, 100)] == ["−99.7 %", "−99.9 %"]  # something is left
    assert [words.against(100.2, 100), words.against(60, 100)] == ["+0.2 %", "−40 %"]


def test_a_floor_of_fewer_images_than_its_value_says_so() -> None:
    value = {"protocol": {"fake_count": 2400, "real_count": 2400},
             "floor": {"value": 0.0427, "protocol": {"fake_count": 1200, "real_count": 1200}}}  # fmt: skip
    assert words.floor_of(value) == "real against real 0.0427 (only 1,200 images)"
    value["floor"]["protocol"] = dict(value["protocol"])  # type: ignore[index]
    assert words.floor_of(value) == "real against real 0.0427"
    assert words.floor_of({**value, "floor": None}) == ""


def test_a_page_of_a_search_says_why_a_candidate_was_not_trained() -> None:
    from frugan.reporting._fit import _left_out

    def said(name: str, **measured: dict[str, Any]) -> str:
        kinds = {f"{form}{width}": {"form": form, "parameters": 100 * width, "trained": form + str(width) == "wide7"}
                 for form in ("wide", "deep", "late") for width in (1, 5, 7, 9)}  # fmt: skip
        return _left_out({"candidates": kinds, "measured": measured}, name)

    assert said("wide9", wide9={"counted": True}) == "too large: its weights alone"
    assert said("wide9", wide9={"fits": False}) == "over the budget"
    assert said("wide5", wide7={"fits": True}) == "thinner than those that were trained"
    assert said("deep9", deep5={"fits": False}) == "not measured: a thinner one of its kind is over the budget"
    assert said("deep1", deep5={"fits": True}) == "not measured: enough others were trained"
    assert said("deep5", deep5={"fits": True}) == "not trained: enough others were"
    assert said("late5", deep5={"fits": False}) == "not tried: the time for measuring was over"


def test_a_protocol_against_statistics_or_of_too_few_images_has_words_too() -> None:
    statistics = {**PROTOCOL, "data": "statistics of fid.npz, count unknown", "split": None, "real_count": None}
    assert "10,000 fakes against statistics of fid.npz, count unknown; view" in words.protocol(statistics)
    few = {**PROTOCOL, "few_images": "50 fake images, and fid takes 1,000"}
    assert words.protocol(few).endswith("too few images: 50 fake images, and fid takes 1,000")
    blind = words.protocol({**PROTOCOL, "view_at_chance": "always saying 'a' is right on 50.0%"})
    assert "these values may mean little: always saying 'a' is right on 50.0%" in blind


def test_how_to_repeat_a_comparison_names_all_that_it_was_judged_by() -> None:
    from frugan.reporting import _comparison as page_of

    found = data("direction", "lower in 3 of 3 seeds")
    arms = [{**one, "control_of": None} for one in found["arms"]]
    control = {**arms[1], "name": "thin control (macs)", "control_of": "thin"}
    for one in (*arms, control):
        one["runs"] = {"0": {"folder": f"runs/{one['name']}/seed-0"}}
    found |= {
        "arms": [*arms, control], "margin": 0.5, "fixed": {"margin_rule": "the largest of"}, "match": "macs",
        "equal": None, "count": 5000, "view": None, "reference": "train",
    }  # fmt: skip
    command = page_of._command(Path("here"), found)
    assert "--seeds 0-2 --metrics fid --count 5000 --reference train --margin 0.5 --match macs --no-damaged" in command
    assert "control" not in command
    fitted = page_of._command(Path("here"), {**found, "equal": "seconds"})
    assert "--match" not in fitted

    arms[1]["name"] = "depthwise,multiplier=2"
    arms[1]["runs"]["0"]["folder"] = "runs/thin/seed-0"
    unfixed = page_of._command(Path("my folder"), {**found, "arms": arms, "margin": None})
    _, _, first, second, *rest = shlex.split(unfixed.replace("\\\n", ""))
    assert first == "plain: 'my folder/arms/plain.json'"
    assert second == "depthwise,multiplier 2: 'my folder/arms/thin.json'"
    assert "--pilot-seeds none" in " ".join(rest)


def test_a_page_says_how_many_images_each_run_saw() -> None:
    from frugan.reporting import _comparison as page_of

    arms = [{"images": 1000, "damaged": False}, {"images": 1000, "damaged": False}, {"images": 250, "damaged": True}]
    assert page_of._budgets({"arms": arms}) == "1,000 images seen by each run"
    arms[1]["images"] = 2500
    assert page_of._budgets({"arms": arms}) == "1,000 to 2,500 images seen by a run, as many in all runs of an arm"


def test_a_verdict_and_what_went_wrong_are_said_in_lines() -> None:
    collapsed = [{"kind": "collapse", "images": 5000, "text": "mode collapse"}]
    found = data("not worse", "not worse (margin 1.2, 5 seeds)", findings=collapsed)
    assert reporting.sayings(found) == ["thin: not worse (margin 1.2, 5 seeds); 3 of 3 runs collapsed"]
    failed = data("direction", "lower in 3 of 3 seeds", failed="loss is not finite")
    assert reporting.sayings(failed)[0].endswith("3 of 3 runs failed")


def test_the_short_table_fits_a_terminal_and_the_protocol_is_one_line() -> None:
    head, *rows = reporting.short_table(data("direction", "lower in 3 of 3 seeds"))
    assert {len(head)} == {len(row) for row in rows} == {7}
    line = reporting.protocol_line(data("direction", "lower in 3 of 3 seeds"))
    facts = ("split test (01234567)", "accuracy 99.1 %", "averaged weights", "Seeds 0-2", "1 thread a run, 2 at a time")
    assert [fact for fact in facts if fact not in line] == []
    assert "\n" not in line


def test_all_metrics_stand_beside_each_other_with_the_way_that_is_better() -> None:
    found = data("direction", "lower in 3 of 3 seeds")
    found["metrics"]["linear_probe"] = {"better": "higher", "protocol": PROTOCOL}
    for arm_, mean in zip(found["arms"], (0.9123, None), strict=True):
        arm_["summary"]["linear_probe"] = None if mean is None else {"mean": mean, "sd": 0.0123, "n": 3}
    assert reporting.metrics_table(found) == [
        ["arm", "FID\n(classifier) ↓", "linear probe ↑"], ["plain", "20.00 ± 0.50", "0.912 ± 0.012"],
        ["thin", "18.5", "–"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [(23.138, 0.93, "23.14 ± 0.93"), (24.81, 1.21, "24.8 ± 1.2"), (0.0771, 0.0031, "0.0771 ± 0.0031"),
     (6053.2, 17.6, "6,053 ± 18"), (0.0, 0.0, "0 ± 0"), (12.3456, None, "12.3")],
)  # fmt: skip
def test_a_mean_has_the_places_that_its_deviation_leaves(mean: float, sd: float | None, text: str) -> None:
    assert words.measured({"mean": mean, "sd": sd}) == text


def test_words_for_numbers() -> None:
    assert words.number(1234567.0) == "1,234,567"
    assert words.number(-0.5) == "−0.500"
    assert words.number(None) == "–"
    assert words.signed(0.25) == "+0.2500"
    assert words.signed(-0.25) == "−0.2500"
    assert words.macs(2_500_000_000) == "2.50 G"
    assert words.macs(1_234_000) == "1.23 M"
    assert [words.duration(s) for s in (12, 300, 7200, None)] == ["12 s", "5 min", "2.0 h", "–"]
    assert words.seeds([0, 1, 2]) == "0-2"
    assert words.seeds([0, 2]) == "0,2"
    assert words.seeds([3]) == "3"
    assert words.against(50, 100) == "−50 %"
    assert words.against(5, 5) == ""
    assert words.against(None, 5) == ""


def test_a_metric_is_named_with_its_view_where_it_looks_through_one() -> None:
    assert words.metric("fid", "classifier") == "FID (classifier)"
    assert words.metric("precision_recall", "pixels") == "precision recall (pixels)"
    assert words.metric("swd", "classifier") == "swd"
    assert words.metric("ms_ssim", "classifier") == "ms ssim"
    assert words.metric("class_coverage", "classifier") == "class coverage (classifier)"
    assert words.metric("a metric of somebody", "inception") == "a metric of somebody (inception)"


# -------------------------------------------------------------------------------------------------------------- charts


def test_a_chart_is_one_svg_with_the_pages_colours_and_no_size_of_its_own() -> None:
    line = charts.Line([0, 1000, 2000], [1.0, 0.5, float("nan")], 1)
    text = charts.curves([line], "A & B", rules=[(0.6, "below")], marks=[500])
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == "A & B"
    assert "width" not in root.attrib
    assert "viewBox" in root.attrib
    assert "var(--arm-1)" in text
    assert "var(--ink)" in text
    assert "#010" not in text
    assert "images seen" in text  # text stays text
    assert text == charts.curves([line], "A & B", rules=[(0.6, "below")], marks=[500])
    for height in (-5.0, 5.0):
        assert "reached" not in charts.curves([line], "A & B", rules=[(height, "reached")])
    for height in (0.001, 5.0):
        assert "reached" in charts.curves([line], "A & B", rules=[(height, "reached")], from_zero=True)


def test_shares_that_a_game_logs_are_a_chart_for_each_whole() -> None:
    log = [
        {"images": 100, "shares.mutations.minimax": 0.25, "shares.mutations.lsgan": 0.75, "shares.eyes.two": 1.0},
        {"images": 200, "shares.mutations.minimax": 0.75, "shares.mutations.lsgan": 0.25, "shares.eyes.two": 1.0},
    ]
    mutations, eyes = _run._shares([*log, {"images": 250, "health.spread": 1.0}])
    assert (mutations["title"], eyes["title"]) == ("Mutations", "Eyes")
    assert "over the whole run minimax 50%, lsgan 50%" in mutations["caption"]
    root = ElementTree.fromstring(mutations["svg"])
    assert root.attrib["aria-label"] == "Mutations"
    for told in ("minimax", "lsgan", "images seen", "var(--arm-1)"):
        assert told in mutations["svg"]
    assert "#010" not in mutations["svg"]
    assert _run._shares([{"images": 1, "generator.loss": 0.5}]) == []


def test_values_under_several_truncations_are_a_chart(run: Path, tmp_path: Path) -> None:
    def line(truncation: float | None, recall: float, **protocol: Any) -> dict[str, Any]:
        values = {"f_score": 0.5, "precision": 0.6, "recall": recall}
        about = {**PROTOCOL, "truncation": truncation, **protocol}
        return {"metric": "precision_recall", "values": values, "images": 96, "protocol": about}

    folder = RunFolder(tmp_path)
    lines = [line(None, 0.7), line(0.5, 0.3, generator="other"), line(0.25, 0.1, fake_count=5)]
    folder.metrics.write_text("".join(json.dumps(one) + "\n" for one in [*lines, line(1.0, 0.5)]))
    chart, path = _run._truncations(folder)
    assert chart["title"] == "Precision recall by truncation"
    assert path["title"] == "Quality against variety, by truncation"
    assert "recall (variety)" in path["svg"]
    for word in ("0.5", "1", "none", "recall", "f score"):
        assert f">{word}<" in chart["svg"]
    assert ">0.25<" not in chart["svg"]  # of another count
    assert _run._truncations(RunFolder(run)) == []


def test_quality_against_cost_takes_one_seed_and_several() -> None:
    points = [charts.Point(2e6, 20.0, None, 0, "plain"), charts.Point(1e6, 500.0, 3.0, 1, "thin")]
    text = charts.quality(points, "parameters", "FID", "FID against parameters")
    assert ElementTree.fromstring(text) is not None
    assert "1M" in text
    assert "2M" in text


def test_differences_are_intervals_of_which_the_left_ones_are_better() -> None:
    def drawn(better: str, margin: float | None) -> tuple[str, dict[str, float]]:
        told = data("withheld", "")
        told["metrics"]["fid"]["better"], told["margin"] = better, margin
        told["differences"]["fid"]["thin"]["differences"] = [-2.0, -1.0]
        control = {"mean": 9.0, "interval_95": [8.0, 10.0], "differences": [8.5, 9.5]}
        told["controls"] = [{"arm": "thin", "difference": control}]
        text = _comparison._differences(told)
        labels = ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")
        return text, {"".join(label.itertext()): float(label.attrib["x"]) for label in labels if "x" in label.attrib}

    text, places = drawn("lower", None)
    assert {"thin", "thin minus its control", "FID (classifier) minus that of plain"} <= set(places)
    assert places["0"] < places["+10"]
    assert "FillBetween" not in text
    text, places = drawn("higher", 4.0)
    assert places["0"] > places["+10"]
    assert "FillBetween" in text  # the band of the margin
    single = data("direction", "")
    single["differences"]["fid"]["thin"]["interval_95"] = None
    assert _comparison._differences(single) == ""


def test_curves_are_thinned_by_means_and_averaged_where_all_have_a_point() -> None:
    x, y = charts.thinned(list(range(1000)), [float(number % 2) for number in range(1000)], most=100)
    assert len(x) == 100
    assert x[-1] == 999
    assert set(y) == {0.5}
    assert charts.mean_curve([([1, 2, 3], [1.0, 2.0, 3.0]), ([1, 3], [3.0, 5.0])]) == ([1, 3], [2.0, 4.0])


def test_ticks_of_a_logarithmic_axis_are_round_and_few() -> None:
    assert charts.round_numbers(1e5, 1e8) == [1e5, 1e6, 1e7, 1e8]
    assert charts.round_numbers(1.2e6, 3.2e6) == [1.2e6, 1.5e6, 2e6, 2.5e6, 3e6]
    assert charts.round_numbers(1.01, 1.02) == [pytest.approx(1.015, abs=1e-3)]
    assert [charts.short(value) for value in (60_000, 2_330_944, 0.4, 1e9)] == ["60k", "2.33M", "0.4", "1G"]
