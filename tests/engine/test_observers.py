"""Observers: when they look, what they write, and that they leave no trace in what they look at."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from frugan import games
from frugan.batch import Batch
from frugan.engine import observers
from frugan.engine.observers import (
    LOG_ROUNDS,
    Bar,
    Guarded,
    Log,
    Moment,
    Previews,
    Tick,
    every,
    growing,
    log_points,
)
from frugan.engine.run import RunFolder
from frugan.registry import UserError


def looks(rhythm: Any, batch: int, rounds: int) -> list[int]:
    """After how many images a rhythm is due."""
    ticks = [Tick(batch * number, number) for number in range(rounds + 1)]
    return [now.images for before, now in itertools.pairwise(ticks) if rhythm(before, now)]


def test_rhythms_follow_from_images_alone():
    assert looks(every(100), 64, 8) == [128, 256, 320, 448, 512]
    assert looks(every(100), 250, 3) == [250, 500, 750]
    assert looks(log_points, 4, 2 * LOG_ROUNDS) == [4 * LOG_ROUNDS, 8 * LOG_ROUNDS]
    slow = looks(growing(first=100, factor=2, longest=300), 50, 40)
    assert slow == [100, 300, 600, 900, 1200, 1500, 1800]
    # Whatever the batch, the first round after each point is taken; asked twice, the answer is the same.
    assert looks(growing(first=100, factor=2, longest=300), 70, 12) == [140, 350, 630]


class Settling(nn.Module):
    """A network with a buffer that follows from its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("twice", torch.zeros(1))

    def settle(self) -> None:
        self.twice.copy_(2 * self.weight.detach())

    def forward(self, count: int) -> torch.Tensor:
        assert not self.training
        return self.twice.expand(count, 1, 2, 2).double()


class Showing:
    """As much of a game as a moment needs."""

    def sample(self, networks: Any, like: Batch, seed: int) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        return networks["generator"](like.count)

    def settle(self, network: nn.Module, seed: int) -> None:
        games.settle(network, seed)


def moment(images: int = 100, rounds: int = LOG_ROUNDS, **scalars: float) -> Moment:
    networks = {"generator": Settling().train()}
    return Moment(images, rounds, 1.23456, 1000, scalars, Showing(), networks, networks)  # type: ignore[arg-type]


def test_a_sample_is_of_the_settled_network_in_evaluation_mode_and_float32():
    taken = moment()
    images = taken.sample(Batch(torch.zeros(3, 1, 2, 2)), 0)
    assert images.dtype == torch.float32
    assert torch.equal(images, torch.full((3, 1, 2, 2), 2.0))
    assert taken.networks["generator"].training


def test_a_sample_of_averaged_weights_has_their_own_statistics_and_leaves_no_trace():
    norm = nn.BatchNorm2d(1).eval()
    norm.running_mean.fill_(100)

    class Normed(Showing):
        def sample(self, networks, like, seed):
            made = torch.arange(like.count * 4.0).reshape(-1, 1, 2, 2) + like.labels.reshape(-1, 1, 1, 1)
            return networks["generator"](made)

    taken = Moment(1, 1, 0.0, 1, {}, Normed(), {"generator": nn.BatchNorm2d(1)}, {"generator": norm})
    like = Batch(torch.zeros(3, 1, 2, 2), torch.arange(3))
    seen = torch.arange(64 * 4.0).reshape(-1, 1, 2, 2) + (torch.arange(64) % 3).reshape(-1, 1, 1, 1)
    wanted = (torch.arange(12.0).reshape(3, 1, 2, 2) + like.labels.reshape(3, 1, 1, 1) - seen.mean()) / seen.std()
    assert torch.allclose(taken.sample(like, 0), wanted, atol=1e-4)
    assert norm.running_mean == 100
    live = dataclasses.replace(taken, networks=taken.averaged)  # no average: it ships as training left it
    assert live.sample(like, 0).mean() < -50


def test_the_log_has_one_line_for_each_log_point(tmp_path):
    folder = RunFolder(tmp_path)
    log = Log(folder)
    log.look(moment(100, LOG_ROUNDS, **{"generator.loss": 0.123456789}))
    log.look(moment(104, LOG_ROUNDS + 1))
    assert folder.lines(folder.log) == [
        {"images": 100, "rounds": LOG_ROUNDS, "seconds": 1.235, "generator.loss": 0.123457}
    ]


def test_previews_are_pictures_named_by_images(tmp_path):
    folder = RunFolder(tmp_path)
    first = {"train": Batch(torch.zeros(4, 1, 2, 2))}
    Previews(folder, first, (-2.0, 2.0), 0).look(moment(12_345))
    (picture,) = folder.samples.iterdir()
    assert picture.name == "images-000000012345.png"


def test_at_the_end_the_previews_become_a_film_with_a_limited_number_of_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(observers, "FRAMES", 3)
    folder = RunFolder(tmp_path)
    previews = Previews(folder, {"train": Batch(torch.zeros(4, 1, 2, 2))}, (-2.0, 2.0), 0)
    shown: list[str] = []
    monkeypatch.setattr(observers, "read", lambda path: shown.append(path.stem) or (Image.new("RGB", (8, 8)), ""))
    for images in (100, 200, 300, 400):
        previews.look(moment(images))
    assert not shown
    previews.look(dataclasses.replace(moment(500), budget=500))
    assert shown == [f"images-{images:012d}" for images in (100, 300, 500)]
    assert (folder.samples / "film.webp").is_file()


def test_a_game_may_show_pictures_of_its_own(tmp_path):
    class Showing:
        def settle(self, network, seed):
            pass

        def preview(self, networks, first, seed):
            assert not torch.is_grad_enabled()
            return first["b"].images[:2].repeat_interleave(3, dim=0), 3

    folder = RunFolder(tmp_path)
    first = {"a": Batch(torch.zeros(4, 1, 2, 2)), "b": Batch(torch.ones(4, 1, 2, 2))}
    shown = dataclasses.replace(moment(1), game=Showing())
    assert shown.preview(first, 0)[1] == 3
    Previews(folder, first, (-2.0, 2.0), 0).look(shown)
    (picture,) = folder.samples.iterdir()
    with Image.open(picture) as image:
        assert image.width > image.height


def test_the_bar_prints_speed_time_left_and_losses_where_there_is_no_terminal(capsys):
    bar = Bar("digits on noise", 0, 1000, ("generator.loss",))
    bar.look(moment(**{"generator.loss": 0.5}))
    bar.look(moment(200))  # too soon for another line
    bar.say("something else")
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for part in ("digits on noise: 100 of 1,000 images", "images/s", "min left", "generator.loss 0.500"):
        assert part in lines[0]


# --------------------------------------------------------------------------------------------------------- run folders


def test_lines_cut_short_by_a_kill_are_left_out_and_later_ones_rewound(tmp_path):
    folder = RunFolder(tmp_path)
    folder.rewind(0)
    for images in (100, 200, 300):
        folder.append(folder.log, {"images": images})
        folder.samples.mkdir(exist_ok=True)
        (folder.samples / f"images-{images:012d}.png").write_bytes(b"")
    with folder.log.open("a") as file:
        file.write('{"images": 400, "gen')
    assert [line["images"] for line in folder.lines(folder.log)] == [100, 200, 300]
    folder.rewind(200)
    folder.append(folder.log, {"images": 250})
    assert [json.loads(line)["images"] for line in folder.log.read_text().splitlines()] == [100, 200, 250]
    assert sorted(path.name for path in folder.samples.iterdir()) == [
        "images-000000000100.png", "images-000000000200.png"
    ]


def test_json_files_are_whole_and_of_a_known_format(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.is_free()
    assert not folder.exists()
    folder.write_json(folder.recipe, {"name": "x"})
    assert folder.exists()
    assert not folder.is_free()
    assert folder.read_json(folder.recipe) == {"format": 1, "name": "x"}
    with pytest.raises(UserError, match=r"is not a run folder: it has no run\.json"):
        folder.read_json(folder.facts)
    for text, told in (("{", "is not valid JSON"), ('{"format": 9}', "has format 9"), ("[]", "must be a map")):
        folder.facts.write_text(text)
        with pytest.raises(UserError, match=told):
            folder.read_json(folder.facts)


def test_a_lock_is_held_once_and_let_go(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        with pytest.raises(UserError, match="Another process is training"), RunFolder(tmp_path / "run").locked():
            pass
        assert folder.is_free()
    with folder.locked():
        pass


def looked_at(images: int = 8) -> Moment:
    """A moment with a network whose batch norm is in training, and an averaged copy of it."""
    live, averaged = (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in range(2))
    return Moment(images, 2, 0.1, 16, {}, Showing(), {"generator": live}, {"generator": averaged})  # type: ignore[arg-type]


class Tracker:
    """An observer of the user's own, which does what it is told to."""

    def __init__(self, act: Any = None) -> None:
        self.act, self.seen, self.closed = act, [], False

    def due(self, before: Tick, now: Tick) -> bool:
        return True

    def look(self, moment: Moment) -> None:
        self.seen.append(moment.images)
        if self.act is not None:
            self.act(moment)

    def close(self) -> None:
        self.closed = True


def test_an_observer_of_ones_own_is_added_with_options(monkeypatch):
    monkeypatch.setattr(observers._known, "_added", {})
    with pytest.raises(UserError, match=r"no observer called 'tracker'.*--code FILE"):
        observers.check("tracker", {})
    observers.add("tracker", lambda run, *, period=100: Tracker(run))
    with pytest.raises(UserError, match="Did you mean 'period'"):
        observers.check("tracker", {"priod": 3})
    assert observers.find("tracker", "a run", period=5).act == "a run"
    observers.add("blind", lambda run: object())
    with pytest.raises(UserError, match=r"'blind' makes a object without 'due'"):
        observers.find("blind", "a run")


def test_an_observer_of_ones_own_sees_networks_in_evaluation_mode_and_leaves_them_as_they_were():
    def act(moment: Moment) -> None:
        assert not torch.is_grad_enabled()
        network = moment.networks["generator"]
        assert not any(module.training for module in network.modules())
        network(torch.randn(4, 2))

    now = looked_at()
    network = now.networks["generator"]
    before = {name: one.clone() for name, one in network.state_dict().items()}
    modes = [(module, module.training) for module in network.modules()]
    guarded = Guarded("tracker", Tracker(act), pytest.fail)
    guarded.look(now)
    guarded.close()
    assert guarded.observer.closed
    assert all(torch.equal(one, before[name]) for name, one in network.state_dict().items())
    assert [(module, module.training) for module in network.modules()] == modes
    assert network.training


@pytest.mark.parametrize("change", [
    lambda network: nn.init.zeros_(network[0].bias),
    lambda network: network[0].bias.requires_grad_(False),
    lambda network: setattr(network[0], "bias", nn.Parameter(torch.zeros(2))),
])
@pytest.mark.parametrize("of", ["networks", "averaged"])
def test_an_observer_that_changes_a_network_stops_the_run(change, of):
    tracker = Tracker(lambda moment: change(getattr(moment, of)["generator"]))
    with pytest.raises(UserError, match=r"'tracker' changed '0.bias' .*after 8 images, but observers must not change"):
        Guarded("tracker", tracker, pytest.fail).look(looked_at())


def test_an_observer_that_fails_is_told_of_and_looks_no_more():
    said: list[str] = []
    tracker = Tracker(lambda moment: 1 / 0)
    guarded = Guarded("tracker", tracker, said.append)
    tick = Tick(8, 2)
    assert guarded.due(tick, tick)
    guarded.look(looked_at())
    assert not guarded.due(tick, tick)
    guarded.look(looked_at(16))
    assert tracker.seen == [8]
    assert len(said) == 1
    assert "'tracker' failed after 8 images and is not called again: ZeroDivisionError: division by zero (" in said[0]
    assert "test_observers.py, line " in said[0]
    guarded.close()
    assert tracker.closed
    tracker.due = None
    guarded = Guarded("tracker", tracker, said.append)
    assert not guarded.due(tick, tick)
    assert "TypeError" in said[1]
