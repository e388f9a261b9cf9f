"""Training: a recipe becomes a run folder. The same call on an unfinished run continues it."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frugan import __version__, memory, recipes
from frugan.recipe import Recipe, differences, from_run, parse_count, to_dict
from frugan.registry import UserError, load_code

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from frugan.data import Dataset
    from frugan.engine.loop import Parts
    from frugan.engine.observers import Bar, Observer
    from frugan.engine.processes import Processes
    from frugan.engine.run import RunFolder

PREVIEWS = 64
HEALTH = 128


class Looks(NamedTuple):
    """Evaluation while training: every so many images, and the metric whose best checkpoint is kept, if any."""

    every: int
    keep_best: str | None


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
    init: str | Path | None = None,
    code: str | Path | None = None,
    allow_unusable: bool = False,
    evaluate_every: int | str | None = None,
    keep_best: str | None = None,
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
        init: an artefact or run whose weights the generator begins with.
        code: a file of one's own that adds variants.
        evaluate_every: measure what would be shipped whenever so many images were seen, small and fast: see
            `frugan.evaluation.approximate`.
        keep_best: keep the checkpoint that was best by this metric ("fid", "class_coverage") as an artefact in the
            folder ``best``, and evaluate it anew in the end, by other latents. What trains on stays the last one.

    Raises UserError for every mistake in the above, before any data is opened where possible.
    """
    if code is not None:
        load_code(code)
    settled = resolve(
        recipe, data=data, family=family, images=images, seed=seed, changes=changes, rounds=rounds,
        discriminator_family=discriminator_family, batch_size=batch_size, precision=precision,
    )
    looks = _looks(evaluate_every, keep_best)
    # Told before torch allocates anything.
    memory.keep()
    from frugan import build
    from frugan.engine.precision import choose_device
    from frugan.engine.processes import join, leave
    from frugan.engine.run import RunFolder

    for warning in build.check(settled):
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"frugan: {warning}", file=sys.stderr)
    folder = RunFolder(out or default_folder(settled, data, family))
    chosen = choose_device(device)
    processes = join(chosen)
    try:
        if not processes.leads:
            _play(settled, folder, chosen, processes, init, code, allow_unusable, looks, quiet=True)
        else:
            with folder.locked():
                _play(settled, folder, chosen, processes, init, code, allow_unusable, looks, quiet)
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
    given: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "precision": precision}
    return replace(found, **{name: value for name, value in given.items() if value is not None})


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
    recipe: Recipe, folder: RunFolder, device: torch.device, processes: Processes, init: str | Path | None,
    code: str | Path | None, allow_unusable: bool, looks: Looks | None, quiet: bool,
) -> None:
    """Open the data, build, and play."""
    from frugan import build

    _check_folder(recipe, folder)
    packing = None if quiet else tell_packing(recipe.data.source)
    sets = build.datasets(recipe, allow_unusable=allow_unusable, progress=packing)
    recipe = _with_classes(recipe, sets)
    for stream, dataset in sets.items():
        if dataset.skipped and not quiet:
            print(
                f"frugan: {dataset.title}: {len(dataset.skipped):,} of {len(dataset.skipped) + len(dataset):,} images "
                f"cannot be used and are set aside; frugan data check {recipe.data_of(stream).source} lists them.",
                file=sys.stderr,
            )
    parts = build.parts(recipe, sets, device, processes, _kernels(recipe, folder, device))
    with _disk(folder, parts):
        _play_on(recipe, folder, parts, sets, init, code, looks, quiet)


def _play_on(
    recipe: Recipe, folder: RunFolder, parts: Parts, sets: Mapping[str, Dataset], init: str | Path | None,
    code: str | Path | None, looks: Looks | None, quiet: bool,
) -> None:
    """Continue if there is something to continue, play, keep."""
    from frugan.engine import checkpoint
    from frugan.engine.loop import play
    from frugan.engine.observers import Bar

    processes = parts.processes
    circumstances = _circumstances(recipe, parts)
    start = _continue(folder, parts, sets, circumstances)
    if start is None:
        if init is not None:
            _initialise(parts, init)
        if processes.leads:
            given = {"init": init and str(init), "code": code and str(Path(code).resolve())}
            _write_facts(recipe, folder, parts, sets, {**circumstances, **given})
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
            _evaluate_best(folder, looks, parts.device, code, quiet)
        return
    elif processes.leads:
        folder.write_json(folder.recipe, {"frugan": __version__, **to_dict(recipe)})
    title = f"{recipe.name} on {next(iter(sets.values())).title}"
    bar = Bar(title, start, recipe.budget, ("discriminator.loss", "generator.loss")) if not quiet else None
    try:
        observers = _observers(recipe, folder, parts, sets, looks, bar) if processes.leads else []
        came = play(
            parts, images=recipe.images if recipe.rounds is None else None, rounds=recipe.rounds,
            folder=folder.checkpoints, observers=observers,
        )
    finally:
        if bar:
            bar.close()
    if not came:
        if not quiet:
            print(
                f"Interrupted after {parts.clock.images:,} images; everything is kept. Run the same command again to "
                "continue."
            )
        raise SystemExit(130)
    if processes.leads:
        _evaluate_best(folder, looks, parts.device, code, quiet)
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
    if any(network.labels for network in recipe.networks.values()):
        for stream, dataset in sets.items():
            if not dataset.conditions:
                raise UserError(
                    f"The recipe '{recipe.name}' needs labels and {dataset.title} has none. "
                    "Use class subfolders, a labelled source (frugan data list), or an unconditional recipe."
                )
            if stream != first or "classes" in streams.get(stream, {}):
                streams.setdefault(stream, {})["classes"] = dataset.conditions
    return replace(recipe, data=replace(recipe.data, classes=sets[first].conditions), streams=streams)


def _check_folder(recipe: Recipe, folder: RunFolder) -> None:
    """Refuse other settings in an existing folder, listing them. Raises UserError."""
    from frugan.engine.clock import follows_the_end

    if not folder.exists():
        if not folder.is_free():
            raise UserError(f"{folder.path} holds something that is not a run; give another --out.")
        return
    before = from_run(folder)
    if recipe.kernels == kernels_of(folder):  # what "auto" meant may be said outright
        before = replace(before, kernels=recipe.kernels)
    counts = [f"streams.{stream}.classes" for stream in {**before.streams, **recipe.streams}]
    changed = differences(before, recipe, but=("images", "rounds", "data.classes", *counts))
    if changed:
        listed = "; ".join(changed)
        raise UserError(
            f"{folder.path} was begun with other settings ({listed}). Give another --out, or the settings it was begun "
            "with."
        )
    longer = before.images != recipe.images or before.rounds != recipe.rounds
    schedules = {name: player.schedule for name, player in recipe.players.items()}
    bound = [name for name, schedule in schedules.items() if follows_the_end(schedule.name, schedule.options)]
    if longer and bound:
        raise UserError(
            f"{folder.path} cannot be trained to another length: the schedule of '{bound[0]}' depends on the end. "
            "Give another --out, or a schedule with its own end, e.g. players.generator.schedule=linear,end=500000."
        )


def _continue(
    folder: RunFolder, parts: Parts, sets: Mapping[str, Dataset], circumstances: Mapping[str, Any]
) -> int | None:
    """Load the newest checkpoint, if there is one; the images it had seen, or None for a new run."""
    from frugan.engine import checkpoint

    newest = checkpoint.newest(folder.checkpoints) if folder.exists() else None
    # No process may find what the first one is about to write.
    parts.processes.wait()
    if newest is None:
        return None
    facts = folder.read_json(folder.facts)
    for stream, dataset in sets.items():
        begun = facts["data"][stream]
        if begun["hash"] != dataset.content_hash:
            raise UserError(
                f"{folder.path} was begun on {begun['title']}, which is now {dataset.title}. "
                "Give another --out, or the data it was begun with."
            )
    tensors, rest = checkpoint.read(newest)
    checkpoint.restore(parts.stateful(), tensors, rest)
    if parts.processes.leads:
        folder.rewind(parts.clock.images)
        changed = [f"{name} {facts.get(name)} -> {it}" for name, it in circumstances.items() if facts.get(name) != it]
        if changed:
            print(
                f"Continuing under other circumstances ({'; '.join(changed)}): results may differ in their last bits.",
                file=sys.stderr,
            )
    parts.processes.wait()
    return parts.clock.images


def _initialise(parts: Parts, init: str | Path) -> None:
    """Begin with the weights of an artefact. Raises UserError if its network is another."""
    from frugan.artefact import load

    shipped = next(iter(parts.game.shipped().values())).network
    state = load(init).module.state_dict()
    network = parts.game.networks[shipped]
    mine = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    theirs = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if mine != theirs:
        odd = sorted({name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)})
        raise UserError(
            f"--init {init}: its generator is another network ({odd[0]} differs); train the same recipe and family."
        )
    network.load_state_dict(state)
    if shipped in parts.averages:
        parts.averages[shipped].load_state_dict(network.state_dict())


def _observers(
    recipe: Recipe, folder: RunFolder, parts: Parts, sets: Mapping[str, Dataset], looks: Looks | None,
    bar: Bar | None,
) -> list[Observer]:
    """Who looks at this run: the log, previews, health, the progress bar."""
    import torch

    from frugan import build, seeds
    from frugan.batch import Batch, from_bytes
    from frugan.engine.health import Finding, Health
    from frugan.engine.observers import Log, Previews

    stream = next(iter(sets))
    device = parts.device
    classes = recipe.data.classes
    batches = parts.batches

    def like(count: int) -> Batch:
        first = batches.first(stream, count)
        labels = first.labels
        if labels is not None and labels.dim() == 2:
            # Combinations of attributes as they occur, though for other images than those that a translator is given.
            labels = labels.roll(1, 0)
        elif labels is not None:
            labels = torch.arange(count, device=device) % classes if classes else None
        return Batch(first.images, labels)

    def tell(finding: Finding) -> None:
        text = f"After {finding.images:,} images: {finding.text}"
        if bar:
            bar.say(text)

    # What is looked at are made images, and real ones beside them: both in the range of the made ones.
    image_range = build.made_range(recipe, parts.game.networks)
    # Drawn from everywhere: the first images of a folder are all of one class. But a translator changes those that it
    # is given, which may lie nearer together than all do: its images are set against these.
    drawn = torch.randperm(len(sets[stream]), generator=seeds.generator(recipe.seed, "health"))[:HEALTH]
    if "generator" not in parts.game.shipped():
        drawn = torch.arange(HEALTH) % len(sets[stream])
    real = from_bytes(sets[stream].images.index_select(0, drawn), image_range).to(device)
    shown = {stream: like(PREVIEWS)}
    if hasattr(parts.game, "preview"):
        shown = {name: batches.first(name, PREVIEWS) for name in sets}
    observers: list[Observer] = [
        Log(folder),
        Previews(folder, shown, image_range, recipe.seed),
        Health(
            folder, real, like(HEALTH), recipe.seed, tell,
            classify=_classifier(sets[stream], image_range), classes=classes,
        ),
    ]
    if looks is not None:
        from frugan.engine.observers import every
        from frugan.evaluation import approximate

        observers.append(
            approximate.observer(
                folder, sets, recipe.seed, every(looks.every), best_by=looks.keep_best, device=str(device),
                tell=bar.say if bar else lambda line: None,
            )
        )  # fmt: skip
    return [*observers, bar] if bar else observers


def _looks(evaluate_every: int | str | None, keep_best: str | None) -> Looks | None:
    """What was asked of evaluation while training. Raises UserError."""
    if evaluate_every is None:
        if keep_best is not None:
            raise UserError(f"--keep-best {keep_best} chooses among evaluations; say how often: --evaluate-every 50k")
        return None
    from frugan.evaluation import approximate

    approximate.check(keep_best)
    return Looks(parse_count(evaluate_every), keep_best)


def _evaluate_best(
    folder: RunFolder, looks: Looks | None, device: torch.device, code: str | Path | None, quiet: bool
) -> None:
    """Measure the best checkpoint, if it was to be kept, on fresh samples: it was chosen for its luck with others."""
    if looks is None or looks.keep_best is None:
        return
    from frugan.evaluation import approximate, evaluate

    if not (folder.path / approximate.BEST).is_dir():
        return
    for value in evaluate(folder.path / approximate.BEST, metrics=[looks.keep_best], device=str(device), code=code):
        if not quiet:
            number = value["values"][value["headline"]]
            chosen = f"{value['protocol']['checkpoint']}, after {value['images']:,} images"
            print(f"{folder.path / approximate.BEST} ({chosen}), on fresh samples: {value['metric']} {number:.4g}")


def _classifier(dataset: Dataset, image_range: tuple[float, float]) -> Callable[[Tensor], Tensor] | None:
    """Images to class numbers, if an evaluation has trained a classifier for these data; training waits for none."""
    from frugan import views
    from frugan.batch import to_bytes

    if dataset.attributes or not views.is_kept("classifier", dataset):
        return None
    view = views.build("classifier", dataset=dataset)

    def classify(images: Tensor) -> Tensor:
        told = view.look(to_bytes(images, image_range)).log_probabilities
        assert told is not None  # a classifier tells probabilities
        return told.argmax(1)

    return classify


def _kernels(recipe: Recipe, folder: RunFolder, device: torch.device) -> str:
    """The mode of kernels that a run was begun with, else the one it begins with."""
    from frugan import kernels

    return kernels_of(folder) or kernels.settle(recipe.kernels, device, recipe.whole_rounds)


def kernels_of(folder: RunFolder) -> str | None:
    """The mode of kernels that a run was begun with, which "auto" in its recipe does not tell; None before it began."""
    if not (folder.exists() and folder.facts.is_file()):
        return None
    return folder.read_json(folder.facts).get("kernels", "plain")


def _circumstances(recipe: Recipe, parts: Parts) -> dict[str, Any]:
    """What a run's last bits depend on besides its recipe."""
    import torch

    from frugan import costs
    from frugan.engine.precision import resolve as resolve_precision

    return {
        **parts.kernels.circumstances(),
        "device": str(parts.device), "machine": costs.processor(), "processes": parts.processes.world,
        "precision": resolve_precision(recipe.precision, parts.device), "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def _write_facts(
    recipe: Recipe, folder: RunFolder, parts: Parts, sets: Mapping[str, Dataset], facts: Mapping[str, Any]
) -> None:
    """Begin a run folder: the recipe, and what is known about this run besides."""
    shipped = parts.game.shipped()
    folder.write_json(folder.recipe, {"frugan": __version__, **to_dict(recipe)})
    more = {
        "shipped": {role: asdict(item) for role, item in shipped.items()},
        "data": {
            stream: {
                "name": dataset.name, "split": dataset.split, "count": len(dataset.images),
                "hash": dataset.content_hash, "title": dataset.title,
                "source": recipe.data_of(stream).source, "classes": list(dataset.classes),
                "attributes": list(dataset.attributes),
            }
            for stream, dataset in sets.items()
        },
    }
    folder.write_json(folder.facts, {"frugan": __version__, **facts, **more})
