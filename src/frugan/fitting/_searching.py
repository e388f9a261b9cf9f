"""One search from what was asked to what is shipped."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import artefact, build, evaluation, exporting, owncode, reporting, terminal, training
from frugan.arguments import names_in
from frugan.comparison.running.speed import check_steady
from frugan.comparison.running.workshop import Workshop, say_once
from frugan.engine.run import RunFolder
from frugan.fitting import _candidates
from frugan.fitting._budget import Budget
from frugan.fitting._halving import Race
from frugan.fitting._screening import Screen, size_of
from frugan.fitting.arguments import FitArguments
from frugan.recipe import Choice, Recipe, from_dict, parse_choices, parse_count, to_dict
from frugan.registry import UserError

if TYPE_CHECKING:
    import torch

FILE = "fit.json"
DEFAULT = "small"
"""What is varied if no recipe is named."""
CANDIDATES, FEWEST = 10, 3
"""How many candidates are trained unless the user says so; and how many at least where there is less than a minute for
each: beginning a run takes seconds.
"""
MINUTES, RUNS = 100.0, 5.0
"""How long a search takes if nothing is said of it; and how many whole runs its stages are together, at most."""
FREE = ("minutes", "to", "jobs", "device", "code", "trust_code", "quiet", "out")
"""Arguments that may be others when a search is continued."""


def search(asked: FitArguments) -> tuple[Path, dict[str, Any]]:
    """The folder of a search and what its ``fit.json`` holds; everything is done, shipped and reported."""
    began = time.monotonic()
    say = say_once(lambda line: None if asked.quiet else terminal.tell(line))
    budget = Budget.of(asked.max_latency, asked.max_bytes)
    own = owncode.load(asked.code)
    _check(asked)
    (target,) = parse_choices([asked.to])
    folder = RunFolder(asked.out or _default_folder(asked))
    recipe = training.holding_out(_recipe(asked, folder, say), say)
    with folder.locked():
        state = _State.of(folder, asked, recipe)
        assembly = training.rehearse(recipe, _device(asked), quiet=asked.quiet)  # it opens and packs the data
        recipe, from_pace = assembly.recipe, asked.minutes is not None and asked.images is None
        if from_pace:
            check_steady(
                assembly.networks, f"--minutes cannot be planned for '{recipe.name}'",
                "Give --images, how many the finalists are shown, besides --minutes or instead.",
            )  # fmt: skip
        metric = _metric(asked, recipe, say)
        screen = Screen(
            budget, asked.runtime, asked.threads, state.section("measured"), lambda: state.keep(began), say,
            asked.minutes,
        )
        chosen = _chosen(asked, recipe, screen, state, began, say)
        if "race" not in state.data:
            _try_target(target, chosen[0].recipe)
        options = ["--device", asked.device] if asked.device else []
        options += [word for one in own for word in ("--code", str(one.path))]
        workshop = Workshop(
            folder.path, {"view": asked.view, "count": asked.count, "device": asked.device}, say, options, own,
            asked.jobs, asked.quiet,
        )
        over = None if asked.minutes is None else began + 60 * asked.minutes - state.seconds_before
        race = Race(chosen, workshop, metric, asked.seed, state.section("race"), lambda: state.keep(began), over)
        most = parse_count(asked.images) if asked.images is not None else recipe.budget
        ranked = race.run(most, from_pace)
        winner, value = ranked[0]
        say(f"{winner.name} won. Exporting it: --to {asked.to}.")
        run = folder.path / value["folder"]
        measured = size_of(artefact.load(run), asked.runtime, asked.threads).as_dict()
        exported = exporting.export(run, target.name, out=folder.path / "shipped", overwrite=True, **target.options)
        state.data["winner"] = {
            "name": winner.name, "value": value, "measured": measured,
            "over": budget.misses(measured["milliseconds"], measured["bytes"]),
            "files": {str(path.relative_to(folder.path)): size for path, size in exported.files.items()},
        }  # fmt: skip
        state.data["ranked"] = [one.name for one, _ in ranked]
        state.keep(began)
        reporting.report(folder.path)
    return folder.path, state.data


def _recipe(asked: FitArguments, folder: RunFolder, say: Callable[[str], None]) -> Recipe:
    """The recipe that is varied: the named one, or what ``frugan train`` chooses for the data where none is named."""
    if asked.recipe is not None:
        recipe = training.resolve(asked.recipe, data=asked.data, changes=asked.changes, seed=asked.seed)
    elif (folder.path / FILE).is_file():  # as it was chosen when the search began
        recipe = from_dict(folder.read_json(folder.path / FILE)["recipe"], where=str(folder.path / FILE))
    else:
        budget: dict[str, Any] = {"images": asked.images}
        if asked.images is None and not set(training.BUDGETS) & set(asked.changes or ()):
            budget = {"minutes": (asked.minutes or MINUTES) / RUNS}
        recipe = training.chosen(
            say=say, data=asked.data, changes=asked.changes, seed=asked.seed, device=asked.device, quiet=asked.quiet,
            **budget,
        )
    return replace(recipe, minutes=None)


def _default_folder(asked: FitArguments) -> Path:
    name = asked.recipe.name if isinstance(asked.recipe, Recipe) else Path(asked.recipe or DEFAULT).stem
    source = "" if asked.data is None else Path(asked.data).name.lower()
    return Path("runs") / "-".join(["fit", name, *re.findall(r"[a-z0-9]+", source)])


def _check(asked: FitArguments) -> None:
    """Everything that can be refused before anything is built."""
    evaluation.check_names(metrics=None if asked.metric is None else [asked.metric], view=asked.view, count=asked.count)
    typed = parse_choices([asked.to])
    if len(typed) != 1:
        raise UserError(f"--to {asked.to}: name one export target, e.g. onnx, or web,single_file=true.")
    exporting.find(typed[0].name).check(typed[0].options)
    exporting.needed("onnx", "onnxscript", "onnxruntime")
    if asked.minutes is not None:
        training.check_minutes(asked.minutes)


def _metric(asked: FitArguments, recipe: Recipe, say: Callable[[str], None]) -> str:
    """The metric that decides. Raises UserError before anything is trained if it could not be computed."""
    assembly, name = build.assemble(recipe), f"'{recipe.name}'"
    how = {"view": asked.view, "count": asked.count, "device": asked.device}
    if asked.metric is None:
        return evaluation.find_primary(assembly, name, say, **how)
    try:
        evaluation.foresee(assembly, name, metrics=[asked.metric], progress=say, **how)
    except UserError as error:
        raise UserError(f"{error} (Here the option is --metric NAME.)") from None
    return asked.metric


def _try_target(target: Choice, recipe: Recipe) -> None:
    """Export an untrained network, so that whatever is missing is missed before hours of training."""
    parcel = exporting.Parcel.of(artefact.untrained(build.assemble(recipe)))
    with tempfile.TemporaryDirectory() as folder:
        exporting.find(target.name).write(parcel, Path(folder), **target.options)


def _chosen(
    asked: FitArguments, recipe: Recipe, screen: Screen, state: _State, began: float, say: Callable[[str], None]
) -> list[_candidates.Candidate]:
    """The candidates that are trained."""
    families, widths = (names_in(one) or None for one in (asked.families, asked.widths))
    candidates = _candidates.make(recipe, families, widths, names_in(asked.depths) or None)
    if not candidates:
        raise UserError(f"No family can build the network of '{recipe.name}'. Name one that does: --families standard.")
    say(f"{len(candidates)} candidates. Those that may fit are exported and timed untrained.")
    chosen = screen.inside(candidates, asked.candidates or _most(asked.minutes))
    state.data["candidates"] = {
        one.name: {"form": one.form, "parameters": one.parameters, "macs": one.macs, "trained": one in chosen}
        for one in candidates
    }  # fmt: skip
    state.keep(began)
    say(f"Inside {screen.budget}, and trained: {', '.join(one.name for one in chosen)}.")
    return chosen


def _most(minutes: float | None) -> int:
    """How many candidates are trained at most if the user does not say."""
    return CANDIDATES if minutes is None else min(CANDIDATES, max(FEWEST, int(minutes)))


@dataclass
class _State:
    """What ``fit.json`` holds, written whenever there is more of it."""

    folder: RunFolder
    data: dict[str, Any]
    seconds_before: float = 0.0

    @classmethod
    def of(cls, folder: RunFolder, asked: FitArguments, recipe: Recipe) -> _State:
        """What is there, or a new one. Raises UserError if the folder holds something else."""
        plain = {key: str(value) for key, value in asdict(replace(asked, recipe=None)).items()
                 if key not in FREE and key != "recipe" and value is not None}  # fmt: skip
        content = training.contents(recipe)
        new = {"asked": plain, "recipe": to_dict(recipe), "content": content}
        path = folder.path / FILE
        if path.is_file():
            there = folder.read_json(path)
            before, keys = there["asked"], dict.fromkeys([*plain, *there["asked"]])
            then = from_dict(there["recipe"], where=str(path))
            if there.get("content") == content:  # the same images, wherever they lie now
                keys.pop("data", None)
                then = then.with_sources({stream: recipe.data_of(stream).source for stream in content})
                there["recipe"] = new["recipe"]
            apart = [key for key in keys if plain.get(key) != before.get(key)]
            if then != recipe:
                apart.append("recipe")
            if apart:
                raise UserError(
                    f"{folder.path} holds a search with other settings ({', '.join(apart)}). Give the same ones to "
                    "continue it, or another --out."
                )
            return cls(folder, {key: value for key, value in there.items() if key != "format"}, there["seconds"])
        if any(folder.path.glob("[!.]*")):
            raise UserError(f"{folder.path} holds something else. Give another --out.")
        return cls(folder, new)

    def section(self, name: str) -> dict[str, Any]:
        """A part of the file that others fill."""
        return self.data.setdefault(name, {})

    def keep(self, began: float) -> None:
        """Write the file."""
        self.data["seconds"] = self.seconds_before + time.monotonic() - began
        self.folder.write_json(self.folder.path / FILE, self.data)


def _device(asked: FitArguments) -> torch.device:
    from frugan.engine.precision import choose_device

    return choose_device(asked.device)


