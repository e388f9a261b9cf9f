"""Makes bad inputs and interruptions, and finds those that end in a traceback, in silence, or not at all.

``python tests/faults.py [KIND ...] [--count N] [--seed N]`` tries N of each kind; ``make fuzz`` is the long form, and
tests/test_faults.py a short one. Each attempt is a command ``frugan`` in a forked child (see fork_server.py).

A command may refuse (exit code 2 and one line that says why), or do its work as if nothing had been damaged. What it
made is then compared with what it makes of the undamaged files, so nothing damaged is used in silence.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from frugan import build, games, losses, nets
from frugan.artefact import load
from frugan.checking._ground import Ground as SmallRecipes
from frugan.engine import checkpoint
from frugan.engine.run import RunFolder
from frugan.recipe import Recipe, to_dict

TESTS = Path(__file__).resolve().parent
TINY = [
    "generator.hidden=[8,8]",
    "discriminator.hidden=[8]",
    "latents.size=4",
    "data.size=16",
    "batch_size=4",
    'averages={"generator":{"half_life":50}}',
    "precision=float32",
]
LIMIT = 120
"""Seconds after which a command hangs."""

JUNK = [
    "",
    "-1",
    "0",
    "-0.5",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1,5",
    "0x10",
    "\u0663",
    "--",
    "-",
    "no such",
    "..",
    "a\nb",
    "\x1b[31m",
    "[/b]",
    "\udcff",
    "x" * 5000,
    "[]",
    "{}",
    "null",
    "true",
    "1.5",
    "9" * 30,
    "/nowhere/x",
    ".",
    "a=b",
    "=",
]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    0.5,
    float("nan"),
    float("inf"),
    10**30,
    1e30,
    "",
    "no such",
    [],
    [1],
    [None],
    {},
    {"no": "such"},
    "8",
]
NAMES = [
    "\x1b[2Jcleared",
    "na\udcefve",
    "new\nline",
    "[red]marked",
    "-dash",
    "sp ace",
    "\u202egnp",
    "x" * 200,
    "%s{}",
]


class Answer(NamedTuple):
    """What a command did: exit code (or minus a signal), what it printed."""

    status: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line of what went wrong."""
        return (self.err.strip().splitlines() or [""])[-1][:300]


class Ground:
    """What commands are tried on: images, a tiny run, an artefact, and what commands make of them undamaged."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0
        self.cache = folder / "cache"
        path = os.pathsep.join(filter(None, [str(TESTS.parent / "src"), os.environ.get("PYTHONPATH")]))
        self.server = subprocess.Popen(
            [sys.executable, str(TESTS / "fork_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": path,
                "OMP_NUM_THREADS": "1",
                "FRUGAN_CACHE": str(self.cache),
                "FRUGAN_CONFIG": str(folder / "config"),
            },
        )
        chance = np.random.default_rng(0)
        pictures = chance.integers(0, 255, (64, 16, 16), dtype=np.uint8)
        self.data = folder / "noise.npz"
        np.savez(self.data, images=pictures, labels=np.arange(64) % 4)
        for number, picture in enumerate(pictures[:24]):
            place = folder / "photos" / f"class-{number % 2}" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(place)
        self.run, self.artefact = folder / "run", folder / "artefact"
        assert self.do(self.train(self.run)).status == 0
        load(self.run).save(self.artefact)
        self.good = self.made(self.run, self.new("good"))
        self.small = SmallRecipes(self.new("small"))
        self.unbroken: dict[str, Path] = {}

    def playing(self, game: str) -> tuple[Callable[[Path], list[str]], Path]:
        """A training of a small recipe of a game, as ``folder of the run -> arguments``; and its unbroken run."""
        recipe = self.folder / f"{game}.json"

        def train(out: Path) -> list[str]:
            return ["train", str(recipe), "--images", "240", "--out", str(out)]

        if game not in self.unbroken:
            recipe.write_text(json.dumps(to_dict(self.small.game(game))))
            run = self.new(game) / "run"
            answer = self.do(train(run))
            assert answer.status == 0, answer.err
            self.unbroken[game] = run
        return train, self.unbroken[game]

    def close(self) -> None:
        """End the server."""
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait(30)
        assert self.server.stdout is not None
        self.server.stdout.close()

    def do(self, arguments: list[str], fault: dict[str, Any] | None = None, keep: float = 60.0) -> Answer:
        """Run ``frugan arguments``."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        order = {"arguments": arguments, "fault": fault, "keep": keep, "limit": LIMIT}
        print(json.dumps(order), file=self.server.stdin, flush=True)
        answer = json.loads(self.server.stdout.readline())
        return Answer(answer["status"], answer["stdout"], answer["stderr"])

    def new(self, name: str = "place") -> Path:
        """A new empty folder."""
        self.number += 1
        place = self.folder / f"{name}-{self.number}"
        place.mkdir()
        return place

    def train(self, out: Path, *more: str, images: str = "400", data: Path | None = None) -> list[str]:
        """The arguments of a tiny run."""
        source = str(self.data if data is None else data)
        return ["train", "vanilla", *TINY, "--data", source, "--images", images, "--out", str(out), *more]

    def made(self, run: Path, place: Path) -> bytes | Answer:
        """The bytes of images that a run or an artefact makes; the answer if it makes none."""
        answer = self.do(["sample", str(run), "--out", str(place / "made.npz"), "--count", "8"])
        return np.load(place / "made.npz")["images"].tobytes() if answer.status == 0 else answer


class Fault(NamedTuple):
    """An attempt that went wrong: what it was, how it ended."""

    what: str
    how: str


Kind = Callable[[random.Random, Ground, Path], Fault | None]


def judged(what: str, answer: Answer, *, refused: bool = False) -> Fault | None:
    """A fault if a command ended in a traceback, by a signal, without a word, or (where it must) did not refuse."""
    if "Traceback" in answer.err or answer.status not in (0, 1, 2):
        return Fault(what, f"status {answer.status}: {answer.err.strip()[-1500:]}")
    if "\x1b[" in answer.out + answer.err:
        return Fault(what, "an escape sequence reached the terminal")
    if answer.status and not answer.err.strip():
        return Fault(what, "refused without a word")
    if refused and answer.status == 0:
        return Fault(what, f"not refused: {answer.out.strip()[-200:]}")
    return None


def damage(chance: random.Random, path: Path) -> str:
    """Damage a file in some way; returns which."""
    data = path.read_bytes()
    way = chance.choice(["flip", "flip", "flip", "truncate", "empty", "delete", "junk", "folder", "digits", "twice"])
    if way == "flip" and data:
        place = chance.randrange(len(data))
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        return f"bit of byte {place} of {path.name} flipped"
    if way == "digits":
        places = [number for number, byte in enumerate(data[:4000]) if 48 <= byte <= 57]
        if places:
            changed = bytearray(data)
            changed[chance.choice(places)] = 48 + chance.randrange(10)
            path.write_bytes(changed)
        return f"a digit of {path.name} changed"
    if way == "truncate":
        path.write_bytes(data[: chance.randrange(max(len(data), 1))])
    elif way == "empty":
        path.write_bytes(b"")
    elif way == "junk":
        path.write_bytes(bytes(chance.randrange(256) for _ in range(chance.randrange(2000))))
    elif way == "twice":
        path.write_bytes(data + data)
    else:
        path.unlink()
        if way == "folder":
            path.mkdir()
    return f"{path.name}: {way}"


# -------------------------------------------------------------------------------------------------------------- kinds


def words(chance: random.Random, ground: Ground, place: Path) -> Fault | None:
    """Words that nobody should type, in the commands of all verbs."""
    out = str(place / "out")
    commands = [
        ground.train(place / "run", images="8"),
        ["sample", str(ground.run), "--out", f"{out}.png", "--count", "2"],
        ["sample", str(ground.artefact), "--out", out, "--truncation", "1", "--labels", "1"],
        ["cost", "vanilla", *TINY],
        ["recipes"],
        ["data", "show", str(ground.data), "--out", f"{out}.png", "--only", "1"],
        ["data", "check", str(ground.data)],
        ["data", "pack", str(ground.folder / "photos"), "--size", "8"],
        ["report", str(ground.run), "--out", f"{out}.html"],
        ["evaluate", str(ground.run), "--metrics", "swd", "--allow-few", "swd", "--count", "32"],
        ["check", str(place / "mine.py")],
        ["translate", str(ground.run), str(ground.folder / "photos"), "--out", out],
        ["classify", str(ground.run), str(ground.folder / "photos"), "--out", f"{out}.csv"],
        ["plan", "vanilla", *TINY, "--data", str(ground.data), "--seeds", "0-1", "--out", out],
        ["compare", "vanilla", *TINY, "--data", str(ground.data), "--seeds", "x", "--images", "8", "--out", out],
        ["compare", "--status", str(ground.run)],
        ["bench", "vanilla", *TINY, "--precisions", "float32", "--out", f"{out}.json"],
        ["fit", "vanilla", *TINY, "--data", str(ground.folder / "photos"), "--minutes", "0", "--out", out],
        ["export", str(ground.run), "--to", "torch", "--out", f"{out}.pt2"],
        ["check-export", str(ground.artefact / "config.json")],
        ["explore", "grid", str(ground.run), "--out", f"{out}.png", "--count", "4"],
        ["explore", "walk", str(ground.artefact), "--out", f"{out}.png", "--walks", "1", "--points", "2", "--open"],
        ["explore", "arithmetic", str(ground.run), "1 - 2 + 3", "--out", f"{out}.png", "--count", "8"],
        ["explore", "directions", str(ground.run), "--out", f"{out}.png"],
        ["explore", "project", str(ground.run), str(ground.folder / "photos"), "--count", "1", "--steps", "2"],
        ["explore", "film", str(ground.run), "--out", f"{out}.webp"],
        ["probe", str(ground.run), "--per-class", "2", "--draws", "1", "--out", f"{out}.json"],
    ]
    typed = list(chance.choice(commands))
    (place / "mine.py").write_text(
        chance.choice(["", "x =", "raise SystemExit(3)", "1 / 0", "import os\nos._exit", "\0"])
    )
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        at = chance.randrange(1, len(typed) + 1)
        way = chance.choice(["replace", "replace", "replace", "insert", "delete", "key"])
        if way == "insert":
            typed.insert(at, chance.choice(JUNK))
        elif way == "key":
            key = chance.choice(
                ["batch_size", "latents.size", "seed", "players.generator.learning_rate", "data.limit", "images"]
            )
            typed.insert(at, f"{key}={chance.choice(JUNK)}")
        elif at < len(typed) and typed[at - 1] != "--out":
            typed[at : at + 1] = [] if way == "delete" else [chance.choice(JUNK)]
    return judged(f"words: {[word[:60] for word in typed]}", ground.do(typed, {"kind": "in", "folder": str(place)}))


def recipe(chance: random.Random, ground: Ground, place: Path) -> Fault | None:
    """A game's recipe file with one value or option that has no sense there, or a key that does not exist."""
    game = chance.choice(games.names())
    value = _written_out(replace(ground.small.game(game), batch_size=4))
    places = list(_places(value))
    in_options = [place for place in places if "options" in place[:-1]]
    *way, last = path = chance.choice(in_options if chance.random() < 0.6 else places)
    node = value
    for key in way:
        node = node[key]
    node[last] = chance.choice(VALUES)
    (place / "recipe.json").write_text(json.dumps(value))
    what = f"recipe: {game}, {'.'.join(map(str, path))} = {node[last]!r}"
    verb = chance.choice(["train", "cost"])
    rest = ["--images", "8", "--out", str(place / "run")] if verb == "train" else []
    return judged(what, ground.do([verb, str(place / "recipe.json"), *rest]))


def _places(node: Any) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to everything inside a recipe's JSON."""
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield (key,)
        yield from ((key, *way) for way in _places(node[key]))


def _written_out(recipe: Recipe) -> dict[str, Any]:
    """A recipe's JSON, with those options of its game, loss and networks that it leaves at their defaults."""
    tree, planned = to_dict(recipe), build.blueprints(recipe)
    left = [
        (tree["game"]["options"], games.find(recipe.game.name).options()),
        (tree["loss"]["options"], losses.options(recipe.loss.name)),
        *(
            (tree["networks"][name]["options"], nets.options(spec.architecture, planned[name].part))
            for name, spec in recipe.networks.items()
        ),
    ]
    for options, defaults in left:
        options.update({key: json.loads(json.dumps(one)) for key, one in defaults.items() if key not in options})
    return tree


def run_folder(chance: random.Random, ground: Ground, place: Path) -> Fault | None:
    """A run folder with one damaged file: each verb refuses, or makes what the undamaged run makes."""
    run = place / "run"
    shutil.copytree(ground.run, run)
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.suffix != ".png")
    what = f"run folder: {damage(chance, chance.choice(files))}"
    verb = chance.choice(["sample", "sample", "train", "report", "evaluate"])
    if verb == "sample":
        made = ground.made(run, place)
        if isinstance(made, Answer):
            return judged(what, made)
        return None if made == ground.good else Fault(what, "other images were made, without a word")
    more = {
        "report": ["--out", str(place / "page.html")],
        "evaluate": ["--metrics", "swd", "--allow-few", "swd", "--count", "32"],
    }
    typed = ground.train(run, images="408") if verb == "train" else [verb, str(run), *more[verb]]
    return judged(f"{what}, then {verb}", ground.do(typed))


def artefact(chance: random.Random, ground: Ground, place: Path) -> Fault | None:
    """An artefact with a damaged file, or with weights that were changed."""
    copy = place / "artefact"
    shutil.copytree(ground.artefact, copy)
    what = (
        f"artefact: {damage(chance, copy / chance.choice(['model.safetensors', 'model.safetensors', 'config.json']))}"
    )
    made = ground.made(copy, place)
    if isinstance(made, Answer):
        return judged(what, made)
    return None if made == ground.good else Fault(what, "other images were made, without a word")


def pack(chance: random.Random, ground: Ground, place: Path) -> Fault | None:
    """A pack whose images, labels or manifest were changed: it is made again."""
    shutil.copytree(ground.folder / "photos", place / "photos")
    sheet = ["data", "show", str(place / "photos"), "--out"]
    first = ground.do([*sheet, str(place / "first.png")])
    known = {path.name for path in (ground.cache / "packs").iterdir()}
    files = ["images.npy", "labels.npy", "manifest.json"]
    whole = [path for path in (ground.cache / "packs").iterdir() if all((path / name).is_file() for name in files)]
    made = next((path for path in whole if path.name in known and _packed_of(path, place)), None)
    if made is None:
        return Fault("pack", f"no pack was made: {first.last}")
    what = f"pack: {damage(chance, made / chance.choice(files))}"
    again = ground.do([*sheet, str(place / "again.png")])
    if (
        again.status
        or (place / "again.png").read_bytes() != (place / "first.png").read_bytes()
        or again.out.replace("again", "first") != first.out
    ):
        return judged(what, again) or Fault(what, f"another sheet: {again.out[-300:]} {again.last}")
    return judged(what, again)


def _packed_of(folder: Path, source: Path) -> bool:
    try:
        return (
            folder.stat().st_mtime >= source.stat().st_mtime - 1 and "photos" in (folder / "manifest.json").read_text()
        )
    except OSError:
        return False


def images(chance: random.Random, ground: Ground, place: Path) -> Fault | None:
    """A folder of images with damaged files and odd names."""
    shutil.copytree(ground.folder / "photos", place / "photos")
    files = sorted((place / "photos").rglob("*.png"))
    said = [damage(chance, path) for path in chance.sample(files, chance.choice([1, 2, 12]))]
    name = chance.choice(NAMES)
    left = [path for path in files if path.is_file()]
    if left:
        chance.choice(left).rename(place / "photos" / "class-0" / f"{name}.png")
    what = f"images: {said[:2]}, {name[:20]!r}"
    verb = chance.choice(["show", "check", "pack", "train"])
    typed = {
        "show": ["data", "show", str(place / "photos"), "--out", str(place / "sheet.png")],
        "check": ["data", "check", str(place / "photos")],
        "pack": ["data", "pack", str(place / "photos")],
        "train": ground.train(place / "run", images="8", data=place / "photos"),
    }[verb]
    return judged(f"{what}, then {verb}", ground.do(typed))


def names(chance: random.Random, ground: Ground, place: Path) -> Fault | None:
    """Folders and files whose names are no UTF-8, hold control characters, or look like something else."""
    odd = place / chance.choice(NAMES)
    shutil.copytree(ground.folder / "photos", odd / "photos")
    shutil.copytree(ground.artefact, odd / "artefact")
    typed = chance.choice(
        [
            ground.train(odd / "run", images="8", data=odd / "photos"),
            ["data", "show", str(odd / "photos"), "--out", str(odd / "a.png")],
            ["data", "pack", str(odd / "photos")],
            ["sample", str(odd / "artefact"), "--out", str(odd / "made")],
            ["sample", str(odd / "artefact"), "--out", str(odd / "made.npz")],
            ["data", "check", str(odd / "photos")],
            [
                "evaluate",
                str(odd / "artefact"),
                "--real",
                str(odd / "photos"),
                "--metrics",
                "swd",
                "--allow-few",
                "swd",
                "--count",
                "16",
            ],
        ]
    )
    answer = ground.do(typed)
    what = f"names: {odd.name[:20]!r}, {typed[0]}"
    refused = answer.status and typed[0] != "evaluate" and "has a line break" not in answer.last  # of a run's folder
    return judged(what, answer) or (Fault(what, answer.last) if refused else None)


def caches(chance: random.Random, ground: Ground, place: Path) -> Fault | None:
    """A damaged file of the cache: what is in it is made again, or the message says which file to delete."""
    typed = ["evaluate", str(place / "run"), "--metrics", "swd", "--allow-few", "swd", "--count", "32", "--json"]
    shutil.copytree(ground.run, place / "run")
    (place / "run" / "metrics.jsonl").unlink(missing_ok=True)
    first = ground.do(typed)
    if first.status:  # damaged by an earlier attempt, and said so then; what to delete is deleted
        shutil.rmtree(ground.cache / "views")
        first = ground.do(typed)
    (place / "run" / "metrics.jsonl").unlink(missing_ok=True)
    files = [path for path in ground.cache.rglob("*") if path.is_file() and not path.name.startswith(".")]
    path = chance.choice(files)
    what = f"cache: {damage(chance, path)} in {path.parent.name}"
    again = ground.do(typed)
    if path.is_dir():
        path.rmdir()
    if again.status == 0 and first.status == 0 and again.out != first.out:
        return Fault(what, "another value, without a word")
    if again.status and str(path.parent) not in again.err and path.name not in again.err:
        return judged(what, again) or Fault(what, f"does not name the file: {again.last}")
    return judged(what, again)


def disk(chance: random.Random, ground: Ground, place: Path) -> Fault | None:
    """A full or a read-only disk, for every verb that writes: one line, and what was there stays."""
    run, good = place / "run", place / "good"
    shutil.copytree(ground.run, run)
    good.mkdir()
    (good / "made.npz").write_bytes(b"good")
    typed = chance.choice(
        [
            ground.train(run, images="800"),
            ground.train(place / "other", images="8"),
            ["report", str(run)],
            ["sample", str(run), "--out", str(good / "made.npz"), "--overwrite"],
            ["sample", str(run), "--out", str(place / "pictures")],
            ["sample", str(run), "--out", str(place / "grid.png")],
            ["data", "show", str(ground.data), "--out", str(place / "a.png")],
            ["evaluate", str(run), "--metrics", "swd", "--allow-few", "swd", "--count", "32"],
            ["data", "pack", str(ground.folder / "photos"), "--size", "9"],
            ["plan", "vanilla", *TINY, "--data", str(ground.data), "--seeds", "0-1", "--out", str(place / "plan")],
        ]
    )
    fault: dict[str, Any] = {"kind": "small_disk", "bytes": int(10 ** chance.uniform(0, 4.5))}
    if chance.random() < 0.4:
        fault = {"kind": "read_only", "but": str(chance.choice([place, ground.cache, Path("/nowhere")]))}
    answer = ground.do(typed, fault)
    what = f"disk: {fault}, {typed[0]} {typed[1]}"
    if typed[0] == "sample" and answer.status and (place / "pictures").exists():
        return Fault(what, "left pictures that block the next attempt")
    if (good / "made.npz").read_bytes() != b"good" and answer.status:
        return Fault(what, "the good file is gone")
    left = [path for path in place.rglob(".tmp-*")]
    if left:
        return Fault(what, f"left {left[0]}")
    found = judged(what, answer)
    if found is None and typed[0] == "evaluate" and answer.status == 0 and "swd" not in answer.out:
        return Fault(what, "the value is lost")
    if found is None and typed[1] == "vanilla" and typed[0] == "train" and typed[-1] == str(run):
        # What was trained before is still there, and the run can be continued.
        found = judged(f"{what}, continued", ground.do(ground.train(run, images="800")))
    return found


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU]


def interruptions(chance: random.Random, ground: Ground, place: Path) -> Fault | None:
    """A run of some game that is asked to stop, or killed, a few times, and continued: it ends as the unbroken one."""
    game = chance.choice(["vanilla", *games.names()])
    train, unbroken = (ground.train, ground.run) if game == "vanilla" else ground.playing(game)
    kind = chance.choice(["signal", "signal", "twice", "closed", "killed", "event"])
    said = []
    for _ in range(chance.choice([1, 2, 3])):
        number = chance.randrange(1, 90 if game == "vanilla" else 25)
        fault: dict[str, Any] = {"kind": "signal_at_round", "signal": chance.choice(SIGNALS), "number": number}
        if kind == "killed":
            fault["signal"] = signal.SIGKILL
        elif kind == "closed":
            fault = {"kind": "closed_output", "closed": "both", "number": number}
        elif kind == "event":
            fault = {"kind": "kill_at_event", "number": number}
        elif kind == "twice":
            fault = {**fault, "kind": "signal_in_training", "seconds": 0.01, "again": 0.05}
        answer = ground.do(train(place / "run"), fault, keep=chance.choice([-1.0, 0.05, 60.0]))
        said.append((kind, number, answer.status))
        what = f"interruptions of {game}: {said}"
        if answer.status not in (0, 130, -9, 9) or "Traceback" in answer.err:
            return Fault(what, answer.err[-1500:])
        if answer.status == 130 and "everything is kept" in answer.out:
            kept = int(answer.out.rpartition("Interrupted after ")[2].partition(" ")[0].replace(",", ""))
            if not list((place / "run" / "checkpoints").glob(f"images-{kept:012d}-*")):
                return Fault(what, "said to be kept, but is not")
    answer = ground.do(train(place / "run"))
    if answer.status:
        return Fault(f"{what}, continued", answer.err[-1500:])
    ends = [_end(one) for one in (place / "run", unbroken)]
    lines = [_log(one) for one in (place / "run", unbroken)]
    if ends[0] != ends[1] or lines[0] != lines[1]:
        return Fault(what, "the run ends otherwise than the unbroken one")
    return None


def _end(run: Path) -> dict[str, bytes]:
    """All tensors of a run's last checkpoint, as bytes: weights, buffers, averages, moments."""
    newest = checkpoint.newest(RunFolder(run).checkpoints)
    assert newest is not None
    tensors = checkpoint.read(newest)[0]
    return {name: tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes() for name, tensor in tensors.items()}


def _log(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines() if line.endswith("}")]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


KINDS: dict[str, Kind] = {
    one.__name__: one for one in (words, recipe, run_folder, artefact, pack, images, names, caches, disk, interruptions)
}


def attempt(kind: str, seed: int, ground: Ground) -> Fault | None:
    """Try one bad input or interruption; the same numbers give the same one."""
    place = ground.new(kind)
    try:
        return KINDS[kind](random.Random(f"{kind} {seed}"), ground, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def main() -> None:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)}; if left out: all")
    parser.add_argument("--count", type=int, default=200, help="how many of each kind")
    parser.add_argument("--seed", type=int, default=0, help="the first number of a kind")
    asked = parser.parse_args()
    tried, wrong, began = Counter[str](), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="frugan-faults-") as folder:
        ground = Ground(Path(folder))
        for number in range(asked.seed, asked.seed + asked.count):
            for kind in asked.kinds or KINDS:
                fault = attempt(kind, number, ground)
                tried[kind] += 1
                if fault is not None:
                    wrong[kind] += 1
                    print(f"\n{kind} {number}: {fault.what}\n    {fault.how}", flush=True)
            if number % 20 == 19:
                print(f"{sum(tried.values()):,} tried in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        ground.close()
    for kind, count in tried.items():
        print(f"{kind:14} {count:6,} tried {wrong[kind]:4} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
