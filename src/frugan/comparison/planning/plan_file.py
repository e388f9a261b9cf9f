"""The plan: written down before the first run, kept to, and completed before the first run of the test.

What is asked for stands in it at once; what has to be measured first (control arms, budgets in seconds, the margin from
pilot runs) is added under ``fixed`` before any run of the test begins. Nothing in it follows from the test's results.

Runs that were trained by themselves may be laid into the folder of a comparison with too few seeds for a verdict; the
plan then says that it came after them.

Kernels are the same for all arms: what ``kernels=auto`` means depends on a run's length, and arms, pilots and trials
may have different ones, so it is decided once, by the baseline's, and written down.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import intervals, owncode
from frugan.comparison.planning.arms import Arm
from frugan.owncode import CodeFile
from frugan.recipe import differences, from_dict, from_run, to_dict
from frugan.registry import UserError
from frugan.training import kernels_of

if TYPE_CHECKING:
    from frugan.engine.run import RunFolder


ADDED = ("format", "fixed", "controls", "trained_before", "kernels", "primary", "code", "code_changes")
"""What joins a plan after it was asked for."""


def plan_of(arms: Sequence[Arm], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is fixed before the first run, ready for JSON."""
    return {"arms": {arm.name: to_dict(replace(arm.recipe, seed=0)) for arm in arms}, **settings}


def plan_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two plans differ, as ``setting: then -> now`` lines."""
    lines = []
    if list(before["arms"]) != list(now["arms"]):
        lines.append(f"arms: {', '.join(before['arms'])} -> {', '.join(now['arms'])}")
    for name in before["arms"].keys() & now["arms"].keys():
        one, other = (from_dict(plan["arms"][name], where=f"the plan's arm '{name}'") for plan in (before, now))
        lines += [f"{name}: {line}" for line in differences(one, other)]
    keys = (before.keys() | now.keys()) - {"arms", *ADDED}
    lines += [f"{key}: {before.get(key)} -> {now.get(key)}" for key in sorted(keys) if before.get(key) != now.get(key)]
    return lines


def keep(
    folder: RunFolder, arms: Sequence[Arm], settings: Mapping[str, Any], kernels: str, code: Sequence[CodeFile],
    allow_changed_code: bool,
) -> dict[str, Any]:
    """Write the plan, or refuse another one than the one that is there; the plan with what is already fixed.

    `kernels` is what "auto" means in all arms, unless runs that were trained before began otherwise. `code` is the
    user's own; where it has changed, the plan is refused too, unless that is allowed and written down.
    """
    from frugan.engine.run import LOCK

    path = folder.path / "plan.json"
    plan = {**json.loads(json.dumps(plan_of(arms, settings))), "kernels": kernels}
    plan["code"] = [one.as_dict() for one in code]
    if path.is_file():
        before = folder.read_json(path)
        apart = plan_differences(before, plan)
        if apart:
            raise UserError(
                f"{folder.path} holds a comparison with another plan ({'; '.join(apart)}). A plan is kept to, so that "
                "nothing is decided by the results: give another --out, or the settings it was begun with."
            )
        return _with_code(folder, before, code, allow_changed_code)
    if any(item.name not in (LOCK, "runs") for item in folder.path.iterdir()):
        raise UserError(f"{folder.path} holds something that is no comparison; give another --out.")
    there = sorted(str(item.relative_to(folder.path)) for item in folder.path.glob("runs/*/*") if item.is_dir())
    if there:
        if len(settings["seeds"]) >= intervals.SEEDS_FOR_A_VERDICT:
            raise UserError(
                f"{folder.path} holds runs that were trained before there was a plan ({there[0]}), and a verdict takes "
                "a plan that comes first. Give another --out; fewer than five --seeds give a direction, also of these."
            )
        plan["kernels"] = _kernels_before(folder.path, arms) or kernels
        check_runs(folder.path, settled(arms, plan), settings["seeds"], plan)
        plan["trained_before"] = there
    folder.write_json(path, plan)
    return plan


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


def code_options(plan: Mapping[str, Any]) -> list[str]:
    """What a job's command says of the user's own code. Whoever started the comparison has named or allowed it."""
    named = [word for one in plan.get("code", ()) for word in ("--code", one["path"])]
    return [*named, *(["--allow-changed-code"] if plan.get("code_changes") else [])]


def settled(arms: Sequence[Arm], plan: Mapping[str, Any]) -> list[Arm]:
    """The arms with the kernels that the plan says "auto" means (each run's own decision in plans that do not say)."""
    mode = plan.get("kernels", "auto")
    return [
        replace(arm, recipe=replace(arm.recipe, kernels=mode)) if arm.recipe.kernels == "auto" else arm for arm in arms
    ]


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
        found, recipe = from_run(run), replace(arm.recipe, seed=seed)
        if recipe.kernels == kernels_of(run):  # what "auto" meant there
            found = replace(found, kernels=recipe.kernels)
        # A run knows the classes of its data, and one that was stopped on the way has seen fewer images.
        apart = differences(recipe, found, but=("images", "data.classes", "streams"))
        apart = [line for line in apart if not line.startswith("streams.")]
        if found.images > recipe.images:
            apart.append(f"images: {recipe.images} -> {found.images}")
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


def add_controls(
    folder: RunFolder, plan: dict[str, Any], made: Sequence[Arm], matched: Sequence[Mapping[str, Any]]
) -> None:
    """Add the controls that were found, so that a comparison killed before its test does not find others (by time)."""
    plan["controls"] = {"arms": _listed(made), "matched": list(matched)}
    folder.write_json(folder.path / "plan.json", plan)


def complete(folder: RunFolder, plan: Mapping[str, Any], arms: Sequence[Arm], fixed: Mapping[str, Any]) -> None:
    """Add what was measured beforehand, and the final recipes of all arms, which are also written to ``arms/``."""
    kept = {key: value for key, value in plan.items() if key not in ("format", "fixed", "controls")}
    folder.write_json(folder.path / "plan.json", {**kept, "fixed": {**fixed, "arms": _listed(arms)}})


def _listed(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    return [
        {"name": arm.name, "control_of": arm.control_of, "recipe": to_dict(replace(arm.recipe, seed=0))} for arm in arms
    ]


def arms_of(fixed: Mapping[str, Any]) -> list[Arm]:
    """The arms that were fixed."""
    return [
        Arm(one["name"], from_dict(one["recipe"], where=f"the plan's arm '{one['name']}'"), one["control_of"])
        for one in fixed["arms"]
    ]
