"""The plan: written down before the first run, kept to, and completed before the first run of the test.

What is asked for stands in it at once; what has to be measured first (control arms, budgets in seconds, the margin from
pilot runs) is added under ``fixed`` before any run of the test begins. Nothing in it follows from the test's results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from frugan.comparison._arms import Arm
from frugan.recipe import differences, from_dict, to_dict
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.engine.run import RunFolder


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
    keys = (before.keys() | now.keys()) - {"arms", "format", "fixed"}
    lines += [f"{key}: {before.get(key)} -> {now.get(key)}" for key in sorted(keys) if before.get(key) != now.get(key)]
    return lines


def keep(folder: RunFolder, arms: Sequence[Arm], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Write the plan, or refuse another one than the one that is there; the plan with what is already fixed."""
    from frugan.engine.run import LOCK

    path = folder.path / "plan.json"
    plan = json.loads(json.dumps(plan_of(arms, settings)))
    if path.is_file():
        before = folder.read_json(path)
        apart = plan_differences(before, plan)
        if apart:
            raise UserError(
                f"{folder.path} holds a comparison with another plan ({'; '.join(apart)}). A plan is kept to, so that "
                "nothing is decided by the results: give another --out, or the settings it was begun with."
            )
        return before
    if any(item.name != LOCK for item in folder.path.iterdir()):
        raise UserError(f"{folder.path} holds something that is no comparison; give another --out.")
    folder.write_json(path, plan)
    return plan


def complete(folder: RunFolder, plan: Mapping[str, Any], arms: Sequence[Arm], fixed: Mapping[str, Any]) -> None:
    """Add what was measured beforehand, and the final recipes of all arms, which are also written to ``arms/``."""
    listed = [
        {"name": arm.name, "control_of": arm.control_of, "recipe": to_dict(replace(arm.recipe, seed=0))} for arm in arms
    ]
    kept = {key: value for key, value in plan.items() if key not in ("format", "fixed")}
    folder.write_json(folder.path / "plan.json", {**kept, "fixed": {**fixed, "arms": listed}})


def arms_of(fixed: Mapping[str, Any]) -> list[Arm]:
    """The arms of a plan that is complete."""
    return [
        Arm(one["name"], from_dict(one["recipe"], where=f"the plan's arm '{one['name']}'"), one["control_of"])
        for one in fixed["arms"]
    ]
