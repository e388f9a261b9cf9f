"""Translators, alive again: what they are told, files and folders in, files and a sheet out; what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from frugan import artefact, recipes
from frugan.artefact import Translator, load
from frugan.registry import UserError
from frugan.training import train
from frugan.translating import translate

ATTRIBUTES = ["black_hair", "blond_hair", "brown_hair", "glasses", "old"]
TINY = {
    "generator.width": 0.0625, "generator.blocks": 1, "discriminator.width": 0.0625, "data.size": 16, "batch_size": 4,
    "game.discriminator_steps": 1, "precision": "float32",
}


class Told(nn.Module):
    """Gives every image the mean of the numbers that it is told, and remembers them."""

    image_range, multiple = (-1.0, 1.0), 4

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.told: list[list[float]] = []

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        assert condition is not None
        self.told += condition.tolist()
        return torch.zeros_like(images) + self.weight


class Reader(nn.Module):
    """Sees black hair and old age everywhere, in images of 16 x 16."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        assert images.shape[2:] == (16, 16)
        return {"classes": torch.tensor([[1.0, -1, -1, -1, 1]]).expand(len(images), -1)}


def told(to, labels=None, reader=True, count=2, size=(16, 16), kind="attributes"):
    module = Told()
    domains = {"kind": kind, "names": ATTRIBUTES, "exclusive": [[0, 1, 2]]}
    translator = Translator(module, {"image": [3, 16, 16], "domains": domains}, Reader() if reader else None)
    made = translator.translate(np.zeros((count, *size, 3), np.uint8), to, labels)
    assert made.shape == (count, *size, 3)
    return module.told


@pytest.mark.parametrize(("to", "expected"), [
    ("blond_hair", [0, 1, 0, 0, 1]), ("glasses", [1, 0, 0, 1, 1]), ("not old", [1, 0, 0, 0, 0]),
    ("not black_hair", [0, 0, 0, 0, 1]), (["brown_hair", "glasses", "not old"], [0, 0, 1, 1, 0]),
])
def test_an_attribute_is_changed_and_the_others_stay_as_they_are_seen(to, expected):
    assert told(to) == [expected] * 2
    assert told(to, size=(20, 32)) == [expected] * 2


def test_own_attributes_may_be_said_and_targets_be_numbers():
    assert told("old", ["blond_hair", "glasses"], reader=False) == [[0, 1, 0, 1, 1]] * 2
    own = np.array([[1, 0, 0, 0, 0], [0, 0, 0, 1, 0]])
    assert told("old", own, reader=False) == [[1, 0, 0, 0, 1], [0, 0, 0, 1, 1]]
    many = np.repeat(own, 20, axis=0)
    assert told("old", many, count=40)[19:21] == [[1, 0, 0, 0, 1], [0, 0, 0, 1, 1]]
    assert told(own, reader=False) == own.tolist()
    assert told("brown_hair", kind="classes") == [2, 2]
    assert told(3, kind="classes") == [3, 3]


@pytest.mark.parametrize(("arguments", "message"), [
    ({"to": "blonde_hair"}, "does not know 'blonde_hair'. Did you mean 'blond_hair'"),
    ({"to": None}, "Say what to translate to"),
    ({"to": "old", "reader": False}, "Give labels, from black_hair"),
    ({"to": "old", "labels": ["odl"]}, "does not know 'odl'"),
    ({"to": "old", "labels": ["old"], "kind": "classes"}, "takes no labels, only a translator of attributes does"),
    ({"to": "old", "labels": ["old"], "kind": "direction"}, "takes no labels, only a translator of attributes does"),
    ({"to": "old", "size": (18, 16)}, "sides that are multiples of 4"),
    ({"to": ["old", "glasses"], "kind": "classes"}, "An image can have only one of"),
])
def test_what_cannot_be_translated_is_answered_in_one_line(arguments, message):
    with pytest.raises(UserError, match=message):
        told(**arguments)


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of noise: calm and storm, eight images each."""
    root, random = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for name in ("calm", "storm"):
        (root / name).mkdir()
        for number in range(8):
            Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def star(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of StarGAN on one of two classes."""
    recipe = recipes.find("stargan").with_changes({**TINY, "data.attributes": []})
    return train(recipe, data=str(folder), images=16, out=tmp_path_factory.mktemp("star") / "run", quiet=True).path


@pytest.fixture(scope="module")
def cycle(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of CycleGAN from one class to the other."""
    keys = {
        "architecture.width": 0.0625, "architecture.blocks": 1, "discriminator_a.stages": 1, "data.size": 16,
        "discriminator_b.stages": 1, "discriminator_a.width": 0.0625, "discriminator_b.width": 0.0625,
        "streams.a.only": ["calm"], "streams.b.only": ["storm"], "precision": "float32",
    }
    recipe = recipes.find("cyclegan").with_changes(keys)
    return train(recipe, data=str(folder), images=8, out=tmp_path_factory.mktemp("cycle") / "run", quiet=True).path


def test_a_run_and_its_artefact_translate_alike(star, tmp_path):
    translator = load(star)
    assert isinstance(translator, Translator)
    assert translator.domains == ("calm", "storm")
    images = np.random.default_rng(0).integers(0, 255, (3, 20, 16, 3), dtype=np.uint8)
    made = translator.translate(images, "storm")
    assert made.shape == images.shape
    assert not np.array_equal(made, translator.translate(images, "calm"))
    again = load(translator.save(tmp_path / "artefact"))
    assert np.array_equal(again.translate(images, "storm"), made)
    assert again.weights_hash == translator.weights_hash
    assert 'translate(images, to="calm")' in (tmp_path / "artefact" / "README.md").read_text()


def test_a_translator_is_no_generator(star):
    with pytest.raises(UserError, match="ships no generator; it has: translator"):
        load(star, role="generator")


def test_what_wants_a_generator_refuses_a_translator_in_one_line(star, tmp_path):
    from frugan.cli import sample
    from frugan.reporting import report

    with pytest.raises(UserError, match="ships no generator; it has: translator"):
        sample(star, out=tmp_path / "grid.png")
    assert report(star).is_file()


def test_each_direction_of_a_cycle_is_shipped_by_itself(cycle, tmp_path):
    there, back = load(cycle), load(cycle, role="translator_ba")
    assert (there.domains, back.domains) == (("storm",), ("calm",))
    images = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
    assert not np.array_equal(there.translate(images), back.translate(images))
    again = load(back.save(tmp_path / "artefact"))
    assert np.array_equal(again.translate(images, "calm"), back.translate(images))
    with pytest.raises(UserError, match="cannot translate to 'storm'"):
        again.translate(images, "storm")
    with pytest.raises(UserError, match=r"'translator_ba', but 'generator' is needed here"):
        artefact.load(tmp_path / "artefact", role="generator")


def test_files_and_folders_are_translated_and_compared_on_a_sheet(star, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (30, 61, 3), dtype=np.uint8)).save(pictures / "wide.png")
    Image.fromarray(random.integers(0, 255, (64, 32, 3), dtype=np.uint8)).save(pictures / "high.jpg")
    written = translate(star, [pictures], out=tmp_path / "out")
    assert sorted(path.name for path in written) == [
        "high-calm.png", "high-storm.png", "sheet.png", "wide-calm.png", "wide-storm.png",
    ]
    assert size(tmp_path / "out" / "wide-calm.png") == (32, 16)
    assert size(tmp_path / "out" / "high-calm.png") == (16, 32)
    assert size(tmp_path / "out" / "sheet.png") == (2 + 3 * 34, 2 + 34 + 18)


def test_of_many_images_the_sheet_shows_the_first_ones_and_lines_tell_the_time_left(
    star, folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("frugan.translating.ROWS", 3)
    monkeypatch.setattr("frugan.countdown.EVERY", 0.0)
    written = translate(star, [folder / "calm", folder / "storm" / "0.png"], out=tmp_path / "out")
    assert len(written) == 2 * 9 + 1
    assert size(tmp_path / "out" / "sheet.png") == (2 + 3 * 18, 2 + 3 * 18)
    said = capsys.readouterr().err
    assert "Translating: 4 of 9 images, " in said
    assert "sheet.png shows the first 3 of 9 images." in said


def test_images_are_read_as_those_of_training_and_each_file_is_translated_or_named(star, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    folder, linked = tmp_path / "photos", tmp_path / "linked"
    (folder / "train").mkdir(parents=True)
    linked.mkdir()
    (folder / "link").symlink_to(linked)
    white, grey = np.full((32, 32, 3), 255, np.uint8), np.full((32, 32), 255, np.uint8)
    upright = Image.Exif()
    upright[0x0112] = 6  # turned by a quarter
    for name in ("a.png", "b.ppm", "train/c.JPG", "link/d.bmp"):
        Image.fromarray(white).save(folder / name)
    Image.fromarray(white).save(folder / "e", format="PNG")
    Image.fromarray(grey).save(folder / "f.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "g.png")
    Image.fromarray(np.zeros((32, 32, 4), np.uint8)).save(folder / "h.png")
    Image.fromarray(np.full((32, 64, 3), 255, np.uint8)).save(folder / "turned.jpg", exif=upright)
    Image.fromarray(np.zeros((101, 100), np.uint8)).save(folder / "huge.png")
    Image.fromarray(np.zeros((1, 900), np.uint8)).save(folder / "long.png")
    (folder / "notes.txt").write_text("no image")
    translate(star, [folder], out=tmp_path / "out", to=["calm"])
    made = {path.stem.removesuffix("-calm"): path for path in (tmp_path / "out").iterdir()}
    assert set(made) == {*"abcdefgh", "turned"}
    assert len({made[name].read_bytes() for name in "abcdefgh"}) == 1  # grey, deep and transparent ones are white, too
    assert size(made["turned"]) == (16, 32)
    said = capsys.readouterr().err
    for reason in ("notes.txt: not an image", "huge.png: decompression bomb", "long.png: would become 14,400 x 16"):
        assert reason in said
    shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    assert len(translate(star, [tmp_path / "photos.zip", folder / "e"], out=tmp_path / "zip", to=["calm"])) > 1


def test_the_command_translates_one_way_and_back(cycle, folder, tmp_path):
    from frugan.cli import main

    image = str(folder / "storm" / "0.png")
    main(["translate", str(cycle), image, image, "--to", "calm", "--out", str(tmp_path / "out")])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0-2-calm.png", "0-calm.png"]
    main(["translate", str(cycle), image, "--size", "24", "--out", str(tmp_path / "larger")])
    assert size(tmp_path / "larger" / "0-storm.png") == (24, 24)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"to": ["strom"]}, "cannot translate to 'strom'. Did you mean 'storm'"),
    ({"images": ["nowhere"]}, "no such file or folder"),
    *[({"size": size}, f"--size {size}: give a side in pixels, from 8 to 9,459") for size in (-1, 0, 1, 7, 1_000_000)],
    ({"images": ["broken.png"]}, "broken.png cannot be translated: not an image"),
    ({"images": ["empty"]}, "empty: there are no files in this folder"),
    ({"images": ["texts"]}, "None of the 1 files can be translated"),
    ({"labels": ["calm"]}, "takes no labels"),
    ({"images": []}, "No images were given"),
])
def test_bad_files_and_targets_get_one_line(star, tmp_path, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("grey.png")
    Path("broken.png").write_text("no image")
    Path("empty").mkdir()
    Path("texts").mkdir()
    Path("texts/notes.txt").write_text("no image")
    with pytest.raises(UserError, match=message):
        translate(star, **{"images": ["grey.png"], "out": tmp_path / "out", **arguments})


def test_nothing_is_overwritten_unasked(star, folder, tmp_path):
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        translate(star, [folder / "calm"], out=tmp_path)
