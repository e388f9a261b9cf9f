"""Runs keep the kernels that they were begun with: chosen once, saved with the checkpoint, the same after a stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frugan import kernels, memory, recipes, training
from frugan.engine import checkpoint
from frugan.engine.processes import Processes
from frugan.engine.run import RunFolder
from frugan.kernels import _compiler
from frugan.registry import UserError
from frugan.training import _deciding

compiles = pytest.mark.skipif(_compiler.compiler() is None, reason="needs a C++ compiler")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 pictures of noise."""
    path = tmp_path_factory.mktemp("noise") / "noise.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 255, (32, 16, 16), dtype=np.uint8))
    return path


@pytest.fixture(autouse=True)
def _allocator_as_it_is(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run in this process would change it for all tests after it."""
    monkeypatch.setattr(memory, "keep", lambda: None)
    return


def trained(data: Path, out: Path, images: int, **changes: Any) -> RunFolder:
    """A short run of a small DCGAN whose 3 x 3 layers are depthwise."""
    settings = {
        "data.size": 16, "data.channels": 1, "data.classes": 0, "generator.channels": 8, "discriminator.channels": 8,
        "generator.kernel": 3, "batch_size": 4, "averages": {}, **changes,
    }
    return training.train(
        "dcgan-64-faithful", data=str(data), family="depthwise", images=images, out=out, changes=settings, quiet=True
    )


def state(run: RunFolder) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    newest = checkpoint.newest(run.checkpoints)
    assert newest is not None
    return checkpoint.read(newest)


def chosen(run: RunFolder) -> dict[str, str]:
    return {key: value["value"] for key, value in state(run)[1]["kernels"]["items"][0][1]["items"]}


@compiles
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_stopped_run_goes_on_with_its_kernels_bit_for_bit(data: Path, tmp_path: Path, precision: str) -> None:
    settings = {"kernels": "compiled", "precision": precision}
    unbroken = trained(data, tmp_path / "unbroken", 24, **settings)
    trained(data, tmp_path / "stopped", 12, **settings)
    resumed = trained(data, tmp_path / "stopped", 24, **settings)
    # But for the first layer, of one pixel, which no compiled function takes.
    assert {name for key, name in chosen(resumed).items() if not key.startswith("transposed ")} == {"compiled"}
    assert chosen(resumed) == chosen(unbroken)
    one, other = state(unbroken)[0], state(resumed)[0]
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert resumed.read_json(resumed.facts)["kernels"] == "compiled"


@compiles
def test_compiled_kernels_train_the_same_networks(data: Path, tmp_path: Path) -> None:
    runs = [
        trained(data, tmp_path / mode, 8, kernels=mode, precision="float32") for mode in ("plain", "compiled")
    ]
    one, other = (state(run)[0] for run in runs)
    assert set(one) == set(other)
    for name in one:
        if name.startswith("network"):
            assert torch.allclose(one[name].double(), other[name].double(), atol=2e-3), name  # Adam's steps are 2e-4


@compiles
def test_a_resumed_run_measures_nothing_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from frugan.kernels import _trial

    run = trained(data, tmp_path / "run", 8, kernels="measured")
    before = chosen(run)
    assert before
    monkeypatch.setattr(_trial, "milliseconds", lambda *given: pytest.fail("measured again"))
    assert chosen(trained(data, tmp_path / "run", 16, kernels="measured")) == before


@compiles
def test_without_its_compiler_a_run_goes_on_and_says_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(data, tmp_path / "run", 8, kernels="compiled")
    monkeypatch.setattr(_compiler, "compiler", lambda: None)
    monkeypatch.setattr(_compiler, "load", lambda source, **defines: None)
    run = trained(data, tmp_path / "run", 16, kernels="compiled")
    assert "-> None" in capsys.readouterr().err
    assert "compiled" not in chosen(run).values()


def test_short_runs_are_left_as_they_are(data: Path, tmp_path: Path) -> None:
    run = trained(data, tmp_path / "run", 8)
    assert "kernels" not in run.read_json(run.facts)
    assert "kernels" not in state(run)[1]


def test_what_auto_meant_may_be_said_outright_when_a_run_goes_on_and_left_out_again(data: Path, tmp_path: Path) -> None:
    decided = training.decided_in(trained(data, tmp_path / "run", 8))
    assert decided["kernels"] == "plain"
    with pytest.raises(UserError, match="kernels: 'plain' -> 'measured'"):
        trained(data, tmp_path / "run", 16, kernels="measured")
    for images, said in ((16, decided), (24, {})):
        assert training.decided_in(trained(data, tmp_path / "run", images, **said)) == decided


def test_several_processes_compute_in_bf16_only_if_each_of_them_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(Processes):
        def any(self, flag: bool) -> bool:
            return True  # another process says so

    recipe, cpu = recipes.find("vanilla"), torch.device("cpu")
    monkeypatch.setattr(_deciding, "decide", lambda rounds, device: {"kernels": "plain", "precision": "bf16"})
    assert _deciding.settled(recipe, RunFolder(tmp_path), cpu, Processes()).precision == "bf16"
    assert _deciding.settled(recipe, RunFolder(tmp_path), cpu, Other(0, 2)).precision == "float32"


def test_auto_means_measured_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(_compiler, "compiler", lambda: ("/usr/bin/c++", "c++ 12"))
    assert kernels.resolve("auto", cpu, kernels.LEAST_ROUNDS) == "measured"
    assert kernels.resolve("auto", cpu, kernels.LEAST_ROUNDS - 1) == "plain"
    assert kernels.resolve("compiled", cpu, 1) == "compiled"
    assert kernels.resolve("auto", torch.device("cuda"), 10**6) == "plain"
    monkeypatch.setattr(_compiler, "compiler", lambda: None)
    assert kernels.resolve("auto", cpu, 10**6) == "plain"


def test_a_recipe_with_an_unknown_choice_is_refused_before_data_are_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"kernels=fastest is unknown"):
        trained(tmp_path / "nothing.npz", tmp_path / "run", 8, kernels="fastest")
