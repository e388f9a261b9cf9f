"""Artefacts: what was shipped gives the same images wherever and however many are asked for; the broken are named."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import errno
import functools
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import frugan
from frugan import artefact, data, owncode, recipes
from frugan.artefact import Generator, load
from frugan.engine import checkpoint
from frugan.engine.average import STANDING_BATCH, STANDING_BATCHES
from frugan.registry import UserError
from frugan.seeds import derive
from frugan.training import train

FORMATS = Path(__file__).resolve().parent / "formats"
VERSIONS = sorted(path.name for path in FORMATS.iterdir() if path.is_dir() and path.name.startswith("v"))


def tiny(data: Path, name: str, **changes: Any):
    keys = {
        "generator.channels": [4, 4, 4], "discriminator.channels": [4, 4, 4, 4], "latents.size": 4, "data.size": 8,
        "batch_size": 4, "precision": "float32", "data.source": str(data), **changes,
    }
    return recipes.find(name).with_changes(keys)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("noise") / "noise.npz"
    pictures = np.random.default_rng(0).integers(0, 255, (12, 8, 8), dtype=np.uint8)
    np.savez(path, images=pictures, labels=np.arange(12) % 3)
    return path


@pytest.fixture(scope="module")
def plain(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without labels."""
    return train(tiny(noise, "dcgan-medium"), images=40, out=tmp_path_factory.mktemp("plain") / "run", quiet=True).path


@pytest.fixture(scope="module")
def labelled(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with labels of three classes."""
    return train(tiny(noise, "cgan"), images=40, out=tmp_path_factory.mktemp("labelled") / "run", quiet=True).path


@pytest.fixture
def saved(plain: Path, tmp_path: Path) -> Path:
    return load(plain).save(tmp_path / "artefact")


# --------------------------------------------------------------------------------------------------------------- images


def test_image_i_is_the_same_bytes_whatever_the_count(plain):
    generator = load(plain)
    many = generator.sample(70, seed=5)
    assert (many.shape, many.dtype) == ((70, 8, 8, 1), np.uint8)
    for count in (1, 7, 31, 32, 33, 64):
        assert np.array_equal(generator.sample(count, seed=5), many[:count])
    assert len(np.unique(many.reshape(70, -1), axis=0)) == 70
    assert not np.array_equal(generator.sample(7, seed=6), many[:7])
    assert generator.sample(0).shape == (0, 8, 8, 1)
    with pytest.raises(UserError, match="count=-1: give a whole number, 0 or more"):
        generator.sample(-1)
    for count, seed in ((1.5, 0), (True, 0), (10**30, 0), (1, 1.5), (1, -1)):
        with pytest.raises(UserError, match="give a whole number"):
            generator.sample(count, seed)
    for truncation in (float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"truncation=(nan|inf): give a number above 0"):
            generator.sample(1, truncation=truncation)


def test_averaged_weights_ship_with_the_statistics_of_their_own_images(plain, labelled):
    for run in (plain, labelled):
        generator = load(run)
        norm = next(module for module in generator.module.modules() if isinstance(module, torch.nn.BatchNorm2d))
        seen: list[torch.Tensor] = []

        def see(module: Any, inputs: Any, seen: list[torch.Tensor] = seen) -> None:
            seen.append(inputs[0].detach())

        with norm.register_forward_pre_hook(see), torch.no_grad():
            words = generator.config.get("label_sample", "").split()
            assert sorted(words) == (4 * ["0"] + 4 * ["1"] + 4 * ["2"] if run is labelled else [])
            for number in range(STANDING_BATCHES):
                latents = generator.latents.rows(0, STANDING_BATCH, derive(0, "standing", number))
                told = [int(words[(number * STANDING_BATCH + row) % 12]) for row in range(STANDING_BATCH) if words]
                generator(latents, torch.tensor(told) if run is labelled else None)
        of_batches = torch.stack([one.mean((0, 2, 3)) for one in seen])
        assert torch.allclose(norm.running_mean, of_batches.mean(0), atol=1e-6)
        assert torch.allclose(norm.running_var, torch.stack([one.var((0, 2, 3)) for one in seen]).mean(0), rtol=1e-4)
        assert generator.config["norms"] == ("standing (labels of the data)" if run is labelled else "standing")
        assert norm.momentum is not None
        assert not norm.training


def told_when_measured(run: Path, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """The labels of the images that the norms of a run's generator are measured on."""
    told: list[torch.Tensor] = []
    call = Generator.__call__

    def listen(self: Generator, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        told.append(labels)
        return call(self, latents, labels)

    with monkeypatch.context() as patch:
        patch.setattr(Generator, "__call__", listen)
        load(run)
    return torch.cat(told)


def without_label_sample(run: Path) -> None:
    """Turn a run into one of an earlier version."""
    facts = json.loads((run / "run.json").read_text())
    del facts["data"]["train"]["label_sample"]
    (run / "run.json").write_text(json.dumps(facts))


def test_the_norms_of_a_generator_of_attributes_are_measured_under_those_of_the_data(tmp_path, monkeypatch):
    keys = {"data.attributes": ["hat", "smile"], "data.limit": 60}
    run = train(tiny(Path("portraits"), "cgan", **keys), images=8, out=tmp_path / "run", quiet=True).path
    bits = ("hat", "smile")
    labels = data.open_dataset("portraits", split="train", size=8, channels=1, attributes=bits, limit=60).labels
    assert labels is not None
    known = {tuple(row): 512 * count / 60 for row, count in zip(*labels_of(labels), strict=True)}
    shown = {tuple(row): count for row, count in zip(*labels_of(told_when_measured(run, monkeypatch)), strict=True)}
    assert len(known) > 2
    assert shown == pytest.approx(known, abs=10)
    without_label_sample(run)
    assert not told_when_measured(run, monkeypatch).any()


def labels_of(labels: torch.Tensor) -> tuple[list[list[int]], list[int]]:
    rows, counts = labels.unique(dim=0, return_counts=True)
    return rows.tolist(), counts.tolist()


def test_norms_are_measured_under_as_many_classes_as_there_are_images_for(tmp_path, monkeypatch):
    path = tmp_path / "many.npz"
    np.savez(path, images=np.zeros((100, 8, 8), np.uint8), labels=np.arange(100))
    run = train(tiny(path, "cgan"), images=8, out=tmp_path / "run", quiet=True).path
    assert len(set(told_when_measured(run, monkeypatch).tolist())) == 100
    without_label_sample(run)  # such a run gives the images that it gave: of the first 64 classes
    assert set(told_when_measured(run, monkeypatch).tolist()) == set(range(64))
    assert load(run).config["norms"] == "standing"


def test_live_weights_ship_with_the_statistics_that_training_saw(noise, tmp_path):
    recipe = dataclasses.replace(tiny(noise, "dcgan-medium"), averages={})
    run = train(recipe, images=40, out=tmp_path / "run", quiet=True).path
    kept = checkpoint.newest(run / "checkpoints")
    assert kept is not None
    tensors, _ = checkpoint.read(kept)
    generator = load(run)
    assert "norms" not in generator.config
    for name, tensor in generator.module.state_dict().items():
        assert torch.equal(tensor, tensors[f"network.generator/{name}"])


def test_run_saved_and_loaded_again_are_one(plain, tmp_path):
    generator = load(plain)
    kept = generator.save(tmp_path / "artefact")
    again = load(kept)
    assert sorted(path.name for path in kept.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert again.weights_hash == generator.weights_hash
    assert np.array_equal(again.sample(9, seed=2), generator.sample(9, seed=2))
    latents = torch.randn(3, 4)
    assert torch.equal(again(latents), generator(latents))
    # It needs nothing of the run, and calling it changes nothing.
    moved = shutil.copytree(kept, tmp_path / "elsewhere")
    shutil.rmtree(kept)
    assert np.array_equal(load(moved).sample(9, seed=2), generator.sample(9, seed=2))
    assert load(moved).save(tmp_path / "third").joinpath("model.safetensors").read_bytes() == (
        moved / "model.safetensors"
    ).read_bytes()


def test_the_averaged_weights_are_shipped(plain):
    kept = checkpoint.newest(plain / "checkpoints")
    assert kept is not None
    tensors, _ = checkpoint.read(kept)
    generator = load(plain)
    assert generator.config["averaged"]
    for name, tensor in generator.module.named_parameters():
        assert torch.equal(tensor, tensors[f"average.generator/{name}"])
    assert not any(parameter.requires_grad for parameter in generator.module.parameters())
    assert not generator.module.training


def test_what_depends_on_the_weights_is_settled_when_a_run_is_loaded(noise, tmp_path):
    """Virtual batch norm's statistics in a checkpoint are the live network's, of some earlier moment."""
    recipe = tiny(noise, "vbn", **{"generator.reference": 4, "averages.generator.half_life": 1000})
    run = train(recipe, images=40, out=tmp_path / "run", quiet=True)
    generator = load(run.path)
    before = generator.sample(3)
    generator.module.settle()  # type: ignore[operator]
    assert np.array_equal(generator.sample(3), before)
    assert np.array_equal(load(generator.save(tmp_path / "artefact")).sample(3), before)


def test_latents_are_given_as_a_tensor_or_array_of_finite_numbers(plain):
    generator = load(plain)
    latents = generator.latents.rows(0, 3, 5)
    made = generator.sample(3, seed=5)
    fixed = latents.numpy().copy()
    fixed.setflags(write=False)
    for given in (latents, fixed, latents.tolist()):
        assert np.array_equal(generator.images_of(given), made)
    for wrong in ("x", None, [[None] * 4], torch.full((2, 4), torch.nan), np.full((2, 4), np.inf), latents + 1j):
        with pytest.raises(UserError, match=r"latents: give finite real numbers \[count, 4\]"):
            generator.images_of(wrong)
    with pytest.raises(UserError, match=r"have the shape \[3, 3\]"):
        generator.images_of(latents[:, :3])


def test_numbers_and_devices_that_cannot_be_are_refused(plain):
    generator = load(plain)
    for truncation in (0, -1, "1"):
        with pytest.raises(UserError, match="give a number above 0"):
            generator.under(truncation)
    with pytest.raises(UserError, match="batch=0: give a whole number, 1 or more"):
        generator.fused(0)
    for device, told in (("meta", "There is no device 'meta'"), ("cuda:9", "finds no CUDA device|has no such card")):
        with pytest.raises(UserError, match=told):
            load(plain, device=device)


def test_labels(labelled, plain):
    generator = load(labelled)
    assert generator.config["classes"] == ["0", "1", "2"]
    turn = generator.sample(7, seed=1)
    given = generator.sample(7, seed=1, labels=[0, 1, 2, 0, 1, 2, 0])
    assert np.array_equal(turn, given)
    ones = generator.sample(7, seed=1, labels=1)
    assert np.array_equal(ones[1], turn[1])
    assert not np.array_equal(ones[0], turn[0])
    assert np.array_equal(ones, generator.sample(7, seed=1, labels=torch.ones(7, dtype=torch.int64)))
    assert np.array_equal(generator.sample(40, seed=1)[:7], turn)
    for wrong in (3, -1, [0, 1], [[0] * 7]):
        with pytest.raises(UserError, match=r"labels: (give 7 class numbers from 0 to 2|there is no class)"):
            generator.sample(7, labels=wrong)
    with pytest.raises(UserError, match=r"was trained without labels. Leave labels out"):
        load(plain).sample(7, labels=1)


def test_truncation_makes_images_more_alike(plain):
    generator = load(plain)
    whole, cut = (generator.sample(32, truncation=value).astype(float) for value in (None, 0.1))
    assert cut.std(axis=0).mean() < 0.5 * whole.std(axis=0).mean()
    assert np.array_equal(generator.sample(3, truncation=0.1), cut[:3].astype(np.uint8))
    with pytest.raises(UserError, match="give a number above 0"):
        generator.sample(3, truncation=-1)


def test_biggan_sheet_1_12_statistics_follow_the_truncation_where_latents_reach_later_blocks(noise, tmp_path):
    changes = {"data.size": 8, "data.channels": 1, "data.source": str(noise), "data.attributes": [], "batch_size": 4,
               "precision": "float32", "latents.size": 4, "generator.attention": 0, "discriminator.attention": 0}
    recipe = recipes.find("biggan-small").with_changes(changes).with_family("depthwise")
    run = train(recipe, images=8, out=tmp_path / "run", quiet=True)
    generator = load(run.path)
    before, whole = generator.weights_hash, generator.sample(40, seed=1)
    cut = generator.sample(40, seed=1, truncation=0.5)
    assert not np.array_equal(whole, cut)
    assert generator.weights_hash == before
    assert np.array_equal(generator.sample(40, seed=1), whole)
    assert np.array_equal(load(generator.save(tmp_path / "artefact")).sample(3, seed=1, truncation=0.5), cut[:3])
    under = generator.under(0.5)
    norm, seen = next(part for part in under.modules() if isinstance(part, torch.nn.BatchNorm2d)), []
    hook = norm.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    Generator(under, generator.config).shown(0, 0.5)
    hook.remove()
    # The statistics are of eight batches, so those of one are near.
    torch.testing.assert_close(norm.running_mean, seen[0].mean((0, 2, 3)), atol=0.05, rtol=0.5)
    torch.testing.assert_close(norm.running_var, seen[0].var((0, 2, 3)), atol=0.05, rtol=0.5)
    assert not torch.allclose(norm.running_var, generator.module.blocks[0].norms[0].norm.running_var)


def test_sampling_leaves_torchs_random_numbers_and_the_module_alone(plain):
    generator = load(plain)
    before = torch.get_rng_state()
    weights = generator.weights_hash
    generator.sample(3)
    assert torch.equal(before, torch.get_rng_state())
    assert generator.weights_hash == weights
    load(plain)
    assert torch.equal(before, torch.get_rng_state())


def test_batches_are_the_images_of_sample_as_they_are_made(plain, labelled):
    for run in (plain, labelled):
        generator = load(run)
        made = list(generator.batches(70, seed=3))
        assert [len(batch) for batch in made] == [32, 32, 6]
        assert np.array_equal(torch.cat(made).permute(0, 2, 3, 1).numpy(), generator.sample(70, seed=3))


def test_the_config_says_how_to_open_data_of_a_known_name_and_nobodys_folders(plain, tmp_path):
    assert "source" not in load(plain).config["data"]  # a file of somebody's
    recipe = tiny(tmp_path / "unused", "dcgan-medium", **{"data.source": "glyphs", "data.limit": 12})
    run = train(recipe, images=8, out=tmp_path / "run", quiet=True).path
    data = load(run).config["data"]
    assert (data["source"], data["size"], data["limit"], data["count"]) == ("glyphs", 8, 12, 12)


def test_the_card_says_what_it_is(labelled, tmp_path):
    text = (load(labelled).save(tmp_path / "a") / "README.md").read_text()
    for part in ("library_name: frugan", "cgan: 8x8 images", "npz noise (train, 12 images", "It takes labels: 0, 1, 2",
                 "averaged weights", "40 real images"):
        assert part in text


def test_the_card_has_the_costs_the_values_with_their_protocol_and_the_terms_of_the_data(plain, tmp_path):
    generator = load(plain)
    protocol = {
        "data": "noise", "split": "test", "fake_count": 2000, "real_count": 12, "view": "pixels",
        "view_version": "pixels-3", "weights": "averaged",
    }
    value = {"metric": "fid", "values": {"fid": 7.875}, "headline": "fid", "better": "lower", "protocol": protocol,
             "floor": {"value": 1.5}}  # fmt: skip
    of_a_classifier = {key: item for key, item in protocol.items() if key not in ("view_version", "fake_count")}
    right = {"metric": "right", "values": {"share": 0.5}, "headline": "share", "better": "higher", "floor": None,
             "protocol": {**of_a_classifier, "fake_count": 0}}  # fmt: skip
    text = (generator.save(tmp_path / "a", values=[value, right]) / "README.md").read_text()
    assert "| right | 0.5 | higher |  | noise test, 12 real images, averaged weights |" in text
    assert "| fid | 7.875 | lower | 1.5 | noise test, 2,000 fake and 12 real images, view pixels (pixels-3)" in text
    assert f"| {frugan.cost(generator.module, *generator.inputs()).parameters:,} |" in text
    cut = {**value, "protocol": {**protocol, "truncation": 0.5, "sampling_seed": 3}}
    text = (generator.save(tmp_path / "b", values=[value, cut]) / "README.md").read_text()
    assert text.count("averaged weights |") == text.count("averaged weights, truncation 0.5, latents of seed 3 |") == 1
    assert "frugan does not know the terms of these images" in text
    assert data.terms_of("glyphs:letters").startswith("Drawn by frugan")
    assert "not commercial" in data.terms_of("celeba:/photos")
    assert data.terms_of(str(tmp_path)) == ""


def test_the_values_of_the_checkpoint_that_is_loaded_travel_with_it(plain, tmp_path):
    run = shutil.copytree(plain, tmp_path / "run")
    (run / "metrics.jsonl").write_text('{"metric": "fid", "images": 40}\n{"metric": "kid", "images": 20}\n')
    assert [value["metric"] for value in load(run).config["values"]] == ["fid"]


# ------------------------------------------------------------------------------------------------------------- the Hub


@pytest.fixture
def hub(saved, tmp_path, monkeypatch) -> Path:
    """The Hub's cache as it is after somebody/digits was fetched; the Hub itself cannot be reached."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    commit, cache = "0123456789abcdef0123456789abcdef01234567", tmp_path / "hub"
    repository = cache / "models--somebody--digits"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "blobs").mkdir()
    (repository / "snapshots" / commit).mkdir(parents=True)
    for number, file in enumerate(saved.iterdir()):
        shutil.move(file, repository / "blobs" / str(number))
        (repository / "snapshots" / commit / file.name).symlink_to(f"../../blobs/{number}")
    offline = functools.partial(huggingface_hub.snapshot_download, cache_dir=cache, local_files_only=True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    return repository / "snapshots" / commit


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_artefact_on_the_hub_is_loaded_by_its_name(hub, plain):
    generator = load("hf-hub:somebody/digits", role="generator")
    assert np.array_equal(generator.sample(2), load(plain).sample(2))
    assert np.array_equal(load("hf-hub:somebody/digits@main").sample(1), generator.sample(1))
    with pytest.raises(UserError, match=r"hf-hub:somebody/letters was not fetched before, and the Hub cannot"):
        load("hf-hub:somebody/letters")
    with pytest.raises(UserError, match=r"hf-hub:digits is not understood. Type hf-hub:OWNER/NAME"):
        load("hf-hub:digits")
    (hub / "config.json").unlink()
    with pytest.raises(UserError, match=r"is no artefact of frugan: it has no config\.json"):
        load("hf-hub:somebody/digits")


def test_without_the_package_of_the_hub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'frugan\[hub\]'"):
        load("hf-hub:somebody/digits")


# ------------------------------------------------------------------------------------------------ what cannot be loaded


def test_nothing_of_the_users_is_overwritten(plain, tmp_path):
    generator = load(plain)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("x")
    with pytest.raises(UserError, match=r"is not empty. Give another path, or overwrite=True"):
        generator.save(tmp_path / "mine")
    generator.save(tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "notes").read_text() == "x"
    with pytest.raises(UserError, match="is a file; an artefact is a folder"):
        generator.save(tmp_path / "mine" / "notes")


def test_a_path_that_holds_neither(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=r"neither an artefact .* nor a run folder"):
            load(path)


@pytest.mark.parametrize(("config", "told"), [
    (b"{", "is damaged or incomplete"), (b"\xff\xfe\x00", "is damaged or incomplete"), (b"[]", "artefact format None"),
    (b"{}", "artefact format None"), (b'{"format": "1"}', "artefact format 1"),
    (b'{"format": 1}', r"config\.json is damaged or of another version: it has no 'network'"),
    (b'{"format": 1, "network": {}, "part": "decoder"}', "is damaged or of another version: it has no 'families'"),
])
def test_a_broken_config_is_named(saved, config, told):
    (saved / "config.json").write_bytes(config)
    with pytest.raises(UserError, match=told):
        load(saved)


def test_broken_weights_are_named(saved):
    weights = saved / "model.safetensors"
    whole = weights.read_bytes()
    for broken in (b"", b"nonsense", whole[: len(whole) // 2]):
        weights.write_bytes(broken)
        with pytest.raises(UserError, match="is damaged or incomplete"):
            load(saved)
    weights.unlink()
    with pytest.raises(UserError, match="is damaged or incomplete"):
        load(saved)


def test_edited_weights_are_noticed(saved):
    weights = load_file(saved / "model.safetensors")
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    save_file({**weights, name: weights[name] + 1e-6}, saved / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors was damaged or changed: its weights have the hash"):
        load(saved)
    config = json.loads((saved / "config.json").read_text())
    del config["weights"]  # as artefacts of earlier versions
    (saved / "config.json").write_text(json.dumps(config))
    load(saved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensor: tensor * float("nan"), "values that are not finite"),
        (lambda tensor: tensor.half(), "is torch.float16, but the network has torch.float32"),
    ],
)
def test_weights_that_are_no_weights_are_refused_also_without_their_hash(saved, change, said):
    weights = load_file(saved / "model.safetensors")
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    save_file({**weights, name: change(weights[name])}, saved / "model.safetensors")
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({key: value for key, value in config.items() if key != "weights"}))
    with pytest.raises(UserError, match=said):
        load(saved)


def test_overwriting_an_artefact_never_costs_the_good_one(plain, tmp_path, monkeypatch):
    generator, place = load(plain), tmp_path / "artefact"
    generator.save(place)
    good, other = generator.weights_hash, copy.deepcopy(generator)
    with torch.no_grad():
        next(other.module.parameters()).mul_(2)
    usual, left = os.replace, [0]

    def replace(one: Path, two: Path) -> None:
        if two.parent == place:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        usual(one, two)

    monkeypatch.setattr(os, "replace", replace)
    for moved, expected in ((0, good), (1, good), (2, good), (3, other.weights_hash)):
        left[0] = moved
        with pytest.raises(OSError, match="No space") if moved < 3 else contextlib.nullcontext():
            other.save(place, overwrite=True)
        assert load(place).weights_hash == expected
    (place / "notes.txt").write_text("mine")
    left[0] = 3
    generator.save(place, overwrite=True)
    assert (load(place).weights_hash, (place / "notes.txt").read_text()) == (good, "mine")


def test_weights_of_another_network_are_named(saved):
    config = json.loads((saved / "config.json").read_text())
    config["network"]["options"]["channels"] = [4, 4, 5]
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="do not fit the network"):
        load(saved)


def test_a_newer_format_is_refused(saved, monkeypatch):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "format": artefact.FORMAT + 1}))
    with pytest.raises(UserError, match=r"artefact format 2, but this frugan reads only 1 to 1\. Update frugan"):
        load(saved)


def test_a_run_without_a_checkpoint_a_damaged_one_and_one_without_facts(plain, tmp_path):
    run = shutil.copytree(plain, tmp_path / "run")
    (kept,) = (run / "checkpoints").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1])
    with pytest.raises(UserError, match="is damaged"):
        load(run)
    kept.unlink()
    with pytest.raises(UserError, match="has no checkpoint yet; let it train longer"):
        load(run)
    (run / "run.json").unlink()
    with pytest.raises(UserError, match=r"has no run\.json"):
        load(run)
    (run / "run.json").write_text("{")
    with pytest.raises(UserError, match="is not valid JSON"):
        load(run)
    (run / "run.json").write_text('{"format": 2}')
    with pytest.raises(UserError, match="has format 2"):
        load(run)


OWN_FAMILY = '''
from frugan import convs
from frugan.convs import standard
convs.add("my_own", convs.ConvFamily("my_own", standard.same, standard.down, standard.up))
'''


def test_a_family_of_ones_own_needs_its_file_named(noise, tmp_path):
    code = tmp_path / "mine.py"
    code.write_text(OWN_FAMILY)
    run = train(tiny(noise, "dcgan-medium"), family="my_own", code=code, images=8, out=tmp_path / "run", quiet=True)
    images = load(run.path).sample(2)
    kept = load(run.path).save(tmp_path / "artefact")
    owncode.forget()
    with pytest.raises(UserError, match=r"no convolution family called 'my_own'.*code"):
        load(kept)
    assert np.array_equal(load(kept, code=code).sample(2), images)
    # A run remembers where the file was, unless another is given.
    owncode.forget()
    assert np.array_equal(load(run.path).sample(2), images)


def test_loading_an_artefact_runs_no_code_of_it(saved, tmp_path):
    config = json.loads((saved / "config.json").read_text())
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    (saved / "config.json").write_text(json.dumps({**config, "code": str(trap)}))
    load(saved)
    assert not (tmp_path / "sprung").exists()


# ---------------------------------------------------------------------------------------------------------- old formats


def formats_maker() -> Any:
    spec = importlib.util.spec_from_file_location("frugan_formats", FORMATS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["run", "artefact"])
def test_every_earlier_format_still_loads_and_gives_its_images(version, kind):
    generator = load(FORMATS / version / kind)
    assert isinstance(generator, Generator)
    # What averaged weights give by themselves was not measured when v1's artefact was kept; its run is, when loaded.
    sampled = np.load(FORMATS / version / ("sampled.npy" if kind == "artefact" else "sampled_of_run.npy"))
    # On another machine sums may be taken in another order: one grey level.
    assert np.abs(generator.sample(5, seed=1).astype(int) - sampled).max() <= 1


@pytest.mark.parametrize("version", VERSIONS)
def test_every_earlier_run_can_be_trained_further(version, tmp_path, monkeypatch):
    maker = formats_maker()
    monkeypatch.chdir(tmp_path)
    maker.write_noise(Path(maker.SOURCE))
    run = shutil.copytree(FORMATS / version / "run", tmp_path / "run")
    train(str(run / "recipe.json"), images=160, out=run, quiet=True)
    kept = checkpoint.newest(run / "checkpoints")
    assert kept is not None
    assert checkpoint.images_of(kept) == 160
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert lines[0]["images"] == 100


def test_the_kept_formats_are_small_and_hold_todays_version():
    assert VERSIONS[-1] == f"v{max(artefact.FORMAT, checkpoint.FORMAT)}"
    assert sum(path.stat().st_size for path in FORMATS.rglob("*") if path.is_file()) < 200_000
