"""What two processes say of tensors that are alike or not: run by ``test_processes.py``, writes FOLDER/RANK.json."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frugan.data.batches import Batches
from frugan.engine import checkpoint, loop, processes
from frugan.engine.average import Average
from frugan.engine.clock import Progress
from frugan.engine.loop import Parts, Stopped
from frugan.engine.update import Player, Update

RANK = int(os.environ["RANK"])


class Game:
    """Two networks: one with a batch norm and a buffer of its own, one without."""

    streams = ("train",)

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.networks = {
            "generator": nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), "discriminator": nn.Linear(3, 1),
        }
        self.networks["generator"].register_buffer("level", torch.zeros(()))


def parts(joined: processes.Processes) -> Parts:
    game = Game()
    players = {
        name: Player(name, {name: network}, lambda parameters: torch.optim.Adam(parameters, lr=0.1))
        for name, network in game.networks.items()
    }
    averages = {"generator": Average(game.networks["generator"], 10)}
    return Parts(
        game, Batches({}, seed=0), Update(players, joined), averages, 0, torch.device("cpu"), processes=joined
    )  # type: ignore[arg-type]


def of_tensors(joined: processes.Processes) -> dict[str, str | None]:
    """Name of a case -> what differs: of two processes that hold `mine` where it is their turn."""

    def told(zero: Tensor, one: Tensor) -> str | None:
        return joined.differing({"same": torch.arange(3.0), "this": one if RANK else zero, "other": torch.tensor(RANK)})

    numbers = torch.arange(10.0)
    found = {
        "equal": joined.differing({"one": numbers, "two": torch.tensor(True), "three": torch.zeros(0)}),
        "first of two": told(numbers, numbers + 1),
        "exchanged": told(numbers, numbers.flip(0)),
        "last bit": told(torch.ones(4), torch.nextafter(torch.ones(4), torch.tensor(2.0))),
        "sign of zero": told(torch.tensor(0.0), torch.tensor(-0.0)),
        "whole": told(torch.tensor(2**40), torch.tensor(2**40 + 1)),
        "true": told(torch.tensor([True, False]), torch.tensor([False, True])),
        "half": told(torch.ones(3, dtype=torch.bfloat16), torch.zeros(3, dtype=torch.bfloat16)),
    }
    usual, processes.MARKED_AT_ONCE = processes.MARKED_AT_ONCE, 4
    found["in a later piece"] = told(numbers, torch.cat([numbers[:8], numbers[8:].flip(0)]))
    found["equal in pieces"] = joined.differing({"one": numbers})
    processes.MARKED_AT_ONCE = usual
    return found


def of_parts(joined: processes.Processes) -> dict[str, str | None]:
    """Name of a case -> what a log point says of a run in which the second process holds something else."""

    def look(change: Callable[[Parts], Tensor]) -> str | None:
        one = parts(joined)
        network = one.game.networks["generator"]
        one.update("generator", lambda: network(torch.arange(8.0).view(4, 2)).square().sum())
        if RANK:
            change(one).data.add_(1)
        try:
            loop.check_alike(one, checkpoint.capture(one.stateful())[0])
        except Stopped as told:
            return str(told)
        return None

    def generator(one: Parts) -> Any:
        return one.game.networks["generator"]

    def averaged(one: Parts) -> Any:
        return one.averages["generator"].network

    def moments(one: Parts) -> Tensor:
        return one.update.players["generator"].optimiser.state_dict()["state"][0]["exp_avg"]

    return {
        "nothing": look(lambda one: torch.zeros(1)),
        "weight": look(lambda one: generator(one)[0].weight),
        "gain of a norm": look(lambda one: generator(one)[1].weight),
        "buffer": look(lambda one: generator(one).level),
        "moments": look(moments),
        "average": look(lambda one: averaged(one)[0].bias),
        "statistics": look(lambda one: generator(one)[1].running_mean),
        "averaged statistics": look(lambda one: averaged(one)[1].running_var),
    }


if __name__ == "__main__":
    joined = processes.join(torch.device("cpu"))
    progress = Progress(0, 0, 0, joined)
    mine = torch.tensor([RANK, 2.0], requires_grad=True)
    mean = progress.mean(mine)
    found = {
        "tensors": of_tensors(joined), "parts": of_parts(joined),
        "mean": mean.tolist(), "own": mine.tolist(), "graph": mean.requires_grad,
    }
    (Path(sys.argv[1]) / f"{RANK}.json").write_text(json.dumps(found))
    joined.wait()
    processes.leave()
