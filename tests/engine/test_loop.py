"""The loop: what it does when something is not finite, whether or not it may wait for the device to say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frugan import stopping
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.data.batches import Batches
from frugan.engine import checkpoint, loop
from frugan.engine.average import Average
from frugan.engine.loop import Parts, Stopped, play, play_round
from frugan.engine.observers import LOG_ROUNDS, Moment, Tick
from frugan.engine.processes import Processes
from frugan.engine.run import RunFolder
from frugan.engine.update import Player, Update
from frugan.registry import UserError


class Drawing:
    """A game that draws its one network's images near to the real ones; its layer `last` breaks in one round."""

    streams = ("train",)

    def __init__(self, breaks: int) -> None:
        self.breaks = breaks
        self.networks: dict[str, nn.Module] = {"generator": Breaking()}

    def step(self, batches: Any, progress: Any, update: Any) -> dict[str, Tensor]:
        real = batches.take("train", 4).images.flatten(1)
        network = self.networks["generator"]
        network.last.factor = float("nan") if progress.rounds == self.breaks else 1.0  # type: ignore[union-attr]
        latents = torch.randn(4, 3, generator=progress.generator("latents"))
        (loss,) = update("generator", lambda: (network(latents) - real).square().mean())
        return {"generator.loss": loss}


class Last(nn.Linear):
    factor = 1.0

    def forward(self, input: Tensor) -> Tensor:
        return self.factor * super().forward(input)


class Breaking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(3, 5), Last(5, 4)

    def forward(self, latents: Tensor) -> Tensor:
        return self.last(self.first(latents))


def parts_of(breaks: int) -> Parts:
    game: Any = Drawing(breaks)
    player = Player("generator", game.networks, lambda some: torch.optim.Adam(some, lr=0.01, fused=True))
    data = Dataset("zeros", "train", ImageShape(1, 2, 2), torch.zeros(8, 1, 2, 2, dtype=torch.uint8), None, (), "hash")
    averages = {"generator": Average(game.networks["generator"], 20)}
    return Parts(
        game, Batches({"train": data}, seed=0), Update({"generator": player}), averages, seed=0,
        device=torch.device("cpu"),
    )


class Watching:
    """An observer that looks after every round, and remembers whether the weights were finite."""

    def __init__(self) -> None:
        self.finite: list[bool] = []

    def due(self, before: Tick, now: Tick) -> bool:
        return True

    def look(self, moment: Moment) -> None:
        weights = [*moment.networks["generator"].parameters(), *moment.averaged["generator"].parameters()]
        self.finite.append(all(bool(torch.isfinite(weight).all()) for weight in weights))


@pytest.mark.parametrize("waiting", [True, False], ids=["waiting", "noted"])
@pytest.mark.parametrize("breaks", [30, 3])
def test_a_run_that_breaks_goes_back_to_the_last_log_point_and_names_what_broke(breaks, waiting, tmp_path, monkeypatch):
    if not waiting:
        monkeypatch.setattr("frugan.engine.update._may_wait", lambda tensor: False)
    parts, watching = parts_of(breaks), Watching()
    since = breaks // LOG_ROUNDS * LOG_ROUNDS
    with pytest.raises(Stopped) as stopped:
        play(parts, rounds=40, folder=RunFolder(tmp_path), observers=[watching])
    told = str(stopped.value)
    assert f"After {4 * breaks:,} images loss 1 (nan) of the player 'generator' is not finite" in told
    assert "first seen in the output of generator.last (Last)" in told
    kept = checkpoint.newest(tmp_path / "checkpoints")
    assert f"The last good state, after {4 * since:,} images, is kept in {kept}" in told
    assert parts.clock.rounds == since
    assert len(watching.finite) >= breaks
    assert all(watching.finite)
    sound = parts_of(breaks=1000)
    if since:
        play(sound, rounds=since)
    for one, other in zip(*(one.game.networks["generator"].parameters() for one in (parts, sound)), strict=True):
        assert torch.equal(one, other)


def test_a_run_that_breaks_after_its_last_log_point_is_not_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("frugan.engine.update._may_wait", lambda tensor: False)
    with pytest.raises(Stopped, match="After 108 images"):
        play(parts_of(breaks=27), rounds=30, folder=RunFolder(tmp_path))


class Raising(Watching):
    """An observer that fails, or asks to stop, after five rounds."""

    def __init__(self, does: str) -> None:
        super().__init__()
        self.does = does

    def look(self, moment: Moment) -> None:
        if moment.rounds == 5 and self.does == "fails":
            raise ValueError("oh")
        if moment.rounds == 5:
            stopping.ask()


@pytest.mark.parametrize("when", ["a minute is over", "it is asked to stop", "an observer fails"])
def test_between_log_points_no_checkpoint_is_written_of_a_run_that_broke(when, tmp_path, monkeypatch):
    monkeypatch.setattr("frugan.engine.update._may_wait", lambda tensor: False)
    if when == "a minute is over":
        monkeypatch.setattr(loop, "KEEP_SECONDS", -1.0)
    written, write = [], checkpoint.write
    monkeypatch.setattr(checkpoint, "write", lambda *given: written.append(given[2]) or write(*given))
    looking = [] if when == "a minute is over" else [Raising("fails" if "fails" in when else "asks")]
    with pytest.raises(ValueError, match="oh") if "fails" in when else pytest.raises(Stopped, match="After 12 images"):
        play(parts_of(breaks=3), rounds=20, folder=RunFolder(tmp_path), observers=looking)
    # The fourth round was no good; what is kept in the end is the state at the last log point.
    assert written == {"a minute is over": [4, 8, 12, 0], "it is asked to stop": [0], "an observer fails": []}[when]


def test_of_several_processes_the_one_that_writes_does_so_at_log_points(tmp_path, monkeypatch):
    class Two(Processes):
        any = staticmethod(bool)

    parts = parts_of(breaks=1000)
    parts.processes = Two(rank=0, world=2)
    monkeypatch.setattr(Two, "differing", lambda self, tensors: None)
    monkeypatch.setattr(loop, "KEEP_SECONDS", -1.0)
    written, write = [], checkpoint.write
    monkeypatch.setattr(checkpoint, "write", lambda *given: written.append(given[2]) or write(*given))
    assert play(parts, rounds=2 * LOG_ROUNDS + 3, folder=RunFolder(tmp_path))
    assert written == [4 * LOG_ROUNDS, 8 * LOG_ROUNDS, 8 * LOG_ROUNDS + 12]


def test_seconds_count_what_a_device_has_still_to_compute_when_the_round_is_over(monkeypatch):
    now, behind = [0.0], [0.0]

    def synchronize(device: torch.device) -> None:
        now[0], behind[0] = now[0] + behind[0], 0.0

    class Later(Drawing):
        def step(self, batches: Any, progress: Any, update: Any) -> dict[str, Tensor]:
            behind[0] += 2.0
            return super().step(batches, progress, update)

    parts = parts_of(breaks=1000)
    parts.game, parts.device = Later(breaks=1000), torch.device("cuda")
    parts.game.networks = parts.update.players["generator"].networks  # type: ignore[misc]
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    seconds: list[float] = []

    class Noting(Watching):
        def due(self, before: Tick, now: Tick) -> bool:
            return now.rounds % LOG_ROUNDS == 0

        def look(self, moment: Moment) -> None:
            seconds.append(moment.seconds)

    assert play(parts, rounds=LOG_ROUNDS + 3, observers=[Noting()])
    assert seconds == [2.0 * LOG_ROUNDS, 2.0 * (LOG_ROUNDS + 3)]


def standing_in(folder: RunFolder) -> dict[str, Tensor]:
    newest = checkpoint.newest(folder.checkpoints)
    assert newest is not None
    return checkpoint.read_standing(newest, "generator")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("no memory"), OSError("no file"), UserError("full")])
def test_a_run_is_complete_though_statistics_of_its_averages_cannot_be_had(error, tmp_path, monkeypatch, capsys):
    parts, folder = parts_of(breaks=1000), RunFolder(tmp_path)
    parts.readers = {"generator": False}

    def standing(self: Parts) -> dict[str, dict[str, Tensor]]:
        raise error

    monkeypatch.setattr(Parts, "standing", standing)
    assert play(parts, rounds=3, folder=folder)
    assert not standing_in(folder)
    assert f"could not be measured or written ({str(error) or 'out of memory'})" in capsys.readouterr().err
    monkeypatch.setattr(Parts, "standing", lambda self: {"generator": {"norm.running_mean": torch.ones(2)}})
    loop.keep_standing(parts, folder)
    assert torch.equal(standing_in(folder)["norm.running_mean"], torch.ones(2))
    monkeypatch.setattr(Parts, "standing", standing)  # they are there, and not measured again
    loop.keep_standing(parts, folder)
    assert not capsys.readouterr().err


def test_statistics_of_averages_follow_a_folder_that_is_moved_meanwhile(tmp_path, monkeypatch):
    run, elsewhere, parts = RunFolder(tmp_path / "run"), tmp_path / "elsewhere", parts_of(breaks=1000)
    parts.readers = {"generator": False}

    def standing(self: Parts) -> dict[str, dict[str, Tensor]]:
        run.path.rename(elsewhere)
        return {"generator": {"norm.running_mean": torch.ones(2)}}

    monkeypatch.setattr(Parts, "standing", standing)
    with run.locked(), pytest.raises(OSError, match="was deleted or moved"):
        play(parts, rounds=1, folder=run)
    assert standing_in(RunFolder(elsewhere))


def test_after_a_round_averages_have_followed_by_the_images_that_it_showed() -> None:
    parts = parts_of(breaks=1000)
    network, average = parts.game.networks["generator"], parts.averages["generator"].network
    begun = [one.clone() for one in network.parameters()]
    play_round(parts)
    kept = 0.5 ** (4 / 20)  # four images, and a half-life of 20
    for before, now, mean in zip(begun, network.parameters(), average.parameters(), strict=True):
        torch.testing.assert_close(mean, kept * before + (1 - kept) * now)


def test_what_networks_draw_for_themselves_follows_from_the_images_shown() -> None:
    drawn: list[list[float]] = []
    for _ in range(2):
        parts = parts_of(breaks=1000)
        noise: list[float] = []
        network = parts.game.networks["generator"]
        network.register_forward_hook(lambda *_, noise=noise: noise.append(float(torch.rand(()))))
        torch.manual_seed(len(drawn))
        for _ in range(3):
            play_round(parts)
        drawn.append(noise)
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3


def test_every_observer_looks_once_more_at_the_end() -> None:
    class Never(Watching):
        def due(self, before: Tick, now: Tick) -> bool:
            return False

    watching = Never()
    assert play(parts_of(breaks=1000), rounds=3, observers=[watching])
    assert watching.finite == [True]


@pytest.mark.parametrize("what", ["taken over", "moved", "moved and made anew", "moved unnoticed"])
def test_a_checkpoint_goes_to_the_folder_that_this_process_holds_wherever_it_is(what: str, tmp_path: Path) -> None:
    run, elsewhere = RunFolder(tmp_path / "run"), tmp_path / "elsewhere"

    class Meddling(Watching):
        def look(self, moment: Moment) -> None:
            if what == "taken over":
                (run.path / ".lock-2").write_text("")
            else:
                run.path.rename(elsewhere)
            if what == "moved and made anew":  # as by an observer that saves a picture
                run.samples.mkdir(parents=True)
            if what != "moved unnoticed":
                run.check_held()

    with run.locked(), pytest.raises(OSError, match=r"took it over|was deleted or moved"):
        play(parts_of(breaks=1000), rounds=1, folder=run, observers=[Meddling()])
    kept = sorted(path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*.safetensors"))
    assert kept == ([] if what == "taken over" else ["elsewhere"])
