"""Arms: what is compared, read from what the user typed; and the arm that is damaged on purpose."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from frugan.arguments import said_once
from frugan.recipe import Recipe, differences, parse_value
from frugan.registry import UserError, suggest
from frugan.training import resolve

DAMAGED = "damaged"
"""An arm whose name begins with this word was made worse on purpose. The comparison should find it worse."""

DAMAGE = 0.25
"""The damaged arm that is added has this share of the baseline's width, or else of its images."""


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: a name, and the recipe that its runs train, each with another seed.

    `control_of`: if this arm is a control, the name of the arm that it is a control for.
    """

    name: str
    recipe: Recipe
    control_of: str | None = None

    @property
    def folder(self) -> str:
        """The arm's name, changed so that a folder can have it."""
        return re.sub(r"[^a-z0-9.=_-]+", "-", self.name.lower()).strip("-.") or "arm"

    @property
    def is_damaged(self) -> bool:
        """Whether this arm was made worse on purpose."""
        return self.folder.startswith(DAMAGED)


Arms = Annotated[str | Recipe | Arm | Sequence[str | Recipe | Arm], "an arm, such as 'thin: mnist', or a list of them"]
"""What is compared. Each arm is a string as typed, a recipe, or an `Arm`."""


def parse(text: str, common: Mapping[str, Any], changes: Mapping[str, Any]) -> Arm:
    """Read an arm as typed: ``[name:] RECIPE [--family F] [--discriminator-family F] [key=value ...]``.

    Args:
        common: keyword arguments of `frugan.training.resolve`, the same for all arms.
        changes: values by dotted key, the same for all arms. The arm's own values replace them.

    Raises:
        UserError: the text does not have this form, or it names something unknown.
    """
    named = re.fullmatch(r"([^=:]+):\s+(\S.*)", text.strip(), flags=re.DOTALL)
    try:
        words = shlex.split(named[2] if named else text)
    except ValueError:
        raise UserError(f"The arm '{text}' has a quote that does not end. Close it, or leave it out.") from None
    if not words or words[0].startswith("-") or "=" in words[0]:
        raise UserError(
            f"The arm '{text}' does not begin with a recipe. Type for example: \"thin: mnist architecture.width=0.7\""
        )
    recipe, *rest = words
    families: list[tuple[str, Any]] = []
    own: list[tuple[str, Any]] = []
    spelt = [Path(recipe).stem if recipe.endswith(".json") else recipe]
    while rest:
        word = rest.pop(0)
        key, equals, value = word.removeprefix("--").replace("-", "_", 1 if word.startswith("--") else 0).partition("=")
        if not equals and word.startswith("--"):
            if not rest:
                raise UserError(f"The arm '{text}' ends with {word}. Add a name after it: {word} NAME.")
            value = rest.pop(0)
        elif not equals:
            raise UserError(
                f"The arm '{text}': '{word}' is not understood. After the recipe, an arm takes --family NAME, "
                "--discriminator-family NAME and key=value."
            )
        if key in ("family", "discriminator_family"):
            families.append((key, value))
            spelt.append(value if key == "family" else f"discriminator {value}")
        elif word.startswith("--"):
            raise UserError(f"An arm has no option '{word}'. {suggest(word, ('--family', '--discriminator-family'))}")
        else:
            own.append((key, parse_value(value)))
            spelt.append(f"{key.removeprefix('architecture.')}={value}")
    mine = said_once(own)
    # An arm's own key may reach the same by another name.
    shared = _resolve(recipe, {}, {}).outlasting(changes, mine)
    kept = {key: changes[key] for key in shared}
    resolved = _resolve(recipe, {**common, **said_once(families)}, {**kept, **mine})
    return Arm(named[1].strip() if named else " ".join(spelt), resolved)


def gather(
    arms: Sequence[str | Recipe | Arm], families: Sequence[str], common: Mapping[str, Any], changes: Mapping[str, Any]
) -> list[Arm]:
    """Read all arms. Raises UserError for fewer than two, for two of one name, or if they cannot be compared."""
    if families:
        if len(arms) != 1:
            raise UserError(
                f"--families takes one recipe and makes an arm of it for each family, but {len(arms)} recipes are "
                "given. Give one recipe, or leave --families out."
            )
        (one,) = arms
        arms = [
            one if isinstance(one, Arm) else Arm(family, _resolve(one, {**common, "family": family}, changes))
            for family in families
        ]
    gathered = [_read(arm, common, changes) for arm in arms]
    # Runs are compared after as many images; how many minutes they once were is another machine's affair.
    gathered = [replace(arm, recipe=replace(arm.recipe, minutes=None)) for arm in gathered]
    if len(gathered) < 2:
        raise UserError("A comparison needs two arms or more, e.g. frugan compare mnist --families standard,factorised")
    folders = [arm.folder for arm in gathered]
    for number, arm in enumerate(gathered):
        if arm.folder in folders[:number]:
            raise UserError(f"Two arms are called '{arm.name}'. Name one of them: \"other name: ...\".")
    first = gathered[0]
    for arm in gathered[1:]:
        # How finely an encoder sees the images changes nothing that fakes are compared with.
        lines = differences(first.recipe, arm.recipe, but=("data.finer",))
        apart = [line for line in lines if line.startswith("data.")]
        if apart:
            raise UserError(
                f"'{first.name}' and '{arm.name}' have different data ({'; '.join(apart)}), so their values cannot be "
                "compared. Give all arms the same data, e.g. with --data."
            )
    return gathered


def _read(arm: str | Recipe | Arm, common: Mapping[str, Any], changes: Mapping[str, Any]) -> Arm:
    if isinstance(arm, Arm):
        return arm
    if isinstance(arm, str):
        return parse(arm, common, changes)
    recipe = _resolve(arm, common, changes)
    return Arm(recipe.name, recipe)


def _resolve(recipe: str | Recipe, common: Mapping[str, Any], changes: Mapping[str, Any]) -> Recipe:
    """The recipe of an arm. Raises UserError for a seed: the comparison gives every arm the same ones."""
    if "seed" in changes:
        raise UserError(f"seed={changes['seed']}: every arm is trained with each of --seeds. Leave seed= out.")
    return resolve(recipe, **common, changes=changes)


def width_of(recipe: Recipe) -> float | None:
    """The option `width` of the network that makes images, a factor. None if its architecture has no such option."""
    from frugan import build, nets

    planned = build.blueprints(recipe)
    for name in recipe.makers():
        spec = recipe.networks[name]
        known = nets.options(spec.architecture, planned[name].part)
        if "width" not in known:
            return None
        return float(spec.options.get("width", known["width"]))
    return None


def damage(baseline: Arm) -> Arm:
    """Make the baseline worse: a generator of a quarter of the width, or else a quarter of the training."""
    recipe, width = baseline.recipe, width_of(baseline.recipe)
    if width is not None:
        thin = float(f"{DAMAGE * width:.3g}")
        return Arm(f"{DAMAGED} (width {thin:g})", recipe.with_changes({"architecture.width": thin}))
    rounds = None if recipe.rounds is None else max(1, int(DAMAGE * recipe.rounds))
    images = max(recipe.batch_size, int(DAMAGE * recipe.images))
    return Arm(f"{DAMAGED} ({100 * DAMAGE:g} % of the training)", replace(recipe, images=images, rounds=rounds))
