"""The observers of a run while it trains, and the evaluation of its best checkpoint at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from frugan import terminal
from frugan.recipe import Choice, Recipe, parse_choices, parse_count
from frugan.registry import UserError

if TYPE_CHECKING:
    import torch

    from frugan.data import Dataset
    from frugan.engine.health import Judged
    from frugan.engine.loop import Parts
    from frugan.engine.observers import Bar, Observer
    from frugan.engine.run import RunFolder
    from frugan.games import Game

PREVIEWS = 64
HEALTH = 128


class Looks(NamedTuple):
    """What the user asked for: evaluations while training, a best checkpoint, and own observers.

    Attributes:
        every: evaluate after every so many images; None for never.
        keep_best: the metric whose best checkpoint is kept, if any.
        own: the user's own observers.
    """

    every: int | None
    keep_best: str | None
    own: tuple[Choice, ...]


def asked(
    evaluate_every: int | str | None, keep_best: str | None, own: str | Sequence[str | Choice] = ()
) -> Looks:
    """Check the options for evaluation and observers while training, and return them. Raises UserError."""
    chosen = parse_choices(own)
    if chosen:
        from frugan.engine import observers as known

        for choice in chosen:
            known.check(choice.name, choice.options)
    if evaluate_every is None:
        if keep_best is not None:
            raise UserError(
                f"--keep-best {keep_best} chooses among evaluations while training. Say how often to evaluate: "
                "--evaluate-every 50k"
            )
        return Looks(None, None, chosen)
    from frugan.evaluation import while_training

    while_training.check_metric(keep_best)
    return Looks(parse_count(evaluate_every), keep_best, chosen)


def observers(
    recipe: Recipe, folder: RunFolder, parts: Parts, sets: Mapping[str, Dataset], looks: Looks,
    bar: Bar | None, title: str,
) -> list[Observer]:
    """All observers of this run: log, previews, health, evaluation, the user's own, and the progress bar."""
    import torch

    from frugan import build, games, seeds
    from frugan.batch import Batch, from_bytes
    from frugan.engine.health import UNTRAINED, Finding, Health, titled
    from frugan.engine.observers import Guarded, Log, Previews, Watched, find

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
        if bar and finding.kind != UNTRAINED:
            bar.say(f"After {finding.images:,} images: {finding.text}")
        elif bar and not recipe.ended(parts.clock.images, parts.clock.rounds):  # at the end `tell_untrained` says it
            bar.say(f"This run does not train so far: {finding.text}")

    # What is looked at are made images, and real ones beside them: both in the range of the made ones.
    image_range = build.made_range(recipe, parts.game.networks)
    # Drawn from everywhere: the first images of a folder are all of one class. But a translator changes those that it
    # is given, which may lie nearer together than all do: its images are set against these.
    drawn = torch.randperm(len(sets[stream]), generator=seeds.generator(recipe.seed, "health"))[:HEALTH]
    translates = "generator" not in parts.game.shipped()
    if translates:
        drawn = torch.arange(HEALTH) % len(sets[stream])
    real = from_bytes(sets[stream].images.index_select(0, drawn), image_range).to(device)
    shown = {stream: like(PREVIEWS)}
    if hasattr(parts.game, "preview"):
        shown = {name: batches.first(name, PREVIEWS) for name in sets}
    watching: list[Observer] = [Log(folder)]
    if any(games.SHIPPED[role.partition("_")[0]] in games.MAKERS for role in parts.game.shipped()):
        watching += [
            Previews(
                folder, shown, image_range, recipe.seed, title=lambda images: titled(images, folder.lines(folder.log))
            ),
            Health(
                folder, real, like(HEALTH), recipe.seed, tell,
                translates=translates, seen=parts.seen,
                judged=_judged(recipe, stream, parts, sets[stream]),
            ),
        ]
    if looks.every is not None:
        from frugan.engine.observers import every
        from frugan.evaluation import while_training

        watching.append(
            while_training.observer(
                folder, sets, recipe.seed, every(looks.every), best_by=looks.keep_best, device=str(device),
                tell=bar.say if bar else lambda line: None,
            )
        )  # fmt: skip

    def say(line: str) -> None:
        if bar:
            bar.say(line)
        else:
            terminal.tell(line)

    watched = Watched(folder, recipe, title, parts.clock.images, recipe.budget, shown, image_range, say)
    for choice in looks.own:
        watching.append(Guarded(choice.name, find(choice.name, watched, **choice.options), say))
    return [*watching, bar] if bar else watching


def open_judged(recipe: Recipe, game: Game, stream: str, dataset: Dataset) -> Dataset | None:
    """The held-out images that a discriminator scores while it trains with few images; else None."""
    from frugan import build
    from frugan.engine.health import FEW

    if "generator" not in game.shipped() or len(dataset) >= FEW or not hasattr(game, "score_images"):
        return None
    try:
        return build.open_held_out(recipe.data_of(stream), limit=HEALTH)
    except UserError:
        return None  # evaluation will say what is wrong with them


def _judged(recipe: Recipe, stream: str, parts: Parts, dataset: Dataset) -> Judged | None:
    """Real images by which it is seen whether the discriminator learns few training images by heart."""
    import torch

    from frugan import seeds
    from frugan.batch import Batch, from_bytes
    from frugan.engine.health import FEWEST_HELD_OUT, Judged

    held_out = open_judged(recipe, parts.game, stream, dataset)
    if held_out is None or min(len(held_out), len(dataset)) < FEWEST_HELD_OUT:
        return None
    count = min(len(held_out), len(dataset), HEALTH)

    def drawn(images: Dataset) -> Batch:
        rows = torch.randperm(len(images), generator=seeds.generator(recipe.seed, "health", images.split))[:count]
        labels = None if images.labels is None else images.labels.index_select(0, rows).to(parts.device)
        pixels = from_bytes(images.images.index_select(0, rows), parts.batches.image_range).to(parts.device)
        return Batch(pixels, labels)

    return Judged(drawn(dataset), drawn(held_out))


def tell_untrained(folder: RunFolder, quiet: bool) -> None:
    """Print that a finished run did not train, if its log says so."""
    from frugan.engine.health import find_untrained

    finding = find_untrained(folder.lines(folder.log), ended=True)
    if finding is not None and not quiet:
        terminal.say(f"This run did not train: {finding.text}")


def evaluate_best(
    folder: RunFolder, looks: Looks, device: torch.device, quiet: bool
) -> None:
    """Evaluate the best checkpoint, if one is kept, with new samples: the value that chose it is too good."""
    if looks.keep_best is None:
        return
    from frugan.evaluation import evaluate, while_training

    if not (folder.path / while_training.BEST).is_dir():
        return
    values = evaluate(
        folder.path / while_training.BEST, metrics=[looks.keep_best], device=str(device),
        progress=None if quiet else terminal.tell,
    )  # fmt: skip
    for value in values:
        if not quiet:
            number = value["values"][value["headline"]]
            chosen = f"{value['protocol']['checkpoint']}, after {value['images']:,} images"
            best = folder.path / while_training.BEST
            terminal.say(f"{best} ({chosen}), on fresh samples: {value['metric']} {number:.4g}")
