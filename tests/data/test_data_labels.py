"""What labels image files: lists beside them, folders, and folders that only look like classes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frugan import data, training
from frugan.data.readers._matching import match
from frugan.registry import UserError
from frugan.views import classifier


def write(folder: Path, *names: str) -> Path:
    """Image files; each has its number as its grey level."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(path)
    return folder


def labels_of(source: object) -> dict[int, str] | None:
    """Each image's grey level, and the name of its class."""
    return told_by(data.open_dataset(str(source)))


def told_by(opened: data.Dataset) -> dict[int, str] | None:
    if opened.labels is None:
        return None
    pairs = zip(opened.images, opened.labels, strict=True)
    return {int(image[0, 0, 0]): opened.classes[label] for image, label in pairs}


LISTS = {
    "dataset.json": json.dumps({"labels": [["00000/a.png", 3], ["00001/b.png", 0], ["00001/c.png", 3]]}),
    "metadata.csv": "file_name,label\n00000/a.png,3\n00001/b.png,0\n00001/c.png,3\n",
    "metadata.jsonl": "\n".join(json.dumps({"file_name": name, "label": label}) for name, label in
                                [("00000/a.png", 3), ("00001/b.png", 0), ("00001/c.png", 3)]),
    "labels.csv": "\ufefffilename; class\n.\\\\00000\\\\A.PNG; 3\n/data/00001/b.png; 0\nc; 3\n".replace("\\\\", "\\"),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_a_list_beside_the_images_gives_their_classes_and_folders_do_not(tmp_path, name):
    folder = write(tmp_path / "set", "00000/a.png", "00001/b.png", "00001/c.png")
    (folder / name).write_text(LISTS[name])
    assert labels_of(folder) == {0: "3", 1: "0", 2: "3"}
    assert data.open_dataset(str(folder)).notes == (f"{name} gives it 4 classes: 0, 1, 2, 3",)
    assert labels_of(f"flat:{folder}") is None


def test_an_archive_is_read_as_the_folder_in_it(tmp_path):
    folder = write(tmp_path / "set", "00000/a.png", "00001/b.png", "00001/c.png")
    (folder / "dataset.json").write_text(LISTS["dataset.json"])
    shutil.make_archive(str(tmp_path / "flat"), "zip", folder)
    shutil.make_archive(str(tmp_path / "inside"), "zip", tmp_path, "set")
    for name in ("flat.zip", "inside.zip"):
        assert labels_of(tmp_path / name) == {0: "3", 1: "0", 2: "3"}
    split = write(tmp_path / "split", "train/x/a.png", "train/y/b.png", "test/x/c.png", "test/y/d.png")
    shutil.make_archive(str(tmp_path / "split"), "zip", split)
    assert labels_of(tmp_path / "split.zip") == {0: "x", 1: "y"}
    assert len(data.open_dataset(str(tmp_path / "split.zip"), split="test")) == 2
    (tmp_path / "broken.zip").write_bytes((tmp_path / "flat.zip").read_bytes()[:100])
    with pytest.raises(UserError, match=r"broken\.zip: this is no whole zip archive"):
        data.open_dataset(str(tmp_path / "broken.zip"))


def test_parts_of_one_set_are_no_classes_unless_the_user_says_so(tmp_path):
    parts = write(tmp_path / "parts", "00000/a.png", "00000/b.png", "00001/c.png", "00001/d.png", "00002/e.png")
    assert labels_of(parts) is None
    assert "If they are classes: --data classes:FOLDER" in data.open_dataset(str(parts)).notes[0]
    assert set(labels_of(f"classes:{parts}").values()) == {"00000", "00001", "00002"}
    uneven = write(tmp_path / "uneven", "00000/a.png", "00001/c.png", "00001/d.png", "00002/e.png")
    assert set(labels_of(uneven).values()) == {"00000", "00001", "00002"}


def test_a_stray_image_beside_class_folders_is_set_aside(tmp_path):
    folder = write(tmp_path / "set", *(f"{'ab'[number % 2]}/{number}.png" for number in range(60)), "cover.png")
    opened = data.open_dataset(str(folder))
    assert opened.classes == ("a", "b")
    assert [one.path for one in opened.skipped] == ["cover.png"]


def test_a_list_of_other_images_shows_a_name_of_each_side(tmp_path):
    folder = write(tmp_path / "set", "a.png", "b.png")
    (folder / "metadata.csv").write_text("file_name,label\nx.png,1\ny.png,2\n")
    with pytest.raises(UserError, match=r"csv names none .* It names 'x\.png'; one of the images is 'a\.png'"):
        data.open_dataset(str(folder))
    (folder / "metadata.csv").write_text("number,label\n1,1\n")
    with pytest.raises(UserError, match=r"no column file_name or filename or file among number, label"):
        data.open_dataset(str(folder))
    (folder / "metadata.csv").write_text("file_name,text\na.png,a cat\n")
    assert labels_of(folder) is None


@pytest.mark.parametrize(("listed", "lines"), [
    (["img/1.jpg", "img/2.jpg"], [(0,), (1,)]),
    (["./img/1.JPG", "IMG\\2.jpg"], [(0,), (1,)]),
    (["/home/me/set/img/1.jpg", "C:\\set\\img\\2.jpg"], [(0,), (1,)]),
    (["2.jpg", "1.jpg"], [(1,), (0,)]),
    (["1", "2"], [(0,), (1,)]),
    (["other/1.jpg", "img/2.jpg"], [(), (1,)]),
    (["1.jpg", "1.png"], [(0,), ()]),
    (["img/1.jpg", "./img/1.jpg", "img/1", "1.jpg"], [(0, 1, 2), ()]),
    (["/a/img/1.jpg", "/a/img/1.jpg"], [(0, 1), ()]),
])  # fmt: skip
def test_names_in_a_list_are_found_as_people_write_them(listed, lines):
    assert match(["img/1.jpg", "img/2.jpg"], listed) == lines


def test_a_name_that_could_mean_two_images_means_none():
    assert match(["a/1.jpg", "b/1.jpg"], ["1.jpg"]) == [(), ()]
    assert match(["a/1.jpg", "b/1.jpg"], ["1.jpg", "a/1.jpg"]) == [(1,), ()]
    assert match(["1.jpg"], ["x/1.jpg", "y/1.jpg"]) == [()]
    assert match(["A.jpg", "a.jpg"], ["a.jpg", "A.jpg"]) == [(1,), (0,)]


def jsonl(*labels: object) -> str:
    named = zip("abcd", labels, strict=False)
    return "\n".join(json.dumps({"file_name": f"{name}.png", "label": label}) for name, label in named)


def stylegan(*labels: object) -> str:
    return json.dumps({"labels": [[f"{name}.png", label] for name, label in zip("abcd", labels, strict=False)]})


def cells(*labels: str) -> str:
    return "file,label\n" + "\n".join(f"{name}.png,{label}" for name, label in zip("abcd", labels, strict=False))


NAMED = "no numbers that run on from 0"


@pytest.mark.parametrize(("name", "text", "classes", "said"), [
    ("dataset.json", stylegan(1.0, 0.0, 1, True), "1011", ""),
    ("dataset.json", stylegan(1, None, 0, 1), "1-01", "b.png: no label in dataset.json"),
    ("dataset.json", stylegan(0, [0, 1], 1, 1), None, "the label of 'b.png' is [0, 1], but classes are whole numbers"),
    ("dataset.json", stylegan(0, 0.5, 1, 1), None, "the label of 'b.png' is 0.5, but classes are whole numbers"),
    ("dataset.json", stylegan(0, 10**9, 0, 0), ["0", "1000000000", "0", "0"], NAMED),
    ("dataset.json", stylegan(0, 10**30, 0, 0), ["0", "1" + 30 * "0", "0", "0"], ""),
    ("dataset.json", '{"labels": null}', None, "dataset.json holds no labels"),
    ("metadata.jsonl", '{"file_name": "a.png"}\n' + jsonl(0, 1, 0, 1).partition("\n")[2], "-101",
     "a.png: no label in metadata.jsonl"),
    ("metadata.jsonl", jsonl(0, float("nan"), 1, 0), "0-10", "b.png: no label in metadata.jsonl"),
    ("metadata.jsonl", jsonl("x", " ", " x", "y"), "x-xy", "b.png: no label in metadata.jsonl"),
    ("metadata.jsonl", jsonl(0, {"a": 1}, 1, 0), None, "the label of 'b.png' is {'a': 1}, but"),
    ("metadata.jsonl", jsonl("a|b", "x", "x", "x").replace("|", "\u2028"), ["a\u2028b", "x", "x", "x"], ""),
    ("labels.csv", cells("-1", "1", "-1", "1"), ["-1", "1", "-1", "1"], NAMED),
    ("labels.csv", cells("-1", "-1", "-1", "-1"), None, "no image has a label"),
    ("labels.csv", cells("0", "", "1", "nan"), "0-1-", "b.png: no label in labels.csv; d.png: no label in labels.csv"),
    ("labels.csv", "file,label\na.png,0\nb.png\nc.png,1\nd.png,0\n,\n", "0-10", "b.png: no label in labels.csv"),
    ("labels.csv", cells("1.0", "0.0", "", "1.0"), "10-1", "c.png: no label in labels.csv"),
    ("labels.csv", cells("01", "1", "01", "1"), ["01", "1", "01", "1"], ""),
    ("labels.csv", cells("3", "\u0663", "3", "3"), ["3", "\u0663", "3", "3"], ""),
    ("labels.csv", cells("0", "1000", "0", "0"), ["0", "1000", "0", "0"], NAMED),
    ("labels.csv", cells(19 * "9", "1", "1", "1"), [19 * "9", "1", "1", "1"], ""),
    ("labels.csv", cells(5000 * "9", "1", "1", "1"), [5000 * "9", "1", "1", "1"], ""),
    ("labels.csv", cells("0", "1", "0", "1") + "\n./A.PNG,0\n", "0101", ""),
    ("labels.csv", cells("0", "1", "0", "1").replace("\n", "\r"), "0101", ""),
    ("labels.csv", cells("0", "1", "0", "1").encode("utf-16"), "0101", ""),
    ("Labels.CSV", cells("0", "1", "0", "1"), "0101", "Labels.CSV gives it 2 classes"),
    ("metadata.json", "[]", None, "metadata.json is not read: a list of labels is called dataset.json, "),
])  # fmt: skip
def test_each_label_of_a_list_is_taken_as_it_stands_or_what_it_lacks_is_said(tmp_path, name, text, classes, said):
    folder = write(tmp_path / "set", "a.png", "b.png", "c.png", "d.png")
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    opened = data.open_dataset(str(folder), allow_unusable=True)
    told = [*opened.notes, "; ".join(f"{one.path}: {one.reason}" for one in opened.skipped)]
    assert any(said in line for line in told), told
    assert len(opened.classes) == len(set(classes or "") - {"-"})
    assert told_by(opened) == (classes and {at: one for at, one in enumerate(classes) if one != "-"})


DEEP = 100_000 * "["


@pytest.mark.parametrize(("name", "text", "said"), [
    ("labels.csv", cells("x", "y") + "\na.png,y", "the label of 'a.png' is 'x' in line 2 and 'y' in line 4"),
    ("labels.csv", cells("0", "1") + "\n./A.png,1", "the label of 'a.png' is '0' in line 2 and '1' in line 4"),
    ("labels.csv", "file,label\n/d/a.png,0\n/d/a.png,1", "the label of 'a.png' is '0' in line 2 and '1' in line 3"),
    ("dataset.json", '{"labels": [["a.png", 0], ["a.png", 1]]}', "is '0' in entry 1 and '1' in entry 2"),
    ("dataset.json", '{"labels": {"a.png": 0, "a.png": 1}}', "'a.png' stands in it twice"),
    ("dataset.json", DEEP, "dataset.json is not valid JSON: its values are nested too deeply"),
    ("dataset.json", "{}", 'dataset.json must be like {"labels": [["a.png", 0], ["b.png", 1]]}, but it is another'),
    ("dataset.json", "[]", "dataset.json must be like"),
    ("dataset.json", '{"labels": 5}', "dataset.json must be like"),
    ("dataset.json", '{"labels": [["a.png", 0], ["b.png", 1, 2]]}', "entry 2 of its labels is another thing"),
    ("metadata.jsonl", jsonl(0, 1) + "\n" + DEEP, "metadata.jsonl, line 3 is not valid JSON: its values are nested"),
    ("metadata.jsonl", jsonl(0) + "\n[0]", 'metadata.jsonl, line 2: a line must be like {"file_name": "a.png"'),
    ("metadata.jsonl", jsonl(0) + '\n{"label": 1}', "metadata.jsonl, line 2: the column file_name names no file"),
    ("labels.csv", "file,label\na,b.png,1\n", "labels.csv, line 2: 3 cells, but the header has 2"),
    ("labels.csv", 'file,label\n"a.png,0\nb.png,1\n', "labels.csv names none of the 2 images beside it. It names 'a"),
    ("labels.csv", f"file,label\na.png,0\nb.png,{140_000 * 'x'}", "labels.csv, line 3: a cell is too long"),
    ("labels.csv", "file,label\na.png,caf\xe9".encode("latin-1"), "labels.csv, line 2: this is no text in UTF-8"),
    ("labels.csv", "file,label\na.png,\0", "labels.csv, line 2: this is no text in UTF-8"),
])  # fmt: skip
def test_a_list_that_cannot_be_taken_is_answered_with_its_name_and_place(tmp_path, name, text, said):
    folder = write(tmp_path / "set", "a.png", "b.png")
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    shutil.make_archive(str(tmp_path / "set"), "zip", folder)
    for source in (folder, tmp_path / "set.zip"):
        with pytest.raises(UserError) as error:
            data.open_dataset(str(source))
        assert said in str(error.value)
        assert str(error.value).startswith(f"{source}: {name}")


def test_files_that_are_called_by_numbers_may_be_named_by_them(tmp_path):
    folder = write(tmp_path / "set", "1.png", "2.png")
    for name, text in {
        "dataset.json": '{"labels": [[1, 0], [2, 1]]}',
        "metadata.jsonl": '{"id": 1, "label": 0}\n{"id": 2, "label": 1}',
    }.items():
        (folder / name).write_text(text)
        assert labels_of(folder) == {0: "0", 1: "1"}
        (folder / name).unlink()


@pytest.mark.parametrize(("labels", "classes"), [
    ([0, 2**64 - 1], ("0", str(2**64 - 1))),
    ([7, 10**11], ("7", str(10**11))),
    ([0, 2], ("0", "1", "2")),
])
def test_labels_of_arrays_are_their_own_names_where_they_do_not_run_on(tmp_path, labels, classes):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8), labels=np.array(labels, np.uint64))
    opened = data.open_dataset(str(tmp_path / "a.npz"))
    assert opened.classes == classes
    assert [opened.classes[label] for label in opened.labels] == list(map(str, labels))
    assert len(opened.notes) == (len(classes) == 2)
    for only in (labels[1], str(labels[1])):
        assert data.open_dataset(str(tmp_path / "a.npz"), only=[only]).classes == (str(labels[1]),)
    for only in (str(labels[1] + 1), "\u0663", 5000 * "9"):
        with pytest.raises(UserError, match="has no class"):
            data.open_dataset(str(tmp_path / "a.npz"), only=[only])


def test_training_says_what_was_taken_for_a_class(tmp_path, capsys):
    folder = write(tmp_path / "set", *(f"{'ab'[number % 2]}/{number}.png" for number in range(8)))
    keys = {"generator.hidden": [4], "discriminator.hidden": [4], "data.size": 8, "batch_size": 4}
    training.train("vanilla", data=str(folder), changes=keys, images=4, out=tmp_path / "run")
    assert "its 2 folders a, b are taken for classes. If they are none: --data flat:FOLDER" in capsys.readouterr().err


def test_a_judge_at_chance_is_known_as_one():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (300, 8, 8), dtype=np.uint8)
    for shade in (0, 3):
        labels = rng.integers(0, 2, 300)
        images = np.minimum(noise // (1 + shade), 255) + (labels * 40 * shade).astype(np.uint8)[:, None, None]
        dataset = data_of(images.astype(np.uint8), labels)
        _, description = classifier.train(dataset, ["cat", "dog"], seed=0, device="cpu")
        assert ("at_chance" in description) == (shade == 0)


def data_of(images: np.ndarray, labels: np.ndarray) -> data.Dataset:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/a.npz", images=images, labels=labels)
        return data.open_dataset(f"{folder}/a.npz")


def test_a_pipe_is_no_image_and_a_folder_in_itself_is_read_once(tmp_path):
    folder = write(tmp_path / "set", *(f"{number}.png" for number in range(40)))
    os.mkfifo(folder / "pipe.png")
    (folder / "again").symlink_to(folder)
    opened = data.open_dataset(str(folder))
    assert len(opened) == 40
    assert [(one.path, one.reason) for one in opened.skipped] == [("pipe.png", "not a file")]
