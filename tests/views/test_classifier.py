from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import frugan.views
from frugan import metrics
from frugan.batch import ImageShape
from frugan.evaluation.values.inputs import describe_views
from frugan.registry import UserError
from frugan.views import View
from frugan.views.classifier import _at_chance, train


def shapes(count: int = 300, channels: int = 1, side: int = 12) -> SimpleNamespace:
    """A labelled data set of three classes: a bar across, a bar down, a square, somewhere and in noise."""
    numbers = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 60, (count, channels, side, side), dtype=torch.uint8, generator=numbers)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = torch.randint(0, side - 4, (2,), generator=numbers).tolist()
        high, wide = [(2, side), (side, 2), (4, 4)][label]
        image[:, (0 if high == side else row) :, (0 if wide == side else column) :][:, :high, :wide] += 150
    return SimpleNamespace(
        images=images,
        labels=labels,
        classes=("across", "down", "square"),
        shape=ImageShape(channels, side, side),
        content_hash="a1b2c3d4e5f60718293a" + str(count),
        name="shapes",
        split="train",
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("views")


@pytest.fixture(scope="module")
def view(cache: Path) -> View:
    return frugan.views.build("classifier", dataset=shapes(), cache=cache)


def test_learns_and_says_how_well(view: View) -> None:
    assert view.description["accuracy"] > 0.9
    assert view.description["accuracy_on"] == "30 images held back from training"
    assert view.description["images"] == 270
    assert view.width == 128
    assert view.classes == 3
    assert view.description["weights"].startswith(view.version.split("-")[2])
    data = shapes()
    seen = frugan.views.extract(view, data.images)
    assert seen.features.shape == (300, 128)
    assert seen.features.dtype == torch.float32
    assert seen.log_probabilities is not None
    assert torch.allclose(seen.log_probabilities.exp().sum(1), torch.ones(300), atol=1e-5)
    assert (seen.log_probabilities.argmax(1) == data.labels).float().mean() > 0.9


def test_values_do_not_depend_on_the_batch_size(view: View) -> None:
    images = shapes().images
    one, other = (frugan.views.extract(view, images, batch_size=size) for size in (7, 256))
    assert (one.features - other.features).abs().max() <= 1e-5 * one.features.abs().max()


def test_is_not_moved_by_a_callers_settings(view: View) -> None:
    images = shapes().images[:20]
    before = view.features(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(view.features(images), before)
    assert not view.features(images).requires_grad


def test_is_kept_and_found_again(view: View, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frugan.views.classifier.train", lambda *_, **__: pytest.fail("it was trained again"))
    again = frugan.views.build("classifier", dataset=shapes(), cache=cache)
    assert again.version == view.version
    assert again.description == view.description
    assert torch.equal(again.features(shapes().images), view.features(shapes().images))
    assert [path.name for path in cache.iterdir()] == ["classifier-cnn2-a1b2c3d4e5f60718-seed0"]


def test_is_deterministic_and_leaves_the_random_numbers_alone(view: View, tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    lines: list[str] = []
    with torch.no_grad():
        again = frugan.views.build("classifier", dataset=shapes(), cache=tmp_path, announce=lines.append)
        other = frugan.views.build("classifier", dataset=shapes(), cache=tmp_path, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert again.version == view.version != other.version
    assert "Training the classifier that judges shapes" in lines[0]


@pytest.mark.parametrize(("first", "side", "shown"), [
    (0.95, 12, [1280, 2560]),
    (1.0, 12, [1280]),  # good enough
    (0.5, 12, [1280]),  # hard in themselves
    (0.95, 29, [1280]),  # too large for a long training
])  # fmt: skip
def test_a_net_that_could_be_better_is_followed_by_one_that_is_shown_more(
    first: float, side: int, shown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, budgets = shapes(side=side), []

    def learn(*_: object, budget: int, **__: object) -> nn.Sequential:
        budgets.append(budget)
        return nn.Sequential()

    def tell(net: nn.Sequential, images: Tensor, **_: object) -> Tensor:
        rows = [int((data.images == image).flatten(1).all(1).nonzero()[0]) for image in images]
        wrong = torch.arange(len(images)) >= round(len(images) * (1.0 if len(budgets) == 2 else first))
        return torch.where(wrong, -1, data.labels[rows])

    monkeypatch.setattr("frugan.classifying.train", learn)
    monkeypatch.setattr("frugan.classifying.classify", tell)
    monkeypatch.setattr("frugan.classifying.seconds_needed", lambda *_, **__: 1.0)
    monkeypatch.setattr("frugan.views.classifier.BUDGETS", (1280, 2560, 5120))
    _, description = train(data, ["a", "b", "c"], seed=0, device="cpu")
    assert budgets == shown
    assert description["images_seen"] == shown[-1]


def test_its_training_is_bounded_in_time_and_says_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which the whole budget would take 200 s shows a quarter of the images; lines say how far it is."""
    monkeypatch.setattr("frugan.classifying.seconds_needed", lambda *_, **__: 200.0)
    monkeypatch.setattr("frugan.views.classifier.BUDGETS", (1280 * 4,))
    monkeypatch.setattr("frugan.countdown.EVERY", 0.0)
    lines: list[str] = []
    _, description = train(shapes(), ["a", "b", "c"], seed=0, device="cpu", announce=lines.append)
    assert description["images_seen"] == 1280
    assert lines[0].startswith("Training the classifier that judges shapes: about 60 s (once for all runs")
    assert [line.partition(" images")[0] for line in lines[1:]] == [
        f"Training the classifier: {128 * step:,} of 1,280" for step in range(1, 10)
    ]
    assert all(line.endswith(" s left.") for line in lines[1:])


@pytest.mark.parametrize(("seconds", "shown"), [(200.0, [1280, 6400]), (60.0, [5120, 25600])])
def test_a_slow_machine_shows_the_second_net_fewer_images_too(
    seconds: float, shown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, budgets = shapes(), []

    def learn(*_: object, budget: int, **__: object) -> nn.Sequential:
        budgets.append(budget)
        return nn.Sequential()

    def tell(net: nn.Sequential, images: Tensor, **_: object) -> Tensor:
        rows = [int((data.images == image).flatten(1).all(1).nonzero()[0]) for image in images]
        return torch.where(torch.arange(len(images)) >= round(0.95 * len(images)), -1, data.labels[rows])

    monkeypatch.setattr("frugan.classifying.train", learn)
    monkeypatch.setattr("frugan.classifying.classify", tell)
    monkeypatch.setattr("frugan.classifying.PASSES", 1000)
    monkeypatch.setattr("frugan.classifying.seconds_needed", lambda *_, **__: seconds)
    monkeypatch.setattr("frugan.views.classifier.BUDGETS", (1280 * 4, 1280 * 20))
    train(data, ["a", "b", "c"], seed=0, device="cpu")
    assert budgets == shown


def test_the_first_of_two_processes_wins(view: View, cache: Path) -> None:
    from frugan.views._learnt import keep

    folder = cache / "classifier-cnn2-a1b2c3d4e5f60718-seed0"
    keep(folder, {"other": Tensor([1.0])}, {})
    assert json.loads((folder / "description.json").read_text()) == view.description
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("damaged", ["{", "[]", '{"format": 1}', '{"format": 0, "weights": ""}'])
def test_a_damaged_description_is_said(damaged: str, view: View, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path / "copy")
    (next((tmp_path / "copy").iterdir()) / "description.json").write_text(damaged)
    with pytest.raises(UserError, match=r"is damaged or was saved by another version. Delete that folder"):
        frugan.views.build("classifier", dataset=shapes(), cache=tmp_path / "copy")


@pytest.mark.parametrize("key", ["classes", "accuracy"])
def test_a_description_that_was_changed_or_is_gone_is_said(key: str, view: View, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path / "copy")
    path = next((tmp_path / "copy").iterdir()) / "description.json"
    known = json.loads(path.read_text())
    for text in (json.dumps({**known, key: 1}), json.dumps({k: known[k] for k in known if k != key}), None):
        path.unlink() if text is None else path.write_text(text)
        with pytest.raises(UserError, match=r"is damaged or was saved by another version. Delete that folder"):
            frugan.views.build("classifier", dataset=shapes(), cache=tmp_path / "copy")


def test_a_damaged_cache_is_said(view: View, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path / "copy")
    weights = next((tmp_path / "copy").iterdir()) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"is damaged or was saved by another version. Delete that folder"):
        frugan.views.build("classifier", dataset=shapes(), cache=tmp_path / "copy")


def test_data_it_cannot_learn_from_are_named(view: View, tmp_path: Path) -> None:
    def build(**changes: object) -> None:
        data = shapes()
        data.__dict__.update(changes)
        frugan.views.build("classifier", dataset=data, cache=tmp_path)

    with pytest.raises(UserError, match="Pass the data set"):
        frugan.views.build("classifier", cache=tmp_path)
    with pytest.raises(UserError, match=r"be trained on shapes: it has no labels.*--view contrast, or inception"):
        build(labels=None)
    with pytest.raises(UserError, match=r"300 images of 1 combination, but .* at least 100 of 2"):
        build(labels=torch.zeros(300, 4))
    with pytest.raises(UserError, match="99 images of 3 classes, but a classifier needs at least 100"):
        build(labels=torch.arange(99) % 3)
    with pytest.raises(UserError, match=r"300 images of 1 class, but .* at least 100 of 2"):
        build(labels=torch.zeros(300, dtype=torch.int64))
    with pytest.raises(UserError, match="a side under 6 pixels"):
        build(shape=ImageShape(1, 5, 5))
    with pytest.raises(UserError, match=r"trained on images \[1, 12, 12\], but these are \[1, 28, 28\]"):
        view.features(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    assert not list(tmp_path.iterdir())


def test_a_judge_at_chance_says_so_whenever_it_is_built(tmp_path: Path) -> None:
    data, said = shapes(120), []
    data.labels = torch.randint(3, (120,), generator=torch.Generator().manual_seed(1))
    for _ in range(2):  # trained, then from the cache
        view = frugan.views.build("classifier", dataset=data, cache=tmp_path, announce=said.append)
    told = [line for line in said if "may mean little" in line]
    assert len(told) == 2
    assert view.description["at_chance"] in told[0]
    assert "--view contrast" in told[0]
    protocol = describe_views(metrics.find("fid"), lambda: [view])
    assert protocol["view_at_chance"] == view.description["at_chance"]


@pytest.mark.parametrize(("right", "at_chance"), [(0.5, True), (0.53, True), (0.58, False)])
def test_chance_is_what_one_answer_for_all_would_reach(right: float, at_chance: bool) -> None:
    classes = torch.arange(1000) % 2
    found = [_at_chance(right, classes, ["a", "b"]), _at_chance(right, torch.stack([classes] * 2, 1), ["a", "b"])]
    assert [bool(one) for one in found] == [at_chance] * 2
    if at_chance:
        assert found[0] == {"at_chance": "always saying 'a' is right on 50.0%"}
        assert "its commoner value is right on 50.0%" in found[1]["at_chance"]


def test_attributes_are_told_one_by_one(tmp_path: Path) -> None:
    data = shapes()
    bright = data.images.float().mean((1, 2, 3)) > data.images.float().mean()
    bits = torch.stack([data.labels == 0, data.labels != 2, bright], 1).long()
    data.__dict__.update(labels=bits, classes=(), attributes=("first", "not third", "bright"))
    view = frugan.views.build("classifier", dataset=data, cache=tmp_path)
    assert (view.classes, view.attributes) == (0, 3)
    assert view.description["attributes"] == ["first", "not third", "bright"]
    told = frugan.views.extract(view, data.images).log_probabilities
    assert told is not None
    assert told.shape == (300, 3)
    right = ((told.exp() > 0.5).long() == bits).double().mean(0)
    assert (right[:2] > 0.95).all()
    # A bit for itself: the first two exclude nothing, and an image may have both.
    assert ((told.exp() > 0.5).sum(1) >= 2).sum() >= 95
    assert view.description["accuracy"] == pytest.approx(
        sum(view.description["accuracy_by_attribute"].values()) / 3
    )
    again = frugan.views.build("classifier", dataset=data, cache=tmp_path)
    assert (again.version, again.attributes) == (view.version, 3)


def test_colour_and_large_images_are_looked_at(tmp_path: Path) -> None:
    data = shapes(count=120, channels=3, side=40)
    view = frugan.views.build("classifier", dataset=data, cache=tmp_path)
    assert view.input_size == (32, 32)
    assert view.description["resizing"] == "area to 32x32"
    assert replace(view, name="x").features(data.images[:3]).shape == (3, 128)
