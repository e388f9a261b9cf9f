"""What is trained where no recipe is named: `small`, with settings that suit the images, the machine and the time.

    the folder --data.look--> counts, shapes, colours, classes --settings--> key=value, each with its reason
    --images that the minutes allow, measured--> 64 pixels, or 32 where they are too few

Each setting is printed as it would be typed, and what the user types holds instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from frugan import recipes
from frugan.recipe import Recipe
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.data import Look

RECIPE, MINUTES = "small", 20.0
"""What is trained, and for how long unless --minutes, --images or --rounds says otherwise."""

FEWEST = 20
"""Of fewer images a generator learns nothing but copies."""

SIDES, SHORTEST, SMALLER = (64, 32), 500, 0.75
"""The shorter side of the images; the next one if the time allows fewer rounds than this, or if that of the photos is
less than this share of it."""

ASPECTS = {1.0: (1, 1), 1.25: (5, 4), 1.5: (3, 2), 2.0: (2, 1)}
"""Longer side over shorter side: such images can be halved until 4 pixels are left on the shorter side."""

LAST_RATE = 0.1
"""What is left of the learning rates at the end of the budget."""

LABELS = {"generator.labels": True, "discriminator.labels": True}
"""Both networks are told labels, or none."""

LABELLED = 20
"""Labels are used if at least half of the classes have so many images each."""


class Setting(NamedTuple):
    """One or more keys of the recipe with their values, and why they are as they are."""

    values: Mapping[str, Any]
    why: str


def choose(
    recipe: Recipe, given: Mapping[str, Any], fit: Callable[[Recipe], Recipe], say: Callable[[str], None]
) -> Recipe:
    """The recipe with settings for its data, and with the images that the time allows.

    Args:
        recipe: `small` with the source of its data, and everything that the user has said.
        given: what the user has said, by dotted key, under any of its names; it holds whatever the images are.
        fit: a recipe with minutes -> the same with as many images as they allow, see `_minutes.with_images`.
        say: takes each line about what was chosen.

    Raises UserError for images of which nothing can be learnt.
    """
    from frugan import data

    source = recipe.data.source
    look = data.look(source, split=recipe.data.split, only=recipe.data.only, limit=recipe.data.limit, announce=say)
    check(source, look)
    if recipe.minutes is None and not {"images", "rounds"} & set(given):
        recipe = replace(recipe, minutes=MINUTES)
    shape, often = " x ".join(map(str, look.usual[::-1])), "most often" if look.often else "of many sizes, such as"
    say(f"{source}: {look.count:,} images, {often} {shape}. No recipe is named, so '{recipe.name}' is trained with")
    settings = [_left(one, recipe, given) for one in (*_of_images(look), _augmentation(look))]
    recipe, size = _sized(recipe, look, settings, given, fit, say)
    falling = _left(_falling(recipe.budget), recipe, given)
    recipe = recipe.with_changes(falling.values)
    for values, why in (size, *settings, falling):
        if values:
            say(f"  {' '.join(f'{key}={_typed(value)}' for key, value in values.items())}   {why}")
    if recipe.data.holdout is None and not data.usual_holdout(source) and not data.has_split(source, "test"):
        say("  So few images are all trained on, so nothing can tell if they are learnt by heart: --holdout 20 can.")
    rounds = recipe.whole_rounds
    length = f"{recipe.minutes:g} minutes, about " if recipe.minutes is not None else ""
    say(f"  for {length}{rounds:,} rounds (batch_size={recipe.batch_size}). Each key=value can be typed otherwise.")
    return recipe


def _left(setting: Setting, recipe: Recipe, given: Mapping[str, Any]) -> Setting:
    """The setting without what the user has said. A discriminator is told labels as its generator is."""
    left = recipe.apart_from(setting.values, given)
    if setting.values.keys() == LABELS.keys() and len(left) == 1:
        (said,) = LABELS.keys() - set(left)
        told = recipe.networks[said.partition(".")[0]].labels
        return Setting({left[0]: told}, f"as {said} is")
    return Setting({key: setting.values[key] for key in left}, setting.why)


def check(source: str, look: Look) -> None:
    """Raise UserError for images of which nothing can be learnt: too few, or all the same."""
    if look.count < FEWEST:
        raise UserError(
            f"--data {source} holds {look.count} image{'s' if look.count != 1 else ''}; a generator needs {FEWEST} or "
            "more, better 500. Add images, or name another folder."
        )
    if look.alike:
        raise UserError(
            f"--data {source}: all {look.looked_at} images that were looked at are the same, so there is nothing to "
            "learn. Give a folder of different images."
        )


def _sized(
    recipe: Recipe, look: Look, settings: list[Setting], given: Mapping[str, Any],
    fit: Callable[[Recipe], Recipe], say: Callable[[str], None],
) -> tuple[Recipe, Setting]:
    """The recipe at the largest size that the time allows, with its images, and why."""
    values = {key: value for setting in settings for key, value in setting.values.items()}
    ratio, shape = _aspect(look.usual)
    sides = [side for side in SIDES if min(look.usual) >= SMALLER * side] or [SIDES[-1]]
    allowed: list[str] = []
    for side in sides:
        height, width = _sides(side, ratio, upright=look.usual[0] >= look.usual[1])
        size: Any = height if height == width else [height, width]
        own = _left(Setting({"data.size": size}, shape), recipe, given)
        changed = recipe.with_changes({**own.values, **values})
        if recipe.minutes is None:
            return changed, own
        say(f"  (Measuring how fast it trains here at {side if own.values else recipe.data.size} pixels.)")
        fitted = fit(changed)
        allowed.append(f"{fitted.whole_rounds:,} rounds at {side} pixels")
        if not own.values or fitted.whole_rounds >= SHORTEST or side == sides[-1]:
            return fitted, own._replace(why=f"{shape}; the time allows {', '.join(allowed)}")
    raise AssertionError("unreachable")


def _aspect(usual: tuple[int, int]) -> tuple[float, str]:
    """The ratio of the sides in `ASPECTS` that is nearest to that of an image, and what becomes of its shape."""
    own = max(usual) / min(usual)
    ratio = min(ASPECTS, key=lambda one: abs(one / own - 1))
    parts = ":".join(map(str, ASPECTS[ratio]))
    return ratio, f"sides {parts}, as the images have them" if abs(ratio / own - 1) < 0.02 else (
        f"sides {parts}, nearest to the images'; the longer side is cut"
    )


def _sides(side: int, ratio: float, *, upright: bool) -> tuple[int, int]:
    """(height, width) with this shorter side."""
    longer = round(side * ratio)
    return (longer, side) if upright else (side, longer)


def _of_images(look: Look) -> list[Setting]:
    """Channels and labels."""
    channels = Setting({"data.channels": look.channels}, "the images are grey" if look.channels == 1 else "colour")
    if not look.classes:
        return [channels]
    enough = sum(count >= LABELLED for count in look.classes.values())
    if 2 * enough >= len(look.classes) >= 2:
        smallest = min(look.classes, key=lambda name: look.classes[name])
        why = f"there are {len(look.classes)} classes; the smallest, {smallest}, has {look.classes[smallest]:,} images"
        return [channels, Setting(LABELS, why)]
    why = f"most of the {len(look.classes)} classes have fewer than {LABELLED} images"
    return [channels, Setting(dict.fromkeys(LABELS, False), why)]


def _augmentation(look: Look) -> Setting:
    """Stronger changes for fewer images, so that the discriminator cannot learn them by heart."""
    strength = augmentation(look.count)
    return Setting({"augment": strength}, f"so that {look.count:,} images are not learnt by heart")


def augmentation(count: int) -> str:
    """The augmentation for so many images."""
    if count >= 20_000:
        return "none"
    if count >= 500:
        return "diff_augment,colour=false,cutout=0"
    return "diff_augment"


def _falling(images: int) -> Setting:
    """Rates that fall over the second half of a budget, to a tenth: after it, the run can still be trained further."""
    schedule = f"linear,start={images // 2},end={images},to={LAST_RATE}"
    values = {f"players.{name}.schedule": schedule for name in recipes.find(RECIPE).players}
    return Setting(values, "rates fall over the second half, so that the last images are the best")


def base(source: str | None) -> Recipe:
    """The recipe that is trained if none is named, on these data. Raises UserError without data."""
    if source is None:
        raise UserError(
            "Say what to train: a folder of your own images (--data FOLDER), or a recipe (frugan recipes lists them)."
        )
    recipe = recipes.find(RECIPE)
    return replace(recipe, data=replace(recipe.data, source=source))


def _typed(value: Any) -> str:
    """A value as it is typed after its key."""
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, list) else f"{value}"
