"""Games of a user's own that carry what ours will: BiGAN, E-GAN, PGGAN and distillation, by the public verbs alone.

Each is one file in ``prototypes``. What is tested is the contract: networks by role and condition, populations, stages,
frozen networks, and that all of it is trained, killed, continued, shipped and counted as frugan's own games are.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import frugan
from frugan import build, cli, convs, losses, owncode, reporting, training
from frugan.comparison.running import jobs
from frugan.comparison.running.job import Job
from frugan.costing import cost_of
from frugan.engine import checkpoint, loop
from frugan.engine.run import RunFolder
from frugan.losses import AdversarialLoss
from frugan.recipe import Recipe, from_run
from frugan.registry import UserError

TESTS = Path(__file__).resolve().parents[1]
PROTOTYPES = Path(__file__).with_name("prototypes")
LATENTS = 6


@dataclass(frozen=True)
class Case:
    """One recipe of a prototype, and the least that is changed of it to be trained here."""

    recipe: str
    file: str
    size: int
    images: int = 48

    @property
    def code(self) -> str:
        return str(PROTOTYPES / self.file)


BIGAN, TOLD = Case("my-bigan", "my_bigan.py", 12), Case("my-bigan-told", "my_bigan.py", 12)
EGAN = Case("my-egan", "my_egan.py", 8)
PGGAN = Case("my-pggan", "my_pggan.py", 16, images=112)
TEACHER, STUDENT = Case("my-teacher", "my_distilling.py", 8), Case("my-distilling", "my_distilling.py", 8)
CASES = [BIGAN, TOLD, EGAN, PGGAN, STUDENT]
MORE: dict[str, dict[str, Any]] = {"my-egan": {"game.parents": 2, "game.mutations": ["non_saturating", "lsgan"]}}


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """``noise(size)``: 24 pictures of noise, unlabelled, or as many as said; or, with `labelled`, of three classes."""
    folder = tmp_path_factory.mktemp("noise")

    def path(size: int, labelled: bool = False, count: int = 24) -> str:
        found = folder / f"{size}-{count}{'-labelled' if labelled else ''}.npz"
        if not found.exists():
            pictures = np.random.default_rng(0).integers(0, 255, (count, size, size), dtype=np.uint8)
            np.savez(found, images=pictures, **({"labels": np.arange(count) % 3} if labelled else {}))
        return str(found)

    return path


@pytest.fixture(scope="module")
def teacher(noise: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that can teach."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    frugan.train(TEACHER.recipe, data=noise(8), out=out, code=TEACHER.code, images=16, quiet=True)
    return out


Train = Callable[..., Path]


@pytest.fixture(scope="module")
def train(noise: Callable[..., str], teacher: Path) -> Train:
    """``train(case, out, changes=..., ...)``: a run of a case on noise."""

    def trained(case: Case, out: Path, *, changes: dict[str, Any] | None = None, **arguments: Any) -> Path:
        given = {
            "data": noise(case.size), "images": case.images, "code": case.code,
            "init": {"teacher": teacher} if case is STUDENT else None, **arguments,
        }
        changes = {**MORE.get(case.recipe, {}), **(changes or {})}
        return frugan.train(case.recipe, out=out, changes=changes, quiet=True, **given).path

    return trained


@pytest.fixture(scope="module")
def finished(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Path]:
    """``finished(case)``: an unbroken run of a case, trained once."""
    known: dict[str, Path] = {}

    def run(case: Case) -> Path:
        if case.recipe not in known:
            known[case.recipe] = train(case, tmp_path_factory.mktemp(case.recipe) / "run")
        return known[case.recipe]

    return run


def kept(out: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The newest checkpoint of a run: its tensors, and the rest by part, but for the seconds that it took."""
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None
    tensors, rest = checkpoint.read(newest)
    rest["clock"]["items"] = [item for item in rest["clock"]["items"] if item[0] != "seconds"]
    return tensors, rest


def of(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors of one part, as its own state has them."""
    found = {key.removeprefix(f"{part}/"): tensor for key, tensor in tensors.items() if key.startswith(f"{part}/")}
    assert found, part
    return found


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def begun(case: Case, out: Path) -> dict[str, dict[str, Tensor]]:
    """The first weights of every network of a run."""
    owncode.load(case.code)
    return {name: module.state_dict() for name, (module, _) in build.networks(recipe_of(out)).items()}


def recipe_of(out: Path) -> Recipe:
    return from_run(RunFolder(out))


# ------------------------------------------------------------------------------------------------------------- each one


class Killed(BaseException):
    """Ends a run as a signal that cannot be caught does: nothing is kept that was not kept before."""


def killed(monkeypatch: pytest.MonkeyPatch, keep_after: int, at: int) -> None:
    """Have the next run keep a checkpoint after `keep_after` rounds, and die in round `at`."""
    usual = loop.play_round

    def play_round(parts: loop.Parts) -> dict[str, Tensor]:
        if parts.clock.rounds == at:
            raise Killed
        scalars = usual(parts)
        monkeypatch.setattr(loop, "KEEP_SECONDS", -1.0 if parts.clock.rounds == keep_after else 60.0)
        return scalars

    monkeypatch.setattr(loop, "play_round", play_round)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.recipe)
def test_killed_and_continued_it_ends_bit_for_bit_as_if_unbroken(case, train, finished, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        killed(patch, keep_after=4, at=5)
        with pytest.raises(Killed):
            train(case, tmp_path / "run")
    newest = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert newest is not None
    assert 0 < checkpoint.images_of(newest) < case.images
    train(case, tmp_path / "run")
    (mine, rest), (theirs, others) = kept(tmp_path / "run"), kept(finished(case))
    assert same(mine, theirs)
    assert rest == others
    pictures = [sorted((out / "samples").glob("*.png")) for out in (tmp_path / "run", finished(case))]
    assert [path.name for path in pictures[0]] == [path.name for path in pictures[1]]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(*pictures, strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.recipe)
def test_it_trains_what_a_player_trains_and_ships_what_loads_again(case, finished, tmp_path):
    out = finished(case)
    tensors, _ = kept(out)
    for name, state in begun(case, out).items():
        now = of(tensors, f"network.{name}")
        assert any(not torch.equal(state[key], now[key]) for key in state), name
    generator = frugan.load(out, code=case.code)
    images = generator.sample(5, seed=1)
    assert images.shape == (5, case.size, case.size, 1)
    again = frugan.load(generator.save(tmp_path / "artefact"), code=case.code)
    assert np.array_equal(again.sample(5, seed=1), images)
    assert again.weights_hash == generator.weights_hash


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.recipe)
def test_families_mean_the_networks_of_their_role(case, train, teacher, tmp_path, capsys):
    init = [f"teacher.init={teacher}"] if case is STUDENT else []
    cli.main(["cost", case.recipe, "--code", case.code, "--family", "depthwise", *init])
    assert "depthwise" in capsys.readouterr().out
    given = {"teacher": teacher} if case is STUDENT else None
    for family in convs.names():
        assembly = build.assemble(training.resolve(case.recipe, family=family, init=given))
        asked = {choice.asked for choice in assembly.layers["generator"].choices}
        assert asked == {family}
        assert all(choice.asked == "standard" for choice in assembly.layers["discriminator"].choices)
    out = train(case, tmp_path / "run", family="depthwise", images=case.images // 2)
    recipe = recipe_of(out)
    assert recipe.makers() == ("generator",)
    for name, network in recipe.networks.items():
        assert [rule.family for rule in network.families] == (["depthwise"] if name == "generator" else [])
    assert frugan.load(out, code=case.code).sample(2).shape == (2, case.size, case.size, 1)


# ---------------------------------------------------------------------------------------------------------------- BiGAN


@pytest.mark.parametrize("case", [BIGAN, TOLD], ids=lambda case: case.recipe)
def test_an_encoder_is_loaded_by_its_role_and_encodes(case, finished, tmp_path):
    encoder = frugan.load(finished(case), role="encoder", code=case.code)
    assert (type(encoder).__name__, encoder.role, encoder.outputs) == ("Encoder", "encoder", {"latents": LATENTS})
    images = np.random.default_rng(1).integers(0, 255, (40, 12, 12, 1), dtype=np.uint8)
    codes = encoder.encode(images)
    assert (codes.dtype, codes.shape) == (np.float32, (40, LATENTS))
    assert np.array_equal(encoder.encode(images[:3]), encoder.encode(images)[:3])
    assert np.abs(codes[0] - codes[1]).max() > 0
    again = frugan.load(encoder.save(tmp_path / "artefact"), code=case.code)
    assert np.array_equal(again.encode(images), codes)
    weights = of(kept(finished(case))[0], "network.encoder")
    assert same(dict(encoder.module.state_dict()), weights)
    with pytest.raises(UserError, match="ships no classifier; it has: generator, encoder"):
        frugan.load(finished(case), role="classifier", code=case.code)


def test_sizes_follow_from_the_latents_and_no_labels_are_needed(noise):
    changes = {"latents.size": 9}
    owncode.load(BIGAN.code)
    planned = {
        case: build.blueprints(training.resolve(case.recipe, data=noise(12), changes=changes)) for case in (BIGAN, TOLD)
    }
    judges = [planned[case]["discriminator"] for case in (BIGAN, TOLD)]
    assert [(judge.part, judge.vector, judge.condition) for judge in judges] == [("joint", 9, 0), ("encoder", 0, 9)]
    assert not any(judge.labels for judge in judges)
    for case, blueprints in planned.items():
        assert blueprints["encoder"].outputs == {"latents": 9}
        counted = cost_of(case.recipe, changes=changes, code=case.code).networks
        assert list(counted) == ["generator", "encoder", "discriminator"]
        assert all(network.cost.macs > 0 and not network.cost.doubts for network in counted.values())


def test_an_encoder_may_share_the_generators_player_or_have_its_own(finished):
    for case, players in ((BIGAN, {"generator", "discriminator"}), (TOLD, {"generator", "encoder", "discriminator"})):
        _, rest = kept(finished(case))
        assert {part.removeprefix("optimiser.") for part in rest if part.startswith("optimiser.")} == players


@pytest.mark.parametrize("case", [BIGAN, TOLD], ids=lambda case: case.recipe)
def test_labels_of_the_data_are_told_beside_what_the_game_tells(case, train, noise, tmp_path):
    labels = {"generator.labels": True, "encoder.labels": True, "discriminator.labels": case is BIGAN}
    out = train(case, tmp_path / "run", data=noise(12, labelled=True), images=32, changes=labels)
    generator = frugan.load(out, code=case.code)
    one, other = (generator.sample(4, seed=0, labels=label) for label in (0, 2))
    assert not np.array_equal(one, other)
    with pytest.raises(UserError, match=r"needs labels, but .* has none"):
        train(case, tmp_path / "other", images=32, changes=labels)
    if case is TOLD:
        told = r"itself gives 'discriminator' its condition.* Set discriminator\.labels=false"
        with pytest.raises(UserError, match=told):
            train(case, tmp_path / "other", changes={"discriminator.labels": True})


# ---------------------------------------------------------------------------------------------------------------- E-GAN


def test_an_option_of_the_game_says_how_many_generators_there_are(finished, train, capsys):
    tensors, _ = kept(finished(EGAN))
    assert not same(of(tensors, "network.generator"), of(tensors, "network.generator_1"))
    for name in ("generator", "generator_1"):
        assert of(tensors, f"average.{name}").keys() == of(tensors, f"network.{name}").keys()
        # Of all children one step was kept in each round, with its moments.
        moments = of(tensors, f"optimiser.{name}")
        assert {int(value) for key, value in moments.items() if key.endswith("/step")} == {EGAN.images // 8}
    counted = cost_of(EGAN.recipe, changes={"game.parents": 3}, family="depthwise", code=EGAN.code).networks
    assert list(counted) == ["generator", "generator_1", "generator_2", "discriminator"]
    assert len({network.cost.macs for name, network in counted.items() if name != "discriminator"}) == 1
    assert {choice.family for choice in counted["generator_2"].choices} >= {"depthwise"}
    with pytest.raises(SystemExit):
        cli.main(["train", EGAN.recipe, "--code", EGAN.code, "game=my_egan,parents=2", "--help"])
    told = capsys.readouterr().out
    assert "generator.channels=" in told
    assert "generator_1." not in told  # it is what the first one is
    with pytest.raises(UserError, match=r"begun with other settings \(game\.parents: 2 -> 3\)"):
        train(EGAN, finished(EGAN), changes={"game.parents": 3})


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutation that is never finite."""
    healthy = losses.find("non_saturating")

    def poisoned() -> AdversarialLoss:
        return AdversarialLoss("poison", healthy.discriminator, lambda fake, *rest: fake.mean() * float("nan"))

    monkeypatch.setitem(losses._known._added, "poison", poisoned)


@pytest.mark.usefixtures("poison")
def test_a_dead_child_is_passed_over_and_the_run_goes_on(train, tmp_path):
    changes = {"game.mutations": ["non_saturating", "poison", "lsgan"]}
    out = train(EGAN, tmp_path / "run", changes=changes, images=24)
    tensors, _ = kept(out)
    assert all(value.isfinite().all() for value in tensors.values())
    assert of(tensors, "means/sums")["generator.alive"] == 3 * 4  # of six children in each of three rounds
    alone = train(EGAN, tmp_path / "alone", changes={"game.mutations": ["non_saturating", "lsgan"]}, images=24)
    assert same(of(tensors, "network.generator"), of(kept(alone)[0], "network.generator"))


@pytest.mark.usefixtures("poison")
def test_where_all_children_die_the_run_ends_and_says_of_what(train, tmp_path):
    told = r"loss 1 \(nan\) of a trial copy of the player 'generator_1' is not finite"
    with pytest.raises(UserError, match=told) as end:
        train(EGAN, tmp_path / "run", changes={"game.mutations": ["poison"]})
    assert "no weight was changed by it. The last good state, after 0 images, is kept" in str(end.value)


RANKS = """
import sys
from pathlib import Path

import frugan
from frugan.engine import clock, loop

code, data, out = sys.argv[1:]
loop.LOG_ROUNDS = 4


def train(name):
    frugan.train(
        "my-egan", code=code, data=data, out=Path(out) / name, images=64, quiet=True,
        changes={"game.parents": 2, "game.mutations": ["non_saturating", "lsgan"]},
    )


train("by means")
clock.Progress.mean = lambda progress, tensor: tensor
train("each by itself")
"""


def test_two_processes_choose_the_same_survivors_by_means_and_are_found_out_without(noise, tmp_path):
    (tmp_path / "program.py").write_text(RANKS)
    path = os.pathsep.join(filter(None, [str(TESTS.parent / "src"), os.environ.get("PYTHONPATH")]))
    program = [str(TESTS / "two_processes.py"), str(tmp_path / "program.py"), EGAN.code, noise(8), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *program], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        check=False, timeout=200,
    )
    tensors, rest = kept(tmp_path / "by means")
    assert {key: value["value"] for key, value in rest["clock"]["items"]} == {"images": 64, "rounds": 8}
    assert json.loads((tmp_path / "by means" / "run.json").read_text())["processes"] == 2
    assert not same(of(tensors, "network.generator"), of(tensors, "network.generator_1"))
    assert done.returncode != 0
    found = re.search(r"After (\d+) images the 2 processes hold different values of '(.*)'", done.stderr)
    assert found is not None, done.stderr
    assert int(found[1]) in (32, 64)
    assert found[2].startswith("network.generator/")
    assert "progress.mean(tensor)" in done.stderr


# ---------------------------------------------------------------------------------------------------------------- PGGAN


def of_optimiser(rest: dict[str, Any], name: str) -> dict[str, Any]:
    """The first group of parameters of an optimiser, as the checkpoint tells it."""
    state = dict(rest[f"optimiser.{name}"]["items"])
    return {key: value.get("value") for key, value in state["param_groups"]["list"][0]["items"]}


def test_rates_and_batches_go_by_stage_and_moments_are_forgotten_between_phases(finished):
    tensors, rest = kept(finished(PGGAN))
    clock = {key: value["value"] for key, value in rest["clock"]["items"]}
    # By 8, and from the first round of the second fade on by 4.
    assert clock == {"images": 112, "rounds": 72 // 8 + 40 // 4}
    for name in ("generator", "discriminator"):
        steps = {int(value) for key, value in of(tensors, f"optimiser.{name}").items() if key.endswith("/step")}
        assert steps == {4}  # since the last fade ended, 16 images ago
        assert of_optimiser(rest, name)["lr"] == pytest.approx(0.5e-3)


def test_all_stages_are_there_from_the_start_and_are_still_until_they_are_played(train, tmp_path):
    out = train(PGGAN, tmp_path / "run", images=24)
    first, tensors = begun(PGGAN, out), kept(out)[0]
    for network in ("generator", "discriminator"):
        now = of(tensors, f"network.{network}")
        assert float(now["level"]) == 0.0
        still = {key for key in now if torch.equal(now[key], first[network][key])}
        part = "outputs" if network == "generator" else "inputs"
        assert {key for key in still if key.startswith(("blocks", part))} == {
            key for key in now if key.startswith((f"{part}.1", f"{part}.2", "blocks."))
        }
    generator = frugan.load(out, code=PGGAN.code)
    images = generator.sample(3)
    assert images.shape == (3, 16, 16, 1)
    assert np.array_equal(images, images[:, ::4, ::4].repeat(4, 1).repeat(4, 2))  # 4 x 4 pixels, made large
    train(PGGAN, out, images=40)
    generator = frugan.load(out, code=PGGAN.code)
    assert 0 < float(generator.module.level) < 1
    faded = generator.sample(3)
    assert not np.array_equal(faded, faded[:, ::4, ::4].repeat(4, 1).repeat(4, 2))
    assert np.array_equal(faded, faded[:, ::2, ::2].repeat(2, 1).repeat(2, 2))
    again = frugan.load(generator.save(tmp_path / "artefact"), code=PGGAN.code)
    assert np.array_equal(again.sample(3), faded)
    small, later = (Image.open(path).convert("L") for path in sorted((out / "samples").glob("*.png")))
    assert small.size == later.size
    assert min(small.size) >= 8 * 16


# --------------------------------------------------------------------------------------------------------- distillation


def test_a_frozen_network_is_given_its_weights_and_keeps_them(train, teacher, finished, tmp_path, monkeypatch):
    taught = frugan.load(teacher, code=TEACHER.code)
    looks = []

    usual = loop.play_round

    def play_round(parts: loop.Parts) -> dict[str, Tensor]:
        scalars = usual(parts)
        network = parts.game.networks["teacher"]
        looks.append((network.training, [(one.requires_grad, one.grad is None) for one in network.parameters()]))
        return scalars

    with monkeypatch.context() as patch:
        patch.setattr(loop, "play_round", play_round)
        out = train(STUDENT, tmp_path / "run")
    assert len(looks) == 6
    assert all(not training and set(grads) == {(False, True)} for training, grads in looks)
    tensors, rest = kept(out)
    assert same(of(tensors, "network.teacher"), dict(taught.module.state_dict()))
    assert not any("teacher" in part for part in rest if not part.startswith("network."))
    given = json.loads((out / "run.json").read_text())["given"]
    assert list(given) == ["teacher"]
    assert (given["teacher"]["hash"], given["teacher"]["images"]) == (taught.weights_hash, 16)
    student = frugan.load(out, code=STUDENT.code)
    assert student.config["given"] == {"teacher": f"my-teacher {taught.weights_hash}"}
    again = frugan.load(student.save(tmp_path / "artefact"), code=STUDENT.code)
    assert again.config["given"] == student.config["given"]


def test_without_weights_a_frozen_network_is_refused_and_so_are_those_of_another(train, teacher, tmp_path):
    with pytest.raises(UserError, match=r"No player trains the network 'teacher' .*: --init teacher=PATH"):
        train(STUDENT, tmp_path / "run", init=None)
    with pytest.raises(UserError, match=r"--init teacher=.*: its generator is a different network .* differs"):
        train(STUDENT, tmp_path / "run", changes={"teacher.width": 0.1})
    with pytest.raises(UserError, match=r"no network 'techer'. Did you mean 'teacher'"):
        train(STUDENT, tmp_path / "run", init={"techer": teacher})
    assert RunFolder(tmp_path / "run").is_free()


def test_a_run_goes_on_though_its_teacher_has_gone_or_refuses_another(train, teacher, finished, tmp_path):
    kept_in = tmp_path / "teacher"
    frugan.load(teacher, code=TEACHER.code).save(kept_in)
    out = train(STUDENT, tmp_path / "run", init={"teacher": kept_in}, images=24)
    other = train(TEACHER, tmp_path / "other", images=8)
    with pytest.raises(UserError, match=r"was begun with the weights .* in 'teacher', but .* Give another --out"):
        train(STUDENT, out, init={"teacher": other})
    shutil.rmtree(kept_in)
    train(STUDENT, out, init={"teacher": kept_in})
    assert same(kept(out)[0], kept(finished(STUDENT))[0])


def test_a_comparison_tells_what_an_arm_was_given_and_what_that_cost(teacher, noise, tmp_path, monkeypatch):
    def in_this_process(planned: Sequence[Job], *rest: Any) -> None:
        for job in planned:
            told = dict(zip(job.command[5::2], job.command[6::2], strict=True))
            frugan.train(job.command[4], seed=int(told["--seed"]), out=told["--out"], code=STUDENT.code, quiet=True)

    monkeypatch.setattr(jobs, "run_jobs", in_this_process)  # processes need seconds to start
    monkeypatch.setattr(reporting, "report", lambda folder: None)  # and so do charts
    found = frugan.compare(
        ["my-teacher", f"student: my-distilling teacher.init={teacher}"], seeds=(0,), out=tmp_path / "out",
        data=noise(8, count=1000), images=16, metrics=["fid"], view="pixels", count=1000, device="cpu", quiet=True,
        code=STUDENT.code,
    )
    given = {arm["name"]: arm["runs"]["0"]["given"] for arm in found.data["arms"]}
    taught = frugan.load(teacher, code=TEACHER.code)
    assert given["my-teacher"] == {}
    assert given["student"]["teacher"]["hash"] == taught.weights_hash
    (line,) = (line for line in found.words() if "its times do not include" in line.lower())
    assert line.startswith("student got the weights of its teacher (my-teacher on npz 8")
    assert "Its times do not include this" in line
    protocols = [arm["runs"]["0"]["values"]["fid"]["protocol"] for arm in found.data["arms"]]
    assert [protocol.get("given") for protocol in protocols] == [None, {"teacher": f"my-teacher {taught.weights_hash}"}]
