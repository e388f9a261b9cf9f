"""Games that learn to see: each plays with the networks of every architecture, and these are of every family in turn.

Each pair of a game and an architecture is played for a round, with the next family. So over all pairs every game and
every architecture meets each family; the whole product would take minutes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from frugan import convs, games, nets
from frugan.checking._ground import Ground, open_ground
from frugan.recipe import Network, Recipe, Rule

GAMES = ("semi_supervised", "infogan", "bidirectional", "bidirectional_unary", "tangent")
PARTS = ("decoder", "encoder", "joint")
ARCHITECTURES = [name for name in nets.names() if any(getattr(nets.find(name), part) for part in PARTS)]
FAMILIES = convs.names()
OTHERWISE = {"decoder": "mlp", "encoder": "mlp", "joint": "bigan"}
SCORES_APART = "bigbigan"
"""The one architecture whose joint part scores images and latents alone, too, as one game wants it."""
SMALL = {"mlp": {"hidden": [8]}, "bigan": {"hidden": [8, 8]}}
CATEGORIES = 3
SIDES = (8, 16, 32, 64)
"""Tried in turn, since architectures make some sizes alone."""


def pairs() -> Iterator[tuple[str, str, str]]:
    for row, game in enumerate(GAMES):
        for column, architecture in enumerate(ARCHITECTURES):
            yield game, architecture, FAMILIES[(row + column) % len(FAMILIES)]


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as place:
        yield place


def recipe_of(ground: Ground, game: str, architecture: str, family: str, side: int) -> Recipe:
    base, networks = ground.game(game), {}
    for name, order in games.orders(game, base.game.options).items():
        chosen = architecture if getattr(nets.find(architecture), order.part) else OTHERWISE[order.part]
        if game == "bidirectional_unary" and order.part == "joint":
            chosen = SCORES_APART
        known = nets.options(chosen, order.part)
        options = SMALL.get(chosen, {"width": 0.1} if "width" in known else {})
        if game == "infogan" and "categories" in known:
            options = {**options, "categories": [CATEGORIES]}
        networks[name] = Network(chosen, options, (Rule("*", family),))
    if game == "infogan":
        base = replace(base, game=replace(base.game, options={**base.game.options, "categories": [CATEGORIES]}))
    channels = 3 if architecture in ("chollet", "ali") else 1
    return replace(base, networks=networks, data=ground.data(side, channels))


@pytest.mark.parametrize(("game", "architecture", "family"), list(pairs()))
def test_a_round_moves_networks_of_every_architecture_and_family(
    game: str, architecture: str, family: str, ground: Ground
) -> None:
    errors = []
    for side in SIDES:
        try:
            recipe = ground.with_weights(recipe_of(ground, game, architecture, family, side))
            before = ground.parts(recipe)
        except Exception as error:  # of this size
            errors.append(f"{side}: {error}")
            continue
        played = ground.play(recipe, 1)
        assert all(math.isfinite(value) for value in played.means.take().values())
        start = {name: dict(network.named_parameters()) for name, network in before.trained().items()}
        for name, network in played.trained().items():
            now = dict(network.named_parameters())  # weights alone: norms count batches also of a network that stands
            assert all(torch.isfinite(tensor).all() for tensor in now.values()), name
            assert any(not torch.equal(tensor, start[name][key]) for key, tensor in now.items()), name
        return
    pytest.fail("; ".join(errors))


def test_every_game_and_every_architecture_meets_each_family() -> None:
    met = list(pairs())
    assert {(game, family) for game, _, family in met} == {(game, family) for game in GAMES for family in FAMILIES}
    assert all(len({family for _, one, family in met if one == name}) == len(GAMES) for name in ARCHITECTURES)
