"""The page of a search by ``frugan fit``: what won, the runners-up, and why the others were left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from frugan import files
from frugan.reporting import _pictures
from frugan.reporting._words import large, macs, number, protocol

SAMPLES = 32


def fit_page(folder: Path) -> tuple[str, dict[str, Any]]:
    """The template and its values."""
    from frugan import artefact

    data = files.read_json(folder / "fit.json")
    winner = data["winner"]
    images = artefact.open_shipped(folder / winner["value"]["folder"])
    samples = _pictures.of_images(images.sample(SAMPLES), 8) if images.role == "generator" else None
    return "fit.html.jinja", {
        "title": f"{winner['name']} won", "lead": " ".join(fit_sayings(data)[1:]), "samples": samples,
        "facts": _facts(data), "shares": list(data["race"]["stages"]), "rows": _rows(data),
        "metric": winner["value"]["metric"], "budget": _budget(data["asked"]),
        "protocol": protocol(winner["value"]["protocol"]), "over": winner["over"],
    }  # fmt: skip


def fit_sayings(data: dict[str, Any]) -> list[str]:
    """What came out of a search, a line each."""
    winner = data["winner"]
    value, measured = winner["value"], winner["measured"]
    before = data["measured"][winner["name"]]["milliseconds"]
    lines = [
        f"{winner['name']}: {value['metric']} {number(value['values'][value['headline']], 4)} after "
        f"{value['images']:,} images, {measured['bytes']:,} bytes, {measured['milliseconds']:.3g} ms an image "
        f"(foreseen before training: {before:.3g} ms).",
        f"{len(data['candidates'])} candidates; {sum(one['trained'] for one in data['candidates'].values())} were "
        f"inside {_budget(data['asked'])} and trained; {data['seconds'] / 60:.1f} minutes in all.",
    ]  # fmt: skip
    if winner["over"]:
        lines.append(f"Measured again after training it is over the budget ({', '.join(winner['over'])}).")
    others = [name for name in data["ranked"][1:]]
    if others:
        lines.append(f"Next best: {', '.join(others)}.")
    return lines


def _budget(asked: dict[str, str]) -> str:
    said = [asked[key] for key in ("max_latency", "max_bytes") if key in asked]
    threads = f"{asked['threads']} thread{'' if asked['threads'] == '1' else 's'}"
    return f"{' and '.join(said)} ({asked['runtime']}, {threads})"


def _facts(data: dict[str, Any]) -> list[tuple[str, str]]:
    winner = data["winner"]
    latency = winner["measured"]["latency"]
    first, third = latency["quartiles_ms"]
    return [
        ("recipe", data["recipe"]["name"]), ("data", winner["value"]["protocol"]["data"]),
        ("budget", _budget(data["asked"])),
        ("time of an image", f"{latency['median_ms']:.3g} ms (quartiles {first:.3g} to {third:.3g})"),
        ("file", f"{winner['measured']['bytes']:,} bytes"), ("machine", latency["machine"]),
        *((f"exported, {path}", f"{size:,} bytes") for path, size in winner["files"].items()),
    ]  # fmt: skip


def _rows(data: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each candidate: the ranked ones, then by how far they came, then those that were not trained."""
    stages, failed = data["race"]["stages"], data["race"].get("failed", {})
    rows = []
    for name, about in data["candidates"].items():
        size = data["measured"].get(name, {})
        values = [stages[share]["values"].get(name) for share in stages]
        reached = sum(value is not None for value in values)
        rows.append({
            "name": name, "parameters": large(about["parameters"]), "macs": macs(about["macs"]),
            "bytes": large(size.get("bytes")), "counted": size.get("counted", False),
            "milliseconds": f"{size['milliseconds']:.3g} ms" if "milliseconds" in size else "–",
            "values": ["–" if one is None else number(one["values"][one["headline"]], 4) for one in values],
            "why": failed.get(name) or ("" if about["trained"] else _left_out(data, name)),
            "order": (data["ranked"].index(name) if name in data["ranked"] else len(data["ranked"]) + 9 - reached,
                      not about["trained"], -about["parameters"]),
            "won": name == data["winner"]["name"],
        })
    return sorted(rows, key=lambda row: row["order"])


def _left_out(data: dict[str, Any], name: str) -> str:
    """Why a candidate was not trained."""
    size, about = data["measured"].get(name, {}), data["candidates"][name]
    if size.get("counted"):
        return "too large: its weights alone"
    if "fits" in size and not size["fits"]:
        return "over the budget"
    kin = {other: one for other, one in data["candidates"].items() if one["form"] == about["form"]}
    if any(one["trained"] and one["parameters"] > about["parameters"] for one in kin.values()):
        return "thinner than those that were trained"
    sizes = {other: data["measured"][other] for other in kin if other in data["measured"]}
    if any(not of.get("fits") and kin[other]["parameters"] < about["parameters"] for other, of in sizes.items()):
        return "not measured: a thinner one of its kind is over the budget"
    if not sizes:
        return "not tried: the time for measuring was over"
    return "not trained: enough others were" if size.get("fits") else "not measured: enough others were trained"
