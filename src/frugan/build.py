"""Recipe -> live parts: the only file that knows every axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm

from frugan import augment, convs, data, games, losses, nets, optimisers, penalties, schedules, seeds
from frugan.batch import SIGNED, ImageShape
from frugan.data import Dataset
from frugan.data.batches import Batches
from frugan.engine import precision as precisions
from frugan.engine.average import Average
from frugan.engine.loop import Parts
from frugan.engine.processes import Processes
from frugan.engine.update import Player, Update
from frugan.games import Classes, Game, Order
from frugan.kernels import Choices
from frugan.latents import Latents
from frugan.recipe import Network, Recipe
from frugan.recipe import Player as PlayerRecord
from frugan.registry import UserError, suggest


def check(recipe: Recipe) -> list[str]:
    """Check every name and option before any data is opened; returns what is known to go badly together, in words.

    Raises UserError for whatever cannot work. The networks are built for it, and dropped.
    """
    _check_numbers(recipe)
    if recipe.kernels != "auto":
        Choices(recipe.kernels)
    games.find(recipe.game.name).check(recipe.game.name, recipe.game.options)
    _check_streams(recipe)
    ordered = orders(recipe)
    for name, order in ordered.items():
        if name not in recipe.networks:
            raise UserError(
                f"The game '{recipe.game.name}' needs a network '{name}'; the recipe '{recipe.name}' has none."
            )
        nets.check(recipe.networks[name].architecture, order.part, recipe.networks[name].options)
        for rule in recipe.networks[name].families:
            convs.find(rule.family, **rule.options)
    for name in recipe.networks:
        if name not in ordered:
            raise UserError(
                f"The game '{recipe.game.name}' has no place for a network '{name}'. {suggest(name, ordered)}"
            )
    for name, player in recipe.players.items():
        for network in player.networks:
            if network not in recipe.networks:
                raise UserError(f"The player '{name}' trains '{network}'. {suggest(network, recipe.networks)}")
        optimisers.check(player.optimiser.name, player.optimiser.options)
        schedule = schedules.find(player.schedule.name, **player.schedule.options)
        if recipe.rounds is not None and schedule.follows_the_end:
            raise UserError(
                f"rounds={recipe.rounds}: the schedule of '{name}' goes by images seen, so say the end in images: "
                f"images=N instead of rounds, or players.{name}.schedule={player.schedule.name},end=N."
            )
    for name in recipe.averages:
        if name not in recipe.networks:
            raise UserError(f"An average of '{name}' is asked for. {suggest(name, recipe.networks)}")
    values(recipe)
    # With their weights: on the meta device, which would spare them, spectral norm's first iterations cost seconds.
    built = networks(recipe)
    ready = {name: module for name, (module, _) in built.items()}
    game(recipe, ready)
    left = [line for name, (_, layers) in built.items() for line in _left_as_they_are(recipe, name, layers.choices)]
    return left + _warnings(recipe, ready)


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


def _check_numbers(recipe: Recipe) -> None:
    """Numbers that no part would notice before it is too late."""
    counts = {
        "batch_size": recipe.batch_size, "images": recipe.images, "rounds": recipe.rounds,
        "latents.size": recipe.latents.size, "data.size": recipe.data.size,
    }
    for key, count in counts.items():
        if count is not None and count < 1:
            raise UserError(f"{key}={count}: accepted is a whole number from 1.")
    for name, player in recipe.players.items():
        if not 0 < player.learning_rate < float("inf"):
            raise UserError(
                f"players.{name}.learning_rate={player.learning_rate}: accepted is a number above 0, e.g. 2e-4."
            )


def _check_streams(recipe: Recipe) -> None:
    declared = games.find(recipe.game.name).streams
    fields = [item.name for item in dataclasses.fields(recipe.data)]
    for stream, changed in recipe.streams.items():
        if stream not in declared:
            raise UserError(f"The game '{recipe.game.name}' takes no stream '{stream}'. {suggest(stream, declared)}")
        for key in changed:
            if key not in fields:
                raise UserError(f"streams.{stream} has no field '{key}'. {suggest(key, fields)}")


def _warnings(recipe: Recipe, built: Mapping[str, nn.Module]) -> list[str]:
    """What `losses.compatibility` says of the recipe's discriminators."""
    judges = recipe.named("discriminator")
    player = next((one for one in recipe.players.values() if set(judges) & set(one.networks)), None)
    if player is None:
        return []
    modules = [module for name in judges for module in built[name].modules()]
    return losses.compatibility(
        recipe.loss.name, [choice.name for choice in recipe.penalties],
        discriminator_has_batch_norm=any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in modules),
        discriminator_has_spectral_norm=any(isinstance(module, _SpectralNorm) for module in modules),
        beta1=player.betas[0] if player.optimiser.name == "adam" else 0.0,
        real_count=recipe.batch_size, fake_count=recipe.batch_size, smoothing=recipe.loss.options.get("smoothing"),
    )


def values(recipe: Recipe) -> dict[str, Any]:
    """The loss, penalties, augmentations and latents of a recipe, as objects."""
    return {
        "loss": losses.find(recipe.loss.name, **recipe.loss.options),
        "penalties": [penalties.find(choice.name, **choice.options) for choice in recipe.penalties],
        "augment": [augment.find(choice.name, **choice.options) for choice in recipe.augment],
        "latents": Latents(recipe.latents.size, recipe.latents.distribution),
    }


def orders(recipe: Recipe) -> dict[str, Order]:
    """Which networks the recipe's game needs, their sizes as the data of its streams have them."""
    ordered = games.find(recipe.game.name).order(**recipe.game.options)
    return {name: _sized(recipe, order) for name, order in ordered.items()}


def _sized(recipe: Recipe, order: Order) -> Order:
    """An order with its sizes as numbers. Raises UserError where they follow from labels and there are none."""

    def number(size: int | Classes | None) -> int | None:
        if not isinstance(size, Classes):
            return size
        counts = [recipe.data_of(stream).classes for stream in size.streams]
        if 0 in counts:
            raise UserError(
                f"The game '{recipe.game.name}' needs data with labels, and data.classes is 0 in '{recipe.name}'; say "
                "how many classes or attributes there are, e.g. data.classes=5."
            )
        return sum(counts) + size.more

    outputs = {name: number(size) or 0 for name, size in (order.outputs or {}).items()}
    return Order(order.part, outputs or None, number(order.condition))


def image_shape(recipe: Recipe) -> ImageShape:
    """The shape that every image of this recipe is brought to."""
    return ImageShape(recipe.data.channels, recipe.data.size, recipe.data.size)


def network(
    spec: Network, order: Order, image: ImageShape, latents: int, classes: int
) -> tuple[nn.Module, convs.Layers]:
    """One network of a recipe, on torch's current default device, and what each of its roles became."""
    rules = [(rule.pattern, convs.find(rule.family, **rule.options)) for rule in spec.families]
    layers = convs.Layers(rules)
    build = nets.find(spec.architecture).part(order.part)
    told = order.condition if isinstance(order.condition, int) else classes
    condition = told if spec.labels else 0
    inputs: tuple[Any, ...] = {
        "decoder": (image, latents, layers, condition),
        "encoder": (image, dict(order.outputs or {}), layers, condition),
        "translator": (image, layers, condition),
    }[order.part]
    module = build(*inputs, **spec.options)
    layers.check_rules_used()
    return module, layers


def networks(recipe: Recipe) -> dict[str, tuple[nn.Module, convs.Layers]]:
    """Every network of a recipe, its weights following from (seed, network's name) alone."""
    built = {}
    with torch.random.fork_rng(devices=[]):
        for name, order in orders(recipe).items():
            torch.manual_seed(seeds.derive(recipe.seed, "init", name))
            built[name] = network(
                recipe.networks[name], order, image_shape(recipe), recipe.latents.size, recipe.data.classes
            )
    return built


def game(recipe: Recipe, ready: Mapping[str, nn.Module]) -> Game:
    """The recipe's game with its networks in place."""
    variant = games.find(recipe.game.name)
    return variant.game(**ready, batch_size=recipe.batch_size, **values(recipe), **recipe.game.options)


def datasets(
    recipe: Recipe, *, allow_unusable: bool = False, progress: data.Progress | None = None
) -> dict[str, Dataset]:
    """The data of every stream of the recipe's game; `progress` is called as by `frugan.data.open_dataset`."""
    found: dict[str, Dataset] = {}
    streams = games.find(recipe.game.name).streams
    for stream in streams:
        data.check_balance(recipe.data_of(stream).balance)  # before anything is read
    for stream in streams:
        wanted = recipe.data_of(stream)
        found[stream] = data.open_dataset(
            wanted.source, split=wanted.split, size=wanted.size, channels=wanted.channels, only=wanted.only,
            limit=wanted.limit, attributes=wanted.attributes, exclusive=wanted.exclusive,
            allow_unusable=allow_unusable, progress=progress,
        )
    return found


def parts(
    recipe: Recipe, sets: Mapping[str, Dataset], device: torch.device, processes: Processes | None = None,
    kernels: str = "plain",
) -> Parts:
    """Everything a run consists of, alive on `device`; `kernels` is a mode of `frugan.kernels.Choices`."""
    processes = processes or Processes()
    resolved, choices = precisions.resolve(recipe.precision, device), Choices(kernels)
    built = {name: module for name, (module, _) in networks(recipe).items()}
    modules = [module for network in built.values() for module in network.modules()]
    # Compiled kernels are for channels-last images, and faster even in float32 than torch's own in the default layout.
    compiled = choices.mode != "plain" and device.type == "cpu" and any(map(_has_kernels, modules))
    layout = torch.channels_last if compiled else precisions.memory_format(resolved, device)
    ready = {
        name: module.to(device).to(memory_format=layout) for name, module in built.items()  # pyrefly: ignore
    }
    played = game(recipe, ready)
    players = {name: player(name, record, ready, recipe.images) for name, record in recipe.players.items()}
    batches = Batches(
        sets, seed=recipe.seed, image_range=image_range(recipe, ready), device=device,
        channels_last=layout is torch.channels_last, rank=processes.rank, world=processes.world,
        balance={stream: recipe.data_of(stream).balance for stream in sets},
    )
    averages = {name: Average(ready[name], record.half_life, record.start) for name, record in recipe.averages.items()}
    return Parts(
        game=played, batches=batches, update=Update(players, processes), averages=averages, seed=recipe.seed,
        device=device, autocast=precisions.autocast(resolved, device), kernels=choices, processes=processes,
    )


def _has_kernels(module: nn.Module) -> bool:
    """Whether a layer's function may be chosen."""
    return getattr(module, "groups", 1) > 1 or isinstance(module, nn.InstanceNorm2d)


def image_range(recipe: Recipe, ready: Mapping[str, nn.Module]) -> tuple[float, float]:
    """The range that real images are brought to: the recipe's, else that of the networks that make images."""
    return recipe.data.image_range or made_range(recipe, ready)


def made_range(recipe: Recipe, ready: Mapping[str, nn.Module]) -> tuple[float, float]:
    """The range of the images that are made, which a faithful recipe may not share with the real ones."""
    stated: list[Any] = [getattr(ready[name], "image_range", None) for name in recipe.makers()]
    return next((found for found in stated if found is not None), SIGNED)


def player(name: str, record: PlayerRecord, ready: Mapping[str, nn.Module], budget: int) -> Player:
    """One player with its optimiser and schedule."""

    def make(parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        return optimisers.build(
            record.optimiser.name, record.optimiser.options, parameters, learning_rate=record.learning_rate,
            betas=record.betas, epsilon=record.epsilon, weight_decay=record.weight_decay,
        )

    schedule = schedules.find(record.schedule.name, **record.schedule.options)

    def rate(images: int) -> float:
        return record.learning_rate * schedule(images, budget)

    return Player(
        name, {network: ready[network] for network in record.networks}, make, record.clip_norm, record.clip_value,
        None if record.schedule.name == "constant" else rate,
    )
