"""A web page that runs the network in the visitor's browser: a folder to be served, or one file.

The page and what it is told of the network are in `frugan.webpage`. Generators and translators have a page: sliders,
labels and truncation for the first, a dropped picture or the camera for the second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from frugan import costs, webpage
from frugan.artefact import Generator, Translator
from frugan.batch import to_bytes
from frugan.exporting import Input, Parcel, Target, Written, onnx
from frugan.exporting._example import packed
from frugan.registry import UserError
from frugan.seeds import generator
from frugan.webpage import runtime

PROBES = 64
"""On how many latents it is measured which of them change images most."""


def write(parcel: Parcel, folder: Path, *, single_file: bool = False, runtime_files: str | None = None) -> Written:
    """Write the page, with the ONNX file that the target "onnx" makes.

    Args:
        single_file: one HTML file that opens by double click, without a server.
        runtime_files: a folder with the files of onnxruntime-web; if left out, npm gets them once.
    """
    if not isinstance(parcel.artefact, (Generator, Translator)):
        raise UserError(
            f"A page shows images; a network in the role '{parcel.artefact.role}' makes none. Export it with --to "
            "onnx, or give another --role."
        )
    files = runtime.find(runtime_files)
    written = onnx.variant.write(parcel, folder)
    model = (folder / onnx.FILE).read_bytes()
    network = described(parcel, len(model))
    if single_file:
        (folder / onnx.FILE).unlink()
        page = webpage.write_file(folder / "index.html", network, model, files)
        how = f"Open {page.name} by double click; it needs no server and no network."
    else:
        webpage.write_folder(folder, network, model, files)
        how = "Serve the folder, e.g. python -m http.server --directory OUT, and open index.html from there."
    return Written(written.parity, written.description, (*written.notes, how))


def described(parcel: Parcel, size: int) -> dict[str, Any]:
    """What the page is told of the network, see `frugan.webpage`; `size` is that of the ONNX file in bytes."""
    artefact, (first, *condition), (output,) = parcel.artefact, parcel.inputs, parcel.outputs
    channels, height, width = output.shape
    inputs = parcel.examples(1)
    with torch.no_grad():
        expected = to_bytes(parcel.expected(inputs)[0], output.range or (-1, 1))[0].permute(1, 2, 0)
    config = artefact.config
    return {
        "title": f"{config['recipe']}: {config['data']['name']}",
        # As often as it was shown one, not as many as there are.
        "lead": f"A {artefact.role} of {config['data']['name']}: training showed it {config['images']:,} images.",
        "role": artefact.role, "image": {"channels": channels, "height": height, "width": width},
        "range": list(output.range or (-1, 1)), "output": output.name,
        "latents": _latents(parcel, first) if first.name == "latents" else None,
        "images": {"input": first.name} if first.name == "images" else None,
        "labels": _labels(condition[0]) if condition else None,
        "check": {
            "input": packed(inputs[0].numpy())["base64"], "expected": packed(expected.numpy())["base64"],
            "labels": inputs[1][0].reshape(-1).tolist() if condition else [],
        },
        "facts": _facts(parcel, size),
    }  # fmt: skip


def _latents(parcel: Parcel, latents: Input) -> dict[str, Any]:
    fixed = latents.truncation is not None or getattr(parcel.module, "norms_follow_truncation", False)
    return {
        "input": latents.name, "size": latents.shape[0], "distribution": latents.distribution,
        "order": _effective_first(parcel), "limit": min(3.0, latents.range[1]), "fixed": latents.truncation,
        "truncation": latents.distribution == "normal" and not fixed,
    }  # fmt: skip


def _effective_first(parcel: Parcel) -> list[int]:
    """The numbers of the latents, those that change images most first.

    By the mean square of an image's slope: the gradient of the image times random numbers has that expectation, for all
    latents at once.
    """
    latents, *rest = parcel.examples(PROBES)
    latents = latents.clone().requires_grad_()
    with torch.enable_grad():
        images = parcel.module(latents, *rest)
        chance = torch.randn(images.shape, generator=generator(0, "probes"))
        (slopes,) = torch.autograd.grad((images * chance).sum(), latents)
    return slopes.square().mean(0).argsort(descending=True, stable=True).tolist()


def _labels(condition: Input) -> dict[str, Any]:
    """The labels that the page offers. Classes without names are called by their numbers."""
    if condition.type == "int64":
        size, kind = int(condition.range[1]) + 1, "classes"
    else:
        size, kind = condition.shape[0], "attributes" if condition.names else "values"
    names = list(condition.names) or [str(number) for number in range(size)]
    return {
        "input": condition.name, "kind": kind, "size": size, "names": names,
        "exclusive": [list(group) for group in condition.exclusive],
    }  # fmt: skip


def _facts(parcel: Parcel, size: int) -> list[list[str]]:
    artefact = parcel.artefact
    cost = costs.cost(artefact.module, *artefact.inputs())
    config = artefact.config
    values = {}
    for value in config.get("values", ()):  # the first of each metric: others are of other judges or latents
        if value["protocol"].get("truncation") is None:
            words = f"{value['metric']} ({value['better']} is better)"
            values.setdefault(words, f"{value['values'][value['headline']]:.4g}")
    return [
        ["Data", config["data"]["title"]], ["Parameters", f"{cost.parameters:,}"],
        ["Multiply-accumulates an image", f"{cost.macs + cost.macs_attention:,}"],
        ["File", f"{size / 1e6:.2f} MB"], *map(list, values.items()),
        *([["Terms of the data", config["data"]["terms"]]] if config["data"].get("terms") else []),
    ]  # fmt: skip


variant = Target("web", "a page that runs in the browser: a folder, or one file with single_file=true", write)
