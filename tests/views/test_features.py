"""Features of a whole set: looked at once, in any batches, and found again only for the same question."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import frugan.views
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.registry import UserError
from frugan.views import Seen, View, _store


def dataset(count: int = 150, content_hash: str = "0123456789abcdef", split: str = "train") -> Dataset:
    numbers = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 6, 6), dtype=torch.uint8, generator=numbers)
    return Dataset("noise", split, ImageShape(1, 6, 6), images, None, (), content_hash)


def counting(classes: int = 0, resizing: str = "none") -> tuple[View, list[int]]:
    """A view of a mean and two pixels, and the list of how many images it looked at each time."""
    looked: list[int] = []

    def look(images: Tensor) -> Seen:
        looked.append(len(images))
        flat = images.flatten(1).float()
        logs = flat[:, :classes].log_softmax(1) if classes else None
        return Seen(torch.cat([flat.mean(1, keepdim=True), flat[:, :2]], 1), logs)

    return View("counting", f"counting-{resizing}", 3, (6, 6), look, classes, {"resizing": resizing}), looked


def test_a_set_is_looked_at_once(tmp_path: Path) -> None:
    view, looked = counting(classes=4)
    lines: list[str] = []
    data = dataset()
    first = frugan.views.features(view, data, cache=tmp_path, batch_size=64, announce=lines.append)
    assert looked == [64, 64, 22]
    assert lines == ["Looking at 150 images of noise (counting)."]
    again = frugan.views.features(view, data, cache=tmp_path, announce=lines.append)
    assert sum(looked) == 150
    assert len(lines) == 1
    plain = view.look(data.images)
    for seen in (first, again):
        assert torch.equal(seen.features, plain.features)
        assert seen.log_probabilities is not None
        assert plain.log_probabilities is not None
        assert torch.equal(seen.log_probabilities, plain.log_probabilities)
    again.features.zero_()  # what a caller does with it stays with the caller
    assert torch.equal(frugan.views.features(view, data, cache=tmp_path).features, plain.features)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".f32", ".json"]


def test_every_part_of_the_question_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view, looked = counting()
    data = dataset()

    def asked(*given: object, **options: object) -> bool:
        """Whether it had to look."""
        looked.clear()
        frugan.views.features(*given, cache=tmp_path, **options)
        return bool(looked)

    assert asked(view, data)
    assert not asked(view, data)
    assert asked(view, dataset(content_hash="f" * 16))  # other data
    assert asked(view, dataset(split="test"))  # another split
    assert asked(view, dataset(count=100))  # another count
    assert asked(view, data, torch.arange(100))
    assert asked(view, data, torch.arange(50, 150))  # other images of the same data
    assert asked(view, data, torch.arange(99, -1, -1))  # in another order
    assert not asked(view, data, torch.arange(100))
    assert asked(replace(view, version="counting-other-weights"), data)
    assert asked(replace(view, description={"resizing": "clean"}), data)  # another resizing, the version forgot it
    monkeypatch.setattr(_store, "FORMAT", _store.FORMAT + 1)
    assert asked(view, data)  # a cache from another version


def test_rows_are_those_asked_for(tmp_path: Path) -> None:
    view, _ = counting()
    data, rows = dataset(), torch.tensor([7, 3, 149])
    for _ in range(2):
        seen = frugan.views.features(view, data, rows, cache=tmp_path)
        assert torch.equal(seen.features, view.features(data.images[rows]))
    with pytest.raises(UserError, match="was given no images"):
        frugan.views.features(view, data, rows[:0], cache=tmp_path)


def cut_short(rows: Path, facts: Path) -> None:
    rows.write_bytes(rows.read_bytes()[:-4])


def one_byte_changed(rows: Path, facts: Path) -> None:
    data = bytearray(rows.read_bytes())
    data[100] ^= 1
    rows.write_bytes(data)


def rows_missing(rows: Path, facts: Path) -> None:
    rows.unlink()


def facts_cut_short(rows: Path, facts: Path) -> None:
    facts.write_text(facts.read_text()[:40])


def facts_of_something_else(rows: Path, facts: Path) -> None:
    known = json.loads(facts.read_text())
    known["of"]["split"] = "test"
    facts.write_text(json.dumps(known))


def facts_of_fewer_rows(rows: Path, facts: Path) -> None:
    known = json.loads(facts.read_text())
    facts.write_text(json.dumps({**known, "shape": [known["shape"][0] // 2, known["shape"][1]]}))


@pytest.mark.parametrize(
    "damage",
    [cut_short, one_byte_changed, rows_missing, facts_cut_short, facts_of_something_else, facts_of_fewer_rows],
)
def test_what_is_damaged_is_looked_at_again(damage: object, tmp_path: Path) -> None:
    assert callable(damage)
    view, looked = counting()
    data = dataset()
    expected = frugan.views.features(view, data, cache=tmp_path).features.clone()
    damage(*(next(tmp_path.glob(f"*.{kind}")) for kind in ("f32", "json")))
    looked.clear()
    lines: list[str] = []
    mended = frugan.views.features(view, data, cache=tmp_path, announce=lines.append)
    assert torch.equal(mended.features, expected)
    assert sum(looked) == 150
    assert len(lines) == 2
    assert lines[0].endswith(".f32 is damaged; its images are looked at again.")
    assert torch.equal(frugan.views.features(view, data, cache=tmp_path).features, expected)
    assert sum(looked) == 150


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(images: Tensor) -> Seen:
        raise UserError("no")

    view = replace(counting()[0], look=fail)
    with pytest.raises(UserError, match="no"):
        frugan.views.features(view, dataset(), cache=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_values_do_not_depend_on_the_batch(batch_size: int, tmp_path: Path) -> None:
    data = dataset(count=130)  # no multiple of any of them: the last batch is always a part
    for view in (counting(classes=3)[0], frugan.views.build("pixels", dataset=data, side=4)):
        whole = view.look(data.images)
        for seen in (
            frugan.views.extract(view, data.images, batch_size),
            frugan.views.extract(view, iter(data.images.split(50)), batch_size),
            frugan.views.features(view, data, batch_size=batch_size, cache=tmp_path / view.name),
        ):
            assert (seen.features - whole.features).abs().max() <= 1e-5 * whole.features.abs().max()
            assert (seen.log_probabilities is None) == (whole.log_probabilities is None)


def test_chunks_may_go_as_soon_as_they_were_looked_at() -> None:
    view, looked = counting()
    made: list[int] = []

    def chunks() -> Iterator[Tensor]:
        for number in range(4):
            assert len(looked) == number, "a chunk was made before the one before it was looked at"
            made.append(number)
            yield dataset().images

    assert len(frugan.views.extract(view, chunks()).features) == 600
    assert made == [0, 1, 2, 3]


PEAK = """
import resource, sys, torch, frugan.views
from frugan.views import Seen, View
images = torch.zeros(512, 1, 4, 4, dtype=torch.uint8)
view = View("wide", "wide", 4096, (4, 4), lambda images: Seen(torch.zeros(len(images), 4096)), 0, {})
seen = frugan.views.extract(view, (images for _ in range(int(sys.argv[1]))))
assert len(seen.features) == 512 * int(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory otherwise")
def test_memory_does_not_grow_with_the_number_of_images() -> None:
    few, many = (
        int(subprocess.run([sys.executable, "-c", PEAK, count], check=True, capture_output=True, text=True).stdout)
        for count in ("4", "20")
    )
    # 16 more chunks are 134 MB of features.
    assert many - few < 30_000, f"{many - few} KB more for 8,192 more images"


def test_floats_are_looked_at_between_the_bytes() -> None:
    data = dataset(count=5)
    view = frugan.views.build("pixels", dataset=data, side=6)
    as_floats = data.images.float() / 127.5 - 1
    kept = as_floats.clone()
    assert torch.allclose(view.features_of_floats(as_floats), view.features(data.images), atol=1e-6)
    assert torch.equal(as_floats, kept)
    step = 1e-4  # far below half a level, 1/255
    moved = view.features_of_floats(as_floats + step) - view.features_of_floats(as_floats)
    assert torch.allclose(moved, torch.full_like(moved, step / 2), atol=1e-6)
    with pytest.raises(UserError, match=r"view 'pixels' only takes bytes.*Use another view"):
        replace(view, takes_floats=False).features_of_floats(as_floats)
