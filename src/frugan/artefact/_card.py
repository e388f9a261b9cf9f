"""The model card of an artefact, ``README.md``: what it is, what it costs, how good it is, and how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def card(config: Mapping[str, Any]) -> str:
    """The card of the artefact with this config, in the form that the Hub reads: facts as YAML, then Markdown."""
    size = "x".join(str(side) for side in config["image"][1:])
    parts = [_front(config), f"# {config['recipe']}: {size} images\n"]
    if config.get("picture"):
        parts.append(f"![What it makes, of seed 0.]({config['picture']})\n")
    parts += [_made(config), _loading(config), _cost(config), _values(config), _data(config)]
    return "\n".join(part for part in parts if part)


def _front(config: Mapping[str, Any]) -> str:
    kind = "image-to-image" if config["role"].startswith("translator") else "unconditional-image-generation"
    pipeline = f"pipeline_tag: {kind}\n" if config["role"].partition("_")[0] in ("generator", "translator") else ""
    licence = f"license: {config['licence']}\n" if config.get("licence") else ""
    return f"---\nlibrary_name: frugan\n{pipeline}{licence}tags: [gan, image-generation]\n---"


def _made(config: Mapping[str, Any]) -> str:
    rules = [f"`{rule['pattern']}` {rule['family']}" for rule in config["network"]["families"]]
    names = config["domains"]["names"] if "domains" in config else config["classes"]
    given = [f"{network}: {whose}" for network, whose in config.get("given", {}).items()]
    labels = f"\nIt takes labels: {', '.join(names)}.\n" if config["network"]["labels"] else ""
    taught = f"\nIt was given finished weights ({'; '.join(given)}).\n" if given else ""
    return (
        f"System \"{config['system']}\", architecture `{config['network']['architecture']}`, convolutions: "
        f"{', '.join(rules) or 'standard'}.\n"
        f"Trained on {config['data']['title']} until {config['images']:,} real images had been shown, seed "
        f"{config['seed']};\n{'averaged' if config['averaged'] else 'live'} weights.\n{labels}{taught}"
    )


def _loading(config: Mapping[str, Any]) -> str:
    names = config["domains"]["names"] if "domains" in config else config["classes"]
    output = next(iter(config.get("outputs") or {}), "")
    use = _use(config["role"].partition("_")[0], next(iter(names), ""), output, config["network"]["labels"])
    return (
        f"```python\nimport frugan\n\n{use}\n```\n\n"
        "Uploaded to the Hub as OWNER/NAME, it is `frugan.load(\"hf-hub:OWNER/NAME\")` (`pip install frugan[hub]`).\n"
    )


def _use(role: str, name: str, output: str, labels: bool) -> str:
    """The line of the card that shows what to do with a network of this role."""
    labels_argument = ", labels=labels" if labels else ""
    return {
        "generator": 'images = frugan.load("this folder").sample(16, seed=0)  # bytes [16, height, width, channels]',
        "translator": (
            f'images = frugan.load("this folder").translate(images, to="{name}")  '
            "# bytes [count, height, width, channels], both"
        ),
        "encoder": (
            f'numbers = frugan.load("this folder").encode(images, "{output}"{labels_argument})  '
            "# float32 [count, size], from bytes [count, height, width, channels]"
        ),
        "classifier": (
            'numbers = frugan.load("this folder").classify(images)  '
            "# class numbers [count], from bytes [count, height, width, channels]"
        ),
    }[role]


def _cost(config: Mapping[str, Any]) -> str:
    cost = config.get("cost")
    if cost is None:
        return ""
    macs = cost["macs"] + cost["macs_attention"]
    return (
        "## What it costs\n\n"
        "| parameters | multiply-accumulates an image | activations an image |\n| ---: | ---: | ---: |\n"
        f"| {cost['parameters']:,} | {macs:,} | {cost['activation_bytes'] / 1e6:.2f} MB |\n\n"
        "Counted by `frugan.cost`. How fast it is depends on the machine: measure it there.\n"
    )


def _values(config: Mapping[str, Any]) -> str:
    """The table of values; each row says how it was measured, since values of unequal protocols compare nothing."""
    values = config.get("values")
    if not values:
        return ""
    rows = [
        f"| {value['metric']} | {value['values'][value['headline']]:.4g} | {value['better']} | {_floor(value)} | "
        f"{_protocol(value['protocol'])} |"
        for value in values
    ]
    return (
        "## How good it is\n\n| metric | value | better | of real images | measured with |\n"
        "| --- | ---: | --- | ---: | --- |\n" + "\n".join(rows) + "\n\n"
        "Whole protocols are in `config.json`. Only values with equal protocols can be compared.\n"
    )


def _floor(value: Mapping[str, Any]) -> str:
    from frugan.metrics import floor_is_of

    floor = (value.get("floor") or {}).get("value")
    fewer = floor_is_of(value)
    return "" if floor is None else f"{floor:.4g}" + (f" (only {fewer:,} images)" if fewer else "")


def _protocol(of: Mapping[str, Any]) -> str:
    counts = [f"{of[f'{which}_count']:,} {which}" for which in ("fake", "real") if of.get(f"{which}_count")]
    real = f"{of['data']} {of['split'] or ''}".strip()
    view = f", view {of['view']} ({of['view_version']})" if of.get("view_version") else ""  # a classifier has none
    few = f"; too few images: {of['few_images']}" if of.get("few_images") else ""
    cut = f", truncation {of['truncation']:g}" if of.get("truncation") is not None else ""
    seed = f", latents of seed {of['sampling_seed']}" if of.get("sampling_seed") else ""
    return f"{real}, {' and '.join(counts)} images{view}, {of.get('weights', '')} weights{cut}{seed}{few}"


def _data(config: Mapping[str, Any]) -> str:
    data = config["data"]
    terms = data.get("terms") or (
        "frugan does not know the terms of these images. Look them up, and say them here, before you share the weights."
    )
    return f"## Data\n\n{data['title']}. {terms}\n"
