from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import frugan.metrics
from frugan import artefact, classifying, data, evaluation
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.engine.run import RunFolder
from frugan.evaluation import evaluate, shared, unequal
from frugan.evaluation.opening.fakes import draw_places, fakes_of
from frugan.evaluation.opening.view import suitable_view
from frugan.evaluation.values.inputs import describe_metric
from frugan.metrics import Metric
from frugan.registry import UserError
from frugan.training import train

SMALL = {"data.size": 12, "data.limit": 1200, "generator.hidden": [16], "discriminator.hidden": [16]}


def tiny(out: Path, recipe: str = "vanilla", data: str = "glyphs:digits", **changes: Any) -> Path:
    """A run of a few rounds, of dense networks on small glyphs."""
    train(recipe, data=data, images=96, out=out, changes={**SMALL, **changes}, device="cpu", quiet=True)
    return out


@pytest.fixture(scope="module", autouse=True)
def _classifiers_learn_little() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frugan.views.classifier.BUDGETS", (2560,))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("evaluation") / "run")


@pytest.fixture(scope="module")
def values(run: Path) -> dict[str, dict[str, Any]]:
    return {value["metric"]: value for value in evaluate(run, count=1000, device="cpu")}


def test_labelled_data_are_looked_at_by_their_own_classifier_and_its_report_comes_too(
    values: dict[str, dict[str, Any]],
) -> None:
    assert list(values) == ["fid", "kid", "class_coverage"]
    assert values["fid"]["values"]["fid"] > 0
    coverage = values["class_coverage"]["values"]
    assert 0 <= coverage["confident_share"] <= 1
    assert 0 < coverage["classes_covered"] <= 1


def test_the_view_follows_the_data() -> None:
    pair = ("0", "1")
    joint = tuple(f"{a}-{b}-{c}" for a in pair for b in pair for c in pair)
    colours = torch.zeros(160, 3, 12, 12, dtype=torch.uint8)
    stacked = Dataset("pairs", "train", ImageShape(3, 12, 12), colours, torch.arange(160) % 8, joint, "0")
    assert suitable_view(stacked) == "stacked"  # a classifier of 1000 joint classes would know none of them well
    assert suitable_view(replace(stacked, classes=tuple("abcdefgh"))) == "classifier"
    assert suitable_view(replace(stacked, classes=(), labels=None)) == "contrast"


def test_a_value_carries_its_protocol(run: Path, values: dict[str, dict[str, Any]]) -> None:
    value = values["fid"]
    protocol = value["protocol"]
    generator = artefact.load(run)
    assert value["images"] == generator.config["images"]
    assert (protocol["data"], protocol["split"]) == ("glyphs-digits", "test")
    assert (protocol["real_count"], protocol["fake_count"], protocol["sampling_seed"]) == (1000, 1000, 0)
    assert protocol["view"] == "classifier"
    assert protocol["view_version"].startswith("classifier-")
    assert protocol["weights"] == "live"
    assert protocol["checkpoint"] == "last"
    assert protocol["generator"] == generator.weights_hash
    assert protocol["trained_on"] == generator.config["data"]["hash"] != protocol["content_hash"]
    assert {"resizing", "precision", "truncation", "options", "view_accuracy"} <= protocol.keys()


def test_what_is_there_with_an_equal_protocol_is_not_computed_again(
    run: Path, values: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = RunFolder(run).metrics.read_text()

    def forbidden(*given: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(artefact.Generator, "batches", forbidden)
    again = evaluate(run, count=1000, device="cpu")
    assert again == [json.loads(json.dumps(value)) for value in values.values()]
    assert RunFolder(run).metrics.read_text() == before
    with pytest.raises(AssertionError, match="computed again"):
        evaluate(run, count=1000, seed=1, device="cpu")


def test_the_value_is_the_metric_of_what_the_view_sees(run: Path, values: dict[str, dict[str, Any]]) -> None:
    from frugan import views

    train_set = data.open_dataset("glyphs:digits", size=12, channels=1, limit=1200)
    held_out = data.open_dataset("glyphs:digits", split="test", size=12, channels=1)
    view = views.build("classifier", dataset=train_set)
    fakes = torch.from_numpy(artefact.load(run).sample(1000, 0)).permute(0, 3, 1, 2).contiguous()
    real = views.extract(view, held_out.images[draw_places(held_out, 1000)])
    fake = views.extract(view, fakes)
    expected = frugan.metrics.fid.compute(real=real.features, fake=fake.features)
    assert values["fid"]["values"] == pytest.approx(expected, rel=1e-9)
    covered = frugan.metrics.class_coverage.compute(probabilities=fake.log_probabilities)
    assert values["class_coverage"]["values"] == pytest.approx(covered)


def test_the_reference_may_be_the_training_images_and_is_named_so(run: Path) -> None:
    value = evaluate(run, metrics=["fid"], view="pixels", count=1000, reference="train", device="cpu")[0]
    assert value["protocol"]["split"] == "train"
    assert value["protocol"]["content_hash"] == value["protocol"]["trained_on"]
    other = evaluate(run, metrics=["fid"], view="pixels", count=1000, device="cpu")[0]
    apart = unequal([value["protocol"], other["protocol"]])
    assert any(line == "split: train | test" for line in apart)
    with pytest.raises(UserError, match=r"no reference 'held_out'.*Choose from: test, train"):
        evaluate(run, reference="held_out")


def test_a_conditional_generator_gets_labels_as_the_data_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"generator.labels": True, "discriminator.labels": True}
    path = tiny(tmp_path / "run", **{"data.only": [0, 0, 1][1:], **options})
    asked: list[Any] = []
    batches = artefact.Generator.batches

    def listen(self: artefact.Generator, count: int, seed: int = 0, labels: Any = None, *rest: Any) -> Any:
        asked.append(labels)
        return batches(self, count, seed, labels, *rest)

    monkeypatch.setattr(artefact.Generator, "batches", listen)
    value = evaluate(path, metrics=["fid"], view="pixels", count=1000, device="cpu")[0]
    assert value["protocol"]["labels"] == "drawn from the training labels"
    assert asked[0].shape == (1000,)
    assert 400 < int(asked[0].sum()) < 600  # two classes of equal size


def test_metrics_of_every_kind_of_need_are_fed(run: Path) -> None:
    seen: dict[str, Sequence[int]] = {}
    needs = ("real", "fake", "held_out", "pixels", "real_pixels", "held_out_labels", "real_labels", "held_out_pixels",
             "real_probabilities")  # fmt: skip

    def compute(
        *, real: Any, fake: Any, held_out: Any, pixels: Any, real_pixels: Any, held_out_labels: Any, real_labels: Any,
        held_out_pixels: Any, real_probabilities: Any,
    ) -> dict[str, float]:  # fmt: skip
        seen.update({name: tuple(value.shape) for name, value in locals().items() if name in needs})
        return {"everything": float(len(needs))}

    frugan.metrics.add("everything", Metric("everything", compute, needs, "higher", "everything", 2))
    value = evaluate(run, metrics=["everything"], count=1000, device="cpu")[0]
    assert value["values"] == {"everything": 9.0}
    assert seen["fake"] == seen["held_out"] == (1000, 128)
    assert seen["pixels"] == seen["held_out_pixels"] == (1000, 1, 12, 12)
    assert seen["held_out_labels"] == (1000,)
    # Beside features of held-out images stand all that were trained on: what is left out could have been copied.
    assert seen["real"] == (1200, 128)
    assert seen["real_pixels"] == (1200, 1, 12, 12)
    assert seen["real_labels"] == (1200,)
    assert seen["real_probabilities"] == (1200, 10)
    assert value["protocol"]["split"] == "train"  # with held-out images beside them, the real ones are the trained on


def test_a_value_of_a_metric_that_has_changed_since_is_computed_anew(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frugan.metrics.add("mean", Metric("mean", lambda *, fake: {"mean": 1.0}, ("fake",), "higher", "mean", 2))
    changed = replace(frugan.metrics.find("mean"), compute=lambda *, fake: {"mean": 2.0})
    one = evaluate(run, metrics=["mean"], count=1000, device="cpu")[0]
    assert "metric_version" not in one["protocol"]
    for version, expected in ((1, 1.0), (2, 2.0)):
        found = replace(changed, version=version)
        monkeypatch.setattr(frugan.metrics, "find", lambda name, found=found: found)
        value = evaluate(run, metrics=["mean"], count=1000, device="cpu")[0]
        assert value["values"] == {"mean": expected}
    assert value["protocol"]["metric_version"] == 2


def test_images_are_made_once_for_several_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny(tmp_path / "run")
    made: list[int] = []
    batches = artefact.Generator.batches

    def listen(self: artefact.Generator, count: int, seed: int = 0, *rest: Any) -> Any:
        made.append(seed)
        return batches(self, count, seed, *rest)

    monkeypatch.setattr(artefact.Generator, "batches", listen)
    settings: dict[str, Any] = {"metrics": ["fid"], "count": 1000, "device": "cpu"}
    with evaluation.made_once():
        one, other = (evaluate(run, seed=7, view_seed=judge, **settings)[0] for judge in (0, 1))
        evaluate(run, seed=8, **settings)
    assert made == [7, 8]
    assert one["values"] != other["values"]
    RunFolder(run).metrics.unlink()
    assert evaluate(run, seed=7, view_seed=1, **settings)[0]["values"] == other["values"]
    assert made == [7, 8, 7]


def test_a_metric_that_trains_says_in_what_precision() -> None:
    expected = "bfloat16" if classifying.in_half("cpu") else "float32"
    assert describe_metric(frugan.metrics.find("classification_accuracy")) == {"training_precision": expected}
    assert describe_metric(frugan.metrics.find("fid")) == {}


def test_noise_is_the_spread_over_latents_of_one_checkpoint(run: Path) -> None:
    settings: dict[str, Any] = {"view": "pixels", "count": 1000, "device": "cpu"}
    noise = evaluation.noise(run, metrics=["fid"], seeds=(0, 1, 2), **settings)["fid"]
    alone = [evaluate(run, metrics=["fid"], seed=seed, **settings)[0]["values"]["fid"] for seed in (0, 1, 2)]
    assert noise.values == tuple(alone)
    assert noise.sd == pytest.approx(torch.tensor(alone, dtype=torch.float64).std().item())
    assert noise.sd > 0
    assert "sampling_seed" not in noise.protocol
    with pytest.raises(UserError, match="two or more different"):
        evaluation.noise(run, seeds=(1, 1))


def test_mistakes_are_named_before_anything_is_computed(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'fid'"):
        evaluate(run, metrics=["fidd"])
    with pytest.raises(UserError, match="Did you mean 'pixels'"):
        evaluate(run, view="pixel")
    with pytest.raises(UserError, match="at least 1000"):
        evaluate(run, metrics=["fid"], count=100, device="cpu")
    with pytest.raises(UserError, match="knows no classes"):
        evaluate(run, metrics=["class_coverage"], view="pixels", count=1000, device="cpu")
    with pytest.raises(UserError, match=r"labels, but the fake images .* whose generator takes labels, such as 'cgan'"):
        evaluate(run, metrics=["classification_accuracy"], view="pixels", count=1000, device="cpu")
    with pytest.raises(UserError, match="does not exist or is no run, artefact"):
        evaluate(tmp_path / "nothing")


def test_other_images_than_those_trained_on_are_refused(tmp_path: Path) -> None:
    path = tiny(tmp_path / "run")
    facts = json.loads((path / "run.json").read_text())
    facts["data"]["train"]["hash"] = "0123456789abcdef"
    (path / "run.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="other images"):
        evaluate(path, count=1000)


def test_unequal_says_what_differs_and_passes_over_whose_it_is() -> None:
    one = {"data": "mnist", "split": "test", "fake_count": 1000, "generator": "a", "sampling_seed": 0}
    assert unequal([one, {**one, "generator": "b", "sampling_seed": 3}]) == []
    assert unequal([one, {**one, "view_at_chance": "always saying 'a' is right on 50.0%"}]) == []
    assert unequal([one, {**one, "fake_count": 5000}]) == ["fake_count: 1000 | 5000"]
    assert unequal([one, {key: value for key, value in one.items() if key != "split"}]) == ["split: test | None"]
    assert shared(one) == {"data": "mnist", "split": "test", "fake_count": 1000}


def test_truncated_fakes_are_the_samples_under_that_truncation_and_say_so(run: Path) -> None:
    (value,) = evaluate(run, metrics=["fid"], view="pixels", count=1000, truncation=0.5, device="cpu")
    assert value["protocol"]["truncation"] == 0.5
    (plain,) = evaluate(run, metrics=["fid"], view="pixels", count=1000, device="cpu")
    assert unequal([value["protocol"], plain["protocol"]]) == ["truncation: 0.5 | None"]
    held_out = data.open_dataset("glyphs:digits", split="test", size=12, channels=1)
    real = held_out.images[draw_places(held_out, 1000)].flatten(1).float() / 255
    made = torch.from_numpy(artefact.load(run).sample(1000, 0, truncation=0.5)).flatten(1).float() / 255
    expected = frugan.metrics.fid.compute(real=real, fake=made)["fid"]
    assert value["values"]["fid"] == pytest.approx(expected, rel=1e-4)


def test_truncation_needs_normal_latents_and_is_refused_where_there_are_none(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a number above 0"):
        evaluate(run, metrics=["fid"], truncation=-1, device="cpu")
    with pytest.raises(UserError, match="path_length draws latents itself, without truncation"):
        evaluate(run, metrics=["path_length"], truncation=0.5, device="cpu")
    np.savez(tmp_path / "images.npz", images=artefact.load(run).sample(20))
    with pytest.raises(UserError, match=r"holds images, which have no latents\. Leave --truncation out"):
        evaluate(tmp_path / "images.npz", real="glyphs:digits", truncation=0.5, device="cpu")


def test_a_generator_that_is_told_attributes_is_judged_with_those_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attributes = {"data.attributes": ["hat", "smile"], "generator.labels": True, "discriminator.labels": True}
    run = tiny(tmp_path / "run", data="portraits", **attributes)
    (value,) = evaluate(run, metrics=["fid"], view="pixels", count=1000, device="cpu")
    assert value["protocol"]["labels"] == "drawn from the training labels"
    generator = artefact.load(run)
    hats = generator.sample(7, labels=[1, 0])  # in chunks of 32, of which 7 are wanted
    assert (hats == generator.sample(7, labels=torch.tensor([[1, 0]] * 7))).all()
    assert (hats != generator.sample(7)).any()

    told: list[torch.Tensor] = []
    call = artefact.Generator.__call__

    def listen(self: artefact.Generator, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        told.append(labels)
        return call(self, latents, labels)

    monkeypatch.setattr(artefact.Generator, "__call__", listen)
    evaluate(run, metrics=["path_length"], view="pixels", count=1000, device="cpu")
    drawn = draw_labels(run, 1000)
    assert (drawn.sum(1) == 0).any()  # not one attribute each
    assert torch.equal(torch.cat(told[::2]), drawn)
    assert torch.equal(torch.cat(told[1::2]), drawn)


def draw_labels(run: Path, count: int) -> torch.Tensor:
    """The labels that the fakes of an evaluation are made with."""
    bits = ("hat", "smile")
    trained = data.open_dataset("portraits", split="train", size=12, channels=1, attributes=bits, limit=1200)
    labels = fakes_of(artefact.load(run), "", None).images(count, 0, trained).labels
    assert labels is not None
    return labels
