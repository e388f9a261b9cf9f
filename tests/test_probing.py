"""Probes of what networks see: the sheet's features and parts, few labels, twins without training, clear refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import frugan
from frugan import build, seeds
from frugan.artefact import load
from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.data import Dataset, open_dataset
from frugan.engine.run import RunFolder
from frugan.explore.judges import _data_of
from frugan.nets import find
from frugan.probing import _features, _labelled, _open, _protocol
from frugan.probing._networks import open_network
from frugan.recipe import from_run
from frugan.registry import UserError

SIDE, CLASSES, OF_EACH = 8, 3, 60


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright rows in noise, whose place is the class; the test split has other noise."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("rows")
    for split in ("train", "test"):
        labels = np.arange(CLASSES * OF_EACH) % CLASSES
        images = random.integers(0, 200, (len(labels), SIDE, SIDE), dtype=np.uint8)
        images[np.arange(len(labels)), 2 * labels + 1] //= 2
        images[np.arange(len(labels)), 2 * labels + 1] += 120
        (folder / split).mkdir()
        for name in range(CLASSES):
            (folder / split / f"row{name}").mkdir()
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(folder / split / f"row{label}" / f"{number}.png")
    return folder


def trained(source: Path, out: Path, name: str = "dcgan-medium", **changes: object) -> Path:
    small = {
        "generator.channels": [4, 4, 4], "discriminator.channels": [4, 4, 4, 4], "latents.size": 4, "data.size": SIDE,
        "batch_size": 4, "precision": "float32",
    }
    return frugan.train(
        name, data=str(source), rounds=4, changes=changes or small, out=out, quiet=True, observers=[]
    ).path


@pytest.fixture(scope="module")
def run(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(source, tmp_path_factory.mktemp("probed") / "run")


# ------------------------------------------------------------------------------------------------------------ features


@pytest.mark.parametrize(
    ("options", "side", "width"),
    [
        ({"channels": 128, "kernel": 3, "layers_per_stage": 2}, 32, 28_672),
        ({"channels": 64, "kernel": 4, "head": "convolution"}, 64, 15_360),
        ({"channels": 64, "kernel": 5}, 32, 7_168),
    ],
    ids=["imagenet-32", "example-64", "svhn"],
)
def test_dcgan_sheet_7_2_the_layers_have_the_lengths_of_the_released_networks(
    options: dict[str, object], side: int, width: int
) -> None:
    encoder = find("dcgan").encoder
    assert encoder is not None
    network = encoder(ImageShape(3, side, side), {"score": 1}, Layers(()), **options).eval()
    look = _features.look_by(network, "layers", (-1.0, 1.0), "it")
    assert look(torch.zeros(1, 3, side, side, dtype=torch.uint8)).shape == (1, width)


def test_maps_are_max_pooled_to_four_places_a_side_and_small_ones_are_kept() -> None:
    large, small, row = torch.randn(2, 3, 16, 16), torch.randn(2, 5, 2, 2), torch.randn(2, 7)
    rows = _features.pooled([large, small, row])
    assert rows.shape == (2, 3 * 16 + 5 * 4 + 7)
    windows = large.unfold(2, 4, 4).unfold(3, 4, 4).amax((-1, -2))
    assert torch.equal(rows[:, :48], windows.flatten(1))
    assert torch.equal(rows[:, 48:], torch.cat([small.flatten(1), row], 1))


def test_the_layers_are_those_of_the_checkpoint_and_the_twin_has_the_first_weights(run: Path) -> None:
    judging = open_network(run, None, "cpu")
    assert (judging.name, judging.role, judging.images) == ("discriminator", "discriminator", 16)
    first = build.networks(judging.recipe)["discriminator"][0].state_dict()
    weights = {name for name, _ in judging.trained.named_parameters()}
    assert all(torch.equal(first[name], judging.untrained.state_dict()[name]) for name in first)
    assert any(not torch.equal(first[name], judging.trained.state_dict()[name]) for name in weights)


def test_norms_take_the_statistics_of_the_probes_own_images(source: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Identity(), torch.nn.BatchNorm2d(1)).eval()
    images = open_dataset(str(source), size=SIDE).images
    _features.settle_norms(network, images, torch.arange(128), (0.0, 1.0))
    seen = images[:128].float() / 255
    norm = network[1]
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(norm.running_var, seen.var((0, 2, 3)), atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------------------------ protocol


def test_no_image_teaches_and_chooses_or_judges(source: Path) -> None:
    train = open_dataset(str(source), size=SIDE)
    parts = _protocol.divide(train, None, seed=1)
    rows = [set(part.tolist()) for part in (parts.learning, parts.validation, parts.judging)]
    assert sum(map(len, rows)) == len(set.union(*rows)) == len(train)
    few, many = (set(parts.draw(count, 3).tolist()) for count in (5, 12))
    assert few < many < rows[0]
    assert len(few) == 15
    assert set(parts.draw(5, 4).tolist()) != few
    assert parts.labels(parts.draw(5, 3)).bincount().tolist() == [5, 5, 5]


def test_what_a_run_held_out_judges_and_teaches_nothing(source: Path, tmp_path: Path) -> None:
    photos = source / "train"  # class folders without a test split
    small = {
        "generator.channels": [4, 4, 4], "discriminator.channels": [4, 4, 4, 4], "latents.size": 4, "data.size": SIDE,
        "batch_size": 4, "precision": "float32", "data.holdout": 30, "data.limit": 100,
    }
    run = trained(photos, tmp_path / "run", **small)
    own = build.open_held_out(from_run(RunFolder(run)).data)
    assert own is not None
    held = images_in(own)
    for given in (None, str(photos), f"{photos}/"):  # also where the run's own data are named
        train, test = _open(open_network(run, None, "cpu"), given, (), None)
        assert test is not None
        assert (len(train), images_in(test)) == (CLASSES * OF_EACH - 30, held)  # all that may teach, beyond the limit
        assert not images_in(train) & held
    # Of some classes, the same ones are held out.
    train, test = _open(open_network(run, None, "cpu"), None, ("row0", "row2"), None)
    assert test is not None
    assert images_in(test) < held
    assert not images_in(train) & held
    assert train.classes == test.classes == ("row0", "row2")
    # Nor do they teach a judge of generated images.
    learnt = _data_of(load(run, role="generator"), run, None)
    assert len(learnt) == CLASSES * OF_EACH - 30
    assert not images_in(learnt) & held


def images_in(dataset: Dataset) -> set[bytes]:
    return {image.numpy().tobytes() for image in dataset.images}


def test_the_nearest_row_is_the_nearest() -> None:
    random = torch.Generator().manual_seed(0)
    points, centres = (torch.randn(count, 6, generator=random) + 30 for count in (40, 17))
    assert torch.equal(_protocol.nearest(points, centres), torch.cdist(points, centres).argmin(1))


def test_c_is_chosen_by_the_validation_images_and_the_others_judge(source: Path) -> None:
    train, test = (open_dataset(str(source), split=split, size=SIDE) for split in ("train", "test"))
    parts = _protocol.divide(train, test, seed=0)
    assert torch.equal(parts.judging, torch.arange(len(test)))
    told: list[int] = []
    few, all_ = _protocol.measure(
        "pixels", _features.look_at_pixels, parts, [4, None], classifier="logistic", draws=3, seed=0, done=told.append
    )
    looked_at = len(parts.judging) + len(parts.validation)
    assert told[-4:] == [12, 12, 12, len(parts.learning)]
    assert sum(told[:-4]) == looked_at
    assert (len(few.accuracies), len(all_.accuracies)) == (3, 1)
    assert 0.5 < few.accuracy < all_.accuracy <= 1
    assert few.c in _protocol.CS
    assert few.deviation == pytest.approx(np.std(few.accuracies))
    # By hand, with the C that was chosen.
    rows, seen = parts.draw(4, seeds.derive(0, "draw", 1)), _features.look_at_pixels
    fit = dict(_protocol._fitted(seen(train.images[rows]), train.labels[rows], CLASSES, "logistic"))[few.c]
    assert few.accuracies[1] == pytest.approx(float((fit(seen(test.images)) == test.labels).double().mean()))


# ------------------------------------------------------------------------------------------------------------ the verb


def test_the_verb_prints_a_row_for_each_kind_of_features_and_keeps_everything(typed, run, tmp_path, capsys) -> None:
    out = tmp_path / "probe.json"
    assert typed(f"probe {run} --per-class 5,20 --draws 2 --out {out}") == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in ("5 per class", "20 per class", "discriminator: layers", "discriminator, untrained: layers", "pixels"):
        assert part in said
    kept = json.loads(out.read_text())
    assert kept["protocol"]["validation"] == 30
    assert kept["protocol"]["images"] == 16
    assert [one["width"] for one in kept["measured"]][-2:] == [64, 64]
    assert typed(f"probe {run} --out {out}") == 2
    assert "exists; give another --out, or --overwrite" in capsys.readouterr().err


def test_the_probe_carries_over_to_other_data_and_to_some_classes(run, tmp_path, source) -> None:
    found = frugan.probe(run, data="glyphs:digits", only=["3", "7"], per_class=[5], draws=1)
    assert found.protocol["classes"] == ["3", "7"]
    assert "glyphs" in found.protocol["train"]
    assert found.measured[-1].accuracy > 0.7  # pixels
    two = frugan.probe(run, only=["row0", "row2"], per_class=[5], draws=1, classifier="nearest")
    assert two.protocol["classes"] == ["row0", "row2"]
    assert two.measured[0].c is None
    assert two.protocol["cs"] == []


def test_an_encoder_is_probed_by_its_latents_and_its_last_layer(source, tmp_path) -> None:
    small = {
        "data.size": SIDE, "batch_size": 6, "latents.size": 5, "precision": "float32", "generator.hidden": [8, 8],
        "encoder.hidden": [8, 8], "discriminator.hidden": [8, 8],
    }
    run = trained(source, tmp_path / "bigan", "bigan-mnist", **small)
    found = frugan.probe(run, classifier="nearest", draws=2)
    widths = {one.features: one.width for one in found.measured}
    assert widths == {
        "encoder: latents": 5, "encoder, untrained: latents": 5, "encoder: hidden": 8, "encoder, untrained: hidden": 8,
        "pixels": 64,
    }
    assert [one.per_class for one in found.measured[:2]] == [10, 10]  # 100 of each there are not


def test_what_cannot_be_probed_is_refused_in_one_line(typed, run, tmp_path, source, capsys) -> None:
    def refused(line: str, *parts: str) -> None:
        assert typed(f"probe {line}") == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1
        for part in parts:
            assert part in said[0]

    load(run).save(tmp_path / "artefact")
    refused(f"{tmp_path / 'artefact'}", "is an artefact", "its discriminator is gone", "Give the run folder")
    gone = tmp_path / "gone"
    shutil.copytree(run, gone, ignore=shutil.ignore_patterns("*.safetensors"))
    refused(f"{gone}", "has no checkpoint", "the weights of its discriminator are gone", "frugan train")
    refused(f"{tmp_path / 'nothing'}", "is not a run folder")
    refused(f"{run} --network encodr", "no network 'encodr'", "discriminator")
    refused(f"{run} --features latents", "no features 'latents'", "layers")
    refused(f"{run} --classifier swm", "no classifier 'swm'", "svm")
    refused(f"{run} --per-class 5,0", "--per-class 0: give numbers of 1 or more, or all")
    refused(f"{run} --only row1", "has one class", "Give more: --only A,B")
    refused(f"{run} --per-class 1000", "has 5", "images of 'row", "Give", "or fewer, or all")
    flat = tmp_path / "flat.npz"
    np.savez(flat, images=np.random.default_rng(0).integers(0, 255, (20, SIDE, SIDE), dtype=np.uint8))
    refused(f"{run} --data {flat}", "has no labels to probe with", "--data SOURCE")


def test_attributes_are_probed_one_at_a_time() -> None:
    random = np.random.default_rng(0)
    bits = torch.from_numpy(random.integers(0, 2, (30, 2)))
    dataset = Dataset(
        "drawn", "train", ImageShape(1, 4, 4), torch.zeros(30, 1, 4, 4, dtype=torch.uint8), bits, (), "0" * 16,
        attributes=("hat", "beard"),
    )
    chosen = replace(dataset, labels=bits[:, 1:], attributes=("beard",))
    told = _labelled(chosen, "beard")
    assert told.classes == ("not beard", "beard")
    assert torch.equal(told.labels, bits[:, 1])
    with pytest.raises(UserError, match=r"has attributes instead of classes.*--attribute hat \(it has hat, beard\)"):
        _labelled(dataset, None)
