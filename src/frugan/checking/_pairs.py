"""Check runs in two processes, as ``torchrun`` starts them: do they agree, and train what one process trains?

This module is also the program that is started for this: ``python -m frugan.checking._pairs FOLDER``. It imports torch
once, then forks into two processes for each run.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn

from frugan import build, owncode
from frugan.cache import cached_in
from frugan.checking._contract import Finding, NotKept, Remark, Requirement, check_requirement
from frugan.checking._ground import PLAIN, Ground
from frugan.checking._runs import Runs, copy_state
from frugan.engine import processes
from frugan.engine.loop import check_alike, play
from frugan.recipe import Choice, Network, Recipe, from_dict, to_dict
from frugan.training import _giving

ROUNDS = 3
PATIENCE = 120
"""Seconds that all runs may take together."""
LONGEST_WAIT = 20
"""Seconds that one process waits for the other."""
RATE = 0.01
NEAR = 1e-5
"""How far weights may be apart from those of one process."""


def compare_processes(variants: Sequence[tuple[str, Runs]], ground: Ground) -> list[Finding]:
    """Train each variant in two processes and return a finding for each; variants are given with their kind."""
    outcomes = _play_all([variant for _, variant in variants], ground)

    def agrees_in_two_processes(variant: Runs) -> None:
        _check_agreed(outcomes[id(variant)])
        if id(variant) in games:
            _compare(variant, outcomes[id(variant)], ground)

    games = {id(variant) for kind, variant in variants if kind == "game"}
    requirement = Requirement(agrees_in_two_processes, "frugan.games, Progress.mean and share")
    return [check_requirement(kind, requirement, variant, variant.name) for kind, variant in variants]


def _play_all(variants: Sequence[Runs], ground: Ground) -> dict[int, Any]:
    """What two processes said of each run; by variant."""
    folder = ground.new_folder("pairs")
    folder.mkdir()
    asked = {
        "code": [str(path) for path in ground.code], "cache": str(ground.folder / "cache"),
        "recipes": [to_dict(_comparable(variant.recipe)) for variant in variants],
    }
    (folder / "asked.json").write_text(json.dumps(asked))
    source = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-P", "-m", "frugan.checking._pairs", str(folder)]
    try:
        done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return dict.fromkeys(map(id, variants), f"two processes came to no end within {PATIENCE} s")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        return dict.fromkeys(map(id, variants), f"two processes could not be started: {last}")
    return {id(variant): folder / str(number) for number, variant in enumerate(variants)}


def _comparable(recipe: Recipe) -> Recipe:
    """The recipe as one that can be compared with a run of one process.

    Our own small networks have no norm over batches, whose statistics are each process's own, and all players plain
    gradient descent: Adam makes steps of gradients that are zero but for their rounding.
    """
    plain, descent = Network("chollet", {"channels": [4, 4]}), Choice("sgd")
    made = {name: plain for name, spec in recipe.networks.items() if spec == PLAIN and name in recipe.makers()}
    players = {
        name: replace(player, optimiser=descent, learning_rate=RATE, betas=(0.0, 0.9), weight_decay=0.0)
        for name, player in recipe.players.items()
    }  # fmt: skip
    return replace(recipe, networks={**recipe.networks, **made}, players=players)


def _check_agreed(outcome: Path | str) -> None:
    if isinstance(outcome, str):
        raise NotKept(outcome)
    reports = [outcome.with_name(f"{outcome.name}-{rank}.json") for rank in (0, 1)]
    errors = [json.loads(path.read_text())["error"] if path.exists() else "it ended without a word" for path in reports]
    for rank, error in enumerate(errors):
        if error is not None:
            raise NotKept(f"of two processes, process {rank}: {error}")


def _compare(variant: Runs, outcome: Path, ground: Ground) -> None:
    """Whether two processes that agree train what one does."""
    alone = ground.play(_comparable(variant.recipe), ROUNDS)
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm)
           for network in alone.game.networks.values() for module in network.modules()):  # fmt: skip
        return  # each process has statistics of its own share of the batch
    apart = _farthest(copy_state(alone), load_file(outcome.with_suffix(".safetensors")))
    if apart is not None:
        name, far = apart
        raise Remark(
            f"both processes agree, but '{name}' is {far:.2g} from what one process trains with the whole batch. Draw "
            "latents for the whole batch, then take progress.share(drawn); otherwise all processes use the same ones. "
            "Losses must be means over the batch. Only what mixes images of one process (as batch norm does) may "
            "differ."
        )


def _farthest(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> tuple[str, float] | None:
    """The first network that is not near to the other one, and by how much."""
    for name, tensor in one.items():
        if name.startswith("network.") and tensor.is_floating_point():
            far = float((tensor - other[name]).abs().max()) if tensor.numel() else 0.0
            if not far <= NEAR:
                return name, far
    return None


def _run(recipe: Recipe, rank: int, port: int, out: Path) -> None:
    """Play the recipe as one of two processes, and write what came of it."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({name: str(number) for name, number in numbers.items()}, MASTER_ADDR="127.0.0.1")
    error = None
    try:
        distributed.init_process_group("gloo", timeout=timedelta(seconds=LONGEST_WAIT))
        joined = processes.join(torch.device("cpu"))
        parts = build.parts(build.assemble(recipe), build.datasets(recipe), joined)
        _giving.give(recipe, parts)
        play(parts, rounds=ROUNDS)
        state = copy_state(parts)
        check_alike(parts, state)
        if joined.leads:
            save_file({name: tensor.contiguous() for name, tensor in state.items()}, out.with_suffix(".safetensors"))
        processes.leave()
    except Exception as raised:
        error = " ".join(f"{type(raised).__name__}: {raised}".split())[:600]
    out.with_name(f"{out.name}-{rank}.json").write_text(json.dumps({"error": error}))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main(folder: Path) -> None:
    """Play every run that ``asked.json`` in the folder names, each in two processes."""
    asked = json.loads((folder / "asked.json").read_text())
    owncode.load(asked["code"])
    importlib.import_module("torch._dynamo")  # which the first step imports: once, before the processes part
    with cached_in(Path(asked["cache"])):
        for number, recipe in enumerate(asked["recipes"]):
            port, children = _free_port(), []
            for rank in range(2):
                child = os.fork()
                if child == 0:
                    _run(from_dict(recipe), rank, port, folder / str(number))
                    os._exit(0)
                children.append(child)
            for child in children:
                os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
