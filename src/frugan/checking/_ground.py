"""What checks work with: a temporary folder, a few pictures to train on, and small recipes."""

from __future__ import annotations

import contextlib
import io
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from frugan import artefact, build, costs, games, nets, recipes
from frugan.cache import cached_in
from frugan.engine.loop import Parts
from frugan.engine.run import RunFolder
from frugan.games import DISCRIMINATOR, GENERATOR, Order
from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe
from frugan.registry import UserError
from frugan.training import train

CLASSES, PICTURES, LATENTS, BATCH = 3, 18, 4, 4
LARGEST = 64
"""Height and width of the pictures as they lie in their file: none is ever enlarged."""

PLAIN = Network("mlp", {"hidden": [8]})
"""The smallest network that frugan has, as a decoder and as an encoder."""

SMALL: Mapping[str, Network] = {
    "decoder": PLAIN, "encoder": PLAIN, "joint": Network("bigan", {"hidden": [8, 8]}),
    "translator": Network("stargan", {"width": 0.0625, "blocks": 1}),
}
"""A small network of frugan's own for every part."""

USUAL_ROLES = (GENERATOR, DISCRIMINATOR, "encoder", "classifier")
"""A network in another role (a teacher) is taken to be frozen, unless a recipe trains it."""


@dataclass
class Ground:
    """What checks work with: a temporary folder, pictures and small recipes.

    Attributes:
        folder: is deleted after the checks.
        code: the user's files, for the programs that checks start.
    """

    folder: Path
    code: Sequence[Path] = ()
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def pictures(self) -> Path:
        """`PICTURES` images of coloured noise, with labels of `CLASSES` classes."""
        path = self.folder / "pictures.npz"
        if not path.exists():
            random = np.random.default_rng(0)
            shape = (PICTURES, LARGEST, LARGEST, 3)
            # Coarse noise: fine noise is grey once it was made smaller.
            coarse = random.integers(0, 256, (PICTURES, 8, 8, 3), dtype=np.uint8)
            images = coarse.repeat(LARGEST // 8, axis=1).repeat(LARGEST // 8, axis=2).reshape(shape)
            np.savez(path, images=images, labels=np.arange(PICTURES) % CLASSES)
        return path

    def new_folder(self, name: str) -> Path:
        """The path of a new folder, which does not exist yet."""
        return self.folder / f"{name}-{next(self._numbers)}"

    def data(self, size: int, channels: int) -> Data:
        """The pictures at this size, with this many channels."""
        return Data(str(self.pictures), size, channels, CLASSES)

    def recipe(self, networks: Mapping[str, Network], size: int = 8, channels: int = 1, **fields: Any) -> Recipe:
        """A small recipe: the adversarial game and a player for each network, unless `fields` say otherwise."""
        made: dict[str, Any] = {
            "players": {name: Player((name,), 2e-3) for name in networks},
            "averages": {GENERATOR: Average(8.0)} if GENERATOR in networks else {}, **fields,
        }
        return Recipe(
            "check", "frugan check", "frugan check", "nothing", self.data(size, channels), dict(networks),
            images=8 * BATCH, batch_size=BATCH, latents=LatentsChoice(LATENTS), precision="float32",
            kernels="plain", **made,
        )  # fmt: skip

    def pair(self, generator: Network = PLAIN, discriminator: Network = PLAIN, **fields: Any) -> Recipe:
        """A small recipe with this generator and this discriminator."""
        return self.recipe({GENERATOR: generator, DISCRIMINATOR: discriminator}, **fields)

    def game(self, name: str) -> Recipe:
        """A small recipe for a game: the user's first recipe for it, made small, or one with our networks.

        If a game of ours refuses these networks (it needs networks that grow), its first recipe is made small.
        """
        own = [one for one in map(recipes.find, recipes.names()) if one.game.name == name]
        if own and self._is_own(own[0]):
            return self.shrunk(own[0])
        ordered = {network: order for network, order in games.orders(name, {}).items() if order.like is None}
        networks = {network: SMALL[order.part] for network, order in ordered.items()}
        averages = {network: Average(8.0) for network, order in ordered.items() if order.role == GENERATOR}
        size = 16 if any(order.part == "translator" for order in ordered.values()) else 8
        loss = own[0].loss if own else Choice("non_saturating")

        def with_players(players: Mapping[str, Sequence[str]]) -> Recipe:
            made = {player: Player(tuple(trained), 2e-3) for player, trained in players.items()}
            plain = self.recipe(
                networks, size, game=Choice(name), players=made, averages=averages, loss=loss,
                channels=3 if size == 16 else 1,
            )
            return self.with_weights(plain)

        if own:
            plain = with_players({player: one.networks for player, one in own[0].players.items()})
            try:
                build.check(plain)
            except UserError:
                return self.shrunk(own[0])
            return plain
        tried = [with_players(players) for players in _groupings(ordered)]
        return next((recipe for recipe in tried if self._plays(recipe)), tried[0])

    def _plays(self, recipe: Recipe) -> bool:
        try:
            self.play(recipe, 1)
        except Exception:
            return False
        return True

    def _is_own(self, recipe: Recipe) -> bool:
        return recipes.origin(recipe.name) is not None

    def shrunk(self, recipe: Recipe) -> Recipe:
        """Make a recipe so small that a round takes a moment: thin networks, and a few small images of ours.

        Networks are as thin, and images as small, as the architecture allows. Raises UserError if the networks cannot
        be built.
        """
        small = replace(
            recipe, batch_size=BATCH, latents=replace(recipe.latents, size=min(recipe.latents.size, LATENTS)),
            precision="float32", kernels="plain", images=8 * BATCH, rounds=None, minutes=None,
            averages={name: replace(one, half_life=min(one.half_life, 8.0)) for name, one in recipe.averages.items()},
            streams={
                stream: {
                    key: value for key, value in changed.items()
                    if key in ("image_range", "balance")
                } for stream, changed in recipe.streams.items()
            },
        )
        error: Exception | None = None
        for size, width in itertools.product((8, 16, 32, max(recipe.data.sides)), (0.125, 0.25, None)):
            data = replace(
                self.data(size, recipe.data.channels), image_range=recipe.data.image_range, balance=recipe.data.balance
            )
            networks = {
                name: _thinner(spec, ordered.part, width) for name, spec in recipe.networks.items()
                for ordered in [games.orders(recipe.game.name, recipe.game.options)[name]]
            }
            tried = replace(small, data=data, networks=networks)
            try:
                tried = self.with_weights(tried)
                self.play(tried, 1)
            except Exception as refused:
                error = error or refused
            else:
                return tried
        assert error is not None
        raise error

    def with_weights(self, recipe: Recipe) -> Recipe:
        """The same recipe, with saved weights for the networks that no player trains."""
        trained = {network for player in recipe.players.values() for network in player.networks}
        networks = {
            name: spec if name in trained else replace(spec, init=str(self._weights(recipe, name)))
            for name, spec in recipe.networks.items()
        }  # fmt: skip
        return replace(recipe, networks=networks)

    def _weights(self, recipe: Recipe, name: str) -> Path:
        """An artefact of one network as it was drawn, in the role that it has in the game."""
        blueprints = build.blueprints(recipe)
        blueprint, makers = blueprints[name], {maker: blueprints[maker].build()[0] for maker in recipe.makers()}
        role = games.orders(recipe.game.name, recipe.game.options)[name].role
        role = role if role in artefact.KINDS else GENERATOR
        plain = artefact.load(self.run(self.pair()).path)
        module, _ = blueprint.build()
        config = {
            **plain.config, "role": role, "part": blueprint.part, "outputs": blueprint.outputs,
            "vector": blueprint.vector, "condition": blueprint.condition, "class_numbers": blueprint.labels,
            "image": list(blueprint.image), "image_range": list(build.image_range(recipe, makers)),
            "latents": {"size": blueprint.latents, "distribution": "normal"},
            "network": {
                "architecture": blueprint.spec.architecture, "options": blueprint.spec.options,
                "labels": blueprint.spec.labels,
                "families": [{"pattern": rule.pattern, "family": rule.family, "options": rule.options}
                             for rule in blueprint.spec.families],
            },
        }  # fmt: skip
        path = self.new_folder("weights")
        artefact.KINDS[role](module.eval(), config).save(path)
        return path

    def parts(self, recipe: Recipe) -> Parts:
        """Everything that a run of the recipe consists of, before its first round."""
        from frugan.training import _giving

        parts = build.parts(build.assemble(recipe), build.datasets(recipe))
        _giving.give(recipe, parts)
        for network in parts.trained().values():
            network.train()
        return parts

    def play(self, recipe: Recipe, rounds: int) -> Parts:
        """The parts of a run of the recipe after this many rounds."""
        from frugan.engine.loop import play

        parts = self.parts(recipe)
        play(parts, rounds=rounds)
        return parts

    def run(self, recipe: Recipe, rounds: int = 2, out: Path | None = None) -> RunFolder:
        """Train the recipe without messages. A run that is already in the folder `out` is continued."""
        with contextlib.redirect_stderr(io.StringIO()):
            return self.train(recipe, rounds, out)

    def train(self, recipe: Recipe, rounds: int, out: Path | None = None, **more: Any) -> RunFolder:
        """Train the recipe as ``frugan train`` does."""
        return train(recipe, rounds=rounds, out=out or self.new_folder("run"), device="cpu", quiet=True, **more)


@contextlib.contextmanager
def open_ground(code: Sequence[Path] = ()) -> Iterator[Ground]:
    """Open a ground with a cache of its own. Inside, torch uses one thread: more would only wait for each other."""
    with tempfile.TemporaryDirectory(prefix="frugan-check-") as name, cached_in(Path(name) / "cache"), costs.threads(1):
        yield Ground(Path(name), code)


def _groupings(ordered: Mapping[str, Order]) -> list[dict[str, list[str]]]:
    """The players that a game may have which no recipe tells of: a network each, by first word, by role."""
    trained = {name: order for name, order in ordered.items() if order.role in USUAL_ROLES}
    keys = (
        {name: name for name in trained}, {name: name.partition("_")[0] for name in trained},
        {name: order.role for name, order in trained.items()},
    )
    groupings = []
    for key in keys:
        players: dict[str, list[str]] = {}
        for name in trained:
            players.setdefault(key[name], []).append(name)
        groupings.append(players)
    return groupings


def _thinner(spec: Network, part: str, width: float | None) -> Network:
    if width is None or "width" not in nets.options(spec.architecture, part):
        return spec
    return replace(spec, options={**spec.options, "width": width})
