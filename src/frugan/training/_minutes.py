"""Minutes as a budget: how many images a recipe shows in so much training time here, measured over a few rounds.

The budget of a run stays a number of images, so that it can be continued and repeated exactly, and schedules follow it.
Minutes are the run's own seconds, as its log counts them: rounds only, without previews and checkpoints.
"""

from __future__ import annotations

import itertools
import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from frugan.recipe import Recipe, from_run
from frugan.registry import UserError
from frugan.training import _holding
from frugan.training._opening import open_data

if TYPE_CHECKING:
    import torch

    from frugan.engine.loop import Parts
    from frugan.engine.run import RunFolder

WARM_ROUNDS, SECONDS = 2, 1.5
"""Rounds that are played before the clock counts, and how long it counts at least."""

PLACES = 4
"""At how many places of the budget a round is timed, if networks grow: later rounds take longer."""


def check(minutes: float) -> float:
    """The minutes that were asked for. Raises UserError unless they are above 0."""
    if not (minutes > 0 and math.isfinite(minutes)):
        raise UserError(f"--minutes {minutes:g}: give how long to train, above 0, e.g. --minutes 20.")
    return minutes


def with_images(
    recipe: Recipe, folder: RunFolder | None, device: torch.device, allow_unusable: bool = False, quiet: bool = False
) -> Recipe:
    """A recipe with minutes as one with the images that can be shown in them; any other recipe as it is.

    A run that was begun with as many minutes keeps its images. With other minutes its own speed so far says how many.

    Raises UserError for minutes that have passed already, and under `torchrun`, where processes would disagree.
    """
    minutes = recipe.minutes
    if minutes is None:
        return recipe
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("--minutes is measured by one process. With several, give --images.")
    if folder is None or not folder.exists():
        images = _images_in(recipe, 60 * minutes, device, allow_unusable, quiet)
        return recipe.with_images(images)
    before, lines = from_run(folder), [line for line in folder.lines(folder.log) if "seconds" in line]
    recipe = _falling_as(before, recipe)
    if before.minutes == minutes or not lines:
        return replace(recipe, images=before.images, rounds=before.rounds)
    shown, seconds = lines[-1]["images"], lines[-1]["seconds"]
    left = 60 * minutes - seconds
    if left <= 0:
        raise UserError(
            f"{folder.path} has trained for {seconds / 60:.1f} minutes already, so --minutes {minutes:g} is "
            "over. Give more minutes to train it further."
        )
    return replace(recipe, images=_whole(recipe, shown + left * shown / seconds), rounds=None)


def _falling_as(before: Recipe, recipe: Recipe) -> Recipe:
    """The recipe with the schedules of its run where its own end with its budget: the run began with another budget."""
    players = {
        name: replace(one, schedule=before.players[name].schedule)
        if name in before.players and one.schedule.options.get("end") == recipe.budget else one
        for name, one in recipe.players.items()
    }
    return replace(recipe, players=players)


def _images_in(recipe: Recipe, seconds: float, device: torch.device, allow_unusable: bool, quiet: bool) -> int:
    """How many images the recipe shows in so many seconds of training. The data are opened, and packed if needed."""
    costs = _seconds_per_image(_parts(recipe, device, allow_unusable, quiet), recipe.images)
    share = recipe.images / len(costs)  # each holds for one part of the recipe's own budget, the last for what follows
    shown = 0.0
    for cost in costs[:-1]:
        if seconds <= cost * share:
            return _whole(recipe, shown + seconds / cost)
        shown, seconds = shown + share, seconds - cost * share
    return _whole(recipe, shown + seconds / costs[-1])


def _seconds_per_image(parts: Parts, budget: int) -> list[float]:
    """Seconds for each image at one place of the budget, or at several in order if a network grows."""
    grows = any(hasattr(network, "grow") for network in parts.game.networks.values())
    return [_timed(parts, place * budget // PLACES) for place in range(PLACES if grows else 1)]


def _parts(recipe: Recipe, device: torch.device, allow_unusable: bool, quiet: bool) -> Parts:
    """The parts of a run of this recipe that is not kept."""
    from frugan import build, kernels

    # The same images are held out as in the run, so that its data are packed once.
    assembly = _holding.resolve(build.assemble(recipe, device), None, lambda line: None)
    assembly, sets = open_data(assembly, allow_unusable, quiet)
    parts = build.parts(assembly, sets, kernels=kernels.resolve(recipe.kernels, device, recipe.whole_rounds))
    for network in parts.trained().values():
        network.train()
    return parts


def _timed(parts: Parts, images: int) -> float:
    """Seconds for each image of rounds that follow after so many images."""
    from frugan.engine.loop import catch_up, play_round
    from frugan.games import cycle_of

    parts.clock.images = images
    for _ in range(WARM_ROUNDS):
        play_round(parts)
    catch_up(parts)
    cycle = cycle_of(parts.game)
    shown, spent = parts.clock.images, parts.clock.seconds
    for number in itertools.count(1):
        play_round(parts)
        if number % cycle == 0 and parts.clock.seconds - spent >= SECONDS:
            catch_up(parts)
            return (parts.clock.seconds - spent) / (parts.clock.images - shown)
    raise AssertionError("unreachable")


def _whole(recipe: Recipe, images: float) -> int:
    """So many images in whole rounds, at least one."""
    return max(1, round(images / recipe.batch_size)) * recipe.batch_size
