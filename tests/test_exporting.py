"""What a run ships leaves the house whole: every architecture and family, compared with the artefact, or refused."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from frugan import artefact, convs, games, nets, recipes
from frugan.artefact import _onnx
from frugan.batch import ImageShape
from frugan.checking._ground import Ground
from frugan.checking.networks import CONDITION, Part
from frugan.exporting import TOLERANCE, Parcel, onnx
from frugan.recipe import Network, Rule
from frugan.registry import UserError

ROLES = {"decoder": "generator", "translator": "translator", "encoder": "classifier"}


def trained(part: str, architecture: str, *, labels: bool = True, family: str | None = None,
            place: str | None = None, truncation: float | None = None, **changes: Any) -> Parcel:  # fmt: skip
    """The parcel of one part of an architecture, thin and for small images; with labels if it takes them."""
    tested = Part(f"{architecture}.{part}", Ground(Path(tempfile.gettempdir())))
    blueprint = tested.blueprint(CONDITION if labels else 0, family=family)
    if changes:
        blueprint = replace(blueprint, **changes)
    torch.manual_seed(0)
    try:
        module, _ = blueprint.build()
    except UserError:
        blueprint = replace(blueprint, condition=0)
        module, _ = blueprint.build()
    learn_statistics(module, tested.inputs(blueprint.condition, 16))
    return Parcel.of(opened(blueprint, module), place, truncation)


def opened(blueprint: Any, module: nn.Module) -> Any:
    """What `frugan.load` would give for such a network."""
    role = ROLES[blueprint.part]
    spec = blueprint.spec
    config = {
        "role": role, "recipe": "small", "part": blueprint.part, "outputs": blueprint.outputs, "vector": 0,
        "condition": blueprint.condition, "class_numbers": blueprint.labels, "averaged": False, "images": 0, "seed": 0,
        "network": {
            "architecture": spec.architecture, "options": spec.options, "labels": bool(blueprint.condition),
            "families": [asdict(rule) for rule in spec.families],
        },
        "image": list(blueprint.image), "image_range": [-1.0, 1.0], "classes": list("abcd"),
        "latents": {"size": blueprint.latents, "distribution": "normal"},
        "domains": {"kind": "classes", "names": list("abcd"), "exclusive": []},
        "data": {"title": "noise", "hash": "0", "name": "noise", "split": "train", "count": 1},
    }  # fmt: skip
    return artefact.KINDS[role](module, config)


def learn_statistics(module: nn.Module, inputs: Any) -> None:
    norms = [one for one in module.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        module.train()(*inputs)
        for norm in norms:
            if norm.affine:
                norm.weight.add_(torch.linspace(-0.3, 0.3, len(norm.weight)))
                norm.bias.add_(torch.linspace(-0.2, 0.2, len(norm.bias)))
    module.eval()


def tiny(family: str | None = None, image: ImageShape = ImageShape(1, 8, 8), **options: Any) -> Parcel:  # noqa: B008
    """A generator of the DCGAN architecture that exports in about a second."""
    rules = () if family is None else (Rule("*", family),)
    spec = Network("dcgan", {"width": 0.0625, **options}, rules)
    return trained("decoder", "dcgan", spec=spec, image=image, condition=0, labels=False)


def shipped() -> list[tuple[str, str]]:
    """Every architecture with each part that a recipe ships, or could."""
    makers = [(name, part) for name in nets.names() for part in ("decoder", "translator")
              if getattr(nets.find(name), part) is not None]  # fmt: skip
    readers = set()
    for recipe in map(recipes.find, recipes.names()):
        for name, order in games.orders(recipe.game.name, recipe.game.options).items():
            tells = order.role in ("encoder", "classifier") or (order.outputs and "classes" in order.outputs)
            if order.part == "encoder" and tells and "star" not in recipe.game.name:
                readers.add((recipe.networks[order.like or name].architecture, "encoder"))
    return [*makers, *sorted(readers)]


def session_of(parcel: Parcel, *rewrites: str) -> tuple[Any, Any]:
    model = onnx.model_of(parcel, rewrites)
    return model, _onnx.session(model.SerializeToString())


def operators(model: Any) -> set[str]:
    return {node.op_type for node in model.graph.node}


def grouped_transposed(model: Any) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type == "ConvTranspose"
            and any(one.name == "group" and one.i > 1 for one in node.attribute)]  # fmt: skip


@pytest.mark.parametrize(("architecture", "part"), shipped(), ids=".".join)
def test_every_network_that_ships_computes_the_same_in_onnx(architecture: str, part: str) -> None:
    parcel = trained(part, architecture)
    model, session = session_of(parcel)
    parity = parcel.compare(lambda inputs: _onnx.run(session, inputs))
    assert 0 <= parity.mean <= parity.largest <= TOLERANCE
    assert all(one.type.tensor_type.shape.dim[0].dim_param == "batch" for one in model.graph.input)


@pytest.mark.parametrize("family", [name for name in convs.names() if name != "standard"])
def test_every_family_computes_the_same_in_onnx_and_for_phones(family: str) -> None:
    parcel = tiny(family)
    model, session = session_of(parcel, onnx.GROUPED)
    parcel.compare(lambda inputs: _onnx.run(session, inputs))
    assert not grouped_transposed(model)


def test_the_family_that_phones_refuse_has_what_they_refuse() -> None:
    assert grouped_transposed(onnx.model_of(tiny("depthwise")))
