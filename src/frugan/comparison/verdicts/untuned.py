"""What the same arms were found to be without tuning, from another finished comparison, to stand beside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import evaluation, reporting
from frugan.comparison.planning.plan_file import describe_design, find_differences
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.comparison.planning import Design

MAY_DIFFER = ("tune", "tune_images", "tune_seeds", "seeds", "margin", "pilot_seeds", "match")
"""Settings in which a comparison with tuning and one without it need not agree; seeds are told."""


def check(folder: str | Path | None, design: Design) -> None:
    """Refuse a comparison whose verdicts cannot stand beside those of `design`. Raises UserError."""
    from frugan.engine.run import RunFolder

    if folder is None:
        return
    if design.settings["tune"] is None:
        raise UserError(f"--untuned {folder} stands beside arms that are tuned; add --tune 8, or leave it out.")
    path = Path(folder)
    if reporting.read_comparison(path).get("tune") is not None:
        raise UserError(f"--untuned {folder}: its arms were tuned as well; name a comparison without --tune.")
    plan = RunFolder(path).read_json(path / "plan.json")
    now = json.loads(json.dumps(describe_design(design)))
    apart = [one.line for one in find_differences(plan, now) if one.setting not in MAY_DIFFER]
    if apart:
        raise UserError(
            f"--untuned {folder}: it compares otherwise than this one ({'; '.join(apart)}). Name a comparison of the "
            "same arms that is evaluated alike."
        )


def read_beside(folder: str | Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Its values and verdicts in the primary metric, by arm, and in what its protocol is unlike that of `result`."""
    data, primary = reporting.read_comparison(Path(folder)), result["primary"]
    protocols = [one["metrics"][primary]["protocol"] for one in (data, result)]
    return {
        "folder": str(folder), "seeds": data["seeds"], "unlike": evaluation.unequal(protocols),
        "arms": {
            arm["name"]: {
                "summary": arm["summary"][primary], "difference": data["differences"][primary].get(arm["name"]),
            }
            for arm in data["arms"]
        },
    }  # fmt: skip
