"""The run folder: training writes it, and everything after training reads it.

    recipe.json      the recipe as resolved (format, frugan's version); written first, so it makes a folder a run
    run.json         where it ran and on which data (name, split, count, content hash)
    log.jsonl        one line per log point: images, rounds, seconds, scalars
    metrics.jsonl    one line per value: metric, numbers, protocol
    samples/         previews, images-000000060000.png, always of the same latents; at the end also film.webp
    checkpoints/     the newest whole state
    best/            the best generator so far as an artefact, where training was asked to keep it
    report.html      what `frugan report` writes
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from frugan import claims, files
from frugan.arguments import File
from frugan.claims import Claim
from frugan.files import expanded
from frugan.registry import UserError

FORMAT = 1

PREVIEW = re.compile(r"images-(\d{12})\.png")
CHECKPOINT = re.compile(r"images-(\d{12})-([0-9a-f]{16})\.safetensors")
"""The name of a checkpoint: images shown, and the beginning of its checksum."""


class Shipped(TypedDict):
    """What run.json says of a network that a run ships."""

    network: str
    averaged: bool
    direction: list[str] | None
    reader: str | None
    label_layouts: list[Any]


class Trained(TypedDict):
    """What run.json says of the data of a stream."""

    name: str
    split: str
    count: int
    hash: str
    title: str
    source: str
    path: str
    classes: list[str]
    attributes: list[str]
    exclusive: list[list[int]]
    label_sample: str


class Given(TypedDict):
    """What run.json says of the weights that a network began with."""

    path: str
    hash: str
    recipe: str


class Facts(TypedDict):
    """What run.json holds, as far as it is read; earlier versions lack some of it."""

    frugan: str
    id: str
    device: str
    machine: str
    processes: int
    precision: str
    kernels: str
    threads: int
    versions: dict[str, str]
    given: dict[str, Given]
    continued: list[dict[str, Any]]
    code_changes: list[dict[str, Any]]
    image_range: list[float] | None
    shipped: dict[str, Shipped]
    data: dict[str, Trained]


LogLine = TypedDict("LogLine", {
    "images": int, "rounds": int, "seconds": float, "evaluations": list[dict[str, Any]],
    "health.spread": float, "health.nearest": float, "health.distance": float, "health.matched": float,
    "health.flicker": float, "health.memorised": float,
    "discriminator.loss": float, "discriminator.accuracy_real": float, "discriminator.accuracy_fake": float,
})  # fmt: skip
"""What a line of log.jsonl holds, beside other numbers of the game."""


class ValueLine(TypedDict):
    """What a line of metrics.jsonl holds."""

    metric: str
    values: dict[str, Any]
    headline: str
    better: str
    images: int
    protocol: dict[str, Any]
    floor: dict[str, Any] | None


class RunFolder(os.PathLike[str]):
    """One run's folder and the files in it. It serves wherever a path does, so in every verb that takes a run."""

    def __init__(self, path: File) -> None:
        self.path = expanded(path)
        self._claim: Claim | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    __str__ = __fspath__

    @property
    def recipe(self) -> Path:
        """The path of the resolved recipe."""
        return self.path / "recipe.json"

    @property
    def facts(self) -> Path:
        """The path of the facts: machine, data, versions."""
        return self.path / "run.json"

    @property
    def log(self) -> Path:
        """The path of the log: one JSON line per log point."""
        return self.path / "log.jsonl"

    @property
    def metrics(self) -> Path:
        """The path of the values: one JSON line for each."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """The folder of preview pictures."""
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        """The folder of the newest checkpoint."""
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        """The path of the report."""
        return self.path / "report.html"

    def images_saved(self) -> int | None:
        """How many images had been shown at the newest checkpoint, by its name alone; None if there is none."""
        names = self.checkpoints.iterdir() if self.checkpoints.is_dir() else ()
        return max((int(match[1]) for path in names if (match := CHECKPOINT.fullmatch(path.name))), default=None)

    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return self.recipe.is_file()

    def is_free(self) -> bool:
        """Whether a new run may begin here: the folder is empty, or its run was killed before it wrote anything."""
        if not self.path.exists():
            return True
        there = self.path.iterdir() if self.path.is_dir() else [self.path]
        return all(claims.is_claim(one) or files.is_temporary(one) for one in there)

    def read_json(self, path: Path) -> dict[str, Any]:
        """A JSON file of this folder. Raises UserError if it is missing, damaged or of a newer format."""
        try:
            value = files.read_json(path)
        except FileNotFoundError:
            raise UserError(f"{self.path} is not a run folder: it has no {path.name}.") from None
        files.check(value, dict, str(path))
        version = value.get("format")
        files.check(version, int, f"{path}: format")
        if not 1 <= version <= FORMAT:
            raise UserError(f"{path} has format {version}, but this frugan reads only 1 to {FORMAT}. Update frugan.")
        if path == self.facts:
            self._check_facts(value)
        return value

    def _check_facts(self, facts: dict[str, Any]) -> None:
        """Raise UserError if something in run.json is not what it must be, or fits no recipe."""
        files.check(facts, Facts, str(self.facts))
        shipped = facts.get("shipped", {})
        networks = self.read_json(self.recipe)["networks"] if self.exists() else None
        files.check(networks, dict[str, Any] | None, f"{self.recipe}: networks")
        named = {about.get(key) for about in shipped.values() for key in ("network", "reader")} - {None}
        empty = next((key for key in ("shipped", "data") if facts.get(key) == {}), None)
        odd = f"'{empty}' names nothing" if empty else ""
        if networks is not None and not named <= set(networks):
            odd = f"it ships '{min(named - set(networks))}', but its recipe has only {', '.join(networks)}"
        if odd:
            raise UserError(f"{self.facts} is damaged: {odd}. Put back a good copy of it.")

    def write(self, path: Path, text: str) -> None:
        """Write a file of this folder, so that it is always complete."""
        self.check_held()
        files.write(path, text)

    def write_json(self, path: Path, value: Mapping[str, Any]) -> None:
        """Write a JSON file of this folder, with the format's version."""
        self.write(path, json.dumps({"format": FORMAT, **value}, indent=2) + "\n")

    def append(self, path: Path, line: Mapping[str, Any]) -> None:
        """Add one JSON line."""
        self.check_held()
        files.append(path, json.dumps(line))

    def lines(self, path: Path) -> list[dict[str, Any]]:
        """The JSON lines of a file; a last one cut short by a kill is left out.

        Raises UserError for a line with something else in the place of a number or a name.
        """
        if not path.is_file():
            return []
        lines = []
        for number, text in enumerate(path.read_text(errors="replace").splitlines(), 1):
            with contextlib.suppress(ValueError):
                line = files.parse_json(text, path)
                if isinstance(line, dict):
                    files.check(line, LogLine if path == self.log else ValueLine, f"{path}, line {number}")
                    lines.append(line)
        return lines

    def previews(self) -> list[tuple[int, Path]]:
        """The previews, each with how many real images had been shown; other pictures in the folder are passed over."""
        named = [(PREVIEW.fullmatch(path.name), path) for path in sorted(self.samples.glob("images-*.png"))]
        return [(int(match[1]), path) for match, path in named if match]

    def rewind(self, images: int) -> None:
        """Delete log lines and previews later than `images`, since those rounds will be played again.

        And what a killed process has left half written, but not what another one writes.
        """
        kept = [line for line in self.lines(self.log) if line["images"] <= images]
        self.write(self.log, "".join(json.dumps(line) + "\n" for line in kept))
        for place in (self.path, self.samples, self.checkpoints):
            if place.is_dir():
                files.clear(place)
        for shown, picture in self.previews():
            if shown > images:
                picture.unlink()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; see `frugan.claims`.

        Raises UserError if another one is training here, if its name has a line break, or if what should be a folder in
        it is none, or a link, which may lead into another run.
        """
        if "\n" in str(self.path.absolute()):
            raise UserError(
                f"The name {self.path.absolute()} has a line break, but stands in lines of text. Give another --out."
            )
        for place in (self.checkpoints, self.samples):
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                kind = f"a link to {place.readlink()}" if place.is_symlink() else "no folder"
                raise UserError(
                    f"{place} is {kind}, but a run writes to a folder of its own there. Put the folder itself in its "
                    "place, or give another --out."
                )
        with contextlib.ExitStack() as held:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self._claim = held.enter_context(claims.claimed(self.path))
            except OSError as error:
                raise UserError(
                    f"{self.path} cannot be used as a run folder ({error.strerror}). Give another --out."
                ) from None
            try:
                yield
            finally:
                self._claim = None

    def moved_to(self) -> Path | None:
        """Where this folder, which this process holds, is now; None if it was not moved meanwhile."""
        return None if self._claim is None else self._claim.moved_to()

    def check_held(self) -> None:
        """Raise OSError if this process holds the folder, and it is no longer there, or no longer this process's."""
        if self._claim is not None:
            self._claim.check()
