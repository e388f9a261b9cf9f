"""Images that any program made, against any real ones, statistics of them, or too few of them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import frugan.metrics
from frugan import artefact, cli, data, views
from frugan.evaluation import evaluate, unequal
from frugan.evaluation.opening.fakes import draw_places
from frugan.evaluation.values.floors import hash_code
from frugan.metrics import Metric
from frugan.registry import UserError
from frugan.training import train

SIDE = 11


def worsened(images: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """Images with grey noise, as a poor generator leaves it."""
    noise = np.random.default_rng(seed).normal(0, strength, images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with real images of two splits, noisy ones as .npz and PNGs, and statistics."""
    folder = tmp_path_factory.mktemp("given")
    train_set = data.open_dataset("glyphs:digits", size=SIDE, limit=3300)
    images, labels = train_set.images.numpy()[:, 0], train_set.labels.numpy()  # pyrefly: ignore
    np.savez(
        folder / "real.npz", x_train=images[:1100], y_train=labels[:1100], x_test=images[1100:2200],
        y_test=labels[1100:2200],
    )  # fmt: skip
    np.savez(folder / "unlabelled.npz", images=images[:2100])
    fakes = worsened(images[2200:], 20)
    np.savez(folder / "fakes.npz", fakes)  # without a name: arr_0
    np.savez(folder / "colour.npz", images=np.repeat(fakes[:1000, ..., None], 3, -1))
    (folder / "fakes").mkdir()
    for number, image in enumerate(fakes):
        Image.fromarray(image).save(folder / "fakes" / f"{number:05d}.png")
    return folder


def fid(fakes: Path, real: Path | str, **more: Any) -> dict[str, Any]:
    return evaluate(fakes, real=str(real), metrics=["fid"], view="pixels", device="cpu", **more)[0]


@pytest.fixture(scope="module")
def of_npz(made: Path) -> dict[str, Any]:
    return fid(made / "fakes.npz", made / "real.npz")


# ---------------------------------------------------------------------------------------------------------- any images


def test_a_folder_and_an_npz_of_the_same_images_have_the_same_value(made: Path, of_npz: dict[str, Any]) -> None:
    folder = fid(made / "fakes", made / "real.npz")
    assert folder["values"] == of_npz["values"]
    assert unequal([folder["protocol"], of_npz["protocol"]]) == []
    protocol = of_npz["protocol"]
    assert (protocol["split"], protocol["real_count"], protocol["fake_count"]) == ("test", 1100, 1100)
    assert (protocol["fakes"], protocol["trained_on"], protocol["sampling_seed"]) == ("images", None, None)
    assert of_npz["images"] is None
    assert not list(made.glob("**/*.json*"))  # nothing is written beside the user's images


def test_the_value_is_that_of_all_given_images(made: Path, of_npz: dict[str, Any]) -> None:
    held_out = data.open_dataset(str(made / "real.npz"), split="test")
    view = views.build("pixels", dataset=held_out)
    fakes = torch.from_numpy(np.load(made / "fakes.npz")["arr_0"])[:, None]
    expected = frugan.metrics.fid.compute(
        real=view.features(held_out.images), fake=view.features(fakes)
    )["fid"]  # fmt: skip
    assert of_npz["values"]["fid"] == pytest.approx(expected, rel=1e-6)


def test_of_more_images_than_are_wanted_a_fixed_draw_is_taken(made: Path) -> None:
    value = fid(made / "fakes.npz", made / "real.npz", count=1000)
    assert (value["protocol"]["fake_count"], value["protocol"]["real_count"]) == (1000, 1000)
    with pytest.raises(UserError, match=r"fakes.npz has only 1,100 images. Give a --count of 1100 or fewer"):
        fid(made / "fakes.npz", made / "real.npz", count=1200)


def test_jpeg_is_warned_of_and_stands_in_the_protocol(made: Path, tmp_path: Path, of_npz: dict[str, Any]) -> None:
    folder = tmp_path / "jpegs"
    folder.mkdir()
    for path in sorted((made / "fakes").iterdir()):
        Image.open(path).save(folder / f"{path.stem}.jpg", quality=90)
    told: list[str] = []
    value = fid(folder, made / "real.npz", progress=told.append)
    assert value["protocol"]["fakes"] == "images, 1,100 of 1,100 files are JPEG"
    assert any("Losses of compression move FID" in line for line in told)
    assert any(line.startswith("fakes:") for line in unequal([value["protocol"], of_npz["protocol"]]))


def test_labels_of_given_images_are_their_folders(made: Path, tmp_path: Path) -> None:
    def compute(*, labels: Any, real_labels: Any) -> dict[str, float]:
        return {"labels_in_common": float((labels.bincount(minlength=10) > 0).sum() + real_labels.min())}

    needs = ("labels", "real_labels")
    frugan.metrics.add(
        "labels_in_common", Metric("labels_in_common", compute, needs, "higher", "labels_in_common", 5)
    )  # fmt: skip
    for number, path in enumerate(sorted((made / "fakes").iterdir())[:60]):
        (tmp_path / "classes" / str(number % 10)).mkdir(parents=True, exist_ok=True)
        Image.open(path).save(tmp_path / "classes" / str(number % 10) / path.name)
    settings: dict[str, Any] = {"real": str(made / "real.npz"), "metrics": ["labels_in_common"], "view": "pixels"}
    value = evaluate(tmp_path / "classes", **settings)[0]
    assert value["values"] == {"labels_in_common": 10.0}
    assert value["protocol"]["labels"] == "as given"
    (tmp_path / "classes" / "9").rename(tmp_path / "classes" / "nine")
    with pytest.raises(UserError, match="Give the folders of the fakes the names of the real classes"):
        evaluate(tmp_path / "classes", **settings)
    with pytest.raises(UserError, match="needs labels, but the fake images have none"):
        evaluate(made / "fakes.npz", **settings)


# --------------------------------------------------------------------------------------------------------------- floor


def test_the_floor_is_what_real_images_reach_against_real_ones(made: Path, of_npz: dict[str, Any]) -> None:
    parts = {split: data.open_dataset(str(made / "real.npz"), split=split) for split in ("train", "test")}
    view = views.build("pixels", dataset=parts["train"])
    features = {split: view.features(part.images) for split, part in parts.items()}
    expected = frugan.metrics.fid.compute(real=features["test"], fake=features["train"])["fid"]
    floor = of_npz["floor"]
    assert floor["value"] == pytest.approx(expected, rel=1e-6)
    assert floor["value"] < of_npz["values"]["fid"] / 2
    assert floor["protocol"]["of"] == f"{parts['train'].title} against {parts['test'].title}"
    assert (floor["protocol"]["fake_count"], floor["protocol"]["real_count"]) == (1100, 1100)


def test_without_a_second_split_the_floor_is_of_disjoint_halves(made: Path) -> None:
    whole = data.open_dataset(str(made / "unlabelled.npz"))
    one, other = draw_places(whole, 1050), draw_places(whole, 1050, 1050)
    assert sorted([*one.tolist(), *other.tolist()]) == list(range(2100))
    view = views.build("pixels", dataset=whole)
    expected = frugan.metrics.fid.compute(
        real=view.features(whole.images[one]), fake=view.features(whole.images[other])
    )["fid"]  # fmt: skip
    floor = fid(made / "fakes.npz", made / "unlabelled.npz")["floor"]
    assert floor["value"] == pytest.approx(expected, rel=1e-6)
    assert floor["protocol"]["of"] == f"two disjoint halves of {whole.title}"
    assert floor["protocol"]["fake_count"] == 1050


def test_a_floor_is_computed_once_for_all_fakes(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def compute(*, real: Any, fake: Any) -> dict[str, float]:
        calls.append(len(fake))
        return {"counted": 1.0}

    frugan.metrics.add("counted", Metric("counted", compute, ("real", "fake"), "lower", "counted", 5))
    settings: dict[str, Any] = {"real": str(made / "real.npz"), "metrics": ["counted"], "view": "pixels"}
    assert evaluate(made / "fakes.npz", **settings)[0]["floor"]["value"] == 1.0
    evaluate(made / "fakes", **settings)
    assert len(calls) == 3  # twice the fakes, once the floor
    for path in (Path(views.cache_folder()).parent / "floors").iterdir():
        path.write_text("cut sho")
    assert evaluate(made / "fakes", **settings)[0]["floor"]["value"] == 1.0  # what is damaged is computed again
    assert len(calls) == 5


def test_a_floor_is_of_the_code_that_its_metric_shares_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def compute(*, fake): return {'mine': 1.0}")
    found = importlib.util.spec_from_file_location("mine", tmp_path / "mine.py")
    assert found is not None and found.loader is not None  # noqa: PT018
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    metric = Metric("mine", module.compute, ("fake",), "lower", "mine", 5)
    codes = [hash_code(metric)]
    for name in ("other.py", "_shared.py", "mine.py"):
        (tmp_path / name).write_text("# changed")
        codes.append(hash_code(metric))
    assert codes[0] == codes[1]  # another variant
    assert len(set(codes[1:])) == 3


def test_what_asks_a_generator_has_no_floor_and_wants_one(made: Path) -> None:
    frugan.metrics.add(
        "asks", Metric("asks", lambda *, generator: {"asks": 1.0}, ("generator",), "lower", "asks", 5)
    )  # fmt: skip
    with pytest.raises(UserError, match=r"asks needs a generator, but .*fakes.npz holds images only"):
        evaluate(made / "fakes.npz", real=str(made / "real.npz"), metrics=["asks"], view="pixels")


# -------------------------------------------------------------------------------------------------------- memorisation


def test_against_few_training_images_memorisation_is_measured_unasked(
    made: Path, of_npz: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"metrics": ["fid"], "view": "pixels", "device": "cpu"}
    values = evaluate(made / "fakes.npz", real=str(made / "real.npz"), reference="train", count=1000, **settings)
    assert [value["metric"] for value in values] == ["fid", "memorisation"]
    protocol = values[1]["protocol"]
    assert (protocol["real_count"], values[0]["protocol"]["real_count"]) == (1100, 1000)  # all that could be copied
    assert protocol["held_out"].startswith("1000 of npz real (test, 1100 images")
    halves = "one half of npz real (test, 1100 images"
    assert values[1]["floor"]["protocol"]["of"].startswith(halves)
    alone = evaluate(made / "fakes.npz", real=str(made / "unlabelled.npz"), **settings)[1]
    assert alone["metric"] == "memorisation"
    assert {"authenticity_training", "authenticity_shortfall"} <= alone["values"].keys()
    assert "held_out" not in alone["protocol"]
    assert any(line.startswith("held_out: 1000 of npz real") for line in unequal([protocol, alone["protocol"]]))
    assert alone["floor"]["protocol"]["of"].startswith("two disjoint halves of npz unlabelled (train, 2100 images")
    assert alone["floor"]["value"] < 10
    monkeypatch.setattr("frugan.evaluation.values.of_fakes.SMALL", 1100)
    enough = evaluate(made / "fakes.npz", real=str(made / "real.npz"), reference="train", count=1000, **settings)
    assert [value["metric"] for value in enough] == ["fid"]


def test_of_few_images_something_can_always_be_said(made: Path, tmp_path: Path) -> None:
    """Distances are left out one by one, with the reason; what is fair with so few is measured, if only copies."""
    real = np.load(made / "unlabelled.npz")["images"]
    said: dict[int, list[str]] = {}
    measured = {}
    for count in (50, 150, 600):
        np.savez(tmp_path / f"{count}.npz", images=real[:count])
        said[count] = []
        values = evaluate(
            made / "fakes.npz", real=str(tmp_path / f"{count}.npz"), view="pixels", progress=said[count].append
        )
        measured[count] = {value["metric"]: value for value in values}
    assert list(measured[50]) == ["memorisation"]
    assert list(measured[150]) == ["kid", "memorisation"]
    assert list(measured[600]) == ["kid", "precision_recall", "memorisation"]
    left_out = [line.partition(" images, but")[0] for line in said[50] if "is left out" in line]
    assert left_out == [
        "fid is left out: fid needs at least 1000", "kid is left out: kid needs at least 100",
        "precision_recall is left out: precision_recall needs at least 200",
    ]  # fmt: skip
    # Subsets are as large as they can be; and those of the floor, which halves the real images, half as large.
    kid = measured[600]["kid"]
    assert kid["protocol"]["options"]["subset_size"] == 600
    assert kid["floor"]["protocol"]["options"]["subset_size"] == 300
    assert "few_images" not in kid["protocol"]


def test_copies_of_training_images_are_found_out(made: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "copies.npz", images=np.load(made / "real.npz")["x_train"])
    settings: dict[str, Any] = {"metrics": ["memorisation"], "view": "pixels", "device": "cpu"}
    copied, other = (
        evaluate(path, real=str(made / "real.npz"), **settings)[0]["values"]["authenticity_shortfall"]
        for path in (tmp_path / "copies.npz", made / "fakes.npz")
    )
    assert copied > 40
    assert other < 10


# --------------------------------------------------------------------------------------------------------- other needs


def test_every_metric_there_is_can_be_evaluated_of_a_run(made: Path, tmp_path: Path) -> None:
    """A generator that takes labels, through a view that knows classes: everything that a metric may need is there."""
    keys = {
        "data.size": SIDE, "generator.hidden": [16], "discriminator.hidden": [16], "generator.labels": True,
        "discriminator.labels": True,
    }  # fmt: skip
    run = train("vanilla", data=str(made / "real.npz"), images=96, out=tmp_path / "run", changes=keys, quiet=True).path
    cheap = [name for name in frugan.metrics.names() if name not in ("classification_accuracy", "kid", "swd")]
    shipped = [name for name in cheap if importlib.util.find_spec(f"frugan.metrics.{name}")]
    others = (frugan.metrics.of_translations, frugan.metrics.of_classifiers, frugan.metrics.of_encoders)
    shipped = [name for name in shipped if not any(of(frugan.metrics.find(name)) for of in others)]
    values = evaluate(run, metrics=shipped, count=1000, allow_few=shipped, device="cpu")
    assert [value["metric"] for value in values] == shipped
    for value in values:
        assert np.isfinite(value["values"][value["headline"]]), value["metric"]
    floors = {value["metric"]: value["floor"] for value in values}
    assert floors["path_length"] is None
    assert floors["class_coverage"]["protocol"]["of"].endswith("themselves")
    assert all(floors[name] is not None for name in ("fid", "precision_recall", "density_coverage", "ms_ssim"))


def test_no_view_is_trained_for_metrics_that_see_images_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("a view was built")

    monkeypatch.setattr("frugan.evaluation.opening.view.views.build", refuse)
    images = np.random.default_rng(0).integers(0, 256, (120, 16, 16)).astype(np.uint8)
    np.savez(tmp_path / "fakes.npz", images=images[:40])
    np.savez(tmp_path / "real.npz", x_train=images[40:80], x_test=images[80:])
    alone = ["swd", "ms_ssim"]
    values = evaluate(
        tmp_path / "fakes.npz", real=str(tmp_path / "real.npz"), metrics=alone, view="classifier", allow_few=alone
    )
    assert [value["protocol"]["view"] for value in values] == ["pixels"] * 2
    assert all(value["floor"] is not None for value in values)


# ------------------------------------------------------------------------------------------------------------- too few


def test_too_few_are_refused_with_the_number_or_allowed_by_name(made: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", images=np.load(made / "fakes.npz")["arr_0"][:50])
    with pytest.raises(UserError, match=r"fid needs at least 1000 images, but 50 fake.*--allow-few fid"):
        fid(tmp_path / "few.npz", made / "real.npz")
    np.savez(tmp_path / "one.npz", images=np.load(made / "fakes.npz")["arr_0"][:1])
    with pytest.raises(UserError, match="1 fake and 1 real would be compared") as refused:
        fid(tmp_path / "one.npz", made / "real.npz")
    assert "--allow-few" not in str(refused.value)  # nothing is computed of a single image
    with pytest.raises(UserError, match="Did you mean 'fid'"):
        fid(tmp_path / "few.npz", made / "real.npz", allow_few=["fidd"])
    told: list[str] = []
    value = fid(tmp_path / "few.npz", made / "real.npz", allow_few=["fid"], progress=told.append)
    assert value["protocol"]["few_images"] == "50 fake and 50 real images, and fid takes 1,000"
    assert any("only with values of the same counts" in line for line in told)
    other = {key: item for key, item in value["protocol"].items() if key != "few_images"}
    assert unequal([value["protocol"], other]) != []
    kid = evaluate(
        tmp_path / "few.npz", real=str(made / "real.npz"), metrics=["kid"], view="pixels", allow_few=["kid"]
    )[0]  # fmt: skip
    assert kid["protocol"]["options"]["subset_size"] == 50  # no subset can be larger than the set


def test_one_image_is_too_few_however_allowed(made: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", images=np.load(made / "fakes.npz")["arr_0"][:1])
    with pytest.raises(UserError, match="fid: 1 image in 'real', but it needs 2 or more"):
        fid(tmp_path / "one.npz", made / "real.npz", allow_few=["fid"])


@pytest.mark.parametrize("count", [0, -5])
def test_a_count_below_one_is_refused(made: Path, count: int) -> None:
    with pytest.raises(UserError, match=f"--count {count}: .*a whole number above 0"):
        fid(made / "fakes.npz", made / "real.npz", count=count)


def test_what_was_named_is_refused_before_a_view_is_trained(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*given: Any, **named: Any) -> None:
        raise AssertionError("a view was built")

    monkeypatch.setattr(views, "build", forbidden)
    with pytest.raises(UserError, match=r"fid needs at least 1000 images, .*few: --metrics .*kid,"):
        evaluate(made / "fakes.npz", real=str(made / "real.npz"), metrics=["fid"], count=900)


# ---------------------------------------------------------------------------------------------------------- statistics


def statistics(made: Path, path: Path, **more: Any) -> Path:
    reals = data.open_dataset(str(made / "real.npz"), split="test")
    features = views.build("pixels", dataset=reals).features(reals.images).double().numpy()
    np.savez(path, **{"mu": features.mean(0), "sigma": np.cov(features, rowvar=False), **more})
    return path


def test_statistics_of_another_program_serve_fid(made: Path, tmp_path: Path, of_npz: dict[str, Any]) -> None:
    path = statistics(made, tmp_path / "stats.npz")
    value = fid(made / "fakes.npz", path)
    assert value["values"]["fid"] == pytest.approx(of_npz["values"]["fid"], rel=1e-6)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert value["protocol"]["data"] == f"statistics of stats.npz, sha256 {digest}, count unknown"
    assert value["protocol"]["real_count"] is None
    assert value["floor"] is None
    with pytest.raises(UserError, match=r"kid needs real images .*; the statistics stats.npz are enough for fid only"):
        evaluate(made / "fakes.npz", real=str(path), metrics=["kid"], view="pixels")
    with pytest.raises(UserError, match=r"statistics of 121 features per image. Say which view .* --view"):
        evaluate(made / "fakes.npz", real=str(path))
    for option, value in {"reference": "test", "size": 8, "channels": 1}.items():
        with pytest.raises(UserError, match=f"statistics instead of images, .* Leave --{option} out"):
            evaluate(made / "fakes.npz", real=str(path), **{option: value})


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"mu": np.zeros((3, 3))}, r"mu is \[3, 3\]"),
        ({"sigma": np.full((121, 121), np.nan)}, "not finite"),
        ({"sigma": np.triu(np.ones((121, 121)))}, "not symmetric"),
        ({"mu": np.zeros(7), "sigma": np.eye(7)}, "has statistics of 7 features, but the view 'pixels' has 121"),
    ],
)
def test_statistics_that_are_none(made: Path, tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    told: list[str] = []
    with pytest.raises(UserError, match=said):
        fid(made / "fakes.npz", statistics(made, tmp_path / "stats.npz", **arrays), progress=told.append)
    assert told == []  # no image was looked at for it


# ------------------------------------------------------------------------------------------------------------ mistakes


def test_shapes_that_differ_are_refused_and_can_be_brought_together(made: Path) -> None:
    said = r"colour.npz are 3 x 11 x 11, but those of npz real .* are 1 x 11 x 11\. .*--channels 3\)"
    with pytest.raises(UserError, match=said):
        fid(made / "colour.npz", made / "real.npz")
    value = fid(made / "colour.npz", made / "real.npz", channels=3)
    assert value["protocol"]["real_count"] == 1000


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fakes.npz", "cannot know which real images to compare them with. Name those: --real SOURCE"),
        ("nowhere --real real.npz", "nowhere does not exist or is no run, artefact, folder of images or .npz"),
        ("fakes.npz --real nowhere", "--real nowhere: there is no file, folder or named source like this"),
        ("fakes.npz --real mnits", "Did you mean 'mnist'?"),
        ("empty.npz --real real.npz", "empty.npz holds the arrays weights. It must hold images"),
        ("fakes.npz --real real.npz --metrics fidd", "Did you mean 'fid'?"),
        ("fakes.npz --real real.npz --view pixel", "Did you mean 'pixels'?"),
        ("fakes.npz --real real.npz --reference held", "There is no reference 'held'"),
        ("fakes.npz --real unlabelled.npz --reference test", "have no held-out images"),
        ("fakes.npz --size 3", "--size and --channels only apply to the images of --real"),
    ],
)
def test_a_mistake_is_one_line(
    line: str, said: str, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made)
    np.savez("empty.npz", weights=np.zeros(3))
    with pytest.raises(SystemExit) as end:
        cli.main(["evaluate", *shlex.split(line)])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_command_prints_values_beside_floors_and_the_protocol(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], of_npz: dict[str, Any]
) -> None:
    def compute(*, real_pixels: Any, pixels: Any, step: int = 2) -> dict[str, float]:
        return {"lighter": float(pixels.float().mean() - real_pixels.float().mean()), "step": step}

    frugan.metrics.add("lighter", Metric("lighter", compute, ("real_pixels", "pixels"), "lower", "lighter", 5))
    monkeypatch.chdir(made)
    cli.main(shlex.split("evaluate fakes.npz --real real.npz --view pixels --metrics fid,lighter"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["metric", "value", "floor", "better"]
    numbers = [of_npz["values"]["fid"], of_npz["floor"]["value"]]
    assert lines[1].split() == ["fid", *(f"{number:.4g}" for number in numbers), "lower"]
    assert any(line.startswith("floor of fid, lighter: npz real (train") for line in lines)
    assert any(line.startswith("protocol: data npz real, split test, ") for line in lines)
    assert lines[2].split()[3:] == ["lower", "step", "2"]
    (own,) = [line for line in lines if line.startswith("protocol of lighter: ")]
    assert "options {'step': 2}, metric_code " in own
    assert "view_version pixels, " in own  # it looks at the images themselves
    cli.main(shlex.split("evaluate fakes.npz --real real.npz --view pixels --metrics fid --json"))
    assert json.loads(capsys.readouterr().out) == [json.loads(json.dumps(of_npz))]


# ----------------------------------------------------------------------------------------------------------- artefacts


def test_an_artefact_opens_the_data_that_it_names_or_asks_for_them(made: Path, tmp_path: Path) -> None:
    keys = {"data.size": 12, "data.limit": 1200, "generator.hidden": [16], "discriminator.hidden": [16]}
    run = train("vanilla", data="glyphs:digits", images=96, out=tmp_path / "run", changes=keys, quiet=True).path
    own = evaluate(run, metrics=["fid"], view="pixels", count=1000, device="cpu")[0]
    artefact.load(run).save(tmp_path / "artefact")
    shipped = evaluate(tmp_path / "artefact", metrics=["fid"], view="pixels", count=1000, device="cpu")[0]
    assert shipped == own
    assert sorted(path.name for path in (tmp_path / "artefact").iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    config = json.loads((tmp_path / "artefact" / "config.json").read_text())
    del config["data"]["source"]
    (tmp_path / "artefact" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"does not say where these data are. Name them: --real SOURCE"):
        evaluate(tmp_path / "artefact", metrics=["fid"], view="pixels")
    with pytest.raises(UserError, match=r"are 1 x 12 x 12, but those of npz real .* --size 12\)"):
        evaluate(tmp_path / "artefact", real=str(made / "real.npz"), metrics=["fid"], view="pixels")
    other = evaluate(run, real=str(made / "real.npz"), size=12, metrics=["fid"], view="pixels", count=1000)[0]
    assert (other["protocol"]["data"], other["protocol"]["trained_on"]) == ("npz real", config["data"]["hash"])


def test_a_folder_that_was_renamed_holds_what_it_held():
    one = {"data": "folder photos", "content_hash": "1234"}
    assert unequal([one, {**one, "data": "folder moved"}]) == []
    assert unequal([one, {"data": "folder moved", "content_hash": "5678"}]) != []


@pytest.mark.usefixtures("packing_is_told")
def test_packing_fakes_and_real_images_tells_how_long_it_will_take(made: Path) -> None:
    said: list[str] = []
    fid(made / "fakes", made / "real.npz", progress=said.append)
    for source in ("fakes", "real.npz"):
        assert any(line.startswith(f"Packing {made / source} (once): 64 of 1,100 images, ") for line in said)
