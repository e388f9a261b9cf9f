"""The plan file: written before the first run, kept to, and completed before the first run of the test.

What is asked for stands in it at once; what has to be measured first (control arms, budgets in seconds, the margin from
pilot runs) is added under ``fixed`` before any run of the test begins. Nothing in it follows from the test's results:

    as long as no run has begun            another plan replaces it
    as long as no value is known           how runs are evaluated may change, which is written down under plan_changes
    from then on                           it stays as it is

How many runs are trained at a time, on which device, and looks on the way (`evaluate_every`) are no part of it.

Runs that were trained by themselves may be laid into the folder of a comparison with too few seeds for a verdict; the
plan then says that it came after them.

Kernels are the same for all arms: what ``kernels=auto`` means depends on a run's length, and arms, pilots and trials
may have different ones, so it is decided once, by the baseline's, and written down.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frugan import intervals, owncode
from frugan.comparison.planning.arms import Arm
from frugan.owncode import CodeFile
from frugan.recipe import differences, from_dict, from_run, to_dict
from frugan.registry import UserError
from frugan.training import kernels_of

if TYPE_CHECKING:
    from frugan.comparison.planning import Design
    from frugan.engine.run import RunFolder

ADDED = (
    "format", "fixed", "controls", "tuning", "trained_before", "kernels", "primary", "code", "code_changes",
    "plan_changes",
)  # fmt: skip
"""What joins a plan after it was asked for, or follows from the rest."""

EVALUATION = ("metrics", "view", "count", "reference", "allow_few")
"""How runs are evaluated, which may be settled as long as no value is known."""

MARGIN = ("margin", "pilot_seeds")
"""How the margin is found, likewise, as long as it was not found."""


@dataclass
class PlanFile:
    """The plan of the comparison in a folder.

    `content` is what ``plan.json`` holds.
    """

    folder: RunFolder
    content: dict[str, Any]

    @property
    def controls(self) -> Mapping[str, Any] | None:
        """The controls that were found, until they are among the fixed arms."""
        return self.content.get("controls")

    @property
    def tuning(self) -> dict[str, Any] | None:
        """What the trials of the arms were and showed so far, until it is among what was fixed."""
        return self.content.get("tuning")

    @property
    def fixed(self) -> Mapping[str, Any] | None:
        """What was measured before the test; None as long as it was not."""
        return self.content.get("fixed")

    @property
    def code_options(self) -> list[str]:
        """What a job's command says of the user's own code. Whoever started the comparison has named or allowed it."""
        named = [word for one in self.content.get("code", ()) for word in ("--code", one["path"])]
        return [*named, *(["--allow-changed-code"] if self.content.get("code_changes") else [])]

    def resolve_kernels(self, arms: Sequence[Arm]) -> list[Arm]:
        """The arms with the kernels that the plan says "auto" means (each run's own decision in plans of before)."""
        return resolve_kernels(arms, self.content.get("kernels", "auto"))

    def forget_failures(self) -> None:
        """Let what was trained before the test and failed be trained once more: pilots, and trials of both kinds.

        An arm of which a trial failed is then chosen for anew; not once controls cost what tuned arms cost.
        """
        if self.fixed is not None:
            return
        tuning = () if self.controls is not None else ("tuning/*",)
        for kind in ("pilots", "trials", *tuning):
            for mark in self.folder.path.glob(f"{kind}/*.failed.json"):
                mark.unlink()
        for of in (self.tuning or {}).get("arms", {}).values() if tuning else ():
            if any(facts.get("why") for facts in of["tried"]):
                of.pop("chosen", None)

    def write_arms(self, arms: Sequence[Arm]) -> None:
        """Write each arm's recipe to ``arms/``, where its runs read it."""
        for arm in arms:
            self.folder.write_json(self.folder.path / "arms" / f"{arm.folder}.json", to_dict(arm.recipe))

    def add_controls(self, made: Sequence[Arm], matched: Sequence[Mapping[str, Any]]) -> None:
        """Add the controls that were found, so that a comparison killed before its test finds no others (by time)."""
        self.content["controls"] = {"arms": _describe_arms(made), "matched": list(matched)}
        self._write()

    def keep_tuning(self, tuning: Mapping[str, Any]) -> None:
        """Write down the trials of the arms: before the first of them what is tried, afterwards what was chosen."""
        self.content["tuning"] = json.loads(json.dumps(tuning))
        self._write()

    def complete(self, arms: Sequence[Arm], fixed: Mapping[str, Any]) -> None:
        """Add what was measured beforehand, and the final recipes of all arms, which are also written to ``arms/``."""
        self.write_arms(arms)
        for found in ("controls", "tuning"):
            self.content.pop(found, None)
        self.content["fixed"] = {**fixed, "arms": _describe_arms(arms)}
        self._write()

    def control_arms(self) -> list[Arm]:
        """The controls that were found."""
        return _read_arms(self.content["controls"])

    def fixed_arms(self) -> list[Arm]:
        """The arms as they were fixed."""
        return _read_arms(self.content["fixed"])

    def _write(self) -> None:
        kept = {key: value for key, value in self.content.items() if key != "format"}
        self.folder.write_json(self.folder.path / "plan.json", kept)


def is_planned(folder: Path) -> bool:
    """Whether there is a plan in a folder."""
    return (folder / "plan.json").is_file()


def keep_plan(
    folder: RunFolder, design: Design, kernels: str, code: Sequence[CodeFile], allow_changed_code: bool,
    say: Callable[[str], None],
) -> PlanFile:  # fmt: skip
    """Write the plan, or go on with the one that is there; another one is refused once it must be kept to.

    `kernels` is what "auto" means in all arms, unless runs that were trained before began otherwise. `code` is the
    user's own; where it has changed, the plan is refused too, unless that is allowed and written down. Raises
    UserError, which says what to type.
    """
    plan = {**json.loads(json.dumps(describe_design(design))), "kernels": kernels}
    plan["code"] = [one.as_dict() for one in code]
    if is_planned(folder.path):
        before = folder.read_json(folder.path / "plan.json")
        apart = find_differences(before, plan)
        if apart and not _runs_of(folder.path):
            say(f"No run had begun: the plan is written anew ({_list(apart)}).")
            for arm in folder.path.glob("arms/*.json"):
                arm.unlink()
            folder.write_json(folder.path / "plan.json", plan)
            return PlanFile(folder, plan)
        if apart:
            before = _change(folder, before, plan, apart, say)
        return PlanFile(folder, _with_code(folder, before, code, allow_changed_code))
    _check_folder(folder.path)
    there = sorted(path.relative_to(folder.path).as_posix() for path in folder.path.glob("runs/*/*") if path.is_dir())
    if there:
        if design.gives_verdicts:
            raise UserError(
                f"{folder.path} holds runs that were trained before there was a plan ({there[0]}), and a verdict takes "
                "a plan that comes first. Give another --out; fewer than five --seeds give a direction, also of these."
            )
        if design.settings["tune"] is not None:
            raise UserError(
                f"{folder.path} holds runs that were trained before ({there[0]}), and --tune chooses settings before "
                "the first run of the test. Give another --out, or leave --tune out."
            )
        plan["kernels"] = _kernels_before(folder.path, design.arms) or kernels
        check_runs(folder.path, resolve_kernels(design.arms, plan["kernels"]), design.settings["seeds"], plan)
        plan["trained_before"] = there
    folder.write_json(folder.path / "plan.json", plan)
    return PlanFile(folder, plan)


def describe_design(design: Design) -> dict[str, Any]:
    """What a plan says of what is asked for."""
    return {"arms": {arm.name: to_dict(replace(arm.recipe, seed=0)) for arm in design.arms}, **design.settings}


def resolve_kernels(arms: Sequence[Arm], mode: str) -> list[Arm]:
    """The arms with what ``kernels=auto`` means in all of them."""
    return [
        replace(arm, recipe=replace(arm.recipe, kernels=mode)) if arm.recipe.kernels == "auto" else arm for arm in arms
    ]


def _check_folder(folder: Path) -> None:
    from frugan.engine.run import LOCK

    if any(item.name not in (LOCK, "runs") for item in folder.iterdir()):
        raise UserError(f"{folder} holds something that is no comparison; give another --out.")


# --------------------------------------------------------------------------------------------------------- another plan


class Difference(NamedTuple):
    """One setting in which two plans differ: its name, ``setting: then -> now``, and what to type to have it as then.

    Of arms the name is "arms", and there is nothing short to type.
    """

    setting: str
    line: str
    typed: str


def find_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """In what two plans differ."""
    apart = []
    if list(before["arms"]) != list(now["arms"]):
        apart.append(Difference("arms", f"arms: {', '.join(before['arms'])} -> {', '.join(now['arms'])}", ""))
    for name in before["arms"].keys() & now["arms"].keys():
        one, other = (from_dict(plan["arms"][name], where=f"the plan's arm '{name}'") for plan in (before, now))
        apart += [Difference("arms", f"{name}: {line}", "") for line in differences(one, other)]
    for key in sorted((before.keys() | now.keys()) - {"arms", *ADDED}):
        then, today = before.get(key), now.get(key)
        if then != today:
            apart.append(Difference(key, f"{key}: {then} -> {today}", _option(key, then)))
    return apart


def _option(key: str, value: Any) -> str:
    """How a setting of a plan is typed."""
    name = f"--{key.replace('_', '-')}"
    if value is None or value == []:
        return f"leave out {name}"
    return f"{name} {','.join(map(str, value)) if isinstance(value, list) else value}"


def _list(apart: Sequence[Difference]) -> str:
    return "; ".join(one.line for one in apart)


def _change(
    folder: RunFolder, before: dict[str, Any], now: Mapping[str, Any], apart: Sequence[Difference],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The plan that is there with the settings that may still change. Raises UserError for others."""
    known = _find_value(folder.path)
    may_change = {*EVALUATION, *(() if "fixed" in before else MARGIN)}
    if known is None and {one.setting for one in apart} <= may_change:
        changes = [*before.get("plan_changes", ()), {"changes": [one.line for one in apart]}]
        changed = {**before, **{key: now.get(key) for key in (*may_change, "primary")}, "plan_changes": changes}
        say(f"No value is known yet: the plan goes on with {_list(apart)}, which is written down in it.")
        folder.write_json(folder.path / "plan.json", {k: value for k, value in changed.items() if k != "format"})
        return changed
    why = "Runs of it have begun" if known is None else f"Values of it are known ({known})"
    typed = [one.typed for one in apart if one.typed]
    if len(typed) < len(apart):
        typed.insert(0, "the arms and their values as they were")
    reuse = ""
    if len(before["seeds"]) < intervals.SEEDS_FOR_A_VERDICT and "arms" not in {one.setting for one in apart}:
        reuse = f", into which {folder.path / 'runs'} may be moved, to be evaluated anew"
    raise UserError(
        f"{folder.path} holds a comparison with another plan ({_list(apart)}). {why}, and a plan is kept "
        f"to, so that nothing is decided by the results. To continue it, type: {', '.join(typed)}. To compare "
        f"otherwise, give another --out{reuse}."
    )


def _runs_of(folder: Path) -> list[Path]:
    """The folders of all runs that have begun: of the test, pilots, and trials of both kinds."""
    kinds = ("runs/*/*", "pilots/*", "trials/*", "tuning/*/*")
    return [path for kind in kinds for path in folder.glob(kind) if path.is_dir()]


def _find_value(folder: Path) -> str | None:
    """A run of which some value is known, of the test or before it, also one that was measured while it trained."""
    from frugan.engine.run import RunFolder
    from frugan.evaluation.while_training import values_of

    for path in sorted(_runs_of(folder)):
        run = RunFolder(path)
        if run.lines(run.metrics) or values_of(run):
            return path.relative_to(folder).as_posix()
    return None


def _with_code(
    folder: RunFolder, plan: dict[str, Any], code: Sequence[CodeFile], allow_changed: bool
) -> dict[str, Any]:
    """The plan that is there, with the code that it goes on with. Raises UserError for other code."""
    now = [one.as_dict() for one in code]
    if "code" in plan:  # plans of before do not say
        before = owncode.listed(plan["code"])
        changed = owncode.changes(before, code)
        if changed and not allow_changed:
            owncode.refuse_changes(before, code, str(folder.path))
        if changed:
            plan["code_changes"] = [*plan.get("code_changes", ()), {"changes": changed}]
    if plan.get("code") != now:
        plan["code"] = now
        folder.write_json(folder.path / "plan.json", plan)
    return plan


def _kernels_before(folder: Path, arms: Sequence[Arm]) -> str | None:
    """What "auto" meant in runs that were trained before, where any arm says so. Raises UserError if they disagree."""
    from frugan.engine.run import RunFolder

    deciding = [arm for arm in arms if arm.recipe.kernels == "auto"]
    runs = [path for arm in deciding for path in sorted((folder / "runs" / arm.folder).glob("*"))]
    modes = {mode: path for path in runs if (mode := kernels_of(RunFolder(path))) is not None}
    if len(modes) > 1:
        listed = ", ".join(f"{path} with kernels={mode}" for mode, path in modes.items())
        raise UserError(
            f"Runs that are to be compared were trained with different kernels ({listed}). Move one side away, and "
            "train it again with the other's."
        )
    return next(iter(modes), None)


def check_runs(folder: Path, arms: Sequence[Arm], seeds: Sequence[int], plan: Mapping[str, Any]) -> None:
    """Refuse runs in ``runs/ARM/seed-S`` that are not those of the comparison: other arms, seeds, settings or code.

    Where the plan says that code has changed, runs may have been trained with either. Finished runs are only
    evaluated, and nothing else would tell. Raises UserError, which names the first such run.
    """
    from frugan.engine.run import RunFolder

    wanted = {f"runs/{arm.folder}/seed-{seed}": (arm, seed) for arm in arms for seed in seeds}
    for path in sorted(item for item in folder.glob("runs/*/*") if item.is_dir()):
        name = path.relative_to(folder).as_posix()
        if name not in wanted:
            raise UserError(
                f"{path} is no run of this comparison, whose runs are {', '.join(list(wanted)[:3])} ...; leaving runs "
                "out would be choosing among them. Move it away, or compare its arm and seed too."
            )
        run = RunFolder(path)
        if not run.exists():
            continue  # killed at its very start
        arm, seed = wanted[name]
        own, recipe = from_run(run), replace(arm.recipe, seed=seed)
        if recipe.kernels == kernels_of(run):  # what "auto" meant there
            own = replace(own, kernels=recipe.kernels)
        # A run knows the classes of its data, and one that was stopped on the way has seen fewer images.
        apart = differences(recipe, own, but=("images", "data.classes", "streams"))
        apart = [line for line in apart if not line.startswith("streams.")]
        if own.images > recipe.images:
            apart.append(f"images: {recipe.images} -> {own.images}")
        if apart:
            raise UserError(
                f"{path} was trained with other settings than the arm '{arm.name}' ({'; '.join(apart)}). Move it away, "
                "or give the comparison its settings."
            )
        apart = owncode.changes(owncode.named_in(path), owncode.listed(plan.get("code")), new=False)
        if apart and not plan.get("code_changes"):
            raise UserError(
                f"{path} was trained with other code than the comparison has ({'; '.join(apart)}). Move it away, and "
                "run the same command again."
            )


def _describe_arms(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    return [
        {"name": arm.name, "control_of": arm.control_of, "recipe": to_dict(replace(arm.recipe, seed=0))} for arm in arms
    ]


def _read_arms(kept: Mapping[str, Any]) -> list[Arm]:
    return [
        Arm(one["name"], from_dict(one["recipe"], where=f"the plan's arm '{one['name']}'"), one["control_of"])
        for one in kept["arms"]
    ]
