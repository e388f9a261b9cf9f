"""Where the runs of a comparison were trained: whether pairs are pairs, and whose times may stand in one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from frugan.reporting import _words as words


def kind_of(run: Mapping[str, Any]) -> str | None:
    """The kind of hardware that trained a run, with its threads and torch; None if that is not known.

    A run that was continued elsewhere names all kinds.
    """
    kinds = [
        ", ".join([
            one["trained_on"], words.threads(one["threads"]), *([f"torch {one['torch']}"] if one.get("torch") else []),
        ])
        for one in (run, *run.get("continued", ())) if one.get("trained_on") and one.get("threads")
    ]  # fmt: skip
    return " then ".join(dict.fromkeys(kinds)) or None


def shared_kind(data: Mapping[str, Any]) -> str | None:
    """The kind of hardware on which every arm has timed runs, the most frequent one; None if there is none."""
    kinds = [
        Counter(kind_of(run) for run in arm["runs"].values() if run.get("images_per_second"))
        for arm in data["arms"] if any(run.get("images_per_second") for run in arm["runs"].values())
    ]  # fmt: skip
    common = [kind for kind in (kinds[0] if kinds else ()) if all(kind in of for of in kinds)]
    return max(common, key=lambda kind: sum(of[kind] for of in kinds), default=None)


def timed(data: Mapping[str, Any], arm: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The runs of an arm whose times may be compared: they ended, on the one kind of hardware that all arms share."""
    kind = shared_kind(data)
    return [
        run for run in arm["runs"].values()
        if run.get("images_per_second") and run.get("seconds") and kind_of(run) == kind
    ]  # fmt: skip


def remarks(data: Mapping[str, Any]) -> list[str]:
    """Lines about runs that were not trained alike: seeds that are not paired in hardware, and times left out."""
    kinds = sorted({kind for arm in data["arms"] for run in arm["runs"].values() if (kind := kind_of(run))})
    if len(kinds) < 2:
        return []
    names = {kind: f"({letter})" for kind, letter in zip(kinds, "abcdefghijklmnopqrstuvwxyz", strict=False)}
    listed = "; ".join(f"{names.get(kind, '')} {kind}".strip() for kind in kinds)
    kind = shared_kind(data)
    spoken = f"Times of training are those of {names.get(kind, kind)} alone" if kind else (
        "No times of training are compared, since no kind trained runs of every arm"
    )
    lines = [f"Runs were trained on {len(kinds)} kinds of hardware: {listed}. {spoken}."]
    unpaired = []
    for seed in data["arms"][0]["runs"]:
        found = {kind_of(arm["runs"][seed]) for arm in data["arms"] if seed in arm["runs"]} - {None}
        if len(found) > 1:
            unpaired.append(seed)
    if unpaired:
        lines.append(
            f"{'Seeds' if len(unpaired) > 1 else 'Seed'} {words.seeds([int(seed) for seed in unpaired])}: not all arms "
            "had the same hardware. They still share data and latents, but not rounding. So their differences also "
            "hold what another machine changes, as other seeds would: intervals are wider than they need be, not "
            "wrong, unless one arm was always on the same kind. To avoid this, ask for one kind of machine "
            "(--launcher-options)."
        )
    return lines
