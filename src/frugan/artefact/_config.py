"""The config of a run's artefact: what the network is, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from frugan import build, convs, data, games, nets
from frugan.artefact._files import FORMAT
from frugan.batch import ImageShape
from frugan.blueprint import Blueprint, spec_from
from frugan.engine.run import RunFolder
from frugan.recipe import Data, Network, Recipe, from_run


def config_of(run: RunFolder, images: int, role: str | None = None) -> dict[str, Any]:
    """The ``config.json`` of a run's artefact after this many `images`: what the network is, and how it was made.

    `role` is one of the roles in the run's facts. If left out: the main one.
    """
    facts, recipe = run.read_json(run.facts), from_run(run)
    role = role or next(iter(facts["shipped"]))
    shipped = facts["shipped"][role]
    blueprint = build.blueprints(recipe)[shipped["network"]]
    stream, trained_on = next(iter(facts["data"].items()))
    domains = {"domains": _domains(facts, shipped, blueprint)} if blueprint.part == "translator" else {}
    return {
        **_network(recipe, role, blueprint), **domains,
        "image_range": facts.get("image_range"), "classes": trained_on["classes"],
        **_label_sample(trained_on, blueprint),
        "averaged": shipped["averaged"] and shipped["network"] in recipe.averages, "images": images,
        **({} if recipe.minutes is None else {"minutes": recipe.minutes}),
        "seed": recipe.seed, **_own_code_field(own_code(blueprint.spec, recipe.game.name)),
        **({"given": _hashes(facts["given"])} if facts.get("given") else {}),
        "data": {
            **{key: trained_on[key] for key in ("name", "split", "count", "hash", "title")},
            **where(recipe.data_of(stream)), **_terms(recipe.data_of(stream).source),
        },
    }  # fmt: skip


def config_untrained(assembly: build.Assembly) -> tuple[dict[str, Any], str]:
    """The config of what a run of a recipe will ship, before it is trained; and the network's name in the recipe."""
    recipe = assembly.recipe
    role, shipped = next(iter(assembly.game.shipped().items()))
    blueprint = assembly.blueprints[shipped.network]
    nameless = {"kind": "numbers", "names": [], "exclusive": []}
    return {
        **_network(recipe, role, blueprint), **({"domains": nameless} if blueprint.part == "translator" else {}),
        "image_range": list(build.made_range(recipe, assembly.networks)), "classes": [], "averaged": False, "images": 0,
        "seed": recipe.seed, "data": {"name": recipe.data.source, "title": recipe.data.source},
    }, shipped.network  # fmt: skip


def _network(recipe: Recipe, role: str, blueprint: Blueprint) -> dict[str, Any]:
    """What a config says of the network alone, from which `blueprint_of` makes its blueprint again."""
    return {
        "format": FORMAT, "role": role, "recipe": recipe.name, "system": recipe.system, "part": blueprint.part,
        "outputs": blueprint.outputs, "vector": blueprint.vector,
        "condition": blueprint.condition, "class_numbers": blueprint.labels,
        "network": {
            "architecture": blueprint.spec.architecture, "options": blueprint.spec.options,
            "labels": blueprint.spec.labels, "families": [asdict(rule) for rule in blueprint.spec.families],
        },
        "image": list(blueprint.image), "latents": asdict(recipe.latents),
    }


def _label_sample(trained_on: Mapping[str, Any], blueprint: Blueprint) -> dict[str, str]:
    """Some labels of the training data, for a generator whose condition is such labels; earlier runs have none."""
    names = trained_on["classes"] if blueprint.labels else trained_on.get("attributes", [])
    told = blueprint.part == "decoder" and blueprint.condition and len(names) == blueprint.condition
    return {"label_sample": trained_on["label_sample"]} if told and "label_sample" in trained_on else {}


def _terms(source: str) -> dict[str, str]:
    """Who may do what with the data, if frugan knows."""
    terms = data.terms_of(source)
    return {"terms": terms} if terms else {}


def own_code(spec: Network, game: str | None = None) -> dict[str, str]:
    """The hash of the code of each of a network's variants, and of its game, that are a user's own."""
    asked = [
        (nets.registry, spec.architecture), *((convs.registry, rule.family) for rule in spec.families),
        *([] if game is None else [(games.registry, game)]),
    ]  # fmt: skip
    origins = {f"{registry.kind} {name}": registry.origin(name) for registry, name in asked}
    return {variant: origin.short for variant, origin in origins.items() if origin is not None}


def with_own_code(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same config, with the hashes of the user's own code as it is now instead of the saved hashes."""
    saved = config.get("own_code")
    now = own_code(spec_from(config["network"]))
    return {**config, **_own_code_field({**(saved if isinstance(saved, dict) else {}), **now})}


def _own_code_field(own: Mapping[str, str]) -> dict[str, Any]:
    return {"own_code": dict(own)} if own else {}


def _hashes(given: Mapping[str, Any]) -> dict[str, str]:
    """Of the weights that a run was given, by network: whose they are and their hash, but nobody's folders."""
    return {name: f"{about['recipe']} {about['hash']}" for name, about in given.items()}


def blueprint_of(config: Mapping[str, Any]) -> Blueprint:
    """The blueprint of a config's network. In configs of earlier versions, the classes give the condition's size."""
    spec, condition = spec_from(config["network"]), config.get("condition")
    return Blueprint(
        config["part"], spec, ImageShape(*config["image"]), config["latents"]["size"], config.get("outputs"),
        (len(config["classes"]) if spec.labels else 0) if condition is None else condition,
        config.get("class_numbers", condition is None and spec.labels), config.get("vector", 0),
    )


def _domains(facts: Mapping[str, Any], shipped: Mapping[str, Any], blueprint: Blueprint) -> dict[str, Any]:
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
    if len(names) != blueprint.condition:  # labels of several streams, which have no names of their own
        return {"kind": "numbers", "names": [], "exclusive": []}
    exclusive = trained_on.get("exclusive", [])
    return {"kind": "attributes" if attributes else "classes", "names": names, "exclusive": exclusive}


def where(wanted: Data) -> dict[str, Any]:
    """How to open the data again, if their name means the same on every machine. Paths of folders are left out."""
    known = {source.name.partition(":")[0] for source in data.sources()}
    if wanted.source.partition(":")[0] not in known or data.paths(wanted.source):
        return {}
    keys = ("source", "size", "channels", "only", "attributes", "limit")
    few = {} if wanted.even_limit is None else {"even_limit": wanted.even_limit, "limit_seed": wanted.limit_seed}
    finer = {} if wanted.finer == 1 else {"finer": wanted.finer}
    held = {"holdout": wanted.holdout} if wanted.holdout else {}
    return {**{key: getattr(wanted, key) for key in keys}, **few, **finer, **held}
