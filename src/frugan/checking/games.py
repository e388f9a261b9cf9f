"""The contract of `frugan.games`: what every game must do, with small networks or those of the user's own recipe."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from frugan import artefact, games, nets
from frugan.checking._contract import Contract, NotAsked, NotKept, Remark, Requirement, find_difference
from frugan.checking._ground import Ground
from frugan.checking._runs import (
    is_looked_at_without_a_trace,
    plays_a_round,
    resumes_bit_for_bit,
    ships_what_was_trained,
    take_few,
)
from frugan.engine.loop import Parts, play_round
from frugan.games import Order
from frugan.recipe import Recipe
from frugan.registry import UserError


@dataclass(frozen=True)
class Checked:
    """A game that is tested against its contract."""

    name: str
    ground: Ground

    @functools.cached_property
    def recipe(self) -> Recipe:
        """A small recipe that plays the game."""
        return self.ground.game(self.name)

    @property
    def orders(self) -> dict[str, Order]:
        """The networks that the game asks for (its `Order` s), with the recipe's options."""
        return games.orders(self.name, self.recipe.game.options)


def orders_networks(game: Checked) -> None:
    """Its `order` gives an `Order` for each network: a part of an architecture, and the sizes that it needs."""
    ordered = games.orders(game.name, {})
    if not ordered:
        raise NotKept("it asks for no networks: its `order` must return a dict, name -> Order(part, ...).")
    for name, order in ordered.items():
        if order.part not in nets.PARTS:
            raise NotKept(f"the part '{order.part}' of '{name}' does not exist. Choose from: {', '.join(nets.PARTS)}.")
        if order.part in ("encoder", "joint") and not order.outputs:
            raise NotKept(
                f"'{name}' needs outputs, but its Order names none. Give e.g. Order('{order.part}', {{\"score\": 1}})."
            )
        if order.part == "joint" and order.vector is None:
            raise NotKept(
                f"'{name}' has the part 'joint', which takes images and vectors, but its Order does not say how long "
                "the vectors are: Order(\"joint\", ..., vector=LatentSize())."
            )
        if order.like is not None and order.like not in ordered:
            raise NotKept(f"the Order of '{name}' says like='{order.like}', but there is no Order of that name.")


def names_its_streams(game: Checked) -> None:
    """Its streams stand on the class, so that they are known before the game is built."""
    named = getattr(games.find(game.name).game, "streams", None)
    if not isinstance(named, tuple) or not named or not all(isinstance(stream, str) for stream in named):
        raise NotKept(f'`streams` of its class is {named!r}: name at least one, e.g. streams = ("train",).')


def holds_what_it_ordered(game: Checked) -> None:
    """Its `networks` are those that it was given, by the names in its orders."""
    parts = game.ground.parts(game.recipe)
    held, ordered = set(parts.game.networks), set(game.orders)
    if held != ordered:
        raise NotKept(
            f"its `order` asks for the networks {', '.join(sorted(ordered))}, but its attribute `networks` has "
            f"{', '.join(sorted(held))}. Both must have the same names."
        )


def ships_in_known_roles(game: Checked) -> None:
    """`shipped` names only networks and streams of the game, and roles that `frugan.load` knows."""
    played = game.ground.parts(game.recipe).game
    for role, item in played.shipped().items():
        kind, _, direction = role.partition("_")
        if kind not in artefact.KINDS:
            raise NotKept(
                f"the role '{role}' does not exist, so nothing could use what it ships. Choose from: "
                f"{', '.join(artefact.KINDS)}."
            )
        if direction != "".join(item.direction or ()):
            raise NotKept(
                f"the role '{role}' and its direction {item.direction} do not fit: translator_ab is ('a', 'b')."
            )
        if item.network not in played.networks or (item.reader or item.network) not in played.networks:
            named = ", ".join(filter(None, (item.network, item.reader)))
            raise NotKept(
                f"shipped() gives for the role '{role}' the networks {named}, but the game has only "
                f"{', '.join(sorted(played.networks))}."
            )
        if not {*(item.direction or ()), *(layout.stream for layout in item.label_layouts)} <= set(played.streams):
            raise NotKept(f"the role '{role}' names streams that the game does not have.")


def samples_purely(game: Checked) -> None:
    """`sample` makes as many images as asked for. Image i depends on the seed and i only, and no state changes."""
    parts = game.ground.play(game.recipe, 1)
    played, random = parts.game, torch.get_rng_state()
    with _evaluating(parts) as before:
        like, less = take_few(parts, 7), take_few(parts, 3)
        one, again, other = (played.sample(played.networks, like, seed) for seed in (1, 1, 2))
        if one.shape != like.images.shape:
            raise NotKept(f"sample() gives {list(one.shape)} where {list(like.images.shape)} were asked for.")
        if not torch.equal(one, again):
            raise NotKept(
                "sample() gives other images for the same seed: draw from the seed only (latents.rows)."
            )
        if not torch.allclose(one[:3], played.sample(played.networks, less, 1), rtol=0, atol=1e-4):
            raise NotKept(
                "sample() gives other images when fewer are asked for: image i must depend on (seed, i) only."
            )
        makes = any(order.part == "decoder" and order.role == games.GENERATOR for order in game.orders.values())
        if makes and torch.equal(one, other):
            raise NotKept("sample() gives the same images for another seed.")
        _check_still(parts, before, "sample()")
    if not torch.equal(random, torch.get_rng_state()):
        raise NotKept("sample() draws from torch's own random numbers: draw from the seed (latents.rows).")


def previews_purely(game: Checked) -> None:
    """`preview` gives whole rows of images, always the same ones."""
    parts = game.ground.play(game.recipe, 1)
    if not hasattr(parts.game, "preview"):
        raise NotAsked("it has no `preview`: people are shown its samples.")
    first = {stream: parts.batches.first(stream, 5) for stream in parts.game.streams}
    with _evaluating(parts) as before:
        shown = parts.game.preview(parts.game.networks, first, 1)
        if not (isinstance(shown, tuple) and len(shown) == 2):
            raise NotKept("preview() must return (images, columns): images [n, c, h, w], and how many are in a row.")
        images, columns = shown
        if not columns or len(images) % columns or images.shape[1:] != first[parts.game.streams[0]].images.shape[1:]:
            raise NotKept(
                f"preview() gives images {list(images.shape)} in rows of {columns}: give whole rows of images."
            )
        if not torch.equal(images, parts.game.preview(parts.game.networks, first, 1)[0]):
            raise NotKept("preview() shows other images when it is asked again.")
        _check_still(parts, before, "preview()")


@contextmanager
def _evaluating(parts: Parts) -> Iterator[dict[str, dict[str, Tensor]]]:
    """Inside, networks are in evaluation mode and gradients off; gives copies of their states."""
    for network in parts.game.networks.values():
        network.eval()
    with torch.no_grad():
        yield {
            name: {key: tensor.clone() for key, tensor in network.state_dict().items()}
            for name, network in parts.game.networks.items()
        }


def _check_still(parts: Parts, before: dict[str, dict[str, Tensor]], what: str) -> None:
    for name, network in parts.game.networks.items():
        apart = find_difference(before[name], network.state_dict())
        if apart is not None:
            raise NotKept(f"{what} changes '{apart}' of the network '{name}'.")


def judges_fakes_with_their_own_labels(game: Checked) -> None:
    """Where networks take labels, a real image is judged with its own, and a fake with those it was made with."""
    recipe = game.recipe
    free = [name for name, order in game.orders.items() if order.condition is None and order.like is None]
    makers = [name for name in recipe.makers() if name in free and game.orders[name].part == "decoder"]
    trained = {network for player in recipe.players.values() for network in player.networks}
    free = [name for name in free if name in trained]
    if not makers or not set(makers) <= set(free):
        raise NotAsked("no network that makes images from latents can take the data's labels.")
    labelled = replace(
        recipe,
        networks={name: replace(spec, labels=name in free) for name, spec in recipe.networks.items()},
    )
    labelled = game.ground.with_weights(labelled)
    try:
        parts = game.ground.parts(labelled)
    except UserError as error:
        raise NotAsked(f"its networks take no labels: {error}") from None
    made: dict[bytes, int] = {}
    judged: list[tuple[str, Tensor, Tensor | None]] = []
    for name in free:
        network = parts.game.networks[name]
        watch: Any = functools.partial(_remember, judged, name)
        if name in makers:
            watch = functools.partial(_remember_made, made)
        network.register_forward_hook(watch, with_kwargs=True)
    data = next(iter(parts.batches.streams.values()))
    assert data.labels is not None
    try:
        for _ in range(3):
            play_round(parts)
    except UserError as error:
        raise Remark(
            f"networks that take labels cannot be used with it: {error} Pass labels on with network(x, "
            "labels_for(network, labels))."
        ) from None
    everyone = parts.batches.first(parts.game.streams[0], len(data))
    assert everyone.labels is not None
    real = {_bytes(image): int(label) for image, label in zip(everyone.images, everyone.labels, strict=True)}
    _check_judged(real, made, judged)


def _check_judged(
    real: dict[bytes, int], made: dict[bytes, int], judged: list[tuple[str, Tensor, Tensor | None]]
) -> None:
    recognised = 0
    for name, images, labels in judged:
        own = [None] * len(images) if labels is None else labels
        for image, label in zip(images, own, strict=True):
            code = _bytes(image)
            for known, what in ((real, "a real image"), (made, "a fake")):
                if code in known:
                    recognised += 1
                    if label is None or int(label) != known[code]:
                        raise NotKept(
                            f"'{name}' gets {what} of the label {known[code]} with the label {label}: give each image "
                            "its own label; that of a fake is the one that it was made with."
                        )
    if not recognised:
        raise NotAsked("every network sees only images that are changed first (augmented or mixed).")


def _bytes(image: Tensor) -> bytes:
    return image.detach().contiguous().numpy().tobytes()


def _remember_made(made: dict[bytes, int], module: nn.Module, given: Any, named: Any, output: Tensor) -> None:
    labels = _labels_of(given, named, 1)
    if labels is not None:
        made.update((_bytes(image), int(label)) for image, label in zip(output, labels, strict=True))


def _remember(
    judged: list[tuple[str, Tensor, Tensor | None]], name: str, module: nn.Module, given: Any, named: Any, output: Any
) -> None:
    place = 2 if len(given) > 1 and given[1] is not None and given[1].is_floating_point() else 1
    judged.append((name, given[0].detach().clone(), _labels_of(given, named, place)))


def _labels_of(given: tuple[Any, ...], named: dict[str, Any], place: int) -> Tensor | None:
    if len(given) > place:
        return given[place]
    return next((value for value in named.values() if isinstance(value, Tensor)), None)


def settles_by_its_own_method(game: Checked) -> None:
    """The game has a method `settle(network, seed)`. Most games can simply call `frugan.games.settle` in it."""
    parts = game.ground.parts(game.recipe)
    for network in parts.game.networks.values():
        parts.game.settle(network, 0)


def counts_a_batch_by_the_recipe(game: Checked) -> None:
    """The batch size is the recipe's."""
    taken = []
    for batch in (4, 8):
        recipe = replace(game.recipe, batch_size=batch)
        taken.append(game.ground.play(recipe, 1).clock.images)
    if taken[1] != 2 * taken[0]:
        raise Remark(
            f"with batch_size=4 a round takes {taken[0]} real images and with 8 {taken[1]}: a round should take "
            "batch_size real images."
        )


CONTRACT = Contract("game", games.names, Checked, (
    Requirement(orders_networks, "frugan.games, Order"),
    Requirement(names_its_streams, "frugan.games, Game.streams"),
    Requirement(holds_what_it_ordered, "frugan.games, Game.networks", (orders_networks, names_its_streams)),
    Requirement(plays_a_round, "frugan.games, Game.step", (holds_what_it_ordered,)),
    Requirement(counts_a_batch_by_the_recipe, "frugan.games, Variant", (plays_a_round,)),
    Requirement(samples_purely, "frugan.games, Game.sample", (plays_a_round,)),
    Requirement(previews_purely, "frugan.games, Game", (plays_a_round,)),
    Requirement(ships_in_known_roles, "frugan.games, Game.shipped", (holds_what_it_ordered,)),
    Requirement(settles_by_its_own_method, "frugan.games, Game.settle", (holds_what_it_ordered,)),
    Requirement(is_looked_at_without_a_trace, "frugan.games, Game.settle", (plays_a_round, samples_purely)),
    Requirement(resumes_bit_for_bit, "frugan.games, Game", (plays_a_round,)),
    Requirement(ships_what_was_trained, "frugan.artefact", (plays_a_round, ships_in_known_roles)),
    Requirement(judges_fakes_with_their_own_labels, "frugan.games, labels_for", (plays_a_round,)),
), shared=lambda game: True)  # fmt: skip
