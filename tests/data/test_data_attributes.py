"""Attributes: lists beside images, file names and tables; choosing among them; what is wrong with one, in a line."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from frugan import cli, losses
from frugan.artefact import _config
from frugan.batch import Batch
from frugan.data import check, has_split, open_dataset
from frugan.data.readers import attribute_list
from frugan.engine.clock import Progress
from frugan.games._pair import Pair
from frugan.latents import Latents
from frugan.recipe import Data
from frugan.registry import UserError


def picture(path: Path, value: int = 0, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 0, 0)).save(path)


def faces(folder: Path, count: int) -> None:
    """Images 00.png, 01.png, ... whose red is their number."""
    for number in range(count):
        picture(folder / f"{number:02}.png", number)


def celeba(folder: Path, bits: dict[str, list[int]], names: str = "Black_Hair Male Young", count: str = "") -> None:
    rows = [f"{file}  {'  '.join('1' if bit else '-1' for bit in row)}" for file, row in bits.items()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "list_attr_celeba.txt").write_text("\n".join([count or str(len(bits)), f"{names} ", *rows]) + "\n")


BITS = {f"{number:02}.png": [number % 2, number // 2 % 2, number // 4 % 2] for number in range(16)}


def numbers(dataset: Any) -> list[int]:
    return dataset.images[:, 0, 0, 0].tolist()


# CelebA's list


@pytest.mark.parametrize(("lists", "images"), [("", ""), ("Anno", "Img/img_align_celeba")])
def test_celebas_list_is_read_as_it_is(tmp_path: Path, lists: str, images: str) -> None:
    celeba(tmp_path / lists, BITS)
    faces(tmp_path / images, 16)
    dataset = open_dataset(str(tmp_path))
    assert dataset.attributes == ("Black_Hair", "Male", "Young")
    assert dataset.classes == ()
    assert dataset.labels is not None
    assert dataset.labels.dtype == torch.int64
    assert dataset.labels.tolist() == [BITS[f"{number:02}.png"] for number in numbers(dataset)]
    assert not has_split(str(tmp_path), "test")
    named = open_dataset(f"celeba:{tmp_path}")
    assert (named.name, named.content_hash) == ("celeba", dataset.content_hash)


def test_celebas_crop_is_178_in_the_middle_then_resized(tmp_path: Path) -> None:
    # stargan_depthwise sheet 3.3: centre crop 178 x 178 of 178 x 218, resize to 128 x 128.
    pixels = np.random.default_rng(0).integers(0, 256, (218, 178, 3), np.uint8)
    image = Image.fromarray(pixels).resize((178, 218), box=(0, 0, 20, 20))
    image.save(tmp_path / "00.png")
    celeba(tmp_path, {"00.png": [1, 0, 0]})
    found = open_dataset(f"celeba:{tmp_path}", size=128).images[0].permute(1, 2, 0).numpy().astype(int)
    expected = np.asarray(image.crop((0, 20, 178, 198)).resize((128, 128), Image.Resampling.LANCZOS)).astype(int)
    assert np.array_equal(found[3:-3], expected[3:-3])  # at the cut the filter sees what lies beyond it
    assert np.abs(found - expected).max() < 8


def test_celebas_partition_is_the_split_and_validation_is_left_out(tmp_path: Path) -> None:
    celeba(tmp_path, BITS)
    faces(tmp_path, 16)
    (tmp_path / "Eval").mkdir()
    rows = [f"{number:02}.png {0 if number < 8 else 1 if number < 11 else 2}" for number in range(16)]
    (tmp_path / "Eval" / "list_eval_partition.txt").write_text("\n".join(rows))
    assert numbers(open_dataset(str(tmp_path))) == list(range(8))
    held_out = open_dataset(str(tmp_path), split="test")
    assert numbers(held_out) == [11, 12, 13, 14, 15]
    assert held_out.labels is not None
    assert held_out.labels[0].tolist() == BITS["11.png"]


def test_stargan_sheet_3_3_without_a_partition_the_references_1999_are_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribute_list, "ENOUGH", 16)
    monkeypatch.setattr(attribute_list, "_HELD_OUT", 3)
    celeba(tmp_path, BITS)
    faces(tmp_path, 16)
    lines = list(range(16))
    random.seed(1234)
    random.shuffle(lines)
    assert numbers(open_dataset(str(tmp_path), split="test")) == sorted(lines[:3])
    assert numbers(open_dataset(str(tmp_path))) == sorted(lines[3:])


def test_named_celeba_is_looked_for_and_asks_for_its_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUGAN_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"celeba is not here: looked for .*--data celeba:PATH"):
        open_dataset("celeba")
    faces(tmp_path / "celeba", 3)
    with pytest.raises(UserError, match=r"holds no list. It must hold one list called attributes.csv, list_attr\*.csv"):
        open_dataset("celeba")
    celeba(tmp_path / "celeba", {file: BITS[file] for file in ("00.png", "01.png", "02.png")})
    assert open_dataset("celeba").title.startswith("celeba (train, 3 images")


# A CSV


def write_csv(folder: Path, rows: list[str], name: str = "attributes.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(rows))
    return folder / name


def test_a_csv_beside_a_folder_with_splits_and_paths(tmp_path: Path) -> None:
    for split, value in (("train", 1), ("train", 2), ("test", 3)):
        picture(tmp_path / split / f"{value}.png", value)
    picture(tmp_path / "train" / "deep" / "4.png", 4)
    write_csv(tmp_path, ["file,smile,hat", "1.png,1,0", "train/2.png,0,1", "3.png,-1,1", "train/deep/4.png,1,1"])
    train, test = (open_dataset(str(tmp_path), split=split) for split in ("train", "test"))
    assert train.labels is not None
    assert test.labels is not None
    assert dict(zip(numbers(train), train.labels.tolist(), strict=True)) == {1: [1, 0], 2: [0, 1], 4: [1, 1]}
    assert test.labels.tolist() == [[0, 1]]


def test_a_csv_of_any_name_is_a_source(tmp_path: Path) -> None:
    faces(tmp_path, 2)
    file = write_csv(tmp_path, ["image_id,hat", "00.png,1", "01.png,0"], "mine.csv")
    dataset = open_dataset(str(file))
    assert dataset.attributes == ("hat",)
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [[1], [0]]


def test_images_without_a_line_are_set_aside_and_lines_without_an_image_counted(tmp_path: Path) -> None:
    faces(tmp_path, 60)
    write_csv(tmp_path, ["file,hat", *(f"{number:02}.png,{number % 2}" for number in range(2, 65))])
    dataset = open_dataset(str(tmp_path))
    assert [tuple(skipped) for skipped in dataset.skipped] == [
        ("00.png", "no line in attributes.csv"),
        ("01.png", "no line in attributes.csv"),
    ]
    assert dataset.notes == (f"5 lines of attributes.csv have no image in {tmp_path}",)
    assert dataset.labels is not None
    assert dataset.labels[:, 0].tolist() == [number % 2 for number in numbers(dataset)]
    assert check(str(tmp_path)).usable == 58
    write_csv(tmp_path, ["file,hat", "00.png,1"])
    with pytest.raises(UserError, match=r"59 of 60 images cannot be used.*01.png: no line in attributes.csv"):
        open_dataset(str(tmp_path))


def test_a_bare_name_that_two_images_have_is_not_guessed(tmp_path: Path) -> None:
    for folder, value in (("a", 1), ("b", 2)):
        picture(tmp_path / folder / "x.png", value)
    write_csv(tmp_path, ["file,hat", "x.png,1", "b/x.png,1"])
    dataset = open_dataset(str(tmp_path), allow_unusable=True)
    assert numbers(dataset) == [2]
    assert [skipped.path for skipped in dataset.skipped] == ["a/x.png"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["file,hat", "00.png,2"], r"line 2 \(00.png\): hat is '2'. Accepted are 1, 0 and -1"),
        (["file,hat", "00.png,1", "01.png,yes"], r"line 3 \(01.png\): hat is 'yes'"),
        (["file,hat", "00.png,1,1"], r"2 values for the 1 attributes"),
        (["file,hat", "00.png,1", "00.png,0"], r"line 3: 00.png has other attributes in line 2"),
        (["file,hat", "", "00.png,1", "01.png,1", ".\\00.PNG,0"], r"line 5: 00.png has other attributes in line 3"),
        (["file,hat", f"00.png,{140_000 * 'x'}"], "attributes.csv, line 2: a cell is too long"),
        (["file,hat", "caf\xe9,1"], "attributes.csv, line 2: this is no text in UTF-8"),
        (["file"], "has no attributes"),
        (["file,hat,hat", "00.png,1,1"], "names an attribute twice"),
    ],
)
def test_a_csv_that_is_wrong_is_told_by_line(tmp_path: Path, rows: list[str], said: str) -> None:
    faces(tmp_path, 2)
    (tmp_path / "attributes.csv").write_text("\n".join(rows), encoding="latin-1")
    with pytest.raises(UserError, match=said):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize(("name", "text"), [
    ("Attributes.CSV", b"file,hat\r00.png,1\r./00.png,1\r01.png,0\r"),
    ("list_attr_x.txt", b"\xef\xbb\xbf2\nhat\n00.png 1\n01.png -1\n"),
    ("my_attr.txt", "2\nhat\n00.png 1\n01.png -1\n".encode("utf-8-sig")),
    ("List_Attr_X.txt", "2\r\nhat\r\n00.png 1\r\n01.png -1\r\n".encode("utf-16")),
])  # fmt: skip
def test_a_list_is_read_whatever_its_line_ends_and_its_encoding(tmp_path: Path, name: str, text: bytes) -> None:
    faces(tmp_path, 2)
    (tmp_path / name).write_bytes(text)
    dataset = open_dataset(str(tmp_path))
    assert dataset.attributes == ("hat",)
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [[1], [0]]
    assert dataset.notes == ()


def test_a_text_about_something_else_is_no_list_of_attributes(tmp_path: Path) -> None:
    faces(tmp_path, 30)
    (tmp_path / "my_attributions.txt").write_text("Photographs by me.\n")
    dataset = open_dataset(str(tmp_path))
    assert [tuple(one) for one in dataset.skipped] == [("my_attributions.txt", "not an image")]


def test_a_celeba_list_that_is_wrong_is_told_by_line(tmp_path: Path) -> None:
    faces(tmp_path, 16)
    celeba(tmp_path, BITS, count="202599")
    with pytest.raises(UserError, match="line 1 says 202,599 images, but 16 lines follow"):
        open_dataset(str(tmp_path))
    celeba(tmp_path, BITS, count="file")
    with pytest.raises(UserError, match="line 1: 'file' is not a number of images"):
        open_dataset(str(tmp_path))
    celeba(tmp_path, BITS, count=5000 * "9")
    with pytest.raises(UserError, match=r"line 1: '9999.*' is not a number of images"):
        open_dataset(str(tmp_path))
    celeba(tmp_path, {**BITS, "?.png": [0, 0, 0]})
    listed = tmp_path / "list_attr_celeba.txt"
    listed.write_bytes(listed.read_bytes().replace(b"?", b"\xe9"))
    with pytest.raises(UserError, match=r"celeba\.txt, line 19: this is no text in UTF-8"):
        open_dataset(str(tmp_path))
    celeba(tmp_path, BITS)
    for junk in (b"junk", b"\xff\xfe\xff", b"00.png 0\n01.png 3"):
        (tmp_path / "list_eval_partition.txt").write_bytes(b"00.png 0\n" + junk)
        with pytest.raises(UserError, match=r"list_eval_partition.txt, line [23]: "):
            open_dataset(str(tmp_path))
    (tmp_path / "list_eval_partition.txt").unlink()
    write_csv(tmp_path, ["file,hat"])
    with pytest.raises(UserError, match=r"several lists of attributes \(attributes.csv, list_attr_celeba.txt\)"):
        open_dataset(str(tmp_path))


# File names


def rafd(folder: Path, people: int = 12) -> None:
    for person in range(1, people + 1):
        for place, expression in enumerate(("angry", "happy", "neutral")):
            for angle in ("000", "045", "090"):
                name = f"Rafd{angle}_{person:02}_Caucasian_female_{expression}_frontal.png"
                picture(folder / name, 10 * person + place)


def test_rafd_has_expressions_without_profiles_and_holds_people_out(tmp_path: Path) -> None:
    rafd(tmp_path)
    train, test = (open_dataset(f"rafd:{tmp_path}", split=split) for split in ("train", "test"))
    assert train.classes == test.classes == ("angry", "happy", "neutral")
    assert train.name == "rafd"
    assert train.labels is not None
    assert [value % 10 for value in numbers(train)] == train.labels.tolist()
    assert len(train) == 11 * 3 * 2
    assert {value // 10 for value in numbers(test)} == {10}
    assert "full profiles (angles 000 and 180) left out" in train.notes[0]
    assert len(open_dataset(f"rafd:{tmp_path}", only=["happy"])) == 22


def test_rafd_by_angle(tmp_path: Path) -> None:
    rafd(tmp_path)
    dataset = open_dataset(f"rafd:{tmp_path}:angle")
    assert dataset.classes == ("000", "045", "090")
    assert len(dataset) == 11 * 9
    with pytest.raises(UserError, match=r"file names have no 'angel'\. Did you mean 'angle'"):
        open_dataset(f"rafd:{tmp_path}:angel")
    with pytest.raises(UserError, match=r"there is no folder .*nowhere\. Type rafd:FOLDER"):
        open_dataset(f"rafd:{tmp_path}/nowhere")


def test_names_of_another_form_are_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "test"):
        for person in range(20):
            picture(tmp_path / "stirling" / split / f"F{person}_Happy_45.png", person)
            picture(tmp_path / "stirling" / split / f"F{person}_sad_0.png", person)
    picture(tmp_path / "stirling" / "train" / "portrait.png")
    monkeypatch.setenv("FRUGAN_DATA", str(tmp_path))
    dataset = open_dataset("stirling")
    assert dataset.classes == ("happy", "sad")
    assert len(dataset) == len(open_dataset("stirling", split="test")) == 40
    assert [tuple(entry) for entry in dataset.skipped] == [
        ("portrait.png", "its name is not of the form F1001_happy_45.jpg")
    ]


# Tables


def table(path: Path, columns: dict[str, list[Any]], features: dict[str, Any]) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    count = len(next(iter(columns.values())))
    images = []
    for number in range(count):
        stream = io.BytesIO()
        Image.new("RGB", (4, 4), (number, 0, 0)).save(stream, "PNG")
        images.append({"bytes": stream.getvalue(), "path": None})
    made = arrow.table({"image": images, **columns})
    if features:
        described = {"image": {"_type": "Image"}, **features}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": described}})})
    parquet.write_table(made, path)


def labels_of(path: Path) -> tuple[tuple[str, ...], list[list[int]]]:
    dataset = open_dataset(str(path))
    assert dataset.labels is not None
    return dataset.attributes, dataset.labels.tolist()


def test_columns_of_yes_and_no_and_several_label_columns_are_attributes(tmp_path: Path) -> None:
    kind = {"_type": "ClassLabel", "names": ["sad", "happy", "calm"]}
    sex = {"_type": "ClassLabel", "names": ["female", "male"]}
    table(tmp_path / "a.parquet", {"mood": [0, 1, 2], "sex": [1, 0, 1]}, {"mood": kind, "sex": sex})
    assert labels_of(tmp_path / "a.parquet") == (
        ("mood_sad", "mood_happy", "mood_calm", "sex"),
        [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 1]],
    )
    table(tmp_path / "b.parquet", {"Young": [True, False], "celeb_id": [7, 9], "Male": [False, False]}, {})
    assert labels_of(tmp_path / "b.parquet") == (("Young", "Male"), [[1, 0], [0, 0]])
    table(tmp_path / "c.parquet", {"Young": [-1, 1], "celeb_id": [7, 9], "Male": [1, 1]}, {})
    assert labels_of(tmp_path / "c.parquet") == (("Young", "Male"), [[0, 1], [1, 1]])


def test_the_real_expressions_are_classes_to_be_chosen_and_grey_is_repeated_for_colour(shared_data: Path) -> None:
    chosen = ("neutral", "happiness", "surprise")
    dataset = open_dataset(str(shared_data / "expressions"), split="test", size=32, channels=3, only=chosen, limit=300)
    assert dataset.classes == chosen
    assert dataset.shape == (3, 32, 32)
    assert torch.equal(dataset.images[:, 0], dataset.images[:, 2])
    assert dataset.labels is not None
    assert set(dataset.labels.tolist()) == {0, 1, 2}


# Choosing


def test_attributes_are_chosen_in_an_order_from_one_pack(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    celeba(tmp_path / "in", BITS)
    faces(tmp_path / "in", 16)
    whole = open_dataset(str(tmp_path / "in"), cache=cache)
    some = open_dataset(str(tmp_path / "in"), cache=cache, attributes=["Young", "Black_Hair"])
    assert some.attributes == ("Young", "Black_Hair")
    assert some.conditions == 2
    assert whole.labels is not None
    assert some.labels is not None
    assert torch.equal(some.labels, whole.labels[:, [2, 0]])
    assert some.content_hash != whole.content_hash
    assert len(list((cache / "packs").iterdir())) == 1
    every = open_dataset(str(tmp_path / "in"), cache=cache, attributes=whole.attributes)
    assert every.content_hash == whole.content_hash
    # The same images with two attributes to begin with: the same content, so the same hash.
    other = {file: [bits[2], bits[0]] for file, bits in BITS.items()}
    celeba(tmp_path / "other", other, "Young Black_Hair")
    faces(tmp_path / "other", 16)
    assert open_dataset(str(tmp_path / "other")).content_hash == some.content_hash


def test_of_exclusive_attributes_are_those_that_were_chosen(tmp_path: Path) -> None:
    celeba(tmp_path / "in", BITS)
    faces(tmp_path / "in", 16)
    groups = (("Black_Hair", "Young", "Male"), ("red", "blue"))  # the second is about other data

    def chosen(*attributes: str) -> tuple[tuple[int, ...], ...]:
        return open_dataset(str(tmp_path / "in"), attributes=attributes, exclusive=groups).exclusive

    assert chosen() == ((0, 2, 1),)
    assert chosen("Young", "Black_Hair") == ((1, 0),)
    assert chosen("Young") == ()
    with pytest.raises(UserError, match=r"has no attribute 'Yung'\. .*Young.* give data\.exclusive=\[\]"):
        open_dataset(str(tmp_path / "in"), exclusive=(("Male", "Yung"),))
    with pytest.raises(UserError, match=r"names 'Male' twice. Name each attribute once"):
        open_dataset(str(tmp_path / "in"), exclusive=(("Male", "Young"), ("Black_Hair", "Male")))


def test_images_are_chosen_by_what_they_have_and_lack(tmp_path: Path) -> None:
    celeba(tmp_path, BITS)
    faces(tmp_path, 16)
    dataset = open_dataset(str(tmp_path), only=["Male", "not Young"], attributes=["Black_Hair"])
    assert numbers(dataset) == [number for number in range(16) if number // 2 % 2 and not number // 4 % 2]
    assert dataset.name == f"folder {tmp_path.name}[Male,not Young]"
    assert dataset.attributes == ("Black_Hair",)
    with pytest.raises(UserError, match="named twice in Male, Male"):
        open_dataset(str(tmp_path), only=["Male", "not Male"])
    (tmp_path / "list_attr_celeba.txt").unlink()
    write_csv(tmp_path, ["file,hat", *(f"{number:02}.png,1" for number in range(16))])
    with pytest.raises(UserError, match=r"has no images of not hat\."):
        open_dataset(str(tmp_path), only=["not hat"])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"attributes": ["Blond"]}, "has no attribute 'Blond'.*Choose from: Black_Hair, Male, Young"),
        ({"attributes": ["black_hair"]}, "Did you mean 'Black_Hair'"),
        ({"attributes": ["Male", "Male"]}, "named twice in Male, Male"),
        ({"attributes": "Male"}, r"open_dataset\(attributes='Male'\): give a list of names"),
        ({"only": ["Blond"]}, "has no attribute 'Blond'"),
        ({"only": [0]}, "has no attribute '0'"),
    ],
)
def test_an_attribute_that_is_not_there(tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    celeba(tmp_path, BITS)
    faces(tmp_path, 16)
    with pytest.raises(UserError, match=said):
        open_dataset(str(tmp_path), **asked)


def test_attributes_of_what_has_classes_or_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has classes \(0, 1, .*attributes=\[\] takes its classes, data.only"):
        open_dataset("glyphs", limit=20, attributes=["Male"])
    faces(tmp_path, 2)
    with pytest.raises(UserError, match="has no labels and no attributes"):
        open_dataset(str(tmp_path), attributes=["Male"])


def test_data_show_prints_the_balance_of_each_attribute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces(tmp_path, 40)
    rows = [f"{number:02}.png,{int(number < 10)},{int(number % 2)}" for number in range(41)]
    write_csv(tmp_path, ["file,hat,smile", *rows])
    cli.data_show(str(tmp_path), out=tmp_path / "sheet.png")
    said = capsys.readouterr().out
    assert "attributes: hat 10 (25.0%), smile 20 (50.0%)\n" in said
    assert "note: 1 lines of attributes.csv have no image in" in said
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (64, 64)
    cli.data_show(str(tmp_path), out=tmp_path / "sheet.png", only="not hat", attributes="smile", overwrite=True)
    assert "attributes: smile 15 (50.0%)\n" in capsys.readouterr().out


def test_a_shipped_network_says_which_attributes_it_knows_and_nobodys_folder(tmp_path: Path) -> None:
    told = _config.where(Data("portraits", 32, 3, attributes=("smile", "hat")))
    assert (told["source"], told["attributes"]) == ("portraits", ("smile", "hat"))
    rafd(tmp_path)
    assert _config.where(Data(f"rafd:{tmp_path}:angle", 32, 3)) == {}


def test_uniform_labels_are_not_drawn_for_attributes() -> None:
    identity = torch.nn.Identity()
    pair = Pair(identity, identity, 4, Latents(2), losses.find("minimax"), {}, (), "uniform")
    real = Batch(torch.zeros(4, 3, 8, 8), torch.zeros(4, 2, dtype=torch.int64))
    with pytest.raises(UserError, match=r"these data have attributes. Give game.labels=real"):
        pair.fake(real, Progress(0, 0, 0), "fake")
