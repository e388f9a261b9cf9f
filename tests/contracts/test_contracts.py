"""Every registered variant keeps the contract of its axis: what `frugan check` asks of a user's is asked of ours."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from frugan import convs, games
from frugan.checking import contracts
from frugan.checking import families as family_contract
from frugan.checking._contract import Contract, Requirement, check_requirement
from frugan.checking._ground import Ground, open_ground
from frugan.checking._pairs import compare_processes
from frugan.checking.families import Family
from frugan.checking.games import Checked

CONTRACTS = {contract.kind: contract for contract in contracts()}
# What has tests of its own that ask more, and would take most of the time here.
ELSEWHERE = {
    ("kernel", "compiled"): "tests/kernels compiles and compares it",
    ("data reader", "stacked"): "it reads MNIST; tests/data/test_data_stacked.py",
    ("recipe", "biggan-128"): "half a minute for its orthogonal weights; tests/nets/test_biggan.py counts them",
}
# Kernels that have nothing to choose from, or take only layers that are too large for a moment's look.
TAKE_NOTHING_HERE = {"plain", "float32", "im2col", "im2col_onednn"}
# Games in which each process mixes what is in its own share of the batch: the batch's labels in another order, as
# targets; or its images, by the discriminator's minibatch deviation.
MIX_THEIR_SHARE = {"star", "star_joint", "growing"}
# What is noted of our own, and is as published.
AS_PUBLISHED = {
    ("growing.decoder", "gives the ordered shapes"): "its last layer is linear, so first images reach beyond -1 to 1",
}
# Of recipes, what is looked at without training them; the small ones are trained in test_recipes.py.
UNTRAINED = ("says what it is", "survives json", "builds")


def cases() -> Iterator[Any]:
    for contract in CONTRACTS.values():
        for name in contract.names():
            for part in contract.parts(name):
                for requirement in contract.requirements:
                    if contract.kind == "recipe" and requirement.name not in UNTRAINED:
                        continue
                    if (contract.kind, name) not in ELSEWHERE:
                        label = f"{contract.kind}-{part}-{requirement.name}".replace(" ", "_")
                        yield pytest.param(contract, part, requirement, id=label)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as place:
        yield place


@pytest.fixture(scope="module")
def opened(ground: Ground) -> dict[tuple[str, str], Any]:
    """Variants that were looked at before keep what was computed for them."""
    return {}


@pytest.mark.parametrize(("contract", "name", "requirement"), list(cases()))
def test_every_variant_keeps_its_contract(
    contract: Contract, name: str, requirement: Requirement, ground: Ground, opened: dict[tuple[str, str], Any]
) -> None:
    variant = opened.setdefault((contract.kind, name), contract.open(name, ground))
    found = check_requirement(contract.kind, requirement, variant, name)
    noted = contract.kind == "kernel" and name in TAKE_NOTHING_HERE
    if noted or (name, requirement.name) in AS_PUBLISHED:
        assert found.state in ("ok", "note"), found.words
    else:
        assert found.state in ("ok", "not asked"), found.words


def test_every_game_is_the_same_in_two_processes(ground: Ground) -> None:
    variants: list[tuple[str, Any]] = [("game", Checked(name, ground)) for name in games.names()]
    population = ground.game("evolutionary").with_changes({"game.parents": 2})
    variants.append(("game", SimpleNamespace(name="two parents", recipe=population)))
    for found in compare_processes(variants, ground):
        mixing = found.name in MIX_THEIR_SHARE and found.state == "note"
        assert found.state == "ok" or mixing, f"{found.kind} {found.name}: {found.words}"


WITH_OPTIONS = [
    ("factorised", {"form": "small"}), ("factorised", {"form": "both"}), ("factorised", {"middle": 0.5}),
    ("depthwise", {"order": "pointwise_first"}), ("depthwise", {"multiplier": 2}), ("grouped", {"groups": 2}),
]
IDS = ["-".join([name, *map(str, options.values())]) for name, options in WITH_OPTIONS]


@pytest.mark.parametrize(("name", "options"), WITH_OPTIONS, ids=IDS)
@pytest.mark.parametrize("requirement", family_contract.CONTRACT.requirements[:5], ids=lambda one: one.name)
def test_families_keep_it_with_other_options(
    name: str, options: dict[str, Any], requirement: Requirement, ground: Ground
) -> None:
    found = check_requirement("convolution family", requirement, Family(name, ground, options), name)
    assert found.state == "ok", found.words


@pytest.mark.parametrize("name", convs.names())
def test_only_upsampling_is_declined_whole(name: str, ground: Ground) -> None:
    family = Family(name, ground)
    declined = {kind for kind in family_contract.KINDS if family.layer(kind, 144, 8, 4) is None}
    assert declined == ({"same", "down"} if name == "bilinear_additive" else set())


@pytest.mark.parametrize("name", games.names())
def test_in_every_game_an_adaptive_augmentation_follows_the_discriminator(name: str, ground: Ground) -> None:
    recipe = ground.game(name).with_changes({"augment": "adaptive,images=100", "loss": "non_saturating"})
    parts = ground.play(recipe, 3)
    gauge = next(one for one in games.penalties_of(parts.game).values() if one.name == "augmentation")
    assert gauge.seen > 0
    assert any("augmentation" in key for key in parts.means.peek()), parts.means.peek()
