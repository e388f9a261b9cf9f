"""The verdicts on the same arms without tuning, read from another finished comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import evaluation, reporting
from frugan.arguments import File
from frugan.comparison.planning.plan_file import describe_design, find_differences, read_plan
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.comparison.planning import Design

MAY_DIFFER = ("tune", "tune_images", "tune_seeds", "seeds", "margin", "pilot_seeds", "match")
"""Settings that may differ between the comparison with tuning and the one without. The report names the seeds and the
margins."""


def check(folder: File | None, design: Design) -> None:
    """Check that the untuned comparison in `folder` can be shown beside `design`. Raises UserError."""
    if folder is None:
        return
    if design.settings["tune"] is None:
        raise UserError(f"--untuned {folder} only works together with --tune. Add e.g. --tune 8, or leave it out.")
    path = Path(folder)
    if reporting.read_comparison(path).get("tune") is not None:
        raise UserError(f"--untuned {folder}: the arms of this comparison were tuned. Name one made without --tune.")
    plan = read_plan(path)
    now = json.loads(json.dumps(describe_design(design)))
    apart = [one.line for one in find_differences(plan, now) if one.setting not in MAY_DIFFER]
    if apart:
        raise UserError(
            f"--untuned {folder}: this comparison differs from the new one ({'; '.join(apart)}). Name a comparison of "
            "the same arms, evaluated in the same way."
        )


def read_beside(folder: File, result: Mapping[str, Any]) -> dict[str, Any]:
    """Read the untuned values and verdicts in the primary metric, by arm, and how their protocol differs.

    ``"controls"`` has what was said of each arm against its control.
    """
    data, primary = reporting.read_comparison(Path(folder)), result["primary"]
    protocols = [one["metrics"][primary]["protocol"] for one in (data, result)]
    return {
        "folder": str(folder), "seeds": data["seeds"], "margin": data["margin"],
        "unlike": evaluation.unequal(protocols),
        "controls": {one["arm"]: {key: one[key] for key in ("kind", "text")} for one in data["controls"]},
        "arms": {
            arm["name"]: {
                "summary": arm["summary"][primary], "difference": data["differences"][primary].get(arm["name"]),
            }
            for arm in data["arms"]
        },
    }  # fmt: skip
