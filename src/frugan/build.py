"""Recipe -> live parts: the only file that knows every axis.

    recipe --blueprints--> what each network is --assemble--> networks, game, players --parts--> a run, on its data

Every name is looked up and every option checked in `assemble`, before any data is opened, and what was built for it is
what the run then trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from frugan import agreement, augment, convs, data, games, losses, nets, optimisers, penalties, schedules, seeds
from frugan.batch import SIGNED, ImageShape
from frugan.blueprint import Blueprint
from frugan.data import Dataset
from frugan.data.batches import Batches
from frugan.engine import precision as precisions
from frugan.engine.average import Average, norms_of
from frugan.engine.loop import Parts
from frugan.engine.processes import Processes
from frugan.engine.update import Player, Update
from frugan.games import DISCRIMINATOR, Classes, Game, LatentSize, Order, Size
from frugan.kernels import Choices
from frugan.latents import Latents
from frugan.recipe import Average as AverageRecord
from frugan.recipe import Data, Recipe
from frugan.recipe import Player as PlayerRecord
from frugan.registry import UserError

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Assembly:
    """A recipe's names as objects, each looked up, checked and built once.

    Attributes:
        blueprints: what each network is, by name, a population's members included.
        networks: the same alive, on `device`, with their first weights.
        layers: what each role of each network became.
        players, averages: the recipe's, and those of a population's further members.
        notes: what is known to go badly together or was left as it is, in words for people.
    """

    recipe: Recipe
    device: torch.device
    game: Game
    blueprints: Mapping[str, Blueprint]
    networks: Mapping[str, nn.Module]
    layers: Mapping[str, convs.Layers]
    players: Mapping[str, PlayerRecord]
    averages: Mapping[str, AverageRecord]
    notes: Sequence[str] = field(default=())

    @property
    def frozen(self) -> tuple[str, ...]:
        """The networks that no player trains; they need weights from elsewhere."""
        trained = {network for player in self.players.values() for network in player.networks}
        return tuple(name for name in self.networks if name not in trained)


def assemble(recipe: Recipe, device: torch.device = CPU) -> Assembly:
    """Look up every name, check every option, and build the networks and the game; no data is opened.

    Raises UserError for whatever cannot work.
    """
    if recipe.kernels != "auto":
        Choices(recipe.kernels)
    ordered = agreement.orders(recipe)
    agreement.check_streams(recipe)
    agreement.check_names(recipe, ordered)
    given = values(recipe)
    planned = blueprints(recipe)
    for blueprint in planned.values():
        blueprint.check()  # all of them, before one is built
    # With their weights: on the meta device, which would spare them, spectral norm's first iterations cost seconds.
    built = networks(recipe)
    ready = {name: module.to(device) for name, (module, _) in built.items()}
    layers = {name: choices for name, (_, choices) in built.items()}
    variant = games.find(recipe.game.name)
    options = variant.check(recipe.game.name, recipe.game.options)
    game = variant.game(**ready, batch_size=recipe.batch_size, **given, **options)
    if hasattr(game, "check_attributes") and any(recipe.data_of(stream).attributes for stream in variant.streams):
        game.check_attributes()
    if recipe.penalties and not games.penalties_of(game):
        listed = ", ".join(choice.name for choice in recipe.penalties)
        raise UserError(
            f"The game '{recipe.game.name}' does not use penalties, but the recipe has {listed}. Leave them out "
            "(penalties=none). If the game is your own and does use them, give it an attribute `penalties`: name -> "
            "penalty."
        )
    agreement.check_shipped(recipe, game, planned)
    notes = [
        line for name in recipe.networks
        for line in _left_as_they_are(recipe, name, layers[name].choices if name in layers else ())
    ]
    notes += [*_check_losses(recipe, game, ready), *games.notes_of(game, recipe.budget)]
    assembly = Assembly(
        recipe, device, game, planned, ready, layers, _players(recipe, ordered), _averages(recipe, ordered), notes
    )
    _check_frozen(assembly)
    return assembly


def check(recipe: Recipe) -> Sequence[str]:
    """What `assemble` notes of a recipe; raises UserError as that does."""
    return assemble(recipe).notes


def _players(recipe: Recipe, ordered: Mapping[str, Order]) -> dict[str, PlayerRecord]:
    """The recipe's players, and for each further member of a population one of its own like the first one's."""
    players = dict(recipe.players)
    trained = {network for player in players.values() for network in player.networks}
    for name, order in ordered.items():
        if order.like is not None and name not in trained:
            first = next((player for player in recipe.players.values() if order.like in player.networks), None)
            if first is not None:
                players[name] = replace(first, networks=(name,))
    return players


def _averages(recipe: Recipe, ordered: Mapping[str, Order]) -> dict[str, AverageRecord]:
    """The recipe's averages, and those of a population's further members."""
    further = {
        name: recipe.averages[order.like] for name, order in ordered.items()
        if order.like is not None and order.like in recipe.averages
    }
    return {**further, **recipe.averages}


def _check_frozen(assembly: Assembly) -> None:
    """Raise UserError for a network that neither is trained nor given weights: it would stay as it was drawn."""
    for name in assembly.frozen:
        if name in assembly.recipe.networks and assembly.recipe.networks[name].init is None:
            raise UserError(
                f"No player trains the network '{name}' of '{assembly.recipe.name}', so it needs weights. Give those "
                f"of a run or artefact: --init {name}=PATH (in Python init={{'{name}': path}})."
            )


def _left_as_they_are(recipe: Recipe, name: str, choices: Sequence[convs.LayerChoice]) -> list[str]:
    """The layers of one network for which a family was asked that did not build them, in words."""
    asked = {rule.family for rule in recipe.networks[name].families} - {"standard"}
    if asked and not choices:
        return [
            f"The {name} of '{recipe.name}' has no layers that a convolution family could build: "
            f"{', '.join(sorted(asked))} changes nothing."
        ]
    declined: dict[tuple[str, str], list[str]] = {}
    for choice in choices:
        if choice.declined is not None:
            declined.setdefault((choice.asked, choice.declined), []).append(choice.role)
    return [
        f"{name}: standard layers for {', '.join(roles)}; the family '{family}' declines: {reason}."
        for (family, reason), roles in declined.items()
    ]


def _check_losses(recipe: Recipe, game: Game, built: Mapping[str, nn.Module], world: int = 1) -> list[str]:
    """What `losses.compatibility` says, or refuses, of the discriminators where `world` processes share a batch."""
    judges = recipe.with_role(DISCRIMINATOR)
    player = next((one for one in recipe.players.values() if set(judges) & set(one.networks)), None)
    if player is None:
        return []
    modules = [module for name in judges for module in built[name].modules()]
    counts = [count // world for count in getattr(game, "batch_sizes", ())]
    nets.check_groups(modules, counts)
    least = min(counts or [recipe.batch_size // world])
    comparing = (nets.MinibatchDeviation, nets.MinibatchDiscrimination)
    return losses.compatibility(
        recipe.loss.name, [choice.name for choice in recipe.penalties],
        discriminator_has_batch_norm=any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in modules),
        discriminator_has_spectral_norm=any(isinstance(module, nets.SpectralNorm) for module in modules),
        discriminator_has_minibatch_layer=any(isinstance(module, comparing) for module in modules),
        beta1=player.betas[0] if player.optimiser.name == "adam" else 0.0,
        real_count=least, fake_count=least, smoothing=recipe.loss.options.get("smoothing"),
    )


def values(recipe: Recipe) -> dict[str, Any]:
    """The loss, penalties, augmentations and latents of a recipe, as objects.

    Raises UserError for an augmentation that follows the scores of real images under a loss that leaves them open.
    """
    loss = losses.find(recipe.loss.name, **recipe.loss.options)
    changes = [augment.find(choice.name, **choice.options) for choice in recipe.augment]
    gauges = [gauge for change in changes if (gauge := getattr(change, "gauge", None)) is not None]
    if gauges and losses.compares_only(loss):
        typed = "+".join(choice.name for choice in recipe.augment)
        raise UserError(
            f"augment={typed} follows how many real images are taken for real, but the loss '{loss.name}' only "
            "compares scores with each other. Take another augmentation, or a loss like non_saturating."
        )
    for gauge in gauges:
        gauge.sure = loss.takes_for_real
    return {
        "loss": loss,
        "penalties": [*(penalties.find(choice.name, **choice.options) for choice in recipe.penalties), *gauges],
        "augment": changes,
        "latents": Latents(recipe.latents.size, recipe.latents.distribution),
    }


def blueprints(recipe: Recipe) -> dict[str, Blueprint]:
    """What each network of the recipe's game is, with sizes as the data of its streams have them.

    Raises UserError where the game and the recipe do not fit, or sizes follow from labels and there are none.
    """
    return {name: _blueprint(recipe, name, order) for name, order in agreement.orders(recipe).items()}


def _blueprint(recipe: Recipe, name: str, order: Order) -> Blueprint:
    spec = recipe.networks[order.like or name]

    def number(size: Size | None) -> int:
        if isinstance(size, LatentSize):
            return size.times * recipe.latents.size + size.more
        if not isinstance(size, Classes):
            return size or 0
        counts = [recipe.data_of(stream).classes for stream in size.streams]
        if 0 in counts:
            raise UserError(
                f"The game '{recipe.game.name}' needs data with labels, but '{recipe.name}' says that there are none "
                "(data.classes=0). Give the number of classes or attributes, e.g. data.classes=5."
            )
        return sum(counts) + size.more

    if spec.labels and order.condition is not None and not isinstance(order.condition, Classes):
        raise UserError(
            f"The game '{recipe.game.name}' itself gives '{name}' its condition, so the network cannot take the data's "
            f"labels too. Set {name}.labels=false."
        )
    labels = order.condition is None and spec.labels
    return Blueprint(
        order.part, spec, image_shape(recipe, finer=order.finer), recipe.latents.size,
        {output: number(size) for output, size in order.outputs.items()} if order.outputs else None,
        recipe.data.classes if labels else number(order.condition), labels and not recipe.data.attributes,
        number(order.vector),
    )


def needs_labels(recipe: Recipe) -> bool:
    """Whether a run of the recipe needs data with labels: a network is told them, or a size follows from them."""
    orders = games.orders(recipe.game.name, recipe.game.options).values()
    sizes = [size for order in orders for size in (*(order.outputs or {}).values(), order.condition, order.vector)]
    return any(spec.labels for spec in recipe.networks.values()) or any(isinstance(size, Classes) for size in sizes)


def tells_classes(recipe: Recipe, stream: str) -> bool:
    """Whether a network has an output for each class of this stream: it learns to tell them from its images."""
    orders = games.orders(recipe.game.name, recipe.game.options).values()
    sizes = [size for order in orders for size in (order.outputs or {}).values()]
    return any(isinstance(size, Classes) and stream in size.streams for size in sizes)


def image_shape(recipe: Recipe, *, finer: bool = False) -> ImageShape:
    """The shape that the images of this recipe are brought to, or that of its finer images."""
    times = recipe.data.finer if finer else 1
    height, width = recipe.data.sides
    return ImageShape(recipe.data.channels, times * height, times * width)


def networks(recipe: Recipe) -> dict[str, tuple[nn.Module, convs.Layers]]:
    """Every network of a recipe, its weights following from (seed, network's name) alone; and what its roles became."""
    built = {}
    with torch.random.fork_rng(devices=[]):
        for name, blueprint in blueprints(recipe).items():
            torch.manual_seed(seeds.derive(recipe.seed, "init", name))
            built[name] = blueprint.build()
    return built


def datasets(
    recipe: Recipe, *, allow_unusable: bool = False, progress: data.Progress | None = None
) -> dict[str, Dataset]:
    """The data of every stream of the recipe's game; `progress` is called as by `frugan.data.open_dataset`."""
    sets: dict[str, Dataset] = {}
    variant = games.find(recipe.game.name)
    streams = variant.streams
    for stream in streams:
        data.check_balance(recipe.data_of(stream).balance)  # before anything is read
    for stream in streams:
        sets[stream] = open_data(recipe.data_of(stream), allow_unusable=allow_unusable, progress=progress)
        if stream in variant.unlabelled:
            sets[stream] = sets[stream].masked()
    return sets


def open_data(
    wanted: Data, *, allow_unusable: bool = False, progress: data.Progress | None = None
) -> Dataset:
    """The images to train on, as a recipe's record says; `progress` is called as by `frugan.data.open_dataset`."""
    return data.open_dataset(
        wanted.source, split=wanted.split, limit=wanted.limit, even_limit=wanted.even_limit,
        limit_seed=wanted.limit_seed, allow_unusable=allow_unusable, progress=progress, **_about(wanted),
    )  # fmt: skip


def open_held_out(
    wanted: Data, *, limit: int | None = None, allow_unusable: bool = False, progress: data.Progress | None = None
) -> Dataset | None:
    """The held-out images that belong to them: the source's test split, or what was held out; None without any.

    At most `limit` of them, a random draw, but always the same one. `progress` is called as by
    `frugan.data.open_dataset`.
    """
    if wanted.split == "test" or not (wanted.holdout or data.has_split(wanted.source, "test")):
        return None
    return data.open_dataset(
        wanted.source, split="test", limit=limit, allow_unusable=allow_unusable, progress=progress, **_about(wanted),
    )  # fmt: skip


def beside(own: Data, source: str | None, shape: ImageShape) -> Data:
    """The data for work beside a run: its own without their limits, or those of another `source`; in this shape.

    What the run held out stays held out, also where `source` names its own data.
    """
    channels, height, width = shape
    if source is None or data.absolute(source) == data.absolute(own.source):
        return replace(own, size=(height, width), channels=channels, limit=None, even_limit=None, finer=1)
    return Data(source, (height, width), channels)


def _about(wanted: Data) -> dict[str, Any]:
    """What training and held-out images have in common."""
    return {
        "size": wanted.size, "channels": wanted.channels, "only": wanted.only, "attributes": wanted.attributes,
        "exclusive": wanted.exclusive, "finer": wanted.finer, "holdout": wanted.holdout or 0,
    }  # fmt: skip


def readers(assembly: Assembly) -> dict[str, bool]:
    """The shipped networks with averaged weights and batch norms that see images; and whether these are the finer ones.

    Those that the game itself tells a condition are left out: only the game knows what to tell them.
    """
    ordered = agreement.orders(assembly.recipe)
    shipped = {item.network for item in assembly.game.shipped().values() if item.averaged}
    return {
        name: ordered[name].finer for name in sorted(shipped & assembly.averages.keys())
        if ordered[name].part == "encoder" and ordered[name].condition is None and norms_of(assembly.networks[name])
    }


def parts(
    assembly: Assembly, sets: Mapping[str, Dataset], processes: Processes | None = None, kernels: str = "plain",
    precision: str | None = None,
) -> Parts:
    """Everything a run consists of, alive on the assembly's device.

    What was assembled becomes the run's: an assembly serves one run. `kernels` is a mode of `frugan.kernels.Choices`.
    `precision` says what the recipe's "auto" means; without it, this machine decides.
    """
    recipe, device, ready = assembly.recipe, assembly.device, assembly.networks
    processes = processes or Processes()
    resolved, choices = precisions.resolve(precision or recipe.precision, device), Choices(kernels)
    _check_losses(recipe, assembly.game, ready, processes.world)
    # Faster than torch's default in nearly every network, and the only layout that compiled kernels take.
    for network in ready.values():
        network.to(memory_format=torch.channels_last)  # pyrefly: ignore
    for name in assembly.frozen:
        ready[name].requires_grad_(False).eval()
    players = {name: player(name, record, ready, recipe.images) for name, record in assembly.players.items()}
    batches = Batches(
        sets, seed=recipe.seed, image_range=image_range(recipe, ready), device=device,
        rank=processes.rank, world=processes.world,
        balance={stream: recipe.data_of(stream).balance for stream in sets},
    )
    averages = {
        name: Average(ready[name], record.half_life, record.start, record.ramp)
        for name, record in assembly.averages.items()
    }
    return Parts(
        game=assembly.game, batches=batches, update=Update(players, processes), averages=averages, seed=recipe.seed,
        device=device, autocast=precisions.autocast(resolved, device), kernels=choices, processes=processes,
        readers=readers(assembly),
    )


def image_range(recipe: Recipe, ready: Mapping[str, nn.Module]) -> tuple[float, float]:
    """The range that real images are brought to: the recipe's, else that of the networks that make images."""
    return recipe.data.image_range or made_range(recipe, ready)


def made_range(recipe: Recipe, ready: Mapping[str, nn.Module]) -> tuple[float, float]:
    """The range of the images that are made, which a faithful recipe may not share with the real ones."""
    stated: list[Any] = [getattr(ready[name], "image_range", None) for name in recipe.makers()]
    return next((one for one in stated if one is not None), SIGNED)


def player(name: str, record: PlayerRecord, ready: Mapping[str, nn.Module], budget: int) -> Player:
    """One player with its optimiser and schedule."""

    def make(parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        return optimisers.build(
            record.optimiser.name, record.optimiser.options, parameters, learning_rate=record.learning_rate,
            betas=record.betas, epsilon=record.epsilon, weight_decay=record.weight_decay,
        )

    falling = schedules.find(record.schedule.name, **record.schedule.options)

    def schedule(images: int) -> float:
        return falling(images, budget)

    return Player(
        name, {network: ready[network] for network in record.networks}, make, record.clip_norm, record.clip_value,
        None if record.schedule.name == "constant" else schedule,
    )
