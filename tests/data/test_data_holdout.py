from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import frugan
from frugan import data
from frugan.evaluation.opening.reals import open_reals_of
from frugan.recipe import Data, from_run
from frugan.registry import UserError

KEYS = {"data.size": 8, "data.channels": 1, "generator.hidden": [8], "discriminator.hidden": [8], "batch_size": 32}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 images without labels, each of one grey level; they have no test split."""
    path = tmp_path_factory.mktemp("holdout") / "photos.npz"
    levels = (np.arange(300) % 250).astype(np.uint8)
    np.savez(path, images=np.broadcast_to(levels[:, None, None], (300, 8, 8)))
    return path


def no_more_readable(path: Path) -> None:
    """Damage the images of an .npz so that only who reads them sees it: names, size and time stay the same."""
    before, half = path.stat(), path.stat().st_size // 2
    path.write_bytes(bytes(half) + path.read_bytes()[half:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_both_parts_are_all_images_and_share_none(photos: Path) -> None:
    whole, train, held = (
        data.open_dataset(str(photos), split=split, holdout=count)
        for split, count in (("train", 0), ("train", 30), ("test", 30))
    )
    assert (len(train), len(held), held.split) == (270, 30, "test")
    together = torch.cat([train.images, held.images])[:, 0, 0, 0].sort().values
    assert torch.equal(together, whole.images[:, 0, 0, 0].sort().values)
    assert len({one.content_hash for one in (whole, train, held)}) == 3
    # A draw from everywhere, always the same one, which a limit does not change.
    assert 50 < held.images.float().mean() < 200
    few = data.open_dataset(str(photos), holdout=30, limit=50)
    assert len(few) == 50
    assert set(few.images[:, 0, 0, 0].tolist()) <= set(train.images[:, 0, 0, 0].tolist())


def test_mistakes_are_said(photos: Path) -> None:
    with pytest.raises(UserError, match=r"data.holdout=300: npz photos has 300 images, so none .* e.g. 30"):
        data.open_dataset(str(photos), holdout=300)
    with pytest.raises(UserError, match=r"data.holdout=5: the data 'glyphs' have held-out images of their own"):
        data.open_dataset("glyphs", holdout=5)
    with pytest.raises(UserError, match="There is no split called 'tset'"):
        data.open_dataset(str(photos), split="tset", holdout=5)


def test_one_in_ten_is_usual_where_there_is_no_test_split(photos: Path, tmp_path: Path) -> None:
    assert data.usual_holdout(str(photos)) == 30
    assert data.usual_holdout("glyphs") == 0
    held = {}
    for count in (199, 999, 1000, 1030, 2000):  # of 1,000 and more, FID's 1,000 are kept
        np.savez(tmp_path / f"{count}.npz", images=np.zeros((count, 1, 1), np.uint8))
        held[count] = data.usual_holdout(str(tmp_path / f"{count}.npz"))
    assert held == {199: 0, 999: 99, 1000: 0, 1030: 30, 2000: 200}


def test_a_run_holds_out_says_so_and_keeps_to_it(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(out: str, **more: object) -> frugan.engine.run.RunFolder:  # pyrefly: ignore
        return frugan.train("vanilla", data=str(photos), out=tmp_path / out, images=64, changes=KEYS, **more)  # pyrefly: ignore

    run = train("usual")
    assert f"30 images of {photos} are held out for evaluation" in capsys.readouterr().err
    assert from_run(run).data.holdout == 30
    reals = open_reals_of(from_run(run).data_of("train"), None)
    assert reals.held_out is not None
    assert (len(reals.train), len(reals.held_out)) == (270, 30)
    assert reals.train.content_hash == run.read_json(run.facts)["data"]["train"]["hash"]
    # The same command continues it, and does not say so again.
    train("usual")
    assert "held out" not in capsys.readouterr().err
    with pytest.raises(UserError, match=r"begun with other settings \(data.holdout: 30 -> 40\)"):
        train("usual", holdout=40)


def test_a_run_from_before_images_were_held_out_goes_on_with_all(photos: Path, tmp_path: Path) -> None:
    def train(**more: object) -> frugan.engine.run.RunFolder:  # pyrefly: ignore
        return frugan.train("vanilla", data=str(photos), out=tmp_path / "run", changes=KEYS, quiet=True, **more)  # pyrefly: ignore

    run = train(images=64, holdout="0")
    recipe = run.read_json(run.recipe)
    del recipe["data"]["holdout"]
    run.write_json(run.recipe, recipe)
    train(images=128)
    assert run.lines(run.log)
    assert open_reals_of(from_run(run).data_of("train"), None).held_out is None
    train(images=160, holdout=0)
    with pytest.raises(UserError, match="other settings"):
        train(images=192, holdout=30)


def test_what_is_known_of_a_source_is_found_without_opening_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRUGAN_CACHE", str(tmp_path / "cache"))
    levels = np.random.default_rng(0).integers(0, 255, (300, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "photos.npz", images=levels, labels=np.arange(300) % 3)
    source = str(tmp_path / "photos.npz")

    def found() -> list[object]:
        return [data.usual_holdout(source), data.usual_holdout(source, only=("0", "1")), data.look(source)]

    first = found()
    assert first[:2] == [30, 20]
    no_more_readable(tmp_path / "photos.npz")
    assert found() == first
    for asked in (lambda: data.usual_holdout(source, only=("2",)), lambda: data.look(source, limit=10)):
        with pytest.raises(UserError, match="cannot be read"):
            asked()
    np.savez(tmp_path / "photos.npz", images=levels[:250])
    assert data.usual_holdout(source) == 25


def test_what_is_packed_for_a_recipe_is_all_that_its_training_and_evaluation_open(
    typed: Callable[[str], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRUGAN_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "photos.npz"
    np.savez(source, images=np.random.default_rng(0).integers(0, 255, (300, 16, 16, 3), dtype=np.uint8))
    assert typed(f"data pack {source} --for vanilla data.size=8 data.channels=1") == 0
    told = capsys.readouterr()
    assert "Packed: npz photos (train, 270 images" in told.out
    assert "Packed: npz photos (test, 30 images" in told.out
    assert f"30 images of {source} are held out for evaluation" in told.err
    packs = sorted((tmp_path / "cache" / "packs").iterdir())
    no_more_readable(source)
    run = frugan.train("vanilla", data=str(source), out=tmp_path / "run", images=64, changes=KEYS, quiet=True)  # pyrefly: ignore
    assert open_reals_of(from_run(run).data_of("train"), None).held_out is not None
    assert sorted((tmp_path / "cache" / "packs").iterdir()) == packs


@pytest.mark.parametrize(("given", "said"), [
    ("data.size=8", "data.size=8 is a setting of a recipe. Say which one will be trained: --for RECIPE"),
    ("--for vanilla --size 8", "--size 8: with --for the recipe says how images are packed. Give data.size=8."),
    ("--for vanilla --split test", "Give data.split=test."),
    ("--for vanila", "Did you mean 'vanilla'"),
])
def test_mistakes_in_what_to_pack_are_said(
    typed: Callable[[str], int], photos: Path, given: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(f"data pack {photos} {given}") == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("packing_is_told")
def test_packing_what_is_held_out_tells_how_long_it_will_take(photos: Path) -> None:
    said: list[str] = []
    open_reals_of(Data(str(photos), size=8, channels=1, holdout=100), None, said.append)
    assert [line.partition(",")[0] for line in said] == [
        f"Packing {photos} (once): {done} images" for done in ("64 of 200", "128 of 200", "192 of 200", "64 of 100")
    ]
