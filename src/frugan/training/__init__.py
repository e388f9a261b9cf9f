"""Training: a recipe becomes a run folder. The same call on an unfinished run continues it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import __version__, memory, recipes
from frugan.recipe import Choice, Recipe, parse_count, to_dict
from frugan.registry import UserError, load_code, suggest
from frugan.training import _giving, _observing, _resuming
from frugan.training._resuming import kernels_of

if TYPE_CHECKING:
    from frugan.build import Assembly
    from frugan.data import Dataset
    from frugan.engine.loop import Parts
    from frugan.engine.processes import Processes
    from frugan.engine.run import RunFolder

__all__ = ["default_folder", "kernels_of", "resolve", "tell_packing", "train"]


def train(
    recipe: str | Recipe,
    *,
    data: str | None = None,
    family: str | None = None,
    images: int | str | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    discriminator_family: str | None = None,
    rounds: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    init: str | Path | Mapping[str, str | Path] | None = None,
    code: str | Path | None = None,
    allow_unusable: bool = False,
    evaluate_every: int | str | None = None,
    keep_best: str | None = None,
    observers: str | Sequence[str | Choice] = (),
    quiet: bool = False,
) -> RunFolder:
    """Train a recipe and return its run folder; called again on the same folder, continue it.

    Args:
        recipe: a recipe's name, a JSON file written by a run, or a `Recipe`.
        data: a source, see ``frugan data list``; the recipe's own if left out.
        family: convolution family of the networks that make images; `discriminator_family` of the other.
        images: real images to show in all, e.g. 60000, "60k"; or `rounds` instead.
        out: the run folder; ``runs/RECIPE-DATA-FAMILY-seed-SEED`` if left out.
        changes: dotted keys, e.g. ``{"generator.width": 0.5}``.
        device: "cpu", "cuda", ...; the best there is if left out.
        init: an artefact or run whose weights the generator begins with; or network -> artefact or run, for any
            networks. One that no player trains (a teacher) needs this, and keeps these weights.
        code: a file of one's own that adds variants.
        evaluate_every: measure what would be shipped whenever so many images were seen, small and fast: see
            `frugan.evaluation.while_training`.
        keep_best: keep the checkpoint that was best by this metric ("fid", "class_coverage") as an artefact in the
            folder ``best``, and evaluate it anew in the end, by other latents. What trains on stays the last one.
        observers: names of observers of one's own, each perhaps with options ("tracker,period=5000"), see
            `frugan.engine.observers`. They look and change nothing, so a run may be continued with others.

    Raises UserError for every mistake in the above, before any data is opened where possible.
    """
    if code is not None:
        load_code(code)
    settled = resolve(
        recipe, data=data, family=family, images=images, seed=seed, changes=changes, rounds=rounds,
        discriminator_family=discriminator_family, batch_size=batch_size, precision=precision, init=init,
    )
    looks = _observing.asked(evaluate_every, keep_best, observers)
    # Told before torch allocates anything.
    memory.keep()
    from frugan import build
    from frugan.engine.precision import choose_device
    from frugan.engine.processes import join, leave
    from frugan.engine.run import RunFolder

    chosen = choose_device(device)
    assembly = build.assemble(settled, chosen)
    for note in assembly.notes:
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"frugan: {note}", file=sys.stderr)
    folder = RunFolder(out or default_folder(settled, data, family))
    processes = join(chosen)
    try:
        if not processes.leads:
            _play(assembly, folder, processes, code, allow_unusable, looks, quiet=True)
        else:
            with folder.locked():
                _play(assembly, folder, processes, code, allow_unusable, looks, quiet)
        # The others wait while the leader writes: a process that parts from one still at work can die in its threads.
        processes.wait()
    finally:
        leave()
    return folder


def resolve(
    recipe: str | Recipe,
    *,
    data: str | None = None,
    family: str | None = None,
    images: int | str | None = None,
    seed: int | None = None,
    changes: Mapping[str, Any] | None = None,
    discriminator_family: str | None = None,
    rounds: int | None = None,
    batch_size: int | None = None,
    precision: str | None = None,
    init: str | Path | Mapping[str, str | Path] | None = None,
) -> Recipe:
    """The recipe that a call of `train` with these arguments means. Raises UserError for unknown names and keys."""
    found = recipes.find(recipe) if isinstance(recipe, str) else recipe
    if family is not None:
        found = found.with_family(family)
    if discriminator_family is not None:
        found = found.with_family(discriminator_family, "discriminator")
    if data is not None:
        found = replace(found, data=replace(found.data, source=data))
    if changes:
        found = found.with_changes(changes)
    if images is not None:
        found = replace(found, images=parse_count(images), rounds=None)
    if rounds is not None:
        found = replace(found, rounds=rounds)
    if init is not None:
        found = _with_init(found, init)
    given: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "precision": precision}
    return replace(found, **{name: value for name, value in given.items() if value is not None})


def _with_init(recipe: Recipe, init: str | Path | Mapping[str, str | Path]) -> Recipe:
    """The recipe with weights for some networks to begin with: of those named, else of the one that makes images."""
    given = init if isinstance(init, Mapping) else {next(iter(recipe.makers()), "generator"): init}
    changed = dict(recipe.networks)
    for name, path in given.items():
        if name not in changed:
            raise UserError(f"--init {name}={path}: the recipe has no network '{name}'. {suggest(name, changed)}")
        changed[name] = replace(changed[name], init=str(path))
    return replace(recipe, networks=changed)


def default_folder(recipe: Recipe, data: str | None, family: str | None) -> Path:
    """``runs/mnist-factorised-seed-0``, with the data's name where it is not the recipe's own."""
    source = "" if data is None else "-" + "".join(c if c.isalnum() else "-" for c in Path(data).name.lower())
    return Path("runs") / f"{Path(recipe.name).stem}{source}{'-' + family if family else ''}-seed-{recipe.seed}"


def tell_packing(source: str, every: float = 5.0) -> Callable[[int, int], None]:
    """What to call with the images done and their number while a source is packed: a line each `every` seconds."""
    told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= every:
            told = time.monotonic()
            print(f"Packing {source} (once): {done:,} of {total:,} images", file=sys.stderr, flush=True)

    return tell


def _play(
    assembly: Assembly, folder: RunFolder, processes: Processes, code: str | Path | None, allow_unusable: bool,
    looks: _observing.Looks, quiet: bool,
) -> None:
    """Open the data, build, and play."""
    from frugan import build

    recipe = assembly.recipe
    _resuming.check(recipe, folder)
    packing = None if quiet else tell_packing(recipe.data.source)
    sets = build.datasets(recipe, allow_unusable=allow_unusable, progress=packing)
    recipe = _with_classes(recipe, sets)
    if recipe != assembly.recipe:  # the data have another number of classes than the recipe expected
        assembly = build.assemble(recipe, assembly.device)
    for stream, dataset in sets.items():
        if dataset.skipped and not quiet:
            print(
                f"frugan: {dataset.title}: {len(dataset.skipped):,} of {len(dataset.skipped) + len(dataset):,} images "
                f"cannot be used and are set aside; frugan data check {recipe.data_of(stream).source} lists them.",
                file=sys.stderr,
            )
    parts = build.parts(assembly, sets, processes, _resuming.settled_kernels(recipe, folder, assembly.device))
    with _disk(folder, parts):
        _play_on(recipe, folder, parts, sets, code, looks, quiet)


def _play_on(
    recipe: Recipe, folder: RunFolder, parts: Parts, sets: Mapping[str, Dataset], code: str | Path | None,
    looks: _observing.Looks, quiet: bool,
) -> None:
    """Continue if there is something to continue, play, keep."""
    from frugan.engine import checkpoint
    from frugan.engine.loop import play
    from frugan.engine.observers import Bar

    processes = parts.processes
    circumstances = _resuming.circumstances_of(recipe, parts)
    start = _resuming.resume(recipe, folder, parts, sets, circumstances)
    if start is None:
        given = _giving.give(recipe, parts)
        if processes.leads:
            facts = {"given": given, "code": code and str(Path(code).resolve())}
            _resuming.begin(recipe, folder, parts, sets, {**circumstances, **facts})
            folder.rewind(0)
        start = 0
    elif start >= recipe.images if recipe.rounds is None else parts.clock.rounds >= recipe.rounds:
        if not quiet:
            further = f"--images {2 * start}" if recipe.rounds is None else f"--rounds {2 * recipe.rounds}"
            print(
                f"{folder.path} is finished: {start:,} images. Train it further with {further}, "
                f"look at it with: frugan report {folder.path}"
            )
        if processes.leads:  # which it did not come to if it was stopped just then
            _observing.evaluate_best(folder, looks, parts.device, code, quiet)
        return
    elif processes.leads:
        folder.write_json(folder.recipe, {"frugan": __version__, **to_dict(recipe)})
    title = f"{recipe.name} on {next(iter(sets.values())).title}"
    bar = Bar(title, start, recipe.budget, ("discriminator.loss", "generator.loss")) if not quiet else None
    watching = [] if bar is None else [bar]
    try:
        if processes.leads:
            watching = _observing.observers(recipe, folder, parts, sets, looks, bar, title)
        came = play(
            parts, images=recipe.images if recipe.rounds is None else None, rounds=recipe.rounds,
            folder=folder.checkpoints, observers=watching,
        )
    finally:
        for observer in watching:
            getattr(observer, "close", lambda: None)()
    if not came:
        if not quiet:
            print(
                f"Interrupted after {parts.clock.images:,} images; everything is kept. Run the same command again to "
                "continue."
            )
        raise SystemExit(130)
    if processes.leads:
        _observing.evaluate_best(folder, looks, parts.device, code, quiet)
    if not quiet:
        newest = checkpoint.newest(folder.checkpoints)
        size = newest.stat().st_size / 1e6 if newest else 0
        print(
            f"Finished: {folder.path} (checkpoint: {size:.0f} MB). "
            f"Next: {_next(folder, parts)}"
        )


def _next(folder: RunFolder, parts: Parts) -> str:
    """What to type after a run has ended."""
    if "generator" in parts.game.shipped():
        return f"frugan sample {folder.path} --out samples.png, or frugan evaluate {folder.path}"
    return f"look at {folder.samples}, or frugan translate {folder.path} IMAGES --out translated"


@contextlib.contextmanager
def _disk(folder: RunFolder, parts: Parts) -> Iterator[None]:
    """Turn what the disk refuses into a line that says what to do."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder.path} could not be written ({error.strerror or error}) after {parts.clock.images:,} images. The "
            "newest checkpoint is kept. Make room, then run the same command again."
        ) from error


def _with_classes(recipe: Recipe, sets: Mapping[str, Dataset]) -> Recipe:
    """The recipe with as many classes (or attributes) as its streams' data have.

    Raises UserError where labels are needed and there are none.
    """
    first = next(iter(sets))
    streams = {name: dict(changed) for name, changed in recipe.streams.items()}
    from frugan import build

    if build.needs_labels(recipe):
        for stream, dataset in sets.items():
            if not dataset.conditions:
                raise UserError(
                    f"The recipe '{recipe.name}' needs labels and {dataset.title} has none. "
                    "Use class subfolders, a labelled source (frugan data list), or an unconditional recipe."
                )
            if stream != first or "classes" in streams.get(stream, {}):
                streams.setdefault(stream, {})["classes"] = dataset.conditions
    return replace(recipe, data=replace(recipe.data, classes=sets[first].conditions), streams=streams)
