"""Folders, archives and lists as people have them: nothing is left out, and nothing taken in, without a word."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frugan.data import absolute, has_split, open_dataset, paths
from frugan.data._convert import convert
from frugan.data.readers._texts import json_of
from frugan.registry import UserError


def write(folder: Path, *names: str) -> Path:
    """Image files; each has its number as its grey level."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number).save(path, "PNG")
    return folder


def packed(path: Path, *names: str, **texts: str) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            stream = io.BytesIO()
            Image.new("L", (8, 8), number).save(stream, "PNG")
            archive.writestr(name, stream.getvalue())
        for name, text in texts.items():
            archive.writestr(name, text)
    return str(path)


# Runs among their images


@pytest.mark.parametrize("ours", [("recipe.json", "run.json"), ("plan.json", "arms/a.json")])
def test_a_run_and_a_comparison_among_the_images_are_none_of_them(tmp_path: Path, ours: tuple[str, ...]) -> None:
    folder = write(tmp_path / "photos", "a.png", "b.png")
    before = open_dataset(str(folder)).content_hash
    write(folder / "out" / "samples", "sheet.png")
    for name in ours:
        path = folder / "out" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    after = open_dataset(str(folder))
    assert (len(after), after.content_hash) == (2, before)


# Folders of splits


def test_a_class_called_train_beside_other_classes_is_a_class(tmp_path: Path) -> None:
    names = ("bus/0.png", "car/0.png", "train/0.png", "train/1.png")
    folder = write(tmp_path / "vehicles", *names)
    assert open_dataset(str(folder)).classes == ("bus", "car", "train")
    assert open_dataset(packed(tmp_path / "vehicles.zip", *names)).classes == ("bus", "car", "train")
    write(folder / "test", "0.png")  # now they are splits
    assert has_split(str(folder), "test")
    assert len(open_dataset(str(folder))) == 2


def test_a_train_folder_of_classes_beside_other_images_is_a_split(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", "train/cat/0.png", "train/dog/0.png", "spare/0.png")
    assert open_dataset(str(folder)).classes == ("cat", "dog")


@pytest.mark.parametrize("around", ["", "data/"])
def test_an_archives_splits_have_their_labels_with_a_folder_around_them_too(tmp_path: Path, around: str) -> None:
    names = [f"{around}{name}" for name in ("train/cat/0.png", "train/dog/0.png", "test/cat/0.png", "test/dog/1.png")]
    source = packed(tmp_path / "pets.zip", *names)
    assert open_dataset(source).classes == ("cat", "dog")
    assert has_split(source, "test")
    listed = packed(tmp_path / "listed.zip", f"{around}train/0.png", f"{around}train/1.png", f"{around}test/2.png",
                    **{f"{around}train/labels.csv": "file,label\n0.png,a\n1.png,b\n"})  # fmt: skip
    assert open_dataset(listed).classes == ("a", "b")


def test_an_archive_of_an_old_windows_program_has_folders(tmp_path: Path) -> None:
    assert open_dataset(packed(tmp_path / "old.zip", "cat\\0.png", "dog\\0.png")).classes == ("cat", "dog")


# How a source is spelt


def test_a_classs_name_counts_before_its_place(tmp_path: Path) -> None:
    folder = write(tmp_path / "numbers", "1/0.png", "2/0.png", "3/0.png")
    assert open_dataset(str(folder), only=(1,)).classes == ("1",)
    assert open_dataset(str(folder), only=(0,)).classes == ("1",)  # no class is called 0


@pytest.mark.parametrize("kind", ["flat:", "classes:", "celeba:", "rafd:", "stacked:"])
def test_a_kind_with_nothing_behind_it_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(write(tmp_path, "a/0.png", "b/0.png"))
    with pytest.raises(UserError, match=f"{kind}: nothing stands behind the colon. Type what is meant, e.g. {kind}FOL"):
        open_dataset(kind)


def test_a_source_with_colons_is_made_absolute_where_its_path_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("12:30", "100", "angle", "mnist", "photos"):
        (tmp_path / name).mkdir()
    assert absolute("12:30") == f"{tmp_path}/12:30"
    assert absolute("flat:photos") == f"flat:{tmp_path}/photos"
    assert absolute("rafd:photos:angle") == f"rafd:{tmp_path}/photos:angle"
    assert absolute("stacked:100:photos") == f"stacked:100:{tmp_path}/photos"
    assert absolute("stacked:flat:photos") == f"stacked:flat:{tmp_path}/photos"
    assert absolute("stacked:mnist") == "stacked:mnist"  # the data set
    assert absolute("flat:mnist") == f"flat:{tmp_path}/mnist"  # the folder
    assert absolute("hub:owner/photos") == "hub:owner/photos"
    assert (paths("rafd:photos:angle"), paths("stacked:mnist"), paths("12:30")) == (["photos"], [], ["12:30"])


def test_a_path_that_is_gone_is_not_taken_for_a_misspelt_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no such file or folder.*moved.*--data FOLDER.*--real FOLDER"):
        open_dataset(str(tmp_path / "gone"))


# Lists and arrays


def attributes(folder: Path, text: str = "image,smiling\n0.png,1\n1.png,0\n2.png,1\n3.png,0\n") -> Path:
    write(folder, "0.png", "1.png", "2.png", "3.png")
    (folder / "attributes.csv").write_text(text)
    return folder


@pytest.mark.parametrize("rows", ["img/3.png 2", "3 2", "3.PNG 2", '"3.png",2'])
def test_a_partition_names_images_as_freely_as_a_list_of_attributes(tmp_path: Path, rows: str) -> None:
    folder = attributes(tmp_path / "faces")
    (folder / "list_eval_partition.txt").write_text(f"0.png 0\n1.png 0\n{rows}\n")
    train, test = (open_dataset(str(folder), split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (3, 1)
    assert any("1 images have no line in list_eval_partition.txt, so they are for" in note for note in train.notes)


@pytest.mark.parametrize(("rows", "said"), [
    ("0.png 0\n0 2", r"line 2: 0\.png is in part 2 here, but in part 0 in line 1"),
    ("a.png 2", "names none of the 4 images beside it. It names 'a.png'; one of the images is '0.png'"),
])
def test_a_partition_that_contradicts_itself_or_names_nothing_is_refused(tmp_path: Path, rows: str, said: str) -> None:
    folder = attributes(tmp_path / "faces")
    (folder / "list_eval_partition.txt").write_text(rows)
    with pytest.raises(UserError, match=said):
        open_dataset(str(folder), split="test")


@pytest.mark.parametrize(("text", "said"), [
    ("0.png,1,0\n1.png,0,1\n", "begins with the line of an image, not with the attributes' names"),
    ("image,,hat\n0.png,1,0\n", "has an attribute without a name"),
])
def test_a_list_of_attributes_without_names_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_dataset(str(attributes(tmp_path / "faces", text)))


def test_images_without_an_ending_are_found_and_other_lists_are_named(tmp_path: Path) -> None:
    folder = attributes(tmp_path / "faces", "image,smiling\n0.png,1\n1.png,0\n2.png,1\n3,0\n")
    (folder / "3.png").rename(folder / "3")
    (folder / "labels.csv").write_text("file,label\n0.png,a\n")
    (folder / "LICENSE").write_text("yours")
    dataset = open_dataset(str(folder))
    assert (len(dataset), dataset.skipped) == (4, ())
    assert any("labels.csv is not read, since attributes.csv is" in note for note in dataset.notes)


def test_labels_of_an_npz_under_another_name_are_told(tmp_path: Path) -> None:
    images = np.zeros((4, 8, 8), np.uint8)
    np.savez(tmp_path / "some.npz", images=images, label=np.arange(4))
    (note,) = [note for note in open_dataset(str(tmp_path / "some.npz")).notes if "unlabelled" in note]
    assert note.endswith("unlabelled: labels of images are called labels; not read: label")
    (tmp_path / "some.npz").rename(tmp_path / "SOME.NPZ")
    assert len(open_dataset(str(tmp_path / "SOME.NPZ"))) == 4


def test_a_table_without_labels_says_how_its_column_is_called(tmp_path: Path) -> None:
    folder = write(tmp_path / "dogs", "0.png", "1.png")
    (folder / "labels.csv").write_text("id,breed\n0.png,a\n1.png,b\n")
    assert any("in a column called label, labels, class" in note for note in open_dataset(str(folder)).notes)


def test_half_a_character_is_no_class() -> None:
    with pytest.raises(UserError, match=r"dataset.json is not valid JSON: .*surrogates not allowed"):
        json_of("dataset.json", '{"labels": [["a.png", "\\ud83d"]]}')
    assert json_of("dataset.json", '{"labels": [["a.png", "\\ud83d\\ude00"]]}')["labels"][0][1] == "\U0001f600"


@pytest.mark.parametrize("kind", ["zip", "npz"])
def test_packed_bytes_that_cannot_be_unfolded_are_said(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"some.{kind}"
    if kind == "npz":
        np.savez_compressed(path, images=np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", np.random.default_rng(0).bytes(2000))
    whole = path.read_bytes()
    path.write_bytes(whole[:80] + bytes(200) + whole[280:])
    with pytest.raises(UserError, match=r"images cannot be read|can be used\. They are a\.png"):
        open_dataset(str(path))


# Transparency in 16 bits


def sixteen_bit(colours: int, values: list[int], clear: list[int]) -> bytes:
    """A PNG of one row: `values` in turn, of which `clear` is transparent."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    channels = 3 if colours == 2 else 1
    header = struct.pack(">IIBBBBB", len(values) // channels, 1, 16, colours, 0, 0, 0)
    row = b"\0" + struct.pack(f">{len(values)}H", *values)
    return b"\x89PNG\r\n\x1a\n" + b"".join([
        chunk(b"IHDR", header), chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear)),
        chunk(b"IDAT", zlib.compress(row)), chunk(b"IEND", b""),
    ])


def test_what_is_transparent_in_sixteen_bits_is_white_as_in_eight() -> None:
    assert convert(sixteen_bit(0, [0, 65535, 32768, 0], [0]), None, None).pixels.tolist() == [[[255, 255, 128, 255]]]
    colour = convert(sixteen_bit(2, [4660, 0, 0, 65535, 0, 0], [4660, 0, 0]), None, None).pixels
    assert colour[:, 0].T.tolist() == [[255, 255, 255], [255, 0, 0]]
