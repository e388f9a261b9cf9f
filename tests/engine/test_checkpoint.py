"""Checkpoints: what goes in comes out, whatever happens to the disk."""

from __future__ import annotations

import errno
import json
import os

import pytest
import torch
from torch import nn

from frugan import files
from frugan.engine import checkpoint
from frugan.registry import UserError


class Anything:
    """A part with an arbitrary state."""

    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def test_everything_round_trips_through_a_file_bit_for_bit(tmp_path):
    state = {
        "empty": {}, "numbers": [1, 2.5, -0.1, float("inf")], "nothing": None, "flag": True, "text": "ü",
        3: torch.tensor([1.5, float("nan")]), "deep": {"tuple": (torch.arange(3), {"x": torch.zeros(())})},
        "half": torch.tensor([0.1]).bfloat16(), "none of it": torch.zeros(0, 3), "tiny": 1e-45,
    }
    path = checkpoint.write(tmp_path, {"part": Anything(state)}, 12)
    read = Anything(None)
    checkpoint.restore({"part": read}, *checkpoint.read(path))
    back = read.state
    assert list(back) == list(state)
    assert back["numbers"] == state["numbers"]
    assert (back["nothing"], back["flag"], back["text"], back["tiny"]) == (None, True, "ü", 1e-45)
    assert back[3].view(torch.int32).tolist() == state[3].view(torch.int32).tolist()
    assert torch.equal(back["deep"]["tuple"][0], torch.arange(3))
    assert back["half"].dtype == torch.bfloat16
    assert back["none of it"].shape == (0, 3)


def test_what_was_captured_does_not_follow_the_part():
    layer = nn.Linear(2, 2)
    tensors, rest = checkpoint.capture({"layer": layer})
    before = layer.weight.clone()
    with torch.no_grad():
        layer.weight.add_(1)
    checkpoint.restore({"layer": layer}, tensors, rest)
    assert torch.equal(layer.weight, before)
    with torch.no_grad():
        layer.weight.add_(1)
    checkpoint.restore({"layer": layer}, tensors, rest)
    assert torch.equal(layer.weight, before)


def test_the_older_checkpoint_leaves_only_after_the_newer_is_whole(tmp_path):
    first = checkpoint.write(tmp_path, {"a": Anything({"x": torch.zeros(2)})}, 64)
    second = checkpoint.write(tmp_path, {"a": Anything({"x": torch.ones(2)})}, 128)
    assert list(tmp_path.iterdir()) == [second]
    assert (checkpoint.images_of(first), checkpoint.images_of(second)) == (64, 128)


def test_a_full_disk_is_told_and_the_checkpoint_before_it_kept(tmp_path, monkeypatch):
    first = checkpoint.write(tmp_path, {"a": Anything({"x": torch.zeros(2)})}, 64)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"No space left on device.*kept.*run the same command again"):
            checkpoint.write(tmp_path, {"a": Anything({"x": torch.ones(2)})}, 128)
    assert list(tmp_path.iterdir()) == [first]
    assert checkpoint.newest(tmp_path) == first
    second = checkpoint.write(tmp_path, {"a": Anything({"x": torch.ones(2)})}, 128)
    assert list(tmp_path.iterdir()) == [second]


def test_of_two_whole_checkpoints_the_one_of_more_images_is_the_newest(tmp_path):
    first = checkpoint.write(tmp_path, {"a": Anything({"x": torch.zeros(2)})}, 64)
    kept = first.read_bytes()
    second = checkpoint.write(tmp_path, {"a": Anything({"x": torch.ones(2)})}, 128)
    first.write_bytes(kept)  # as if the program had ended before it was removed
    assert checkpoint.newest(tmp_path) == second


def test_what_the_disk_gives_back_changed_does_not_replace_the_checkpoint_before_it(tmp_path, monkeypatch):
    first = checkpoint.write(tmp_path, {"a": Anything({"x": torch.zeros(2)})}, 64)
    write = files.write
    with monkeypatch.context() as patch:
        patch.setattr(files, "write", lambda path, data: write(path, data[:-1] + b"!"))
        with pytest.raises(UserError, match="could not be read back as it was written"):
            checkpoint.write(tmp_path, {"a": Anything({"x": torch.ones(2)})}, 128)
    assert checkpoint.newest(tmp_path) == first


def test_a_damaged_checkpoint_is_passed_over_but_never_taken_for_none(tmp_path):
    first = checkpoint.write(tmp_path, {"a": Anything({"x": torch.zeros(2)})}, 64)
    kept = first.read_bytes()
    second = checkpoint.write(tmp_path, {"a": Anything({"x": torch.ones(2)})}, 128)
    first.write_bytes(kept)
    damaged = bytearray(second.read_bytes())
    damaged[-3] ^= 1
    second.write_bytes(bytes(damaged))
    assert checkpoint.newest(tmp_path) == first
    first.unlink()
    with pytest.raises(UserError, match="is damaged"):
        checkpoint.newest(tmp_path)
    second.unlink()
    assert checkpoint.newest(tmp_path) is None
    assert checkpoint.newest(tmp_path / "nowhere") is None


def test_other_parts_newer_formats_and_other_files_are_refused(tmp_path, monkeypatch):
    path = checkpoint.write(tmp_path, {"a": Anything({"x": torch.zeros(2)})}, 64)
    with pytest.raises(UserError, match="Only one of the two has b"):
        checkpoint.restore({"a": Anything({}), "b": Anything({})}, *checkpoint.read(path))
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        checkpoint.read(other)
    with pytest.raises(UserError, match="not the name of a checkpoint"):
        checkpoint.images_of(other)
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    newer = checkpoint.write(tmp_path, {"a": Anything({"x": torch.zeros(2)})}, 65)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"checkpoint format 2, but this frugan reads only 1 to 1\. Update"):
        checkpoint.read(newer)


def test_a_part_of_a_checkpoint_can_be_read_alone(tmp_path):
    parts = {"a": Anything({"x": torch.zeros(2)}), "ab": Anything({"x": torch.ones(2)})}
    tensors, rest = checkpoint.read(checkpoint.write(tmp_path, parts, 1), only="a/")
    assert list(tensors) == ["a/x"]
    assert json.dumps(rest)
