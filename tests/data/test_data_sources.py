"""Sources: every kind is read right, and what is wrong with one is said in a line that ends with what to do."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from frugan import data
from frugan.artefact import _config
from frugan.data import check, contact_sheet, has_split, open_dataset, sources
from frugan.data.readers import npz
from frugan.recipe import Data
from frugan.registry import UserError

RANDOM = np.random.default_rng(0)


def pixels(count: int, height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, height, width, channels), np.uint8)


def picture(path: Path, value: int = 0, size: tuple[int, int] = (8, 8), mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(path)
    return path


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(stream, "PNG")
    return stream.getvalue()


# Folders


def test_a_folder_of_classes(tmp_path: Path) -> None:
    for name in ("10", "9", "100"):
        picture(tmp_path / "numbers" / name / "deep" / "x.png", int(name))
    dataset = open_dataset(str(tmp_path / "numbers"))
    assert dataset.classes == ("9", "10", "100")
    assert dataset.name == "folder numbers"
    assert dataset.labels is not None
    for label, image in zip(dataset.labels.tolist(), dataset.images, strict=True):
        assert int(dataset.classes[label]) == image.max()


def test_a_flat_folder_is_unlabelled_and_has_no_held_out_images(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.jpg")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    dataset = open_dataset(str(tmp_path))
    assert dataset.labels is None
    assert dataset.classes == ()
    assert len(dataset) == 2
    assert not has_split(str(tmp_path), "test")
    with pytest.raises(UserError, match="has no test images, only train"):
        open_dataset(str(tmp_path), split="test")


def test_a_folder_with_splits(tmp_path: Path) -> None:
    for split, value in (("train", 1), ("val", 2)):
        for name in ("cat", "dog"):
            picture(tmp_path / split / name / "x.png", value)
    assert has_split(str(tmp_path), "test")
    held_out = open_dataset(str(tmp_path), split="test")
    assert held_out.images.unique().tolist() == [2]
    assert held_out.classes == ("cat", "dog")
    assert open_dataset(str(tmp_path)).images.unique().tolist() == [1]


def test_images_beside_class_folders_leave_the_whole_unlabelled(tmp_path: Path) -> None:
    for name in ("cat/x.png", "dog/x.png", "stray.png"):
        picture(tmp_path / name)
    dataset = open_dataset(str(tmp_path))
    assert dataset.labels is None
    assert len(dataset) == 3
    assert "stray.png" in dataset.notes[0]


def test_links_in_circles_are_followed_once(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "x.png")
    picture(tmp_path / "b" / "x.png")
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    (tmp_path / "b" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    dataset = open_dataset(str(tmp_path), allow_unusable=True)
    assert [skipped.reason for skipped in dataset.skipped] == ["cannot be read: No such file or directory"]


def test_folders_may_be_nested_deeper_than_functions_may_be_called(tmp_path: Path) -> None:
    picture(tmp_path / "x.png")
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1_200):
            os.mkdir("a")
            os.chdir("a")
        os.chdir(here)
        assert len(open_dataset(str(tmp_path))) == 1
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-r", str(tmp_path / "a")], check=True)  # which pytest's own removal cannot


def test_a_folder_named_as_a_part_of_a_built_in_source_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("digits", "glyphs", "photos", "mnist"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    for source in ("glyphs:digits", "glyphs", "mnist", "hub:photos"):
        assert data.absolute(source) == source
        assert data.paths(source) == []
    for source in ("photos", "flat:photos", "stacked:photos", "celeba:photos:Male"):
        assert data.paths(source) == ["photos"]
        assert data.absolute(source) == source.replace("photos", str(tmp_path / "photos"))
    assert _config.where(Data("glyphs:digits", 8, 1))["source"] == "glyphs:digits"


def test_what_a_reader_stumbles_over_is_an_error_of_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", images=pixels(3))

    def stumble(*arguments: object) -> None:
        raise IndexError("list index out of range")

    for place in ("_content", "_arrays"):
        with monkeypatch.context() as patched:
            patched.setattr(npz, place, stumble)
            with pytest.raises(UserError, match=r"a(\.npz)? cannot be read: it is damaged, or of another .*IndexError"):
                open_dataset(str(tmp_path / "a.npz"))


def test_unusable_images_are_set_aside_and_named(tmp_path: Path) -> None:
    for number in range(60):
        picture(tmp_path / f"{number:02}.png", number)
    (tmp_path / "30.png").write_bytes(b"")
    (tmp_path / "31.png").write_text("no image")
    (tmp_path / "notes.txt").write_text("notes")
    dataset = open_dataset(str(tmp_path))
    assert [tuple(skipped) for skipped in dataset.skipped] == [
        ("30.png", "empty file"),
        ("31.png", "not an image"),
        ("notes.txt", "not an image"),
    ]
    kept = [*range(30), *range(32, 60)]
    assert dataset.images[:, 0, 0, 0].tolist() == kept
    report = check(str(tmp_path))
    assert (report.total, report.usable, report.skipped) == (61, 58, dataset.skipped)


def test_over_five_percent_unusable_stops_with_the_list_unless_allowed(tmp_path: Path) -> None:
    for number in range(85):
        picture(tmp_path / f"{number:02}.png", number)
    for number in range(15):
        (tmp_path / f"bad{number:02}.png").write_bytes(b"")
    refusal = (
        r"15 of 100 images cannot be used, more than 5%.*bad00.png: empty file;.*bad09.*and 5 more.*--allow-unusable"
    )
    with pytest.raises(UserError, match=refusal):
        open_dataset(str(tmp_path))
    assert len(open_dataset(str(tmp_path), allow_unusable=True)) == 85
    with pytest.raises(UserError, match=refusal):  # the pack that is there now does not get round it
        open_dataset(str(tmp_path))


def test_labels_stay_with_their_images_when_others_are_set_aside(tmp_path: Path) -> None:
    for number in range(10):
        picture(tmp_path / "low" / f"{number}.png", number)
        picture(tmp_path / "high" / f"{number}.png", 200 + number)
    (tmp_path / "high" / "0.png").write_bytes(b"")
    dataset = open_dataset(str(tmp_path))
    assert dataset.labels is not None
    high = dataset.images[:, 0, 0, 0] >= 200
    assert torch.equal(dataset.labels, torch.where(high, 0, 1))


def test_no_usable_image_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the 1 images can be used.*a.png: empty file"):
        open_dataset(str(tmp_path), allow_unusable=True)
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match="there are no files in"):
        open_dataset(str(tmp_path))


def test_different_sizes_ask_for_one(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", size=(8, 8))
    picture(tmp_path / "b.png", size=(16, 12))
    with pytest.raises(UserError, match=r"8 x 8: a.png; 12 x 16: b.png.*data.size=64 .* --size 64"):
        open_dataset(str(tmp_path))
    dataset = open_dataset(str(tmp_path), size=10)
    assert dataset.shape == (1, 10, 10)
    assert dataset.notes == ("1 of 2 images were smaller than 10 x 10 and enlarged",)
    assert {shape: count for shape, count in check(str(tmp_path)).shapes} == {(1, 8, 8): 1, (1, 12, 16): 1}


@pytest.mark.parametrize("order", [("L", "RGB"), ("RGB", "L")])
def test_one_colour_image_makes_the_source_colour(tmp_path: Path, order: tuple[str, str]) -> None:
    for name, mode in zip("ab", order, strict=True):
        picture(tmp_path / f"{name}.png", 100, mode=mode)
    dataset = open_dataset(str(tmp_path))
    grey = dataset.images[order.index("L")]
    assert dataset.shape == (3, 8, 8)
    assert grey[:, 0, 0].tolist() == [100, 100, 100]


# Packs


def test_a_pack_is_made_once_and_anew_when_the_folder_changes(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for number in range(5):
        picture(tmp_path / "in" / f"{number}.png", number)
    calls: list[tuple[int, int]] = []

    def opened() -> Any:
        return open_dataset(str(tmp_path / "in"), cache=cache, progress=lambda *done: calls.append(done))

    first = opened()
    assert calls[-1] == (5, 5)
    calls.clear()
    start = time.perf_counter()
    assert opened().content_hash == first.content_hash
    assert time.perf_counter() - start < 0.05
    assert not calls
    picture(tmp_path / "in" / "5.png", 5)
    assert opened().content_hash != first.content_hash
    assert calls
    (pack,) = [
        folder for folder in (cache / "packs").iterdir() if (folder / "images.npy").stat().st_size > 128 + 5 * 64
    ]
    manifest = json.loads((pack / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert manifest["shape"] == [6, 1, 8, 8]
    assert "size" in manifest["rules"]
    assert {entry.name for entry in pack.iterdir()} == {"images.npy", "manifest.json"}


def test_a_damaged_pack_is_made_anew_and_a_failed_one_leaves_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    picture(tmp_path / "in" / "a.png", 7)
    before = open_dataset(str(tmp_path / "in"), cache=cache)
    (pack,) = (cache / "packs").iterdir()
    os.truncate(pack / "images.npy", 140)
    assert open_dataset(str(tmp_path / "in"), cache=cache).images.max() == 7
    del before
    picture(tmp_path / "in" / "b.png", 7, size=(9, 9))
    with pytest.raises(UserError, match="different sizes"):
        open_dataset(str(tmp_path / "in"), cache=cache)
    assert [entry.name for entry in (cache / "packs").iterdir()] == [pack.name]


def test_two_processes_that_pack_the_same_end_with_one_pack(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    picture(tmp_path / "in" / "a.png", 7)
    inner = []

    def meanwhile(done: int, total: int) -> None:
        if not inner:
            inner.append(open_dataset(str(tmp_path / "in"), cache=cache))

    outer = open_dataset(str(tmp_path / "in"), cache=cache, progress=meanwhile)
    assert outer.folder == inner[0].folder
    assert outer.content_hash == inner[0].content_hash
    assert list((cache / "packs").iterdir()) == [outer.folder]


def test_packing_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", 7)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_dataset(str(tmp_path / "in"), cache=tmp_path / "cache", progress=interrupt)
    assert not list((tmp_path / "cache" / "packs").iterdir())


def test_the_content_hash_is_of_content_and_not_of_place(tmp_path: Path) -> None:
    for folder in ("one", "two", "three"):
        for number in range(4):
            picture(tmp_path / folder / "ab"[number % 2] / f"{number}.png", number + (folder == "three"))
    one, two, three = (open_dataset(str(tmp_path / folder)) for folder in ("one", "two", "three"))
    assert one.content_hash == two.content_hash != three.content_hash
    assert len(one.content_hash) == 16
    flat = tmp_path / "flat"
    for number in (0, 2, 1, 3):
        picture(flat / f"{number % 2}{number}.png", number)
    assert torch.equal(open_dataset(str(flat)).images, one.images)
    assert open_dataset(str(flat)).content_hash != one.content_hash  # no labels


def test_writing_to_a_data_set_never_reaches_its_pack(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 7)
    open_dataset(str(tmp_path)).images.fill_(9)
    assert open_dataset(str(tmp_path)).images.max() == 7


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match="set FRUGAN_CACHE to a folder with enough"):
        open_dataset(str(tmp_path / "in"), cache=tmp_path / "cache")


def test_a_subset_is_the_same_whether_packed_or_taken_later(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=pixels(40), labels=np.arange(40) % 4)
    whole = open_dataset(str(tmp_path / "a.npz"))
    later, packed = whole.only([2, "0"]), open_dataset(str(tmp_path / "a.npz"), only=[2, "0"])
    assert later.title == packed.title
    assert later.name == "npz a[2,0]"
    assert len(later) == 20
    assert later.labels is not None
    assert packed.labels is not None
    assert torch.equal(later.images, packed.images)
    assert torch.equal(later.labels, packed.labels)
    assert later.labels[:2].tolist() == [1, 0]
    assert torch.equal(later.images[1], whole.images[2])
    with pytest.raises(UserError, match=r"has no class '9'\. Choose from: 0, 1, 2, 3"):
        whole.only([9])
    with pytest.raises(UserError, match="has no class 'x'"):
        open_dataset(str(tmp_path / "a.npz"), only=["x"])


def test_what_is_asked_of_one_source_in_turn_is_given_each_time(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=pixels(12), labels=np.arange(12) % 3)
    asked: list[tuple[dict[str, Any], tuple[int, ...]]] = [
        ({}, (12, 3, 8, 8)), ({"limit": 5}, (5, 3, 8, 8)), ({"limit": 7}, (7, 3, 8, 8)), ({"size": 4}, (12, 3, 4, 4)),
        ({"channels": 1}, (12, 1, 8, 8)), ({"only": ("1",)}, (4, 3, 8, 8)), ({"only": ("1", "2")}, (8, 3, 8, 8)),
        ({}, (12, 3, 8, 8)),
    ]  # fmt: skip
    for options, shape in asked:
        assert open_dataset(str(tmp_path / "a.npz"), **options).images.shape == shape, options


def test_a_limit_draws_from_all(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=pixels(400), labels=np.arange(400) // 40)
    dataset = open_dataset(str(tmp_path / "a.npz"), limit=100)
    assert len(dataset) == 100
    assert dataset.labels is not None
    assert len(dataset.labels.unique()) == 10
    assert dataset.labels.tolist() == sorted(dataset.labels.tolist())  # in the order of the source


# Files of arrays


def test_npz_in_both_layouts_and_depths(tmp_path: Path) -> None:
    images = pixels(6, 8, 10)
    labels = np.arange(6)[:, None]
    np.savez_compressed(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images[:2].transpose(0, 3, 1, 2))
    train, test = (open_dataset(str(tmp_path / "a.npz"), split=split) for split in ("train", "test"))
    assert train.shape == test.shape == (3, 8, 10)
    assert test.labels is None
    assert train.labels is not None
    assert np.array_equal(train.images.numpy(), images.transpose(0, 3, 1, 2))
    assert torch.equal(test.images, train.images[:2])
    np.savez(tmp_path / "unnamed.npz", images, labels)  # numpy calls them arr_0 and arr_1
    unnamed = open_dataset(str(tmp_path / "unnamed.npz"))
    assert (unnamed.content_hash, unnamed.classes) == (train.content_hash, train.classes)
    np.savez(tmp_path / "b.npz", images=images.astype(np.float32) / 255)
    assert torch.equal(open_dataset(str(tmp_path / "b.npz")).images, train.images)
    np.savez(tmp_path / "c.npz", images=images.astype(np.uint16) * 257)
    assert torch.equal(open_dataset(str(tmp_path / "c.npz")).images, train.images)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"pictures": np.zeros((2, 4, 4), np.uint8)}, "holds the arrays pictures. It must hold images"),
        ({"images": np.full((2, 4, 4), -1.0)}, "float64 from -1 to 0. It must be uint8"),
        ({"images": np.zeros((2, 5, 5, 7), np.uint8)}, r"the shape \[2, 5, 5, 7\]"),
        (
            {"images": np.zeros((2, 4, 4), np.uint8), "labels": np.zeros(3, int)},
            "one whole number, 0 or more, for each of the 2",
        ),
        ({"images": np.zeros((0, 4, 4), np.uint8)}, "has no images"),
        ({"images": np.zeros((0, 4, 4), np.uint8), "labels": np.zeros(0, int)}, "has no images"),
        ({"images": np.zeros((4, 0, 8), np.uint8)}, r"the shape \[4, 0, 8\]"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.zeros(0, int)}, "one whole number, 0 or more"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array(3)}, "one whole number, 0 or more"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array([-1, 0])}, "one whole number, 0 or more"),
    ],
)
def test_npz_of_something_else(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # pyrefly: ignore
    with pytest.raises(UserError, match=said):
        open_dataset(str(tmp_path / "a.npz"))


def test_npz_never_unpickles(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.array([{}, {}], object))
    with pytest.raises(UserError, match="cannot be read"):
        open_dataset(str(tmp_path / "a.npz"))


def write_idx(path: Path, array: np.ndarray) -> None:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    data = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_of_mnist(tmp_path: Path, ending: str) -> None:
    for split in ("train", "t10k"):
        images = pixels(12, 6, 5, 1)[..., 0]
        write_idx(tmp_path / f"{split}-images-idx3-ubyte{ending}", images)
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte{ending}", np.arange(12) % 10)
        dataset = open_dataset(str(tmp_path), split="train" if split == "train" else "test")
        assert dataset.shape == (1, 6, 5)
        assert np.array_equal(dataset.images[:, 0].numpy(), images)
        assert dataset.labels is not None
        assert dataset.labels.tolist() == (np.arange(12) % 10).tolist()
        assert dataset.classes == tuple("0123456789")


def test_factorised_sheet_9_10_emnist_is_transposed_and_its_letters_count_from_zero(tmp_path: Path) -> None:
    images = pixels(26, 28, 28, 1)[..., 0]
    write_idx(tmp_path / "emnist-letters-train-images-idx3-ubyte.gz", images)
    write_idx(tmp_path / "emnist-letters-train-labels-idx1-ubyte.gz", np.arange(1, 27))
    dataset = open_dataset(str(tmp_path))
    assert np.array_equal(dataset.images[:, 0].numpy(), images.swapaxes(1, 2))
    # Section 4: three quarter turns counter-clockwise, then mirrored left to right.
    assert np.array_equal(dataset.images[0, 0].numpy(), np.fliplr(np.rot90(images[0], 3)))
    assert dataset.labels is not None
    assert dataset.labels.tolist() == list(range(26))
    assert dataset.classes[0] == "A"
    assert dataset.classes[25] == "Z"
    assert dataset.name == "idx emnist-letters"


def test_idx_of_several_sets_asks_which(tmp_path: Path) -> None:
    for name in ("emnist-letters", "emnist-digits"):
        write_idx(tmp_path / f"{name}-train-images-idx3-ubyte", pixels(4, 28, 28, 1)[..., 0])
        write_idx(tmp_path / f"{name}-test-images-idx3-ubyte", pixels(2, 28, 28, 1)[..., 0])
    with pytest.raises(UserError, match=r"several data sets .emnist-digits, emnist-letters.. Give a file of one"):
        open_dataset(str(tmp_path))
    file = str(tmp_path / "emnist-digits-train-images-idx3-ubyte")
    assert open_dataset(file).name == "idx emnist-digits"
    assert len(open_dataset(file, split="test")) == 2


def test_damaged_idx_files(tmp_path: Path) -> None:
    file = tmp_path / "train-images-idx3-ubyte"
    write_idx(file, pixels(4, 28, 28, 1)[..., 0])
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    with pytest.raises(UserError, match=r"is damaged.* Download it again"):
        open_dataset(str(tmp_path))
    file.unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(whole)[:-40])
    with pytest.raises(UserError, match=r"cannot be unpacked.* Download it again"):
        open_dataset(str(tmp_path))


def write_cifar(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    path.write_bytes(np.concatenate([labels.astype(np.uint8).reshape(len(images), -1), flat], 1).tobytes())


def test_cifar10_in_its_binary_version(tmp_path: Path) -> None:
    images, labels = pixels(20, 32, 32), np.arange(20) % 10
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    write_cifar(folder / "data_batch_1.bin", images[:10], labels[:10])
    write_cifar(folder / "data_batch_2.bin", images[10:], labels[10:])
    write_cifar(folder / "test_batch.bin", images[:3], labels[:3])
    for place in (tmp_path, folder):
        dataset = open_dataset(str(place))
        assert np.array_equal(dataset.images.permute(0, 2, 3, 1).numpy(), images)
        assert dataset.classes[6] == "frog"
    assert len(open_dataset(str(folder), split="test")) == 3
    frogs = open_dataset(str(folder), only=["frog"])
    assert frogs.name == "binary cifar10[frog]"
    assert np.array_equal(frogs.images[1].permute(1, 2, 0).numpy(), images[16])
    (folder / "data_batch_1.bin").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="not a whole number of records"):
        open_dataset(str(folder))


def test_cifar100_takes_the_fine_label(tmp_path: Path) -> None:
    (tmp_path / "fine_label_names.txt").write_text("\n".join(f"kind{number}" for number in range(100)))
    write_cifar(tmp_path / "train.bin", pixels(5, 32, 32), np.stack([np.zeros(5), np.arange(95, 100)], 1))
    dataset = open_dataset(str(tmp_path))
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [95, 96, 97, 98, 99]
    assert dataset.classes[99] == "kind99"
    assert dataset.name == "binary cifar100"
    assert not has_split(str(tmp_path), "test")


@pytest.mark.parametrize(
    ("name", "files"), [("cifar-10-batches-py", "data_batch_1 batches.meta"), ("cifar-100-python", "train meta")]
)
def test_cifar_in_its_python_version_is_refused_with_what_to_use(tmp_path: Path, name: str, files: str) -> None:
    for file in files.split():
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / file).write_bytes(b"\x80\x04")
    for place in (tmp_path, tmp_path / name):
        with pytest.raises(UserError, match=r"a pickle.*Use the binary version"):
            open_dataset(str(place))


# Tables


def table(
    path: Path, images: list[bytes | None], columns: dict[str, list[Any]], features: dict[str, Any] | None
) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    made = arrow.table(
        {"image": [{"bytes": data, "path": f"{number}.png"} for number, data in enumerate(images)], **columns}
    )
    if features is not None:
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(made, path, row_group_size=3)


FEATURES = {"image": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": ["cat", "dog", "emu"]}}


def test_parquet_with_named_classes_shards_and_splits(tmp_path: Path) -> None:
    images = pixels(10)
    data = [png(image) for image in images]
    labels = [number % 3 for number in range(10)]
    table(tmp_path / "data" / "train-00000-of-00002.parquet", data[:7], {"kind": labels[:7]}, FEATURES)
    table(tmp_path / "data" / "train-00001-of-00002.parquet", data[7:], {"kind": labels[7:]}, FEATURES)
    table(tmp_path / "data" / "validation-00000-of-00001.parquet", data[:2], {"kind": [-1, -1]}, FEATURES)
    dataset = open_dataset(str(tmp_path))
    assert np.array_equal(dataset.images.permute(0, 2, 3, 1).numpy(), images)
    assert dataset.labels is not None
    assert dataset.labels.tolist() == labels
    assert dataset.classes == ("cat", "dog", "emu")
    held_out = open_dataset(str(tmp_path), split="test")
    assert held_out.labels is None
    assert held_out.notes == ("unlabelled: no image has a label",)
    emus = open_dataset(str(tmp_path), only=["emu"])
    assert np.array_equal(emus.images.permute(0, 2, 3, 1).numpy(), images[2::3])


def test_rows_of_parquet_without_a_label_are_set_aside(tmp_path: Path) -> None:
    images = pixels(30)
    table(tmp_path / "a.parquet", [png(image) for image in images], {"kind": [-1, 1, None, *(27 * [2])]}, FEATURES)
    dataset = open_dataset(str(tmp_path / "a.parquet"), allow_unusable=True)
    assert [tuple(one) for one in dataset.skipped] == [
        ("a.parquet row 0 (0.png)", "no label in the column kind"),
        ("a.parquet row 2 (2.png)", "no label in the column kind"),
    ]
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [1, *(27 * [2])]


def test_parquet_with_words_for_labels_and_rows_without_bytes(tmp_path: Path) -> None:
    data: list[bytes | None] = [png(image) for image in pixels(30)]
    data[4] = None
    table(tmp_path / "a.parquet", data, {"label": [["b", "a"][number % 2] for number in range(30)]}, None)
    dataset = open_dataset(str(tmp_path / "a.parquet"))
    assert dataset.classes == ("a", "b")
    assert dataset.labels is not None
    assert dataset.labels[:4].tolist() == [1, 0, 1, 0]
    assert [tuple(skipped) for skipped in dataset.skipped] == [("a.parquet row 4 (4.png)", "empty file")]


def test_parquet_without_images_or_damaged(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="no column of images among text"):
        open_dataset(str(tmp_path / "a.parquet"))
    (tmp_path / "b.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as parquet"):
        open_dataset(str(tmp_path / "b.parquet"))


def test_parquet_without_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r'pip install "frugan\[data\]"'):
        open_dataset(str(tmp_path / "a.parquet"))


class FakeTable:
    """As much of a Hub data set as is asked of one."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = columns
        self.column_names = list(columns)
        self.features = SimpleNamespace(to_dict=lambda: FEATURES)

    def __len__(self) -> int:
        return len(self.columns["image"])

    def __getitem__(self, column: str) -> list[Any]:
        return self.columns[column]

    def select(self, numbers: list[int]) -> FakeTable:
        return FakeTable({name: [values[number] for number in numbers] for name, values in self.columns.items()})

    def cast_column(self, column: str, feature: object) -> FakeTable:
        return self


def test_hub_data_sets_are_packed_once_and_then_need_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pixels(7)
    calls: list[Any] = []

    def load(*asked: Any, **named: Any) -> FakeTable:
        calls.append((asked, named))
        return FakeTable(
            {"image": [{"bytes": png(image), "path": None} for image in images], "kind": [0, 1, 2, 0, 1, 2, 0]}
        )

    fake = SimpleNamespace(
        get_dataset_split_names=lambda *asked: ["train", "validation"], load_dataset=load, Image=lambda decode: None
    )
    monkeypatch.setenv("FRUGAN_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", fake)
    dataset = open_dataset("hub:owner/name:big")
    assert calls == [(("owner/name", "big"), {"split": "train"})]
    assert dataset.name == "hub owner/name:big"
    assert np.array_equal(dataset.images.permute(0, 2, 3, 1).numpy(), images)
    assert dataset.classes == (
        "cat",
        "dog",
        "emu",
    )
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert open_dataset("hub:owner/name:big").content_hash == dataset.content_hash
    assert has_split("hub:owner/name:big", "test")
    with pytest.raises(UserError, match=r'pip install "frugan\[data\]"'):
        open_dataset("hub:owner/other")


def test_the_real_mnist(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUGAN_DATA", str(shared_data))
    dataset = open_dataset("mnist", split="test", limit=500)
    assert dataset.name == "mnist"
    assert dataset.shape == (1, 28, 28)
    assert dataset.classes == tuple("0123456789")
    assert has_split("mnist", "test")


# Names


def test_a_named_source_is_looked_for_and_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUGAN_DATA", os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")]))
    with pytest.raises(UserError, match=r"one/mnist.*two/mnist.*data/mnist.*--data hub:ylecun/mnist.*--data glyphs"):
        open_dataset("mnist")
    with pytest.raises(UserError, match="The data set mnist is not here"):
        has_split("mnist", "test")
    assert {entry.name: entry.found for entry in sources()}["mnist"] is None
    (tmp_path / "two" / "mnist").mkdir(parents=True)
    np.savez(tmp_path / "two" / "mnist.npz", images=pixels(3))
    write_idx(tmp_path / "two" / "mnist" / "train-images-idx3-ubyte", pixels(3, 28, 28, 1)[..., 0])
    assert open_dataset("mnist").name == "mnist"
    assert {entry.name: entry.found for entry in sources()}["mnist"] == str(tmp_path / "two" / "mnist")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"source": "mnits"}, r"no file, folder or named source.*Did you mean 'mnist'"),
        ({"source": "glyphs", "split": "held-out"}, r"no split called 'held-out'\. Choose from: test, train"),
        ({"source": "glyphs", "size": 0}, "data.size=0"),
        ({"source": "glyphs", "size": (8, 8, 3)}, r"data.size=\(8, 8, 3\): give the side"),
        ({"source": "glyphs", "size": "a"}, r"open_dataset\(size='a'\): give the side"),
        ({"source": 5}, r"open_dataset\(source=5\): give a source"),
        ({"source": "glyphs", "channels": 2}, "data.channels=2: give 1"),
        ({"source": "glyphs", "limit": 0}, "data.limit=0"),
        ({"source": "glyphs", "only": "7"}, r"open_dataset\(only='7'\): give a list of classes"),
        ({"source": "glyphs", "only": ["7", 7]}, "named twice"),
    ],
)
def test_what_is_asked_wrongly_is_said_before_anything_is_read(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_dataset(**asked)


def test_archives_and_folders_of_two_kinds(tmp_path: Path) -> None:
    (tmp_path / "faces.tar").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"an archive, and only .*Unpack it"):
        open_dataset(str(tmp_path / "faces.tar"))
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(UserError, match=r"frugan cannot read this kind of file\. It reads: "):
        open_dataset(str(tmp_path / "a.txt"))
    write_idx(tmp_path / "train-images-idx3-ubyte", pixels(3, 28, 28, 1)[..., 0])
    (tmp_path / "train.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds idx and parquet files, .* Give one file"):
        open_dataset(str(tmp_path))


def test_contact_sheets(tmp_path: Path) -> None:
    make: Callable[..., Any] = lambda channels: pixels(10, 6, 4, channels)  # noqa: E731
    for channels, mode in ((1, "L"), (3, "RGB")):
        np.savez(tmp_path / "a.npz", images=make(channels))
        sheet = contact_sheet(open_dataset(str(tmp_path / "a.npz")), rows=3, columns=5)
        assert sheet.size == (20, 18)
        assert sheet.mode == mode
