"""Evaluation of translators: every number against the same made step by step, for attributes, classes, two directions
and two data sets; what is refused; values while they train."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import frugan.metrics
from frugan import artefact, cli, data, seeds, views
from frugan.engine.run import RunFolder
from frugan.evaluation import by_target, evaluate, noise, sheets, unequal
from frugan.evaluation import while_training as approximate
from frugan.evaluation.opening.fakes import draw_places
from frugan.evaluation.opening.targets import Split, find_targets
from frugan.registry import UserError
from frugan.training import train

ATTRIBUTES = ("black_hair", "blond_hair", "glasses")
TINY: dict[str, Any] = {
    "generator.width": 0.0625, "generator.blocks": 1, "discriminator.width": 0.0625, "data.size": 16, "batch_size": 4,
    "data.limit": 400, "game.discriminator_steps": 1, "precision": "float32",
}  # fmt: skip
STAR = {**TINY, "data.attributes": list(ATTRIBUTES)}
CYCLE = {
    "generator_ab.width": 0.0625, "generator_ab.blocks": 1, "generator_ba.width": 0.0625, "generator_ba.blocks": 1,
    "discriminator_a.width": 0.0625, "discriminator_b.width": 0.0625, "data.size": 16, "data.limit": 400,
    "discriminator_a.stages": 1, "discriminator_b.stages": 1, "batch_size": 2, "precision": "float32",
}  # fmt: skip
COUNT: dict[str, Any] = {"count": 60, "device": "cpu", "allow_few": ["fid"]}


@pytest.fixture(scope="module", autouse=True)
def _classifiers_that_learn_little() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frugan.views.classifier.BUDGETS", (1280,))
        yield


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("translators") / "star"
    return train("stargan", images=24, out=out, changes=STAR, device="cpu", quiet=True).path


@pytest.fixture(scope="module")
def values(star: Path) -> dict[str, dict[str, Any]]:
    return {value["metric"]: value for value in evaluate(star, **COUNT)}


def portraits(split: str, attributes: tuple[str, ...] = ATTRIBUTES) -> data.Dataset:
    limit = 400 if split == "train" else None
    return data.open_dataset("portraits", split=split, size=16, channels=3, attributes=attributes, limit=limit)


def through(translator: artefact.Translator, images: Tensor, told: Tensor | None) -> Tensor:
    made = translator.translate(images.permute(0, 2, 3, 1).numpy(), to=told)
    return torch.from_numpy(made).permute(0, 3, 1, 2).contiguous()


def floors(value: dict[str, Any]) -> dict[str, dict[str, float]]:
    return by_target({**value, "values": value["floor"]["values"]})


def step_by_step(star: Path, number: int, bit: int, name: str) -> dict[str, float]:
    """All numbers of one target of attributes, from the trained network and the data alone."""
    dataset, translator = portraits("test"), artefact.load(star)
    judge = views.build("classifier", dataset=portraits("train"))
    labels = dataset.labels.numpy()  # pyrefly: ignore
    others, own = np.flatnonzero(labels[:, number] != bit), np.flatnonzero(labels[:, number] == bit)
    order = torch.randperm(len(others), generator=seeds.generator(0, "sources", name))[:60].sort().values.numpy()
    rows, reals = others[order], own[draw_places(own, 60).numpy()]
    source, real = (dataset.images[torch.from_numpy(which)] for which in (rows, reals))
    before = torch.from_numpy(labels[rows])
    asked = before.clone()
    if number < 2:
        asked[:, :2] = 0
    asked[:, number] = bit
    fake = through(translator, source, asked)
    back, stay = through(translator, fake, before), through(translator, real, torch.from_numpy(labels[reals]))
    told, told_before = (
        (views.extract(judge, images).log_probabilities.exp() > 0.5).long() for images in (fake, source)  # pyrefly: ignore
    )
    changed = asked != before
    features = [views.extract(judge, images).features for images in (real, fake, source)]
    fids = [frugan.metrics.fid.compute(real=features[0], fake=one)["fid"] for one in features[1:]]
    reached, reached_before = (((one == asked) | ~changed).all(1).double() for one in (told, told_before))
    return {
        "fid": fids[0], "fid before": fids[1], "target_accuracy": float(reached.mean()),
        "target_accuracy before": float(reached_before.mean()),
        "preservation": float((told == asked)[~changed].double().mean()),
        "reconstruction_error": float(np.abs(source.numpy().astype(float) - back.numpy()).mean()),
        "identity_error": float(np.abs(real.numpy().astype(float) - stay.numpy()).mean()),
    }  # fmt: skip


def test_every_number_of_every_target_is_that_of_its_translations(
    star: Path, values: dict[str, dict[str, Any]]
) -> None:
    """StarGAN sheet 3.5: hair colours are set and put away the others, glasses are put on and off."""
    assert list(values) == ["fid", "target_accuracy", "preservation", "reconstruction_error", "identity_error"]
    targets = [(0, 1, "black_hair"), (1, 1, "blond_hair"), (2, 1, "glasses"), (2, 0, "not glasses")]
    assert list(by_target(values["fid"])["fid"]) == [name for *_, name in targets]
    of_all: dict[str, list[float]] = {}
    for number, bit, name in targets:
        for key, expected in step_by_step(star, number, bit, name).items():
            metric, _, what = key.partition(" ")
            found = by_target(values[metric])[what or metric][name]
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-9), (key, name)
            of_all.setdefault(key, []).append(expected)
    for key, numbers in of_all.items():
        metric, _, what = key.partition(" ")
        assert values[metric]["values"][what or metric] == pytest.approx(sum(numbers) / 4, rel=1e-6), key


def test_a_value_of_translations_says_how_it_was_made(star: Path, values: dict[str, dict[str, Any]]) -> None:
    protocol = values["fid"]["protocol"]
    assert (protocol["data"], protocol["split"]) == ("portraits", "test")
    assert protocol["labels"] == "each target in turn, one of black_hair or blond_hair"
    assert (protocol["fake_count"], protocol["real_count"]) == (240, 240)
    assert protocol["targets"]["not glasses"] == "60 translated, 60 real"
    assert protocol["few_images"] == "fid takes 500 images of each target, and 60 were asked for"
    assert "few_images" not in values["target_accuracy"]["protocol"]
    assert protocol["generator"] == artefact.load(star).weights_hash
    assert protocol["view"] == "classifier"
    assert values["fid"]["images"] == 24
    found = values["target_accuracy"]["values"]
    assert found["rise"] == pytest.approx(found["target_accuracy"] - found["before"])
    assert found["rise_low"] <= found["rise"] <= found["rise_high"]


def test_floors_are_of_real_images_in_the_place_of_translated_ones(values: dict[str, dict[str, Any]]) -> None:
    judge = views.build("classifier", dataset=portraits("train"))
    test, learnt = portraits("test"), portraits("train")
    rows = np.flatnonzero(test.labels[:, 2] == 1)  # pyrefly: ignore
    real = test.images[torch.from_numpy(rows[draw_places(rows, 60).numpy()])]
    others = np.flatnonzero(learnt.labels[:, 2] == 1)  # pyrefly: ignore
    spare = learnt.images[torch.from_numpy(others[draw_places(others, 60).numpy()])]
    seen = [views.extract(judge, images) for images in (real, spare)]
    floor = floors(values["fid"])["fid"]["glasses"]
    assert floor == pytest.approx(frugan.metrics.fid.compute(real=seen[0].features, fake=seen[1].features)["fid"])
    told = seen[0].log_probabilities[:, 2].exp() > 0.5  # pyrefly: ignore
    found = floors(values["target_accuracy"])["target_accuracy"]
    assert found["glasses"] == pytest.approx(float(told.double().mean()))
    # Of a hair colour all that a translation is asked for, which puts away the other one.
    rows = np.flatnonzero(test.labels[:, 0] == 1)  # pyrefly: ignore
    real = test.images[torch.from_numpy(rows[draw_places(rows, 60).numpy()])]
    hair = views.extract(judge, real).log_probabilities[:, :2].exp() > 0.5  # pyrefly: ignore
    assert found["black_hair"] == pytest.approx(float((hair[:, 0] & ~hair[:, 1]).double().mean()))
    assert values["preservation"]["floor"]["value"] > 0.5
    assert values["reconstruction_error"]["floor"] is None
    assert values["identity_error"]["floor"] is None


def test_what_is_known_is_not_translated_again(star: Path, values: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(artefact.Translator, "translate", lambda *given, **named: pytest.fail("translated again"))
    again = evaluate(star, **COUNT)
    assert again == [json.loads(json.dumps(value)) for value in values.values()]


def test_every_image_is_translated_there_and_back_and_to_itself_once(star: Path, monkeypatch: Any) -> None:
    translate, counts = artefact.Translator.translate, []
    monkeypatch.setattr(
        artefact.Translator, "translate",
        lambda self, images, **named: counts.append(len(images)) or translate(self, images, **named),
    )  # fmt: skip
    evaluate(star, **{**COUNT, "count": 61})
    assert counts == [61] * 3 * 4
    counts.clear()
    evaluate(star, metrics=["fid", "target_accuracy"], view="pixels", **{**COUNT, "count": 62})
    assert counts == [62] * 4


def test_images_are_translated_in_parts_so_that_memory_does_not_grow(star: Path, monkeypatch: Any) -> None:
    translate, counts = artefact.Translator.translate, []
    monkeypatch.setattr(
        artefact.Translator, "translate",
        lambda self, images, **named: counts.append(len(images)) or translate(self, images, **named),
    )  # fmt: skip
    evaluate(star, metrics=["target_accuracy"], count=1030, device="cpu")
    assert max(counts) == 1024


def test_a_sheet_shows_each_image_as_what_it_is_not_and_as_what_it_is(star: Path) -> None:
    sheet, dataset = sheets(star, 5)[0], portraits("test")
    rows = draw_places(dataset, 5)
    assert bool((sheet.images == dataset.images[rows]).all())
    own = dataset.labels[rows]  # pyrefly: ignore
    glasses, blond = own.clone(), own.clone()
    glasses[:, 2] = 1
    blond[:, :2] = torch.tensor([0, 1])
    assert bool((own[:, 2] == 1).any())
    assert bool((own[:, 2] == 0).any())
    for name, asked in (("glasses", glasses), ("blond_hair", blond)):
        assert bool((sheet.made[name] == through(artefact.load(star), sheet.images, asked)).all()), name


def test_subsets_are_no_larger_than_what_there_is_of_a_target(star: Path) -> None:
    found = evaluate(star, metrics=["kid"], view="pixels", count=60, allow_few=["kid"], device="cpu")[0]
    assert found["protocol"]["options"]["subset_size"] == 60
    assert found["floor"]["value"] < found["values"]["before"]


def test_another_seed_translates_other_images_and_another_judge_is_another_view(star: Path) -> None:
    found = noise(star, metrics=["reconstruction_error"], seeds=(0, 1), **COUNT)["reconstruction_error"]
    assert found.sd > 0
    one, other = (evaluate(star, metrics=["target_accuracy"], view_seed=seed, **COUNT)[0] for seed in (0, 1))
    assert [line.partition(":")[0] for line in unequal([one["protocol"], other["protocol"]])] == [
        "view_version", "view_accuracy",
    ]  # fmt: skip


def test_no_view_is_trained_for_metrics_that_see_images_by_themselves(
    star: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("a view was built")

    monkeypatch.setattr("frugan.evaluation.opening.view.views.build", refuse)
    values = evaluate(star, metrics=["reconstruction_error", "identity_error"], count=50, seed=3, device="cpu")
    assert [value["protocol"]["view"] for value in values] == ["pixels"] * 2


def test_any_view_serves_and_labels_are_told_by_the_classifier_all_the_same(star: Path) -> None:
    found = {v["metric"]: v for v in evaluate(star, metrics=["fid", "target_accuracy"], view="pixels", **COUNT)}
    assert found["fid"]["protocol"]["view"] == "pixels"
    assert found["target_accuracy"]["protocol"]["view"] == "classifier"


def test_an_artefact_is_judged_as_its_run(star: Path, values: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    artefact.load(star).save(tmp_path / "artefact")
    found = evaluate(tmp_path / "artefact", metrics=["identity_error"], **COUNT)[0]
    assert found["values"] == values["identity_error"]["values"]
    assert unequal([found["protocol"], values["identity_error"]["protocol"]]) == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"metrics": ["path_length"]}, "path_length needs a generator"),
        ({"metrics": ["memorisation"]}, "memorisation needs held-out images besides"),
        ({"metrics": ["fid"], "allow_few": ()}, "fid takes 500 images of each target, and 60 were asked.*--allow-few"),
        ({"metrics": ["class_coverage"], "allow_few": ["class_coverage"]}, "'classifier' knows attributes instead"),
        ({"count": 0}, "--count 0"),
        ({"reference": "tset"}, "no reference 'tset'"),
        ({"size": 8}, "--size and --channels only apply to the images of --real"),
    ],
)
def test_what_cannot_be_measured_of_translations_is_one_line(
    star: Path, asked: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artefact.Translator, "translate", lambda *given, **named: pytest.fail("translated"))
    with pytest.raises(UserError, match=message):
        evaluate(star, **{**COUNT, **asked})


def test_a_generator_has_no_value_of_translations(tmp_path: Path) -> None:
    keys = {"data.size": 12, "data.limit": 120, "generator.hidden": [4], "discriminator.hidden": [4]}
    run = train("vanilla", data="glyphs:digits", images=64, out=tmp_path, changes=keys, device="cpu", quiet=True).path
    with pytest.raises(UserError, match="target_accuracy judges translators"):
        evaluate(run, metrics=["target_accuracy"], view="pixels", device="cpu")


def test_the_command_prints_a_row_for_each_target(star: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["evaluate", str(star), "--metrics", "target_accuracy,identity_error", "--count", "60"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("target_accuracy ")
    assert "_to_" not in lines[1]
    head = next(number for number, line in enumerate(lines) if line.startswith("target  "))
    titles = [title.strip() for title in lines[head].split("  ") if title]
    assert titles == ["target", "target_accuracy", "target_accuracy, before", "identity_error"]
    assert [line.split("  ")[0] for line in lines[head + 1 : head + 5]] == [
        "black_hair", "blond_hair", "glasses", "not glasses",
    ]  # fmt: skip


# -------------------------------------------------------------------------------------------- classes, directions, both


def test_two_directions_are_judged_by_which_set_an_image_is_of(tmp_path: Path) -> None:
    run = train("cyclegan", images=16, out=tmp_path / "run", changes=CYCLE, device="cpu", quiet=True).path
    found = {value["metric"]: value for value in evaluate(run, **COUNT)}
    assert list(found) == ["fid", "target_accuracy", "reconstruction_error", "identity_error"]
    ab, ba = artefact.load(run, role="translator_ab"), artefact.load(run, role="translator_ba")
    assert found["fid"]["protocol"]["generator"] == f"{ab.weights_hash} {ba.weights_hash}"
    learnt = [about["hash"] for about in RunFolder(run).read_json(RunFolder(run).facts)["data"].values()]
    assert found["fid"]["protocol"]["trained_on"] == " ".join(learnt)
    assert len(set(learnt)) == 2
    a, b = (
        data.open_dataset("portraits", split="test", size=16, channels=3, only=only)
        for only in (("not glasses",), ("glasses",))
    )
    order = torch.randperm(len(a), generator=seeds.generator(0, "sources", "glasses"))[:60].sort().values
    source, real = a.images[order], b.images[draw_places(b, 60)]
    fake = through(ab, source, None)
    back, stay = through(ba, fake, None), through(ab, real, None)
    pairs = {"reconstruction_error": (source, back), "identity_error": (real, stay)}
    for metric, (one, other) in pairs.items():
        number = by_target(found[metric])[metric]["glasses"]
        assert number == pytest.approx(np.abs(one.numpy().astype(float) - other.numpy()).mean(), rel=1e-9)
    assert set(by_target(found["fid"])["fid"]) == {"glasses", "not glasses"}
    assert found["target_accuracy"]["protocol"]["view_accuracy"] is not None
    with pytest.raises(UserError, match="preservation needs attributes, but these images have one class each"):
        evaluate(run, metrics=["preservation"], **COUNT)
    ab.save(tmp_path / "artefact")
    with pytest.raises(UserError, match="Evaluate the run folder that it came from"):
        evaluate(tmp_path / "artefact", **COUNT)


def test_targets_of_one_name_are_told_apart_by_their_streams(star: Path) -> None:
    split, translator = Split(portraits("train"), portraits("test")), artefact.load(star)
    pair = {role: artefact.Translator(translator.module, {"domains": {"names": ["photos"]}}) for role in ("ab", "ba")}
    shipped = {"ab": {"direction": ["a", "b"]}, "ba": {"direction": ["b", "a"]}}
    found = find_targets(pair, shipped, {"a": split, "b": split})
    assert [target.name for target in found[0].targets] == ["photos (b)", "photos (a)"]
    with pytest.raises(UserError, match="ab translates from 'a' to 'b', but there is no translator back"):
        find_targets({"ab": pair["ab"]}, {"ab": shipped["ab"]}, {"a": split, "b": split})


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares of three colours as a labelled .npz without held-out images."""
    folder, numbers = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    labels = np.arange(330) % 3
    images = numbers.integers(0, 90, (330, 16, 16, 3), dtype=np.uint8)
    for number in range(3):
        images[labels == number, 4:12, 4:12, number] += 150
    np.savez(folder / "squares.npz", images=images, labels=labels)
    return folder / "squares.npz"


def test_classes_are_targets_and_data_without_held_out_images_serve_as_their_own_reference(
    squares: Path, star: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"has classes .* and no attributes, so black_hair, blond_hair, glasses cannot"):
        evaluate(star, real=str(squares), **COUNT)
    # The recipe's group of hair colours is about attributes; a user who brings classes need not know of it.
    keys = {**TINY, "data.attributes": [], "data.limit": None}
    run = train(
        "stargan", data=str(squares), images=24, out=tmp_path / "run", changes=keys, device="cpu", quiet=True, holdout=0
    )
    found = {value["metric"]: value for value in evaluate(run, **COUNT)}
    assert "preservation" not in found
    assert list(by_target(found["target_accuracy"])["rise"]) == ["0", "1", "2"]
    assert found["fid"]["protocol"]["split"] == "train"
    assert found["fid"]["protocol"]["labels"] == "each target in turn"
    assert found["fid"]["floor"]["protocol"]["of"] == "two disjoint halves of the real images of each target"
    with pytest.raises(UserError, match="preservation needs attributes, but these images have one class each"):
        evaluate(run, metrics=["preservation"], **COUNT)
    named = evaluate(run, real=str(squares), metrics=["identity_error"], **COUNT)[0]
    assert named["values"] == found["identity_error"]["values"]


def test_each_of_two_data_sets_has_targets_of_its_own(tmp_path: Path) -> None:
    keys = {
        **STAR, "streams.second.attributes": ["smile"], "streams.second.classes": 1, "data.attributes": ["black_hair"],
    }  # fmt: skip
    run = train("stargan-joint", images=32, out=tmp_path / "run", changes=keys, device="cpu", quiet=True).path
    value = evaluate(run, metrics=["identity_error"], **COUNT)[0]
    found = by_target(value)["identity_error"]
    assert list(found) == ["black_hair (first)", "not black_hair (first)", "smile (second)", "not smile (second)"]
    second, translator = portraits("test", ("smile",)), artefact.load(run)
    rows = np.flatnonzero(second.labels[:, 0] == 1)  # pyrefly: ignore
    real = second.images[torch.from_numpy(rows[draw_places(rows, 60).numpy()])]
    stay = through(translator, real, torch.tensor([[0.0, 1.0, 0.0, 1.0]]).expand(60, -1))
    assert found["smile (second)"] == pytest.approx(np.abs(real.numpy().astype(float) - stay.numpy()).mean())


# ------------------------------------------------------------------------------------------------------ while it trains


def test_values_while_translators_train_are_of_images_trained_on_and_leave_no_trace(tmp_path: Path) -> None:
    keys = {**STAR, "data.limit": 2600, "data.attributes": ["glasses"]}
    runs = [
        train("stargan", images=16, out=tmp_path / name, changes=keys, device="cpu", quiet=True, **looking)
        for name, looking in (("watched", {"evaluate_every": 8}), ("plain", {}))
    ]
    hashes = {artefact.load(run.path).weights_hash for run in runs}
    assert len(hashes) == 1
    found = approximate.values_of(runs[0])
    assert [(value["metric"], value["images"]) for value in found] == [
        (name, images) for images in (8, 16) for name in ("fid_1k", "target_accuracy_1k")
    ]  # fmt: skip
    last = found[-2]
    assert last["protocol"]["approximate"] == "of 1,000 translated images for each target"
    assert (last["protocol"]["split"], last["protocol"]["fake_count"]) == ("train", 2000)
    assert last["floor"]["value"] > 0
    assert found[0]["floor"] == last["floor"]
    assert not RunFolder(runs[0].path).metrics.exists()
    again = evaluate(
        runs[0], metrics=["fid"], reference="train", seed=last["protocol"]["sampling_seed"], device="cpu"
    )[0]  # fmt: skip
    assert last["values"]["fid_1k"] == again["values"]["fid"]


def test_data_that_no_classifier_can_learn_from_do_not_stop_a_run(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {**TINY, "data.attributes": [], "data.limit": 90}
    run = train("stargan", data=str(squares), images=8, out=tmp_path / "run", changes=keys, device="cpu",
                evaluate_every=8)  # fmt: skip
    told = capsys.readouterr()
    assert "fid takes 500 images of each target, and '0' has" in told.out + told.err
    assert "'classifier' cannot be trained on npz squares: it has 90 images" in told.out + told.err
    assert approximate.values_of(run) == []
    found = evaluate(run, reference="train", **COUNT)
    assert [value["metric"] for value in found] == ["fid", "reconstruction_error", "identity_error"]


def test_no_best_translator_is_kept(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--keep-best fid works for generators only, but this game ships translator"):
        train("stargan", images=16, out=tmp_path / "run", changes=STAR, evaluate_every=8, keep_best="fid", quiet=True)
