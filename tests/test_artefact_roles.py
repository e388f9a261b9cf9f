"""What a run ships beside generators: encoders and classifiers, found by role, or refused with what there is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import frugan
from frugan import build, games, recipes
from frugan.artefact import Classifier, Encoder, Generator
from frugan.games import Classes, Order, Shipped, Variant, labels_for
from frugan.recipe import Choice, Network, Recipe
from frugan.registry import UserError

SIZE, CLASSES = 12, 3
PICTURES = np.random.default_rng(1).integers(0, 255, (40, SIZE, SIZE, 1), dtype=np.uint8)


class Reading:
    """A generator that nobody trains, a classifier of the data and of fakes, and an encoder that may be told labels."""

    streams = ("train",)
    settle = staticmethod(games.settle)
    ships: Mapping[str, str] = {"generator": "generator", "classifier": "reader", "encoder": "encoder"}

    def __init__(
        self, *, batch_size: int, latents: Any, loss: Any, penalties: Any = (), augment: Any = (), **networks: nn.Module
    ) -> None:
        self.networks: dict[str, nn.Module] = networks
        self.batch_size, self.latents = batch_size, latents

    def step(self, batches: Any, progress: Any, update: Any) -> dict[str, Tensor]:
        real = batches.take("train", self.batch_size)
        generator, reader, encoder = (self.networks[name] for name in ("generator", "reader", "encoder"))
        latents = self.latents.draw(self.batch_size, progress.generator("latents"))

        def loss() -> Tensor:
            read = nn.functional.cross_entropy(reader(real.images)["classes"], real.labels)
            codes = encoder(real.images, labels_for(encoder, real.labels))["latents"]
            return read + codes.square().mean() + generator(latents).square().mean()

        return {"loss": update("all", loss)[0]}

    def sample(self, networks: Mapping[str, nn.Module], like: Any, seed: int) -> Tensor:
        return networks["generator"](self.latents.rows(0, like.count, seed))

    def shipped(self) -> dict[str, Shipped]:
        return {role: Shipped(network) for role, network in self.ships.items()}


def order(**options: object) -> dict[str, Order]:
    classes = Classes(("train",), more=1)
    return {
        "generator": Order("decoder"), "reader": Order("encoder", {"classes": classes}, role="classifier"),
        "encoder": Order("encoder", {"latents": 4, "spread": 2}, role="encoder"),
    }


@pytest.fixture(scope="module", autouse=True)
def _reading() -> Iterator[None]:
    games.registry._added["reading"] = Variant(Reading, order)
    yield
    del games.registry._added["reading"]


def small(labels: bool = False) -> Recipe:
    plain = recipes.find("vanilla")
    judge = Network("mlp", {"hidden": [8]})
    player = plain.players["generator"]
    return Recipe(
        name="small", system="test", source="", expects="", data=plain.data, images=24, batch_size=8,
        networks={
            "generator": Network("mlp", {"hidden": [8]}), "reader": judge,
            "encoder": Network("mlp", {"hidden": [8]}, labels=labels),
        },
        players={"all": type(player)(("generator", "reader", "encoder"))}, game=Choice("reading"), precision="float32",
    ).with_changes({"data.size": SIZE, "latents.size": 4})


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("noise") / "noise.npz"
    np.savez(path, images=PICTURES[:30], labels=np.arange(30) % CLASSES)
    return str(path)


@pytest.fixture(scope="module")
def run(noise: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return frugan.train(small(), data=noise, out=tmp_path_factory.mktemp("run") / "run", quiet=True).path


@pytest.fixture(scope="module")
def generating(noise: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ships a generator alone."""
    keys = {"data.size": SIZE, "generator.hidden": [8], "discriminator.hidden": [8]}
    out = tmp_path_factory.mktemp("generating") / "run"
    return frugan.train("vanilla", data=noise, images=32, changes=keys, out=out, quiet=True).path


# ------------------------------------------------------------------------------------------------------------- by role


def test_a_role_is_given_as_its_class_and_the_main_one_where_none_is_asked_for(run, tmp_path):
    kinds = {"generator": Generator, "classifier": Classifier, "encoder": Encoder, None: Generator}
    for role, kind in kinds.items():
        found = frugan.load(run, role=role)
        assert type(found) is kind
        assert found.role == (role or "generator")
    assert frugan.load(run, role="encoder").outputs == {"latents": 4, "spread": 2}


def test_what_a_run_does_not_ship_is_refused_with_what_there_is(generating, run, tmp_path):
    for role in ("encoder", "classifier", "translator", "critic"):
        with pytest.raises(UserError, match=f"ships no {role}; it has: generator"):
            frugan.load(generating, role=role)
    with pytest.raises(UserError, match="ships no critic; it has: generator, classifier, encoder"):
        frugan.load(run, role="critic")
    kept = frugan.load(run, role="encoder").save(tmp_path / "artefact")
    with pytest.raises(UserError, match="ships one network, in the role 'encoder', but 'classifier' is needed here"):
        frugan.load(kept, role="classifier")


@pytest.mark.parametrize(("ships", "told"), [
    ({"generator": "generator", "critic": "reader"}, "in the role 'critic', but nothing can use that role"),
    ({"encodr": "encoder"}, "Did you mean 'encoder'"),
    ({"generator": "genrator"}, r"ships the network 'genrator', .* Did you mean 'generator'"),
    ({"encoder": "generator"}, r"'generator' in the role 'encoder', .* part 'encoder', but .* part 'decoder'"),
    ({}, "ships no network"),
])
def test_a_game_that_ships_what_could_not_be_used_is_refused_before_it_is_trained(ships, told, monkeypatch):
    monkeypatch.setattr(Reading, "ships", ships)
    with pytest.raises(UserError, match=told):
        build.assemble(small())


def test_an_unknown_role_in_an_artefact_is_refused(run, tmp_path):
    kept = frugan.load(run, role="encoder").save(tmp_path / "artefact")
    config = json.loads((kept / "config.json").read_text())
    (kept / "config.json").write_text(json.dumps({**config, "role": "critic"}))
    with pytest.raises(UserError, match=r"Nothing can use .* role 'critic'\. A game may ship the roles gener"):
        frugan.load(kept)


# ------------------------------------------------------------------------------------------------------------- encoders


def test_an_encoder_gives_each_of_its_outputs_and_refuses_another(run, tmp_path):
    encoder = frugan.load(run, role="encoder")
    codes = encoder.encode(PICTURES)
    assert (codes.shape, codes.dtype) == ((40, 4), np.float32)
    assert np.array_equal(codes, encoder.encode(PICTURES, "latents"))
    assert encoder.encode(PICTURES[:3], "spread").shape == (3, 2)
    assert encoder.encode(PICTURES[:0]).shape == (0, 4)
    low, high = encoder.config["image_range"]
    pictures = torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float() / 255 * (high - low) + low
    np.testing.assert_allclose(codes, encoder.module(pictures)["latents"].numpy(), atol=1e-5)
    again = frugan.load(encoder.save(tmp_path / "artefact"))
    assert np.array_equal(again.encode(PICTURES), codes)
    assert 'encode(images, "latents")' in (tmp_path / "artefact" / "README.md").read_text()
    with pytest.raises(UserError, match=r"This encoder has no output 'latnts'\. Did you mean 'latents'"):
        encoder.encode(PICTURES, "latnts")
    with pytest.raises(UserError, match="This encoder was trained without labels"):
        encoder.encode(PICTURES, labels=0)


@pytest.mark.parametrize("wrong", [
    PICTURES.astype(np.float32), PICTURES[..., 0], PICTURES.repeat(3, -1), PICTURES[:, :-1], PICTURES[:, :, ::2],
    np.uint8(3),
], ids=["floats", "no channels", "three channels", "lower", "narrower", "one number"])  # fmt: skip
def test_other_images_are_refused_by_those_that_read_them(run, wrong):
    for role in ("encoder", "classifier"):
        with pytest.raises(UserError, match=rf"this {role} takes bytes \[count, 12, 12, 1\]"):
            frugan.load(run, role=role).encode(wrong)


def test_an_encoder_that_was_trained_with_labels_is_told_them(noise, tmp_path):
    run = frugan.train(small(labels=True), data=noise, out=tmp_path / "run", quiet=True)
    encoder = frugan.load(run.path, role="encoder")
    labels = np.arange(40) % CLASSES
    codes = encoder.encode(PICTURES, labels=labels)
    assert codes.shape == (40, 4)
    np.testing.assert_allclose(encoder.encode(PICTURES[39:], labels=labels[39]), codes[39:], atol=1e-6)
    assert np.abs(encoder.encode(PICTURES, labels=(labels + 1) % CLASSES) - codes).max() > 1e-4
    with pytest.raises(UserError, match=r"trained with labels, so it needs labels: encoder\.encode\(images, labels="):
        encoder.encode(PICTURES)
    with pytest.raises(UserError, match="give 40 class numbers from 0 to 2"):
        encoder.encode(PICTURES, labels=[0, 1])
    encoder.save(tmp_path / "artefact")
    assert 'encode(images, "latents", labels=labels)' in (tmp_path / "artefact" / "README.md").read_text()


# ---------------------------------------------------------------------------------------------------------- classifiers


def test_a_classifier_knows_the_classes_of_the_data_alone(run, tmp_path):
    classifier = frugan.load(run, role="classifier")
    assert classifier.classes == ("0", "1", "2")
    assert classifier.outputs == {"classes": CLASSES + 1}  # the game's network tells fakes, too
    logits = torch.from_numpy(classifier.encode(PICTURES, "classes"))
    assert logits.shape == (40, CLASSES + 1)
    probabilities = classifier.probabilities(PICTURES)
    assert (probabilities.shape, probabilities.dtype) == ((40, CLASSES), np.float32)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(probabilities, torch.softmax(logits[:, :CLASSES], 1).numpy(), atol=1e-6)
    numbers = classifier.classify(PICTURES)
    assert (numbers.shape, numbers.dtype) == ((40,), np.int64)
    assert np.array_equal(numbers, logits[:, :CLASSES].argmax(1).numpy())
    again = frugan.load(classifier.save(tmp_path / "artefact"))
    assert type(again) is Classifier
    assert np.array_equal(again.probabilities(PICTURES), probabilities)
    assert "classify(images)" in (tmp_path / "artefact" / "README.md").read_text()


def test_fakes_have_no_share_even_where_the_network_is_sure_of_them(run):
    classifier = frugan.load(run, role="classifier")

    class Sure(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"classes": torch.tensor([[0.0, 2.0, 1.0, 50.0]]).expand(len(images), -1)}

    sure = Classifier(Sure(classifier.module), classifier.config)
    assert sure.classify(PICTURES[:2]).tolist() == [1, 1]
    expected = np.exp([0, 2, 1]) / np.exp([0, 2, 1]).sum()
    np.testing.assert_allclose(sure.probabilities(PICTURES[:1])[0], expected, atol=1e-6)


def test_an_encoder_is_no_classifier(run):
    encoder = frugan.load(run, role="encoder")
    with pytest.raises(UserError, match=r"this network only has the outputs latents, spread.*role=\"encoder\""):
        Classifier(encoder.module, encoder.config)
