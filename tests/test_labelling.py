"""A shipped classifier: `classify` on files, folders and sources; its accuracy as a metric; compared with its twin."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import frugan
from frugan import cli, evaluation
from frugan.artefact import Classifier
from frugan.comparison.running import jobs
from frugan.comparison.running.job import Job
from frugan.registry import UserError
from frugan.reporting import report

SIDE, CLASSES, OF_EACH = 8, 3, 50
KEYS: dict[str, Any] = {
    "generator.width": 0.05, "discriminator.width": 0.5, "latents.size": 4, "data.size": SIDE, "batch_size": 12,
    "precision": "float32", "streams.labelled.even_limit": 12, "learning_rate": 5e-3, "kernels": "plain",
}


def picture(number: int, random: np.random.Generator) -> np.ndarray:
    """A bright row, whose place is the class, in noise."""
    image = random.integers(0, 60, (SIDE, SIDE), dtype=np.uint8)
    image[2 * number + 1] = 230
    return image


def write_folder(root: Path, count: int, seed: int, names: str = "abc") -> None:
    random = np.random.default_rng(seed)
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for place in range(count):
            Image.fromarray(picture(number, random)).save(root / name / f"{place}.png")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a train and a test split of three classes."""
    root = tmp_path_factory.mktemp("source")
    for seed, split in enumerate(("train", "test")):
        write_folder(root / split, OF_EACH, seed)
    return root


@pytest.fixture(scope="module")
def runs(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of the game and its supervised twin."""
    folder = tmp_path_factory.mktemp("runs")
    given = {"sgan": {}, "twin": {"game.unsupervised": 0}}
    return {
        name: frugan.train("sgan", data=str(source), rounds=30, changes={**KEYS, **more}, out=folder / name,
                           quiet=True).path
        for name, more in given.items()
    }  # fmt: skip


def test_the_classifier_of_a_run_is_loaded_by_its_role_and_saved(runs, tmp_path):
    classifier = frugan.load(runs["sgan"], role="classifier")
    assert isinstance(classifier, Classifier)
    assert classifier.classes == ("a", "b", "c")
    assert type(frugan.load(runs["sgan"])).__name__ == "Generator"
    assert isinstance(frugan.load(runs["twin"]), Classifier)  # the twin ships nothing else
    again = frugan.load(classifier.save(tmp_path / "artefact"))
    assert again.weights_hash == classifier.weights_hash
    (value,) = evaluation.evaluate(runs["twin"])  # by default
    assert value["metric"] == "classifier_accuracy"


def test_a_source_is_classified_and_its_accuracy_told(runs, source, capsys):
    found = frugan.classify(runs["sgan"], str(source))
    assert len(found.images) == found.judged == CLASSES * OF_EACH
    assert found.accuracy is not None
    assert found.accuracy > 0.9
    right = [image.told == image.own for image in found.images]
    assert found.accuracy == sum(right) / len(right)
    cli.main(["classify", str(runs["sgan"]), str(source), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["accuracy"] == found.accuracy
    cli.main(["classify", str(runs["sgan"]), str(source)])
    assert f"of 150 images are right: accuracy {found.accuracy:.4f}" in capsys.readouterr().out


def test_files_and_folders_are_classified_one_by_one_and_bad_ones_set_aside(runs, tmp_path, capsys):
    random = np.random.default_rng(7)
    (tmp_path / "flat").mkdir()
    for number in range(3):
        large = Image.fromarray(picture(number, random)).resize((32, 32), Image.Resampling.NEAREST)
        large.save(tmp_path / "flat" / f"{number}.png")
    (tmp_path / "flat" / "bad.png").write_text("no image")
    table = tmp_path / "table.csv"
    flat = tmp_path / "flat"
    cli.main(["classify", str(runs["sgan"]), str(flat), str(flat / "0.png"), "--out", str(table)])
    lines = table.read_text().splitlines()
    assert lines[0] == "path,told,probability,own"
    assert [line.split(",")[1] for line in lines[1:]] == ["a", "b", "c", "a"]
    assert all(0 < float(line.split(",")[2]) <= 1 for line in lines[1:])
    assert "set aside: bad.png" in capsys.readouterr().err
    cli.main(["classify", str(runs["sgan"]), str(tmp_path / "flat" / "1.png")])
    said = capsys.readouterr().out
    assert "1.png  b  " in said
    assert "accuracy" not in said  # nobody knows its class
    with pytest.raises(SystemExit):
        cli.main(["classify", str(runs["sgan"]), str(tmp_path / "flat"), "--out", str(table)])
    assert "exists; give another --out, or --overwrite" in capsys.readouterr().err


def test_folders_of_other_classes_are_not_judged(runs, tmp_path):
    write_folder(tmp_path / "other", 2, 0, "axy")
    found = frugan.classify(runs["sgan"], str(tmp_path / "other"))
    assert found.judged == 2
    assert len(found.images) == 6


def test_of_its_own_data_a_classifier_is_shown_what_its_run_held_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FRUGAN_DATA", str(tmp_path))
    own = tmp_path / "mnist"  # a name that artefacts keep; paths of folders they leave out
    write_folder(own, 100, 0)
    keys = {**KEYS, "streams.labelled.even_limit": None}

    def trained(out: str, source: str = str(own), **more: Any) -> Path:
        return frugan.train("sgan", data=source, rounds=2, changes=keys, out=tmp_path / out, quiet=True, **more).path

    run = trained("run")
    (value,) = frugan.evaluate(run, metrics=["classifier_accuracy"], allow_few=["classifier_accuracy"])
    frugan.load(trained("named", "mnist"), role="classifier").save(tmp_path / "artefact")
    for of, source in ((run, str(own)), (tmp_path / "artefact", "mnist")):
        capsys.readouterr()
        found = frugan.classify(of, source)
        assert f"{source}: only the 30 images are classified that training held out" in capsys.readouterr().err
        assert (found.judged, found.accuracy) == (30, value["values"]["accuracy"])
    others = frugan.classify(run, str(own), split="train")
    assert "the classifier was trained on 270 of these 270 images" in capsys.readouterr().err
    assert not {image.path for image in others.images} & {image.path for image in found.images}
    with pytest.raises(UserError, match="There is no split called 'tset'"):
        frugan.classify(run, str(own), split="tset")
    everything = frugan.classify(trained("all", holdout=0), str(own))
    assert len(everything.images) == 300
    assert "was trained on 300 of these 300 images" in capsys.readouterr().err
    write_folder(tmp_path / "new", 2, 1)
    assert len(frugan.classify(run, str(tmp_path / "new")).images) == 6
    assert "images are classified" not in capsys.readouterr().err
    shutil.copy(next((tmp_path / "new").rglob("*.png")), next(own.rglob("*.png")).with_name("one more.png"))
    assert len(frugan.classify(run, str(own)).images) == 301
    assert "has changed since the classifier was trained on 270 of its images" in capsys.readouterr().err


def test_a_run_on_train_and_test_folders_says_of_which_it_was_trained(runs, source, capsys):
    frugan.classify(runs["twin"], str(source))
    assert "trained" not in capsys.readouterr().err
    frugan.classify(runs["twin"], str(source), split="train")
    assert "was trained on 150 of these 150 images" in capsys.readouterr().err


def test_classifying_tells_how_long_it_will_take(runs, source, monkeypatch, capsys):
    monkeypatch.setattr("frugan.countdown.EVERY", 0.0)
    monkeypatch.setattr("frugan.labelling.TOGETHER", 60)
    frugan.classify(runs["sgan"], [str(source), str(source)])
    assert "Classifying: 120 of 300 images, " in capsys.readouterr().err


def test_a_run_without_a_classifier_is_refused(runs, source, tmp_path):
    keys = {"data.size": SIDE, "generator.hidden": [4], "discriminator.hidden": [4]}
    plain = frugan.train("vanilla", data=str(source), images=64, changes=keys, out=tmp_path / "run", quiet=True).path
    with pytest.raises(UserError, match="ships no classifier; it has: generator"):
        frugan.classify(plain, str(source))
    with pytest.raises(UserError, match="ships none; leave it out, or train a recipe that ships one"):
        frugan.evaluate(plain, metrics=["classifier_accuracy"], count=100)
    with pytest.raises(UserError, match="No images were given"):
        frugan.classify(runs["sgan"], [])


def test_accuracy_is_a_metric_with_one_protocol_for_a_run_and_its_twin(runs, source):
    values = {name: frugan.evaluate(run, metrics=["classifier_accuracy"])[0] for name, run in runs.items()}
    for name, value in values.items():
        numbers = value["values"]
        assert numbers["accuracy"] == frugan.classify(runs[name], str(source)).accuracy
        assert set(numbers) == {"accuracy", "accuracy_of_class_0", "accuracy_of_class_1", "accuracy_of_class_2"}
        assert value["protocol"]["real_count"] == CLASSES * OF_EACH
    assert evaluation.unequal(value["protocol"] for value in values.values()) == []
    assert values["sgan"]["protocol"]["generator"].split()[0] == frugan.load(runs["sgan"]).weights_hash
    with pytest.raises(UserError, match="ships a classifier only"):
        frugan.evaluate(runs["twin"], metrics=["fid"])
    assert not (runs["twin"] / "samples").is_dir() or not list((runs["twin"] / "samples").iterdir())


def in_this_process(planned: Sequence[Job], *rest: Any) -> None:
    """Stands for `run_jobs`: processes need seconds to start."""
    for job in planned:
        frugan.train(job.command[4], seed=int(job.command[6]), out=job.command[8], device="cpu", quiet=True)


def test_a_comparison_gives_the_difference_of_a_run_and_its_twin(source, tmp_path, monkeypatch):
    """What is foreseen of both before they are trained is what is measured of them."""
    monkeypatch.setattr(jobs, "run_jobs", in_this_process)
    result = frugan.compare(
        ["sgan", "twin: sgan game.unsupervised=0"], data=str(source), changes=KEYS, seeds=(0, 1), images=72,
        metrics=["classifier_accuracy"], no_damaged=True, pilot_seeds=(), out=tmp_path / "comparison", device="cpu",
        quiet=True,
    ).data
    difference = result["differences"]["classifier_accuracy"]["twin"]
    assert difference["n"] == 2
    low, high = difference["interval_95"]
    assert low <= difference["mean"] <= high


def test_reports_of_both_are_written(runs):
    for run in runs.values():
        frugan.evaluate(run, metrics=["classifier_accuracy"])
        assert "classifier accuracy" in report(run).read_text()


def test_while_training_a_classifier_alone_is_not_measured(source, tmp_path):
    with pytest.raises(UserError, match="measures generators and translators while they train"):
        frugan.train("sgan", data=str(source), rounds=2, changes={**KEYS, "game.unsupervised": 0},
                     evaluate_every=12, out=tmp_path / "run", quiet=True)  # fmt: skip
