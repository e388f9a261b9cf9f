"""The loop: play a round, average, count, save, let the observers look. It asks a game to step, and nothing else."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from frugan import seeds, stopping, terminal
from frugan.arithmetic import exact, wait
from frugan.data.batches import Batches
from frugan.engine import checkpoint
from frugan.engine.average import STANDING_BATCH, Average, measure_standing, norms_of
from frugan.engine.clock import Clock, Progress
from frugan.engine.observers import LOG_ROUNDS, Moment, Observer, Remembered, Tick
from frugan.engine.processes import Processes
from frugan.engine.run import RunFolder
from frugan.engine.update import NonFinite, Update
from frugan.games import Game, labels_for, penalties_of
from frugan.kernels import Choices
from frugan.registry import UserError

KEEP_SECONDS = 60.0


class Means:
    """The means of scalars over the rounds since the last log point. They are summed on the device, without waiting."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, scalars: Mapping[str, Tensor]) -> None:
        """Take one round's scalars."""
        for name, value in scalars.items():
            value = value.detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.count += 1

    def peek(self) -> dict[str, float]:
        """The means so far."""
        return {name: float(value) / max(self.count, 1) for name, value in self.sums.items()}

    def take(self) -> dict[str, float]:
        """The means so far; then start again from 0."""
        means = self.peek()
        self.sums, self.count = {}, 0
        return means

    def state_dict(self) -> dict[str, Any]:
        """Sums and count."""
        return {"sums": self.sums, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over sums and count."""
        self.sums, self.count = dict(state["sums"]), state["count"]


@dataclass
class Parts:
    """Everything a run consists of. `stateful` is the one list of what is saved and loaded."""

    game: Game
    batches: Batches
    update: Update
    averages: Mapping[str, Average]
    seed: int
    device: torch.device
    autocast: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
    kernels: Choices = field(default_factory=lambda: Choices("plain"))
    processes: Processes = field(default_factory=Processes)
    clock: Clock = field(default_factory=Clock)
    means: Means = field(default_factory=Means)
    seen: Remembered = field(default_factory=Remembered)
    run: str = ""  # the run's id
    readers: Mapping[str, bool] = field(default_factory=dict)  # see `frugan.build.readers`

    def stateful(self) -> dict[str, checkpoint.Stateful]:
        """Everything with state, by name."""
        parts: dict[str, Any] = {"clock": self.clock, "batches": self.batches, "means": self.means}
        parts[checkpoint.SEEN] = self.seen
        parts |= {f"network.{name}": network for name, network in self.game.networks.items()}
        parts |= {f"optimiser.{name}": player.optimiser for name, player in self.update.players.items()}
        parts |= {f"average.{name}": average for name, average in self.averages.items()}
        if self.kernels.mode != "plain":
            parts["kernels"] = self.kernels
        if isinstance(self.game, checkpoint.Stateful):
            parts["game"] = self.game
        held = penalties_of(self.game).items()
        parts |= {f"penalty.{name}": penalty for name, penalty in held if isinstance(penalty, checkpoint.Stateful)}
        return parts

    def trained(self) -> dict[str, nn.Module]:
        """The networks that a player trains. The others start from given weights and stay in evaluation mode."""
        names = {name for player in self.update.players.values() for name in player.networks}
        return {name: network for name, network in self.game.networks.items() if name in names}

    def averaged(self) -> dict[str, nn.Module]:
        """The averaged copy of each network, or the network itself if it has none."""
        return {
            name: self.averages[name].network if name in self.averages else network
            for name, network in self.game.networks.items()
        }

    def standing(self) -> dict[str, dict[str, Tensor]]:
        """The batch norm statistics of the averaged `readers`, by network and path, measured anew on real images.

        Those are the first ones that the run was shown; whoever loads a run has none at hand. Nothing changes by it.
        """
        return {name: self._standing_of(self.averages[name].network, finer) for name, finer in self.readers.items()}

    def _standing_of(self, averaged: nn.Module, finer: bool) -> dict[str, Tensor]:
        network = copy.deepcopy(averaged).eval()
        self.game.settle(network, self.seed)

        def show(number: int) -> None:
            real = self.batches.at(self.game.streams[0], number * STANDING_BATCH, STANDING_BATCH)
            seen = real.finer if finer and real.finer is not None else real.images
            labels = labels_for(network, real.labels)
            network(seen, *([] if labels is None else [labels]))

        with exact(self.device):
            measure_standing([network], show)
        return {
            f"{path}.{name}": buffer
            for path, norm in norms_of(network).items() for name, buffer in norm.named_buffers(recurse=False)
        }


class Stopped(UserError):
    """A run has stopped because a value was not finite. Its last good state was saved."""


def play(
    parts: Parts,
    *,
    images: int | None = None,
    rounds: int | None = None,
    folder: RunFolder | None = None,
    observers: Sequence[Observer] = (),
) -> bool:
    """Play until `images` real images were seen or `rounds` rounds played. Returns False if it was interrupted.

    Checkpoints are written to `folder` every minute, at the end, and when it is asked to stop (see `frugan.stopping`)
    or an observer raises an error; never within a round. Every observer looks once more at the end. Raises `Stopped`
    when a loss or gradient is not finite, and OSError, after a checkpoint where it is now, if the folder was moved.
    """
    clock, stateful = parts.clock, parts.stateful()
    most, limit = math.inf if images is None else images, math.inf if rounds is None else rounds
    good, kept, newest = checkpoint.capture(stateful), time.monotonic(), parts.means.peek()
    for network in parts.trained().values():
        network.train()
    with stopping.collected() as asked:
        while clock.images < most and clock.rounds < limit:
            before = Tick(clock.images, clock.rounds)
            try:
                parts.means.add(play_round(parts))
            except NonFinite:
                _stop(parts, good, folder)
            done = clock.images >= most or clock.rounds >= limit
            logging = clock.rounds % LOG_ROUNDS == 0
            if (logging or done) and _is_broken(parts):
                _stop(parts, good, folder)
            if logging:
                newest = parts.means.take()
                good = checkpoint.capture(stateful)
                check_alike(parts, good[0])
            now = Tick(clock.images, clock.rounds)
            looking = [observer for observer in observers if done or observer.due(before, now)]
            if looking:
                # Rounds show as many images each; so a number of rounds is a budget in images, too.
                budget = images if images is not None else int(limit * clock.images / clock.rounds)
                moment = moment_of(parts, newest, budget)
                try:
                    for observer in looking:
                        observer.look(moment)
                except UserError:  # one has changed the networks, or says what else must not go on
                    raise
                except Exception:
                    if not _is_broken(parts):  # or the checkpoint before this moment is the better one
                        _keep(parts, folder)
                    raise
            ending, keeping = bool(asked), time.monotonic() - kept > KEEP_SECONDS
            if parts.processes.world > 1:
                # Whether to stop is everybody's decision, and asking costs a message: only at log points. Between them
                # the process that keeps could find a broken round, and would replay it without the others.
                ending, keeping = logging and parts.processes.any(ending), logging and keeping
            if done or ending or keeping:
                if _is_broken(parts):  # a good checkpoint must not make way for this state
                    _stop(parts, good, folder)
                _keep(parts, folder)
                if done or ending:
                    keep_standing(parts, folder)
                kept = time.monotonic()
            if ending and not done:
                return False
    return True


def catch_up(parts: Parts) -> None:
    """Wait until the device has computed the rounds so far. The clock counts it, since the wait is for these rounds."""
    began = time.perf_counter()
    wait(parts.device)
    parts.clock.seconds += time.perf_counter() - began


def _is_broken(parts: Parts) -> bool:
    """Whether a step since the last log point was noted as not finite. The device is waited for."""
    catch_up(parts)
    return parts.update.broken is not None and bool(parts.update.broken)


def _keep(
    parts: Parts, folder: RunFolder | None, standing: Mapping[str, Mapping[str, Tensor]] | None = None
) -> Path | None:
    """Write a checkpoint of a state between two rounds and return its path, in the process that leads.

    Raises OSError if the folder was moved (then the checkpoint is where the folder is now), was deleted, or is another
    process's by now.
    """
    if folder is None or not parts.processes.leads:
        return None

    def write(there: RunFolder) -> Path:
        return checkpoint.write(there.checkpoints, parts.stateful(), parts.clock.images, parts.run, standing)

    try:
        folder.check_held()
        return write(folder)
    except FileNotFoundError:
        moved = folder.moved_to()
        if moved is not None:
            write(RunFolder(moved))
        raise


def keep_standing(parts: Parts, folder: RunFolder | None) -> None:
    """Write the newest checkpoint again, with what `Parts.standing` measures, unless it has that already.

    It comes after the last checkpoint, since it may take longer than whoever asks a run to stop will wait. A run is
    complete without: a failure is told, and training a finished run again makes up for it.

    Raises OSError as `_keep` does.
    """
    if folder is None or not parts.processes.leads or not parts.readers:
        return
    newest = checkpoint.newest(folder.checkpoints)
    if newest is not None and all(checkpoint.read_standing(newest, name) for name in parts.readers):
        return
    try:
        _keep(parts, folder, parts.standing())
    except (MemoryError, RuntimeError, OSError, UserError) as error:
        folder.check_held()
        terminal.tell(
            f"frugan: {folder.path} is kept, but without batch norm statistics of {', '.join(parts.readers)} on real "
            f"images, since they could not be measured or written ({str(error) or 'out of memory'}). Run the same "
            "command again to have them."
        )


def check_alike(parts: Parts, state: Mapping[str, Tensor]) -> None:
    """Raise Stopped if the processes no longer train the same networks.

    The statistics of batch norms may differ, since each process sees its own share of a batch. So may state that a game
    keeps for itself.
    """
    own = {
        f"network.{network}/{path}{'.' if path else ''}{name}"
        for network, root in parts.game.networks.items()
        for path, module in root.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for name, _ in module.named_buffers(recurse=False)
    }
    own |= {name.replace("network.", "average.", 1) for name in own}
    shared = {
        name: tensor for name, tensor in state.items()
        if name.startswith(("network.", "optimiser.", "average.", "penalty.")) and name not in own
    }
    apart = parts.processes.differing(shared)
    if apart is not None:
        raise Stopped(
            f"After {parts.clock.images:,} images the {parts.processes.world} processes hold different values of "
            f"'{apart}': each is training a network of its own. A game must decide by what is the same everywhere "
            "(progress.mean(tensor), in a penalty judgement.mean) and draw by progress.generator(name). Train with one "
            "process until it does."
        )


def play_round(parts: Parts) -> dict[str, Tensor]:
    """One round: rates from progress, the game's step, averages, the clock."""
    clock, began = parts.clock, time.perf_counter()
    # What networks draw for themselves (dropout) follows from (seed, images, process), like everything else.
    torch.manual_seed(seeds.derive(parts.seed, "round", clock.images, parts.processes.rank))
    parts.update.set_rates(clock.images)
    taken = parts.batches.taken
    with parts.autocast(), parts.kernels.active():
        progress = Progress(clock.images, clock.rounds, parts.seed, parts.processes)
        scalars = parts.game.step(parts.batches, progress, parts.update)
    shown = parts.batches.taken - taken
    if not shown:
        raise UserError(
            "The game took no real images in a round, but training is counted in real images. Take some in each round "
            f"from a stream that the game declares ({', '.join(parts.game.streams)}): batches.take(stream, count)."
        )
    clock.images += shown
    clock.rounds += 1
    for average in parts.averages.values():
        average.update(clock.images, shown)
    clock.seconds += time.perf_counter() - began
    norms = {f"{player}.gradient_norm": norm for player, norm in parts.update.norms.items()}
    return scalars | norms


def moment_of(parts: Parts, scalars: Mapping[str, float], budget: int) -> Moment:
    """The run between two rounds, for looking at; `scalars` are the means to show."""
    clock = parts.clock
    return Moment(
        clock.images, clock.rounds, clock.seconds, budget, scalars, parts.game, parts.game.networks, parts.averaged()
    )


def _stop(parts: Parts, good: tuple[dict[str, Tensor], dict[str, Any]], folder: RunFolder | None) -> NoReturn:
    """Replay the rounds since the kept state to name what was not finite; keep that state; raise `Stopped`."""
    stateful = parts.stateful()
    checkpoint.restore(stateful, *good)
    since = parts.clock.images
    named = _replay(parts)
    at = parts.clock.images
    checkpoint.restore(stateful, *good)
    path = _keep(parts, folder)
    kept = "" if path is None else f" The last good state, after {since:,} images, is kept in {path}."
    raise Stopped(
        f"After {at:,} images {named}; no weight was changed by it.{kept} "
        "Try a lower learning_rate, clip_norm=1 for that player, or precision=float32."
    )


def _replay(parts: Parts, most: int = 4 * LOG_ROUNDS) -> str:
    """Play on from a good state until something is not finite again, and say what came first."""
    first: list[str] = []
    hooks = []
    for network, root in parts.game.networks.items():
        for path, module in root.named_modules():
            if not list(module.children()):
                place = f"{network}.{path} ({type(module).__name__})"
                hooks.append(module.register_forward_hook(_watcher(place, first)))
    parts.update.naming, parts.update.broken = True, None
    try:
        for _ in range(most):
            play_round(parts)
    except NonFinite as error:
        origin = f", first seen in the output of {first[0]}" if first else ""
        return f"{error}{origin}"
    finally:
        parts.update.naming, parts.update.broken = False, None
        for hook in hooks:
            hook.remove()
    return "something was not finite, but not again when the rounds were replayed"


def _watcher(place: str, first: list[str]) -> Callable[[nn.Module, Any, Any], None]:
    def watch(module: nn.Module, inputs: Any, output: Any) -> None:
        if not first and isinstance(output, Tensor) and not torch.isfinite(output).all():
            first.append(place)

    return watch
