"""What a run ships and how it was made, as its artefact will tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from frugan import build, data
from frugan.artefact._files import FORMAT
from frugan.engine.run import RunFolder
from frugan.games import Order
from frugan.recipe import Data, from_run


def config_of(run: RunFolder, images: int, role: str | None = None) -> dict[str, Any]:
    """What a run ships and how it was made, after so many `images`: the ``config.json`` of its artefact.

    `role` is one of those in the run's facts, its main one if left out.
    """
    facts, recipe = run.read_json(run.facts), from_run(run)
    role = role or next(iter(facts["shipped"]))
    shipped = facts["shipped"][role]
    spec = recipe.networks[shipped["network"]]
    order = build.orders(recipe)[shipped["network"]]
    stream, trained_on = next(iter(facts["data"].items()))
    domains = {} if role == "generator" else {"domains": _domains(facts, shipped, order)}
    return {
        "format": FORMAT, "role": role, "recipe": recipe.name, "system": recipe.system, "part": order.part,
        "outputs": dict(order.outputs) if order.outputs else None, "condition": order.condition, **domains,
        "network": {
            "architecture": spec.architecture, "options": spec.options, "labels": spec.labels,
            "families": [asdict(rule) for rule in spec.families],
        },
        "image": list(build.image_shape(recipe)), "latents": asdict(recipe.latents), "classes": trained_on["classes"],
        "averaged": shipped["averaged"] and shipped["network"] in recipe.averages, "images": images,
        "seed": recipe.seed,
        "data": {
            **{key: trained_on[key] for key in ("name", "split", "count", "hash", "title")},
            **where(recipe.data_of(stream)),
        },
    }  # fmt: skip


def _domains(facts: Mapping[str, Any], shipped: Mapping[str, Any], order: Order) -> dict[str, Any]:
    """What a translator can be asked for: the other end of its direction, classes or attributes by name."""
    if shipped.get("direction"):
        target = facts["data"][shipped["direction"][1]]
        # "portraits[glasses]" is what is left of a source when others of its images are.
        chosen = target["name"].rpartition("[")[2].removesuffix("]")
        name = target["classes"][0] if len(target["classes"]) == 1 else chosen
        return {"kind": "direction", "names": [name], "exclusive": []}
    trained_on = next(iter(facts["data"].values()))
    attributes, classes = trained_on.get("attributes", []), trained_on["classes"]
    names = attributes or classes
    if len(names) != order.condition:  # labels of several streams, which have no names of their own
        return {"kind": "numbers", "names": [], "exclusive": []}
    exclusive = trained_on.get("exclusive", [])
    return {"kind": "attributes" if attributes else "classes", "names": names, "exclusive": exclusive}


def where(wanted: Data) -> dict[str, Any]:
    """How to open the data again where they have a name that means the same anywhere; nobody's folders are told."""
    known = {source.name.partition(":")[0] for source in data.sources()}
    first, *others = wanted.source.split(":")  # others: what a kind is asked for, also a folder as in celeba:FOLDER
    if first not in known or any(Path(part).expanduser().exists() for part in others):
        return {}
    keys = ("source", "size", "channels", "only", "attributes", "limit")
    return {key: getattr(wanted, key) for key in keys}
