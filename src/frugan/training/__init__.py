"""Training: train a recipe into a run folder. The same call on an unfinished run continues it."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import __version__, memory, recipes, terminal
from frugan.arguments import Changes, Init, taking
from frugan.files import PlaceError
from frugan.owncode import CodeFile
from frugan.recipe import Recipe, from_run, parse_count, to_dict
from frugan.registry import UserError, suggest
from frugan.training import _code, _deciding, _giving, _holding, _minutes, _observing, _resuming, choosing
from frugan.training._code import inits_of, run_code
from frugan.training._deciding import DECIDED, decide, decided_in, settle
from frugan.training._minutes import check as check_minutes
from frugan.training._opening import open_data
from frugan.training._packing import pack
from frugan.training.arguments import TrainingArguments

if TYPE_CHECKING:
    import torch

    from frugan.build import Assembly
    from frugan.data import Dataset
    from frugan.engine.loop import Parts
    from frugan.engine.processes import Processes
    from frugan.engine.run import RunFolder

__all__ = [
    "DECIDED", "chosen", "decide", "decided_in", "default_folder", "inits_of", "pack", "rehearse", "resolve",
    "run_code", "settle", "train",
]  # fmt: skip


BUDGETS = ("images", "rounds", "minutes")
"""Settings that each say how long to train: one of them is given."""


@taking(TrainingArguments)
@memory.enough()
def train(asked: TrainingArguments) -> RunFolder:
    """Train a recipe and return its run folder. Called again on the same folder, it continues the run.

    Raises:
        UserError: for every mistake in the arguments; if possible, before any data is opened.
    """
    init = asked.init.values() if isinstance(asked.init, Mapping) else () if asked.init is None else (asked.init,)
    run_code(asked.out, init, asked.code, trust_code=asked.trust_code)
    recipe = _recipe_of(asked)
    looks = _observing.asked(asked.evaluate_every, asked.keep_best, asked.observers)
    # Told before torch allocates anything.
    memory.keep()
    from frugan import build
    from frugan.engine.precision import choose_device
    from frugan.engine.processes import join, leave
    from frugan.engine.run import RunFolder

    folder = RunFolder(asked.out or default_folder(recipe, asked.data, asked.family))
    own = run_code(folder.path, inits_of([recipe]), asked.code, trust_code=asked.trust_code)
    _code.check(folder, own, asked.allow_changed_code)
    device = choose_device(asked.device)
    recipe = _fitted(asked, recipe, folder, device)
    assembly = build.assemble(recipe, device)
    for note in assembly.notes:
        if int(os.environ.get("RANK", "0")) == 0:
            terminal.tell(f"frugan: {note}")
    processes = join(device)
    try:
        if not processes.leads:
            _play(replace(asked, quiet=True), own, assembly, folder, processes, looks)
        else:
            _resuming.check_free(folder)  # before the lock's file is made there
            with folder.locked():
                _play(asked, own, assembly, folder, processes, looks)
        # The others wait while the leader writes: a process that parts from one still at work can die in its threads.
        processes.wait()
    finally:
        leave()
    return folder


@taking(TrainingArguments)
def resolve(asked: TrainingArguments) -> Recipe:
    """The recipe that a call of `train` with these arguments would train, with all changes in it.

    Raises:
        UserError: for unknown names and keys.
    """
    return _recipe_of(asked)


def _recipe_of(asked: TrainingArguments) -> Recipe:
    if asked.recipe is None:
        return _with_asked(choosing.base(asked.data), asked)
    if isinstance(asked.recipe, str) and Path(asked.recipe).is_dir() and asked.recipe not in recipes.names():
        own = Path(asked.recipe) / "recipe.json"
        instead = f"Its recipe is {own}" if own.is_file() else f"To train on its images: --data {asked.recipe}"
        raise UserError(f"{asked.recipe} is a folder, not a recipe. {instead}")
    return _with_asked(_found(asked.recipe) if isinstance(asked.recipe, str) else asked.recipe, asked)


def _found(name: str) -> Recipe:
    """The recipe of this name. That of a run shows as many images as the run: how many its minutes gave is known."""
    from frugan.engine.run import RunFolder

    recipe = recipes.find(name)
    of_run = name.endswith(".json") and RunFolder(Path(name).parent).facts.is_file()
    return replace(recipe, minutes=None) if of_run else recipe


def chosen(*, say: Callable[[str], None], **asked: Any) -> Recipe:
    """The recipe that a call of `train` without a recipe chooses, with these arguments of `train`; nothing is trained.

    `say` takes the lines that tell what was chosen and why. Raises UserError as `train` does.
    """
    from frugan.engine.precision import choose_device

    record = TrainingArguments(**asked)
    return _choose(record, _recipe_of(record), None, choose_device(record.device), say)


def holding_out(recipe: Recipe, say: Callable[[str], None]) -> Recipe:
    """The recipe with the number of images that a new run of it would hold out for evaluation.

    `say` takes a line about it. Raises UserError if there are no such data.
    """
    from frugan import build

    return _holding.resolve(build.assemble(recipe), None, say).recipe


def _choose(
    asked: TrainingArguments, recipe: Recipe, folder: RunFolder | None, device: torch.device, say: Callable[[str], None]
) -> Recipe:
    def fit(recipe: Recipe) -> Recipe:
        return _minutes.with_images(recipe, folder, device, asked.allow_unusable, asked.quiet)

    given = {key: getattr(asked, key) for key in ("batch_size", "images", "rounds") if getattr(asked, key) is not None}
    return choosing.choose(recipe, {**given, **(asked.changes or {})}, fit, say)


def _fitted(asked: TrainingArguments, recipe: Recipe, folder: RunFolder, device: torch.device) -> Recipe:
    """The recipe with what follows from its data and from the time: its own settings if it was named, else chosen."""
    if asked.recipe is None and not folder.exists():
        say = (lambda line: None) if asked.quiet else terminal.tell
        return _choose(asked, recipe, folder, device, say)
    if asked.recipe is None:  # as it was chosen when the run began
        recipe = _with_asked(from_run(folder), asked)
    elif folder.exists() and not _names_data(asked) and not recipe.streams:
        recipe = replace(recipe, data=replace(recipe.data, source=from_run(folder).data.source))
    return _minutes.with_images(recipe, folder, device, asked.allow_unusable, asked.quiet)


def _names_data(asked: TrainingArguments) -> bool:
    """Whether the user said where the images are: outright, or in a recipe that is not one of frugan's own."""
    said = asked.data is not None or "data.source" in (asked.changes or {})
    return said or not isinstance(asked.recipe, str) or asked.recipe not in recipes.names()


def _with_asked(recipe: Recipe, asked: TrainingArguments) -> Recipe:
    """The recipe with everything that the user has said."""
    if asked.family is not None:
        recipe = recipe.with_family(asked.family)
    if asked.discriminator_family is not None:
        recipe = recipe.with_family(asked.discriminator_family, "discriminator")
    if asked.data is not None:
        recipe = replace(recipe, data=replace(recipe.data, source=asked.data))
    changes = asked.changes or {}
    _check_said_once(asked, changes)
    recipe = recipe.with_changes(changes)
    if asked.images is not None or changes.get("images") is not None:
        images = recipe.images if asked.images is None else parse_count(asked.images)
        recipe = replace(recipe, images=images, rounds=None, minutes=None)
    if asked.rounds is not None or changes.get("rounds") is not None:
        recipe = replace(recipe, rounds=recipe.rounds if asked.rounds is None else asked.rounds, minutes=None)
    if asked.minutes is not None:
        recipe = replace(recipe, minutes=check_minutes(asked.minutes))
    if asked.holdout is not None:
        recipe = replace(recipe, data=replace(recipe.data, holdout=_number_held_out(asked.holdout)))
    if asked.init is not None:
        recipe = _with_init(recipe, asked.init)
    given: dict[str, Any] = {"seed": asked.seed, "batch_size": asked.batch_size, "precision": asked.precision}
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})


def _number_held_out(holdout: int | str) -> int:
    return 0 if str(holdout) == "0" else parse_count(holdout)


def _sayer(quiet: bool) -> Callable[[str], None]:
    """What prints a remark for people, or keeps silent."""
    return lambda line: None if quiet else terminal.tell(f"frugan: {line}")


def _check_said_once(asked: TrainingArguments, changes: Changes) -> None:
    """Raise UserError where an option and a key give one setting different values, and for two budgets."""
    said = [
        f"--{name} {getattr(asked, name)}" if getattr(asked, name) is not None else f"{name}={changes[name]}"
        for name in BUDGETS if getattr(asked, name) is not None or changes.get(name) is not None
    ]  # fmt: skip
    if len(said) > 1:
        raise UserError(f"{said[0]} and {said[1]}: each says how long to train. Give one of them.")
    keys = {"data": "data.source", "holdout": "data.holdout"}
    for option in (*BUDGETS, "batch_size", "seed", "precision", "data", "holdout"):
        value, key = getattr(asked, option), keys.get(option, option)
        if value is None or key not in changes:
            continue
        alike = parse_count(value) if option == "images" else _number_held_out(value) if option == "holdout" else value
        if alike != changes[key]:
            option = option.replace("_", "-")
            raise UserError(f"--{option} {value} and {key}={changes[key]} say different things. Give one of them.")


def _with_init(recipe: Recipe, init: Init) -> Recipe:
    """The recipe with weights for some networks to begin with: of those named, else of the one that makes images."""
    given = init if isinstance(init, Mapping) else {next(iter(recipe.makers()), "generator"): init}
    changed = dict(recipe.networks)
    for name, path in given.items():
        if name not in changed:
            raise UserError(f"--init {name}={path}: the recipe has no network '{name}'. {suggest(name, changed)}")
        changed[name] = replace(changed[name], init=str(path))
    return replace(recipe, networks=changed)


def rehearse(recipe: Recipe, device: torch.device, *, quiet: bool = False, begun: bool = False) -> Assembly:
    """Do everything that `train` does before its first round, to find errors early. Nothing is written.

    Weights to start from are read, but not if the run has `begun`: then they are in its checkpoint.

    Returns the recipe's objects, with the number of classes of the data. Raises UserError as `train` does.
    """
    from frugan import build

    assembly, sets = open_data(build.assemble(recipe, device), allow_unusable=False, quiet=quiet)
    parts = build.parts(assembly, sets)
    if not begun:
        _giving.give(assembly.recipe, parts)
    return assembly


def contents(recipe: Recipe) -> dict[str, str]:
    """The hash of what each stream of a recipe is given, wherever it lies. Raises UserError if there are no such data.
    """
    from frugan import build

    return {stream: dataset.content_hash for stream, dataset in build.datasets(recipe).items()}


def default_folder(recipe: Recipe, data: str | None, family: str | None) -> Path:
    """The folder if none is given: ``runs/mnist-factorised-seed-0``, with the data's name if not the recipe's."""
    source = "" if data is None else "-" + "".join(c if c.isalnum() else "-" for c in Path(data).name.lower())
    return Path("runs") / f"{Path(recipe.name).stem}{source}{'-' + family if family else ''}-seed-{recipe.seed}"


def _play(
    asked: TrainingArguments, own: Sequence[CodeFile], assembly: Assembly, folder: RunFolder, processes: Processes,
    looks: _observing.Looks,
) -> None:
    """Open the data, build, and play."""
    from frugan import build

    say = _sayer(asked.quiet)
    assembly = _holding.resolve(assembly, folder, say)
    _resuming.check(assembly.recipe, folder)
    assembly, sets = open_data(assembly, asked.allow_unusable, asked.quiet)
    recipe = assembly.recipe
    for stream, dataset in sets.items():
        for note in dataset.notes:
            say(f"{dataset.title}: {note}.")
        if dataset.skipped:
            say(
                f"{dataset.title}: {len(dataset.skipped):,} of {len(dataset.skipped) + len(dataset):,} images "
                f"cannot be used and are set aside; frugan data check {recipe.data_of(stream).source} lists them."
            )
    settled = _deciding.settled(recipe, folder, assembly.device, processes)
    parts = build.parts(assembly, sets, processes, settled.kernels, settled.precision)
    circumstances = _resuming.circumstances_of(settled, parts)
    with _disk(folder, parts):
        _play_on(asked, own, recipe, folder, parts, sets, looks, circumstances)


def _play_on(
    asked: TrainingArguments, own: Sequence[CodeFile], recipe: Recipe, folder: RunFolder, parts: Parts,
    sets: Mapping[str, Dataset], looks: _observing.Looks, circumstances: Mapping[str, Any],
) -> None:
    """Continue if there is something to continue, play, keep."""
    from frugan.engine import checkpoint, scaling
    from frugan.engine.loop import keep_standing, play
    from frugan.engine.observers import Bar, close

    processes = parts.processes
    start = _resuming.resume(recipe, folder, parts, sets, circumstances)
    if start is None:
        played = max((line["images"] for line in folder.lines(folder.log)), default=0)
        if played and processes.leads:
            _sayer(asked.quiet)(
                f"{folder.path} has no checkpoint, though its log goes to {played:,} images. It begins anew."
            )
        given = _giving.give(recipe, parts)
        if processes.leads:
            facts = {"given": given, "code": [one.as_dict() for one in own]}
            _resuming.begin(recipe, folder, parts, sets, {**circumstances, **facts})
            folder.rewind(0)
        scaled = scaling.measure(parts)
        if scaled is not None:
            seconds = {"processes": scaled.together, "one": scaled.alone}
            folder.write_json(folder.facts, {**folder.read_json(folder.facts), "seconds_of_a_round": seconds})
            _sayer(asked.quiet)(scaled.words)
        start = 0
    elif recipe.ended(start, parts.clock.rounds):
        if not asked.quiet:
            further = f"--images {2 * start}" if recipe.rounds is None else f"--rounds {2 * parts.clock.rounds}"
            terminal.say(
                f"{folder.path} is finished: {start:,} images. Train it further with {further}, "
                f"look at it with: frugan report {folder.path}"
            )
        _observing.tell_untrained(folder, asked.quiet)
        # What it did not come to if it was stopped just then.
        keep_standing(parts, folder)
        if processes.leads:
            _observing.evaluate_best(folder, looks, parts.device, asked.quiet)
        return
    elif processes.leads:
        folder.write_json(folder.recipe, {"frugan": __version__, **to_dict(recipe)})
        _code.keep(folder, own, start)
    title = f"{recipe.name} on {next(iter(sets.values())).title}"
    bar = Bar(title, start, recipe.budget, ("discriminator.loss", "generator.loss")) if not asked.quiet else None
    watching = [] if bar is None else [bar]
    try:
        if processes.leads:
            watching = _observing.observers(recipe, folder, parts, sets, looks, bar, title)
        came = play(
            parts, images=recipe.images if recipe.rounds is None else None, rounds=recipe.rounds,
            folder=folder, observers=watching,
        )
    finally:
        for observer in watching:
            close(observer)
    if not came:
        if not asked.quiet:
            terminal.say(
                f"Interrupted after {parts.clock.images:,} images; everything is kept. Run the same command again to "
                "continue."
            )
        raise SystemExit(130)
    if processes.leads:
        _observing.evaluate_best(folder, looks, parts.device, asked.quiet)
    if not asked.quiet:
        _observing.tell_untrained(folder, asked.quiet)
        newest = checkpoint.newest(folder.checkpoints)
        size = newest.stat().st_size / 1e6 if newest else 0
        terminal.say(
            f"Finished: {folder.path} (checkpoint: {size:.0f} MB). "
            f"Next: {_next(folder, parts)}"
        )


def _next(folder: RunFolder, parts: Parts) -> str:
    """What to type after a run has ended."""
    shipped, run = parts.game.shipped(), shlex.quote(str(folder.path))
    if "classifier" in shipped:
        made = f"frugan sample {run} --out samples.png, " if "generator" in shipped else ""
        return f"{made}frugan classify {run} IMAGES, or frugan evaluate {run}"
    if "generator" in shipped:
        return f"frugan sample {run} --out samples.png, or frugan evaluate {run}"
    return f"look at {folder.samples}, or frugan translate {run} IMAGES --out translated"


@contextlib.contextmanager
def _disk(folder: RunFolder, parts: Parts) -> Iterator[None]:
    """Turn what the system refuses into a line that says what to do, and say what is kept if a user does not wait."""
    from frugan.engine import checkpoint

    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename == terminal.OUTPUT or error.errno == errno.ENOMEM:
            raise
        moved = folder.moved_to()
        if moved is not None:
            kept = checkpoint.kept(moved / folder.checkpoints.name)
            raise PlaceError(
                f"{folder.path} was moved to {moved} while it was trained. {kept} To continue, give --out {moved}"
            ) from error
        first = {
            errno.ENOSPC: "Free some space", errno.EDQUOT: "Free some space",
            errno.EBUSY: "Wait until the other has finished",
        }.get(error.errno or 0, "Put that right")
        if error.errno == errno.ENOENT and not folder.path.exists():
            first = "Put the folder back if it was moved"
        # Not only files of the run folder are refused: a game of the user's own may open others.
        where = "" if error.filename is None else f"{error.filename}: "
        raise PlaceError(
            f"{folder.path} stopped after {parts.clock.images:,} images: {where}{error.strerror or error}. "
            f"{checkpoint.kept(folder.checkpoints)} {first}, then run the same command again."
        ) from error
    except KeyboardInterrupt:
        terminal.say(f"Stopped at once, after {parts.clock.images:,} images. {checkpoint.kept(folder.checkpoints)}")
        raise
