"""What a network is called with, and the sizes that a game's order leaves to the data and to the latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch

from frugan import build, games, recipes
from frugan.batch import ImageShape
from frugan.blueprint import Blueprint
from frugan.costs import cost
from frugan.games import Classes, LatentSize, Order, Variant
from frugan.recipe import Choice, Network, Recipe
from frugan.registry import UserError

IMAGE = ImageShape(1, 8, 8)
DENSE, JOINT = Network("mlp", {"hidden": [8]}), Network("bigan", {"hidden": [8, 8]})


# ----------------------------------------------------------------------------------------------- what it is called with


def blueprint(part: str, spec: Network = DENSE, **more: object) -> Blueprint:
    return Blueprint(part, spec, IMAGE, 5, **{"outputs": {"score": 1}, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(("plan", "shapes"), [
    (blueprint("decoder"), [(3, 5)]),
    (blueprint("encoder"), [(3, 1, 8, 8)]),
    (blueprint("joint", JOINT, vector=7), [(3, 1, 8, 8), (3, 7)]),
    (blueprint("decoder", condition=4, labels=True), [(3, 5), (3,)]),
    (blueprint("decoder", condition=4), [(3, 5), (3, 4)]),
    (blueprint("encoder", condition=4), [(3, 1, 8, 8), (3, 4)]),
    (blueprint("joint", JOINT, vector=7, condition=4, labels=True), [(3, 1, 8, 8), (3, 7), (3,)]),
    (blueprint("joint", JOINT, vector=7, condition=4), [(3, 1, 8, 8), (3, 7), (3, 4)]),
], ids=lambda value: value.part if isinstance(value, Blueprint) else "")  # fmt: skip
def test_a_network_takes_the_inputs_that_its_blueprint_says(plan, shapes):
    example = plan.example(3)
    assert [tuple(one.shape) for one in example] == shapes
    assert all(one.dtype == (torch.int64 if one.dim() == 1 else torch.float32) for one in example)
    module, _ = plan.build()
    made = module(*example)
    made, expected = (made, (3, *IMAGE)) if plan.part == "decoder" else (made["score"], (3, 1))
    assert made.shape == expected
    counted = cost(module, *plan.inputs())
    assert counted.macs == sum(one.weight.numel() for one in module.modules() if isinstance(one, torch.nn.Linear))


# ------------------------------------------------------------------------------------------------- what a game asks for


@pytest.fixture
def ordered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Order]:
    """The order of a game called "asking"; tests put in what it asks for."""
    asked: dict[str, Order] = {"generator": Order("decoder")}
    monkeypatch.setitem(games.registry._added, "asking", Variant(object, lambda **options: asked))
    return asked


def recipe(ordered: Mapping[str, Order], **data: object) -> Recipe:
    plain = recipes.find("vanilla")
    networks = {name: JOINT if order.part == "joint" else DENSE for name, order in ordered.items()}
    keys = {"data.size": 8, "latents.size": 5, **{f"data.{key}": value for key, value in data.items()}}
    return replace(plain.with_changes(keys), game=Choice("asking"), networks=networks)


@pytest.mark.parametrize(("size", "data", "expected"), [
    (3, {}, 3), (LatentSize(), {}, 5), (LatentSize(times=2, more=1), {}, 11), (Classes(("train",)), {"classes": 4}, 4),
    (Classes(("train",), more=1), {"classes": 4}, 5), (Classes(("train", "other")), {"classes": 4}, 8),
], ids=str)  # fmt: skip
def test_sizes_follow_from_numbers_latents_and_the_data(ordered, size, data, expected):
    ordered["reader"] = Order("encoder", {"first": size, "score": 1}, condition=size)
    ordered["judge"] = Order("joint", {"score": size}, vector=size)
    found = build.blueprints(recipe(ordered, **{"classes": 0, **data}))
    reader, judge = found["reader"], found["judge"]
    assert (reader.outputs, reader.condition, reader.labels) == ({"first": expected, "score": 1}, expected, False)
    assert (judge.outputs, judge.vector, judge.condition) == ({"score": expected}, expected, 0)
    assert (found["generator"].condition, found["generator"].outputs) == (0, None)
    for plan in found.values():
        module, _ = plan.build()
        module(*plan.example(2))


def test_only_sizes_that_follow_from_labels_need_labels(ordered):
    ordered["reader"] = Order("encoder", {"score": 1}, condition=LatentSize())
    assert not build.needs_labels(recipe(ordered))
    ordered["reader"] = Order("encoder", {"classes": Classes(("train",))})
    assert build.needs_labels(recipe(ordered))
    with pytest.raises(UserError, match=r"'asking' needs data with labels, .*data\.classes=0"):
        build.blueprints(recipe(ordered, classes=0))


def test_labels_of_the_data_are_class_numbers_or_bits_and_no_condition_of_the_game(ordered):
    ordered["reader"] = Order("encoder", {"score": 1})
    plain = recipe(ordered, classes=4)
    told = replace(plain, networks={name: replace(network, labels=True) for name, network in plain.networks.items()})
    assert build.needs_labels(told)
    for data, numbers in ((told.data, True), (replace(told.data, attributes=("a", "b", "c", "d")), False)):
        found = build.blueprints(replace(told, data=data))
        assert {(one.condition, one.labels) for one in found.values()} == {(4, numbers)}
    ordered["reader"] = Order("encoder", {"score": 1}, condition=LatentSize())
    with pytest.raises(UserError, match=r"itself gives 'reader' its condition.* Set reader\.labels=false"):
        build.blueprints(told)


def test_what_a_network_is_follows_from_its_part_unless_the_order_says_it():
    roles = {"decoder": "generator", "translator": "generator", "encoder": "discriminator", "joint": "discriminator"}
    assert {part: Order(part).role for part in roles} == roles
    assert Order("decoder", role="teacher").role == "teacher"
