"""Benching: what is counted, what is told, and where it goes. No time is tested: machines are busy."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from frugan import artefact, benching, build, convs, costs, memory, recipes
from frugan.benching import Roofline, _roofline, bench
from frugan.convs._primitives import Convolution, Transposed
from frugan.kernels import Choices, _compiler
from frugan.registry import UserError

SMALL = {"generator.width": 0.25, "discriminator.width": 0.25}
ONE = Roofline({"float32": 1.0, "bf16": 1.0}, float("inf"))


MEASURED = _roofline.measured


@pytest.fixture(autouse=True)
def _the_machine_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds, before and after the rounds of each `bench`."""
    machine = Roofline({"float32": 1e12, "bf16": 1e12}, 1e11)
    monkeypatch.setattr(_roofline, "measured", lambda precisions, device: machine)


@pytest.fixture(autouse=True)
def _memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would change this process for all tests."""
    monkeypatch.setattr(memory, "keep", lambda: None)


def macs(module: nn.Module, *shape: int) -> tuple[float, float]:
    """Multiply-accumulates of a forward, and of a forward and backward, when one takes a second."""
    images = torch.randn(shape, requires_grad=True)
    with torch.no_grad():
        forward = _roofline.count(lambda: module(images), ONE)
    both = _roofline.count(lambda: module(images).sum().backward(), ONE)
    return sum(one.ideal for one in forward.values()), sum(one.ideal for one in both.values())


@pytest.mark.parametrize(
    ("module", "shape", "forward"),
    [
        (nn.Conv2d(8, 6, 3, padding=1), (2, 8, 5, 5), 2 * 25 * 6 * 8 * 9),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (2, 8, 5, 5), 2 * 25 * 8 * 9),
        (nn.Conv2d(8, 8, 4, stride=2, padding=1, groups=4), (2, 8, 6, 6), 2 * 9 * 8 * 2 * 16),
        (nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1), (2, 8, 5, 5), 2 * 25 * 6 * 8 * 16),
        (nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1, groups=8), (2, 8, 5, 5), 2 * 25 * 8 * 16),
        (nn.Linear(8, 6), (2, 8), 2 * 8 * 6),
    ],
)
def test_forward_and_backward_are_counted_by_hand(module: nn.Module, shape: tuple[int, ...], forward: int) -> None:
    assert macs(module, *shape) == (forward, 3 * forward)


@pytest.mark.skipif(_compiler.compiler() is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("transposed", [False, True])
def test_compiled_layers_are_counted_as_torchs_own(transposed: bool) -> None:
    kind = Transposed if transposed else Convolution
    layer = kind(8, 8, (4, 4), stride=(2, 2), rows=(1, 1), columns=(1, 1), groups=8)
    images = torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    counted = {}
    for mode in ("plain", "compiled"):
        with Choices(mode).active():
            counted[mode] = _roofline.count(lambda: layer(images).sum().backward(), ONE)
    assert {name for name, _ in counted["compiled"]} >= {
        "depthwise_forward", "depthwise_transposed", "depthwise_weight"
    }  # fmt: skip
    plain, compiled = (sum(one.ideal for one in found.values()) for found in counted.values())
    assert plain == compiled == 3 * 2 * (36 if transposed else 9) * 8 * 16


def test_rounds_are_timed_with_the_kernels_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compiler, "compiler", lambda: ("c++", "c++ 12"))
    quick = {"families": ("standard",), "precisions": ("float32",), "batch_size": 2, "repeats": 2, "seconds": 0.0}
    assert bench("mnist", **quick, changes=SMALL).kernels == "measured"
    assert bench("mnist", **quick, changes={**SMALL, "images": 32}).kernels == "plain"
    found = bench("mnist", **quick, changes={**SMALL, "kernels": "plain"})
    assert found.as_dict()["kernels"] == "plain"


def test_memory_bounds_a_layer_that_computes_little() -> None:
    layer = nn.Conv2d(8, 8, 1, groups=8, bias=False)
    images = torch.randn(2, 8, 5, 5)
    slow_memory = Roofline({"float32": float("inf")}, 4.0)
    with torch.no_grad():
        found = _roofline.count(lambda: layer(images), slow_memory)
    assert sum(one.ideal for one in found.values()) == images.numel() + layer.weight.numel() + images.numel()


def test_what_is_neither_a_convolution_nor_a_product_is_free_and_listed() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Tanh())
    with torch.no_grad():
        found = _roofline.hottest(_roofline.count(lambda: layer(torch.randn(1, 3, 4, 4)), ONE))
    shares = {one.operation: one.share for one in found}
    assert shares["tanh"] is None
    assert shares["convolution"] is not None


def test_whole_cycles_of_penalties_are_timed_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """R1 is due in every fourth round of mnist. One round has it or not, and would be a wrong mean."""
    played: list[int] = []
    counted: list[int] = []
    timed, count = benching._seconds, _roofline.count

    def time_them(run: Any, times: int, device: torch.device) -> float:
        played.append(times)
        return timed(run, times, device)

    def count_them(run: Any, roofline: Roofline, times: int = 1) -> Any:
        counted.append(times)
        return count(run, roofline, times)

    monkeypatch.setattr(benching, "_seconds", time_them)
    monkeypatch.setattr(_roofline, "count", count_them)
    bench("mnist", families=("standard",), precisions=("float32",), batch_size=2, repeats=2, seconds=0.05,
          changes={**SMALL, "kernels": "plain"})  # fmt: skip
    assert len(played) == 3
    assert all(times % 4 == 0 for times in played)
    assert counted[0] == 4  # the round; sampling has no penalties


def test_what_is_counted_in_several_runs_is_their_mean() -> None:
    layer, images, number = nn.Conv2d(3, 5, 1), torch.randn(1, 3, 4, 4), iter(range(-1, 99))

    def run() -> None:
        with torch.no_grad():
            layer(images)
            if next(number) % 4 == 0:
                layer(images)

    found = _roofline.count(run, ONE, 4)
    (one,) = (operation for (name, _), operation in found.items() if name == "convolution")
    assert (one.calls, one.ideal) == (1.25, 1.25 * 16 * 15)


def test_every_family_and_precision_is_timed_and_kept(tmp_path: Path) -> None:
    found = bench(
        "mnist", families=("standard", "depthwise"), precisions=("float32", "bf16"), batch_size=4, repeats=2,
        seconds=0.01, changes=SMALL,
    )  # fmt: skip
    rounds = [(one.family, one.precision) for one in found.timed if one.what == "round"]
    assert rounds == [(family, kind) for family in ("standard", "depthwise") for kind in ("float32", "bf16")]
    assert [one.what for one in found.timed if one.family == "standard"][2:] == ["sample 1", "sample 64"]
    assert all(one.milliseconds > 0 and one.share > 0 for one in found.timed)
    plot = found.save(tmp_path / "bench")
    assert plot.read_bytes().startswith(b"\x89PNG")
    kept = json.loads((tmp_path / "bench" / "bench.json").read_text())
    assert kept["timed"][0]["family"] == "standard"
    assert len(kept["hottest"]) == 4
    found.show(layers=True)
    found.save(tmp_path / "bench")  # its own files may be written anew


@pytest.mark.parametrize(
    ("recipe", "judges", "images"),
    [
        ("cgan", ["discriminator"], 2),
        ("stargan", ["discriminator"], 10),  # five steps of the discriminator
        ("cyclegan-6", ["discriminator_a", "discriminator_b"], 4),  # two streams
    ],
)
def test_recipes_with_labels_and_with_two_streams_are_benched(recipe: str, judges: list[str], images: int) -> None:
    changes = {"data.size": 32, "architecture.width": 0.125, **{f"{name}.width": 0.125 for name in judges}}
    found = bench(recipe, families=("standard",), precisions=("float32",), batch_size=2, repeats=2, seconds=0.0,
                  changes=changes)  # fmt: skip
    assert [one.what for one in found.timed] == ["round", "sample 1", "sample 64"]
    assert found.images == images
    assert found.timed[0].images_per_second * found.timed[0].milliseconds / 1000 == pytest.approx(images)


def test_the_peak_is_that_of_the_faster_library(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = []
    for layer, product in ((100.0, 0.5), (0.1, 100.0)):
        seconds = iter((layer, product))
        monkeypatch.setattr(_roofline, "_fastest", lambda run, device, seconds=seconds: (run(), next(seconds))[1])
        peaks.append(_roofline._product("float32", torch.device("cpu"), sizes=(2048,)))
    assert peaks == [2048**3 / 0.5, 4 * 64**2 * 512**2 / 0.1]


def test_the_machine_is_measured_by_no_larger_products_than_it_is_fast_enough_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = iter((1.0, 0.01, 0.2))
    monkeypatch.setattr(_roofline, "_fastest", lambda run, device: next(seconds))
    assert _roofline._product("bf16", torch.device("cpu")) == 4 * 64**2 * 512**2
    assert next(seconds, None) is None  # of 256, 512, 1024 and 2048 the first two were run


def test_the_machine_is_measured_in_float32_whatever_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_roofline, "_fastest", lambda run, device: (run(), 0.25)[1])
    assert MEASURED((), torch.device("cpu")) == Roofline({"float32": 4 * 64**2 * 512**2 / 0.25}, 2 * (64 << 20) / 0.25)


def test_a_slow_run_is_not_repeated_for_minutes() -> None:
    runs: list[int] = []
    _roofline._fastest(lambda: (runs.append(1), time.sleep(0.02)), torch.device("cpu"), repeats=9, patience=0.03)
    assert len(runs) == 2


def test_a_recipe_with_families_of_its_own_is_an_arm_of_its_own() -> None:
    assert benching.arms_of(recipes.find("stargan"))[0] == "standard"
    assert set(benching.arms_of(recipes.find("stargan"))) == set(convs.names())
    assert benching.arms_of(recipes.find("depthwise-g"))[:2] == ("as it is", "standard")


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    found = bench("mnist", families=("standard",), precisions=("float32",), batch_size=2, repeats=2, seconds=0.0,
                  changes=SMALL)  # fmt: skip
    with pytest.raises(UserError, match=r"holds files that frugan bench did not write. Give another --out"):
        found.save(tmp_path)


def test_what_is_timed_lies_in_memory_as_what_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: dict[str, bool] = {}
    measured = costs.latencies

    def listen(arms: Any, **rest: Any) -> Any:
        weights = next(one for one in arms["standard"][0].parameters() if one.dim() == 4 and min(one.shape[1:]) > 1)
        timed["last"] = not weights.is_contiguous()
        return measured(arms, **rest)

    monkeypatch.setattr(costs, "latencies", listen)
    quick = {"families": ("standard",), "precisions": ("float32",), "batch_size": 2, "repeats": 2, "seconds": 0.0}
    for recipe, last in (("mnist", True), ("stargan", False)):
        bench(recipe, **quick, changes={**SMALL, "data.size": 28 if last else 32})
        made = build.networks(recipes.find(recipe).with_changes(SMALL))["generator"][0]
        shipped = artefact.set_memory_layout(made, "decoder" if last else "translator")
        assert timed["last"] is last
        assert any(one.dim() == 4 and not one.is_contiguous() for one in shipped.parameters()) is last


def test_mistyped_names_are_answered() -> None:
    with pytest.raises(UserError, match="cannot measure the precision 'fp16'"):
        bench("mnist", precisions=("fp16",))
    with pytest.raises(UserError, match="depthwise"):
        bench("mnist", families=("depthwize",), precisions=("float32",))
    with pytest.raises(UserError, match="give 2 or more"):
        bench("mnist", repeats=1)


def test_of_two_measurements_of_the_machine_the_higher_numbers_count() -> None:
    one, other = Roofline({"bf16": 4.0, "float32": 1.0}, 7.0), Roofline({"bf16": 2.0, "float32": 2.0}, 5.0)
    assert one.best(other) == other.best(one) == Roofline({"bf16": 4.0, "float32": 2.0}, 7.0)
