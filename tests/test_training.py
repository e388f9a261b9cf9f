"""Training as users meet it: run folders, continuing after whatever happened, and runs that cannot go on.

Most runs are a command ``frugan train ...`` in a forked child (see fork_server.py), so that it can be killed.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import frugan
from frugan import build, countdown, memory, recipes, training
from frugan.artefact import load
from frugan.claims import is_claim
from frugan.data import open_dataset, tell_packing
from frugan.engine import checkpoint
from frugan.engine.run import RunFolder
from frugan.games.adversarial import Adversarial
from frugan.recipe import Choice, Recipe, from_dict, from_run
from frugan.registry import UserError

TESTS = Path(__file__).resolve().parent
TINY = [
    "generator.hidden=[8,8]", "discriminator.hidden=[8]", "latents.size=4", "data.size=8",
    'averages={"generator":{"half_life":50}}', "batch_size=4", "precision=float32",
]
Served = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 small labelled pictures of noise."""
    path = tmp_path_factory.mktemp("noise") / "noise.npz"
    pictures = np.random.default_rng(0).integers(0, 255, (64, 8, 8), dtype=np.uint8)
    np.savez(path, images=pictures, labels=np.arange(64) % 10)
    return path


@pytest.fixture(scope="module")
def serve(data: Path) -> Iterator[Served]:
    """``serve(arguments, fault=..., keep=...)`` runs ``frugan arguments`` in a forked child."""
    path = os.pathsep.join(filter(None, [str(TESTS.parent / "src"), os.environ.get("PYTHONPATH")]))
    server = subprocess.Popen(
        [sys.executable, str(TESTS / "fork_server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert server.stdin is not None
    assert server.stdout is not None

    def run(arguments: list[str], fault: dict[str, Any] | None = None, keep: float = 60.0) -> dict[str, Any]:
        assert server.stdin is not None
        assert server.stdout is not None
        print(json.dumps({"arguments": arguments, "fault": fault, "keep": keep}), file=server.stdin, flush=True)
        return json.loads(server.stdout.readline())

    yield run
    server.stdin.close()
    server.wait(30)
    server.stdout.close()


@pytest.fixture(scope="module")
def command(data: Path) -> Callable[..., list[str]]:
    """The arguments of a tiny run into `out`, with more of them if wanted, or with other values of the same keys."""

    def arguments(out: Path, *more: str, recipe: str = "vanilla", images: str | None = "1200") -> list[str]:
        budget = [] if images is None else ["--images", images]
        said = {word.partition("=")[0] for word in more}
        tiny = [word for word in TINY if word.partition("=")[0] not in said]
        return ["train", recipe, *tiny, "--data", str(data), *budget, "--out", str(out), *more]

    return arguments


def ended(answer: dict[str, Any]) -> None:
    assert answer["status"] == 0, answer["stderr"]


def everything(out: Path) -> dict[str, Any]:
    """All that a run ends with, but how long it took."""
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None
    tensors, rest = checkpoint.read(newest)
    found: dict[str, Any] = {name: (one.dtype, one.numpy(force=True).tobytes()) for name, one in tensors.items()}
    rest["clock"]["items"] = [item for item in rest["clock"]["items"] if item[0] != "seconds"]
    found["rest"] = json.dumps(rest, sort_keys=True)
    run = RunFolder(out)
    found["log"] = [{key: value for key, value in line.items() if key != "seconds"} for line in run.lines(run.log)]
    found["pictures"] = {path.name: path.read_bytes() for path in run.samples.glob("*.png")}
    found["files"] = sorted(path.name for path in out.rglob("*") if path.is_file() and path.suffix == ".tmp")
    return found


def same(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of what differs."""
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


@pytest.fixture(scope="module")
def unbroken(serve: Served, command: Callable[..., list[str]], tmp_path_factory: Any) -> dict[str, Any]:
    """A run of 1200 images that nothing happened to, and how long its rounds took."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    answer = serve(command(out))
    ended(answer)
    run = RunFolder(out)
    return {"seconds": run.lines(run.log)[-2]["seconds"], "out": out, **everything(out)}


def same_as_unbroken(unbroken: dict[str, Any], out: Path) -> list[str]:
    return [name for name in same(unbroken, everything(out)) if name not in ("seconds", "out")]


# ------------------------------------------------------------------------------------------------------------- resume


def test_killed_at_five_random_moments_a_run_ends_as_if_unbroken(serve, command, unbroken, tmp_path):
    out, seen, chance = tmp_path / "run", 0, random.Random(0)
    for _ in range(5):
        moment = chance.uniform(0, 0.15) * unbroken["seconds"]
        fault = {"kind": "signal_in_training", "signal": signal.SIGKILL, "seconds": moment}
        answer = serve(command(out), fault, keep=0.02)
        assert answer["status"] == -signal.SIGKILL, answer["stderr"]
        kept = checkpoint.newest(out / "checkpoints")
        now = 0 if kept is None else checkpoint.images_of(kept)
        assert now >= seen  # what was kept once is never lost
        seen = now
    assert seen > 0
    ended(serve(command(out)))
    assert same_as_unbroken(unbroken, out) == []


def test_with_streams_from_zero_the_same_comparison_differs(serve, command, unbroken, tmp_path):
    """The negative control: were the positions of the streams not restored, the tests around this one would fail."""
    ended(serve(command(tmp_path / "run", images="400")))
    ended(serve(command(tmp_path / "run"), {"kind": "streams_from_zero"}))
    differing = same_as_unbroken(unbroken, tmp_path / "run")
    assert {"network.generator/body.0.weight", "network.discriminator/heads.score.weight"} <= set(differing)
    assert "rest" in differing


def test_killed_after_every_write_flush_and_rename_a_run_ends_as_if_unbroken(serve, command, tmp_path):
    whole = tmp_path / "whole"
    ended(serve(command(whole, images="8"), keep=-1))
    wanted, number, seen = everything(whole), 0, 0
    while True:
        number += 1
        out = tmp_path / f"killed-{number}"
        answer = serve(command(out, images="8"), {"kind": "kill_at_event", "number": number}, keep=-1)
        if answer["status"] == 0:
            break
        assert answer["status"] == 9, answer["stderr"]
        kept = checkpoint.newest(out / "checkpoints")
        now = 0 if kept is None else checkpoint.images_of(kept)
        assert now >= seen, number
        seen = now
        ended(serve(command(out, images="8"), keep=-1))
        assert same(wanted, everything(out)) == [], number
    assert seen == 8
    assert number > 20  # recipe, facts, log, two checkpoints: each several events


@pytest.mark.parametrize("room", [0, 20_000, 60_000])
def test_a_disk_that_fills_up_costs_no_checkpoint(serve, command, unbroken, tmp_path, room):
    out = tmp_path / "run"
    assert serve(command(out), {"kind": "signal_at_round", "signal": signal.SIGTERM, "number": 99})["status"] == 130
    before = checkpoint.newest(out / "checkpoints")
    answer = serve(command(out), {"kind": "full_disk", "bytes": room}, keep=0.02)
    assert answer["status"] == 2, answer["stderr"]
    assert "No space left on device" in answer["stderr"]
    assert "Free some space, then run the same command again" in answer["stderr"]
    assert "Traceback" not in answer["stderr"]
    kept = checkpoint.newest(out / "checkpoints")
    assert kept is not None
    assert checkpoint.images_of(kept) >= checkpoint.images_of(before)
    assert not list((out / "checkpoints").glob("*.tmp"))
    ended(serve(command(out)))
    assert same_as_unbroken(unbroken, out) == []


CONV = [
    "generator.channels=[4,4,4]", "discriminator.channels=[4,4,4,4]", "latents.size=4", "data.size=8", "batch_size=4",
    "generator.reference=4",
]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_convolutional_nets_resume_bit_for_bit_in_either_precision(serve, data, tmp_path, precision):
    """With dropout, virtual batch norm and an average; bf16 computes in channels_last, also the optimiser's moments."""

    def arguments(out: Path) -> list[str]:
        keys = [*CONV, f"precision={precision}"]
        return ["train", "vbn", *keys, "--data", str(data), "--images", "160", "--out", str(out)]

    ended(serve(arguments(tmp_path / "unbroken")))
    fault = {"kind": "signal_at_round", "signal": signal.SIGKILL, "number": 17}
    answer = serve(arguments(tmp_path / "broken"), fault, keep=-1)
    assert answer["status"] == -signal.SIGKILL, answer["stderr"]
    ended(serve(arguments(tmp_path / "broken")))
    assert same(everything(tmp_path / "unbroken"), everything(tmp_path / "broken")) == []


REQUESTS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU]


@pytest.mark.parametrize("received", REQUESTS)
def test_ctrl_c_saves_says_how_to_continue_and_ends_with_130(serve, command, unbroken, tmp_path, received):
    out = tmp_path / "run"
    answer = serve(command(out), {"kind": "signal_at_round", "signal": received, "number": 130})
    assert answer["status"] == 130, answer["stderr"]
    assert "everything is kept. Run the same command again to continue" in answer["stdout"]
    kept = checkpoint.newest(out / "checkpoints")
    assert kept is not None
    assert checkpoint.images_of(kept) == 520
    ended(serve(command(out)))
    assert same_as_unbroken(unbroken, out) == []


@pytest.mark.parametrize("closed", ["out", "err", "both"])
def test_an_output_that_nobody_reads_is_a_request_to_stop_which_saves(serve, command, unbroken, tmp_path, closed):
    out = tmp_path / "run"
    answer = serve(command(out), {"kind": "closed_output", "closed": closed, "number": 130})
    kept = checkpoint.newest(out / "checkpoints")
    assert kept is not None
    # Progress goes to stderr; stdout has one line when the run ends.
    assert (answer["status"], checkpoint.images_of(kept)) == ((0, 1200) if closed == "out" else (130, 520))
    assert "Traceback" not in answer["stderr"]
    ended(serve(command(out)))
    assert same_as_unbroken(unbroken, out) == []


def test_a_deliberate_repeat_is_obeyed_at_once_and_says_what_is_kept(serve, command, tmp_path):
    fault = {"kind": "repeated", "signal": signal.SIGINT, "number": 30}
    first = serve(command(tmp_path / "run"), fault)
    assert first["status"] == 130
    assert "No checkpoint was written yet, so the run will begin anew." in first["stdout"]
    serve(command(tmp_path / "run"), {"kind": "signal_at_round", "signal": signal.SIGINT, "number": 30})
    assert "The checkpoint after 120 images is kept." in serve(command(tmp_path / "run"), fault)["stdout"]


def test_what_an_observer_raises_costs_no_training(serve, command, tmp_path):
    answer = serve(command(tmp_path / "run"), {"kind": "unwritable_previews"})
    assert answer["status"] == 2, answer["stderr"]
    assert "Read-only file system" in answer["stderr"]
    # The checkpoint of the moment of the error; none would be there without it.
    assert re.search(r"after ([\d,]+) images: .*\. The checkpoint after \1 images is kept\.", answer["stderr"])


def test_the_command_line_itself_resumes_after_sigkill(command, unbroken, tmp_path):
    """Once without the fork server: ``python -m frugan train ...`` as typed."""
    out = tmp_path / "run"
    path = os.pathsep.join(filter(None, [str(TESTS.parent / "src"), os.environ.get("PYTHONPATH")]))
    typed = [sys.executable, "-m", "frugan", *command(out)]
    environment = {**os.environ, "PYTHONPATH": path}
    first = subprocess.Popen(typed, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    log = out / "log.jsonl"
    while first.poll() is None and not (log.is_file() and log.stat().st_size > 300):
        time.sleep(0.01)
    first.kill()
    first.communicate()
    done = subprocess.run(typed, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Finished" in done.stdout
    assert same_as_unbroken(unbroken, out) == []


# --------------------------------------------------------------------------------------------------------- run folders


def test_a_finished_run_says_so_and_a_larger_number_of_images_trains_it_further(serve, command, unbroken, tmp_path):
    out = tmp_path / "run"
    ended(serve(command(out, images="402")))  # not a multiple of the batch: rounds are whole
    again = serve(command(out, images="402"))
    ended(again)
    assert "is finished: 404 images" in again["stdout"]
    assert "--images" in again["stdout"]
    ended(serve(command(out)))
    assert [name for name in same_as_unbroken(unbroken, out) if name not in ("log", "pictures")] == []
    assert from_dict(json.loads((out / "recipe.json").read_text())).images == 1200


def test_rounds_instead_of_images(serve, command, unbroken, tmp_path):
    answer = serve(command(tmp_path / "run", "--rounds", "300", images=None))
    ended(answer)
    assert "of 1,200 images" in answer["stderr"]
    assert [name for name in same_as_unbroken(unbroken, tmp_path / "run") if name != "rest"] == []
    again = serve(command(tmp_path / "run", "--rounds", "300", images=None))
    assert "is finished" in again["stdout"]
    assert "--rounds 600" in again["stdout"]


def test_other_settings_in_an_existing_folder_are_refused_with_the_differences(serve, command, tmp_path):
    out = tmp_path / "run"
    ended(serve(command(out, images="8")))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    answer = serve(command(out, "learning_rate=0.01", "--seed", "3", images="8"))
    assert answer["status"] == 2
    for difference in (
        "players.discriminator.learning_rate: 0.0002 -> 0.01", "players.generator.learning_rate: 0.0002 -> 0.01",
        "seed: 0 -> 3", "or another --out",
    ):
        assert difference in answer["stderr"]
    now = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and not is_claim(path)}
    assert now == {path: data for path, data in before.items() if not is_claim(path)}


def test_another_length_is_refused_where_a_schedule_follows_the_end(serve, command, tmp_path):
    key = "players.generator.schedule=linear"
    ended(serve(command(tmp_path / "run", key, images="8")))
    answer = serve(command(tmp_path / "run", key, images="16"))
    assert answer["status"] == 2
    assert "the schedule of generator depends on the end" in answer["stderr"]
    ended(serve(command(tmp_path / "other", f"{key},end=40", images="8")))
    ended(serve(command(tmp_path / "other", f"{key},end=40", images="16")))
    ended(serve(command(tmp_path / "whole", f"{key},end=40", images="16")))
    ended_weights = [everything(tmp_path / name) for name in ("other", "whole")]
    assert [name for name in same(*ended_weights) if name not in ("log", "pictures")] == []


def test_data_that_changed_since_is_refused(serve, command, data, tmp_path):
    ended(serve(command(tmp_path / "run", images="8")))
    arguments = command(tmp_path / "run", images="16")
    kept = data.read_bytes()
    try:
        np.savez(data, images=np.zeros((64, 8, 8), dtype=np.uint8), labels=np.arange(64) % 10)
        answer = serve(arguments)
    finally:
        data.write_bytes(kept)
    assert answer["status"] == 2
    assert "was begun on npz noise" in answer["stderr"]


def test_a_folder_that_holds_something_else_is_refused(serve, command, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("chapter one")
    answer = serve(command(tmp_path / "mine"))
    assert answer["status"] == 2
    assert "has files, but is not a run. Give another --out" in answer["stderr"]
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["thesis.tex"]
    answer = serve(command(tmp_path / "mine" / "thesis.tex"))
    assert answer["status"] == 2
    assert "cannot be used as a run folder" in answer["stderr"]


def test_a_folder_in_which_another_process_trains_is_refused(serve, command, tmp_path):
    with RunFolder(tmp_path / "run").locked():
        answer = serve(command(tmp_path / "run"))
    assert answer["status"] == 75  # the same command may succeed later
    assert "Another process is training in" in answer["stderr"]
    ended(serve(command(tmp_path / "run", images="8")))


@pytest.mark.parametrize(("key", "told"), [
    ("generator.widht=2", "has no option 'widht'. Did you mean 'width'"),
    ("loss=hing", "Did you mean 'hinge'"),
    ("penalties=dragn", "Did you mean 'dragan'"),
    ("batch_size=0", "give a whole number, 1 or more"),
    ("learning_rate=-1", "give a number above 0"),
    ("generator.width=-1", "width=-1: give a number above 0"),
    ("players.generator.networks=[discriminator]", "both train 'discriminator'"),
    ("players.generator.networks=[generator,generator]", "names 'generator' twice"),
    ("players.generator.optimiser=adm", "Did you mean 'adam'"),
    ("game=adversrial", "Did you mean 'adversarial'"),
    ("game.discriminator_steps=0", "Give a whole number, 1 or more"),
    ("game.labels=uniform data.attributes=[hat]", "these data have attributes. Give game.labels=real"),
    ("players.generator.schedule=cosin", "Did you mean 'cosine'"),
])
def test_mistakes_are_told_before_any_data_is_opened(serve, command, tmp_path, key, told):
    arguments = command(tmp_path / "run", *key.split())
    arguments[arguments.index("--data") + 1] = "no-such-data"
    answer = serve(arguments)
    assert answer["status"] == 2
    assert told in answer["stderr"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("option", "key", "value"), [
    ("batch_size", "batch_size", 32), ("images", "images", 10), ("seed", "seed", 3), ("data", "data.source", "mnist"),
])
def test_an_option_and_a_key_that_say_different_things_are_refused(option, key, value):
    given = {"batch_size": 64, "images": "1k", "seed": 4, "data": "glyphs"}[option]
    with pytest.raises(UserError, match=rf"^--{option.replace('_', '-')} {given} and {key}={value} say different"):
        training.resolve("mnist", changes={key: value}, **{option: given})
    assert training.resolve("mnist", changes={"images": 1000}, images="1k").images == 1000


BUDGETS: dict[str, Any] = {"images": 640, "rounds": 2, "minutes": 3.0}


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(BUDGETS, 2)))
@pytest.mark.parametrize("as_keys", list(itertools.product([True, False], repeat=2)), ids=str)
def test_two_budgets_are_refused_however_they_are_said(one, other, as_keys):
    said = dict(zip((one, other), as_keys, strict=True))
    keys = {name: BUDGETS[name] for name, as_key in said.items() if as_key}
    options = {name: BUDGETS[name] for name, as_key in said.items() if not as_key}
    with pytest.raises(UserError, match=rf"{one}[= ].* and (--)?{other}[= ].*: each says how long to train"):
        training.resolve("mnist", changes=keys, **options)


@pytest.mark.parametrize("as_key", [True, False])
@pytest.mark.parametrize("said", ["images", "rounds"])
def test_a_budget_that_was_said_replaces_any_other_of_the_recipe(said, as_key):
    mnist = replace(recipes.find("mnist"), rounds=7, minutes=9.0)
    given = {said: BUDGETS[said]}
    recipe = training.resolve(mnist, changes=given) if as_key else training.resolve(mnist, **given)
    assert (recipe.minutes, recipe.rounds, recipe.budget) == (
        None, None if said == "images" else 2, 640 if said == "images" else 2 * recipe.batch_size
    )  # fmt: skip


def test_images_that_were_set_aside_are_told_when_training_begins(serve, command, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(30):
        Image.new("L", (8, 8), number).save(pictures / f"{number}.png")
    (pictures / "cut-off.png").write_bytes((pictures / "0.png").read_bytes()[:40])
    arguments = command(tmp_path / "run", images="8")
    arguments[arguments.index("--data") + 1] = str(pictures)
    answer = serve(arguments)
    ended(answer)
    assert f"1 of 31 images cannot be used and are set aside; frugan data check {pictures}" in answer["stderr"]


def test_packing_tells_how_long_it_will_take_from_time_to_time(tmp_path, capsys, monkeypatch):
    np.savez(tmp_path / "many.npz", images=np.zeros((200, 8, 8), np.uint8))
    for every, lines in ((0.0, 3), (60.0, 0)):
        monkeypatch.setattr(countdown, "EVERY", every)
        told = tell_packing("many.npz")
        open_dataset(str(tmp_path / "many.npz"), cache=tmp_path / f"cache-{every}", progress=told)
        said = capsys.readouterr().err.splitlines()
        assert len(said) == lines
        assert all(re.fullmatch(r"Packing many.npz \(once\): \d+ of 200 images, 1 s left\.", line) for line in said)


def test_what_is_known_to_go_badly_is_said_once_and_what_cannot_work_refused(serve, command, tmp_path):
    answer = serve(command(tmp_path / "run", "loss=hinge", images="8"))
    ended(answer)
    assert answer["stderr"].count("hinge without spectral normalisation or r1") == 1
    answer = serve(command(tmp_path / "other", "loss=hinge", "loss.smoothing=0.9", images="8"))
    assert answer["status"] == 2
    assert "smoothing" in answer["stderr"]


def test_init_begins_with_the_weights_of_a_run(serve, command, tmp_path):
    ended(serve(command(tmp_path / "first", images="400")))
    ended(serve(command(tmp_path / "second", "--init", str(tmp_path / "first"), "learning_rate=1e-30", images="4")))
    first, second = (everything(tmp_path / name) for name in ("first", "second"))
    weights = [name for name in first if name.startswith("average.generator/") and name.endswith(".weight")]
    assert weights
    import torch

    for name in weights:
        mine, theirs = (
            torch.frombuffer(bytearray(run[name][1]), dtype=torch.float32) for run in (first, second)
        )
        torch.testing.assert_close(mine, theirs)
    given = json.loads((tmp_path / "second" / "run.json").read_text())["given"]["generator"]
    assert given["path"] == str(tmp_path / "first")
    assert (given["hash"], given["images"]) == (load(tmp_path / "first").weights_hash, 400)
    assert given["seconds"] > 0
    answer = serve(command(tmp_path / "third", "--init", str(tmp_path / "first"), "generator.hidden=[9,8]", images="4"))
    assert answer["status"] == 2
    assert "its generator is a different network" in answer["stderr"]


def test_a_run_folder_holds_what_the_design_says(unbroken):
    out = unbroken["out"]
    recipe, facts = (json.loads((out / name).read_text()) for name in ("recipe.json", "run.json"))
    assert recipe["format"] == facts["format"] == 1
    assert from_dict(recipe).name == "vanilla"
    assert facts["data"]["train"]["count"] == 64
    assert {"name", "split", "hash", "title", "classes", "source"} <= facts["data"]["train"].keys()
    assert facts["shipped"]["generator"]["network"] == "generator"
    assert facts["shipped"]["generator"]["averaged"]
    lines = RunFolder(out).lines(out / "log.jsonl")
    logged = [line for line in lines if "generator.loss" in line]
    assert [line["images"] for line in logged] == list(range(100, 1201, 100))
    assert logged[0].keys() >= {
        "rounds", "seconds", "discriminator.loss", "discriminator.accuracy_real", "discriminator.accuracy_fake",
        "generator.gradient_norm", "discriminator.gradient_norm",
    }
    assert any("health.spread" in line for line in lines)
    assert (out / "samples" / "images-000000001200.png").is_file()
    assert len(list((out / "checkpoints").iterdir())) == 1


def test_images_seen_are_counted_whatever_a_round_takes(serve, command, tmp_path):
    ended(serve(command(tmp_path / "run", "game.discriminator_steps=3", images="100")))
    kept = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert kept is not None
    assert checkpoint.images_of(kept) == 108  # 9 rounds of 3 batches of 4


# --------------------------------------------------------------------------------------------------- what is not finite


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_not_finite_never_reaches_the_weights(serve, command, unbroken, tmp_path, value):
    out = tmp_path / "run"
    answer = serve(command(out), {"kind": "other_loss", "number": 110, "value": value})
    assert answer["status"] == 2
    told = answer["stderr"]
    assert f"loss 1 ({value}) of the player 'generator' is not finite; no weight was changed by it" in told
    assert "Try a lower learning_rate, clip_norm=1" in told
    assert "Traceback" not in told
    kept = checkpoint.newest(out / "checkpoints")
    assert kept is not None
    assert checkpoint.images_of(kept) == 400  # the last log point before it
    assert str(kept) in told
    # Continued without the fault, it is the unbroken run.
    ended(serve(command(out)))
    assert same_as_unbroken(unbroken, out) == []


def test_a_rate_that_blows_up_is_told_with_the_module_that_broke_first(serve, command, tmp_path):
    deep = "generator.hidden=[8,8,8,8,8]"
    keys = [deep, "players.generator.learning_rate=1e12", "players.generator.optimiser=sgd"]
    answer = serve(command(tmp_path / "run", *keys))
    assert answer["status"] == 2
    assert "is not finite" in answer["stderr"]
    assert "first seen in the output of generator." in answer["stderr"]
    kept = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert kept is not None
    tensors, _ = checkpoint.read(kept)
    assert all(tensor.isfinite().all() for tensor in tensors.values() if tensor.is_floating_point())


# ---------------------------------------------------------------------------------------------------- several processes


PAIR = [
    "generator.channels=[2,4]", "discriminator.channels=4", "discriminator.normalisation=none",
    "discriminator.dropout=0", "data.only=[]", "data.size=24", "data.channels=1", "latents.size=4", "batch_size=8",
    "precision=float32", "penalties=r1",
]


def test_two_processes_of_torchrun_equal_one(serve, data, tmp_path):
    def arguments(out: Path) -> list[str]:
        return ["train", "cifar10-frog", *PAIR, "--data", str(data), "--images", "120", "--out", str(out)]

    ended(serve(arguments(tmp_path / "one")))
    path = os.pathsep.join(filter(None, [str(TESTS.parent / "src"), os.environ.get("PYTHONPATH")]))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Two nodes, of which this machine plays both: each has a torchrun of its own, as in docs/cluster.md.
    nodes = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1", "--rdzv_id", "7",
             "--rdzv_backend", "c10d", "--rdzv_endpoint", f"127.0.0.1:{port}", "-m", "frugan",
             *arguments(tmp_path / "two")],
            env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    told = [node.communicate(timeout=250) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], told
    assert "".join(out for out, _ in told).count("Finished") == 1
    # The first rounds were timed and then played anew: what follows is as if they had not been.
    assert "".join(err for _, err in told).count("A round takes") == 1
    import torch

    weights = []
    for name in ("one", "two"):
        kept = checkpoint.newest(tmp_path / name / "checkpoints")
        assert kept is not None
        weights.append(checkpoint.read(kept)[0])
    moved = build.networks(resolved(tmp_path / "one"))["generator"][0].state_dict()
    for key, one in weights[0].items():
        if not key.startswith("means/"):  # accuracies are each process's own
            torch.testing.assert_close(weights[1][key], one, rtol=0, atol=1e-5, msg=key)
    assert any(not torch.equal(weights[0][f"network.generator/{key}"], value) for key, value in moved.items())
    lines = [RunFolder(tmp_path / name).lines(tmp_path / name / "log.jsonl") for name in ("one", "two")]
    assert [line["images"] for line in lines[0]] == [line["images"] for line in lines[1]]
    facts = json.loads((tmp_path / "two" / "run.json").read_text())
    assert facts["processes"] == 2
    assert set(facts["seconds_of_a_round"]) == {"processes", "one"}


def resolved(out: Path) -> Recipe:
    return from_dict(json.loads((out / "recipe.json").read_text()))


# -------------------------------------------------------------------------------------------------------- from Python


def tiny(data: Path, name: str = "vanilla", **changes: Any) -> Recipe:
    keys = {
        "generator.hidden": [8, 8], "discriminator.hidden": [8], "latents.size": 4, "data.size": 8, "batch_size": 4,
        "data.source": str(data), "precision": "float32", **changes,
    }
    return recipes.find(name).with_changes(keys)


def test_the_python_call_and_a_recipe_file_give_the_run_of_the_command(data, unbroken, tmp_path):
    recipe = tiny(data, averages={"generator": {"half_life": 50}})
    folder = training.train(recipe, images="1.2k", out=tmp_path / "call", quiet=True)
    assert same_as_unbroken(unbroken, folder.path) == []
    again = training.train(str(unbroken["out"] / "recipe.json"), images=8, out=tmp_path / "file", quiet=True)
    assert resolved(again.path).networks == recipe.networks


def test_a_run_folder_that_is_moved_while_it_trains_loses_nothing(data, unbroken, tmp_path, monkeypatch):
    recipe, out, now = tiny(data, averages={"generator": {"half_life": 50}}), tmp_path / "run", tmp_path / "sub" / "now"
    now.parent.mkdir()
    append = RunFolder.append

    def move_first(run, path, line):
        if line["images"] >= 400 and out.exists():
            out.rename(now)
        append(run, path, line)

    monkeypatch.setattr(RunFolder, "append", move_first)
    with pytest.raises(UserError, match=rf"run was moved to {now} while it was trained\. The checkpoint ") as told:
        training.train(recipe, images="1.2k", out=out, quiet=True)
    assert 400 <= int(re.findall(r"after ([\d,]+) images is kept\.", str(told.value))[0].replace(",", "")) <= 1200
    assert not out.exists()
    folder = training.train(recipe, images="1.2k", out=now, quiet=True)
    # What was to be written just when the folder was gone, a line and its picture, is all that is missing.
    assert set(same_as_unbroken(unbroken, folder.path)) <= {"log", "pictures"}


def test_a_game_that_misses_a_file_says_which_and_leaves_the_checkpoint_as_it_was(data, tmp_path, monkeypatch):
    recipe, out, missing = tiny(data), tmp_path / "run", tmp_path / "table.csv"
    training.train(recipe, images=8, out=out, quiet=True)
    before = {path.name: path.read_bytes() for path in (out / "checkpoints").iterdir()}
    usual = Adversarial.step

    def step(self, batches, progress, update):
        scalars = usual(self, batches, progress, update)  # so there is half a round that nobody may keep
        if progress.images == 20:
            missing.read_text()
        return scalars

    monkeypatch.setattr(Adversarial, "step", step)
    said = rf"run stopped after 20 images: {missing}: No such file.*after 8 images is kept\. Put that right, then"
    with pytest.raises(UserError, match=said):
        training.train(recipe, images=40, out=out, quiet=True)
    assert {path.name: path.read_bytes() for path in (out / "checkpoints").iterdir()} == before


def test_a_run_goes_on_wherever_its_data_lie_and_however_their_path_is_typed(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "photos" / "all.npz", images=rng.integers(0, 256, (16, 8, 8), dtype=np.uint8))
    monkeypatch.chdir(tmp_path)
    images, out = 0, tmp_path / "run"
    moved = tmp_path / "moved"
    for source in ("photos/all.npz", "./photos/all.npz", str(tmp_path / "photos" / "all.npz"), "moved/all.npz"):
        if source.startswith("moved"):
            (tmp_path / "photos").rename(moved)
        images += 8
        training.train(tiny(Path(source)), images=images, out=out, quiet=True)
        assert from_run(RunFolder(out)).data.source == os.path.abspath(source)
    (tmp_path / "elsewhere").mkdir()
    moved = moved.rename(tmp_path / "again")  # and now on another machine, which is noted too
    monkeypatch.setattr("frugan.costs.processor", lambda: "another")
    training.train(tiny(moved / "all.npz"), images=40, out=out, quiet=True)
    assert from_run(RunFolder(out)).data.source == str(moved / "all.npz")
    assert json.loads((out / "run.json").read_text())["continued"][-1]["machine"] == "another"
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert frugan.evaluate(out, metrics=["kid"], allow_few=["kid"], count=16, view="pixels")
    np.savez(moved / "all.npz", images=rng.integers(0, 256, (16, 8, 8), dtype=np.uint8))
    with pytest.raises(UserError, match=f"{out} was begun on npz all .* but the data are now npz all"):
        training.train(tiny(moved / "all.npz"), images=64, out=out, quiet=True)


def test_a_run_on_a_kind_of_folder_is_found_from_any_working_folder(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(16):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    training.train(tiny("flat:photos"), images=8, out=tmp_path / "run", quiet=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert from_run(RunFolder(tmp_path / "run")).data.source == f"flat:{tmp_path / 'photos'}"


def test_an_interrupted_call_is_not_taken_for_a_finished_one(data, tmp_path, monkeypatch):
    from frugan.engine import loop

    usual = loop.play_round

    def interrupt(parts: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return usual(parts)

    monkeypatch.setattr(loop, "play_round", interrupt)
    with pytest.raises(SystemExit) as stop:
        training.train(tiny(data), images=40, out=tmp_path / "run", quiet=True)
    assert stop.value.code == 130
    assert checkpoint.newest(tmp_path / "run" / "checkpoints") is not None


def test_a_conditional_recipe_needs_labels(tmp_path):
    path = tmp_path / "plain.npz"
    np.savez(path, images=np.zeros((8, 8, 8), dtype=np.uint8))
    keys = {"generator.channels": [4, 4, 4], "discriminator.channels": [4, 4, 4, 4], "data.size": 8}
    with pytest.raises(UserError, match=r"'cgan' needs labels, but .* has none"):
        training.train("cgan", data=str(path), changes=keys, images=8, out=tmp_path / "run", quiet=True)


def test_a_schedule_moves_the_rate_by_images_seen(data, tmp_path):
    recipe = tiny(data)
    schedule = Choice("linear", {"end": 40, "to": 0.5})
    slow = {name: replace(player, schedule=schedule) for name, player in recipe.players.items()}
    folder = training.train(replace(recipe, players=slow), images=80, out=tmp_path / "run", quiet=True)
    kept = checkpoint.newest(folder.checkpoints)
    assert kept is not None
    _, rest = checkpoint.read(kept)
    assert '"lr", {"value": 0.0001}' in json.dumps(rest["optimiser.generator"])


def test_previews_show_what_a_run_samples_also_where_real_images_have_another_range(serve, data, tmp_path):
    """The faithful frogs see real images in 0..1 and make them in -1..1: a preview must not cut off the lower half."""
    out = tmp_path / "run"
    keys = [*(key for key in PAIR if not key.startswith("batch_size")), "batch_size=20"]
    ended(serve(["train", "cifar10-frog-faithful", *keys, "--data", str(data), "--images", "40", "--out", str(out)]))
    import torch

    from frugan import artefact, pictures

    made = artefact.load(out).sample(64, seed=0)
    shown = np.asarray(Image.open(sorted((out / "samples").iterdir())[-1])).astype(int)
    wanted = np.asarray(pictures.grid(torch.from_numpy(made).permute(0, 3, 1, 2))).astype(int)
    assert np.abs(shown - wanted).max() <= 1


@pytest.fixture(scope="module")
def finished(serve: Served, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 24 images."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert serve(["train", "vanilla", *TINY, "--data", str(data), "--images", "24", "--out", str(out)])["status"] == 0
    return out


def test_a_run_whose_checkpoints_are_gone_begins_anew_and_says_so(serve, data, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    answer = serve(["train", "vanilla", *TINY, "--data", str(data), "--images", "24", "--out", str(run)])
    assert answer["status"] == 0
    assert f"{run} has no checkpoint, though its log goes to 24 images. It begins anew." in answer["stderr"]


@pytest.mark.parametrize("name", ["checkpoints", "samples"])
@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_a_run_writes_to_folders_of_its_own_only(serve, data, finished, tmp_path, name, kind):
    run = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(run / name)
    if kind == "file":
        (run / name).write_text("x")
    else:
        (run / name).symlink_to(finished / name if kind == "link" else tmp_path / "nowhere")
    before = sorted((finished / name).iterdir())
    answer = serve(["train", "vanilla", *TINY, "--data", str(data), "--images", "28", "--out", str(run)])
    assert answer["status"] == 2
    assert f"{run / name} is {'no folder' if kind == 'file' else 'a link to '}" in answer["stderr"]
    assert sorted((finished / name).iterdir()) == before


def test_a_run_that_is_finished_is_continued_by_its_own_length_and_on_its_own_data(serve, data, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    named = ["train", "vanilla", *TINY, "--out", str(run)]
    answer = serve([*named, "--rounds", "3"])  # and no --data: the run knows them
    assert (answer["status"], answer["stderr"]) == (0, "")
    assert "Train it further with --rounds 12" in answer["stdout"]
    assert serve([*named, "--data", str(data), "--rounds", "7"])["status"] == 0


@pytest.mark.parametrize(("number", "told"), [
    (errno.ENOSPC, "Free some space, then"), (errno.ENOENT, "Put the folder back if it was moved, then"),
    (errno.EBUSY, "Wait until the other has finished, then"), (errno.EACCES, "Put that right, then"),
])  # fmt: skip
def test_what_the_disk_refuses_is_told_with_what_to_do(tmp_path, number, told):
    parts: Any = SimpleNamespace(clock=SimpleNamespace(images=8))
    with pytest.raises(UserError, match=told), training._disk(RunFolder(tmp_path / "gone"), parts):
        raise OSError(number, os.strerror(number), str(tmp_path))


def test_too_little_memory_is_not_taken_for_a_refusal_of_the_disk(tmp_path):
    parts: Any = SimpleNamespace(clock=SimpleNamespace(images=8))
    refusing = training._disk(RunFolder(tmp_path), parts)
    with pytest.raises(UserError, match="too little memory"), memory.enough(), refusing:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_output_is_not_taken_for_a_full_run_folder(data, finished):
    typed = [sys.executable, "-m", "frugan", "train", "vanilla", *TINY, "--images", "24", "--out", str(finished)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(typed, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.partition(":")[2].partition(":")[0]) == (2, " The output")
