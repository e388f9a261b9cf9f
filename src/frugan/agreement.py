"""Whether what a recipe names agrees with its game: networks, players, averages, streams, and what is shipped."""

from __future__ import annotations

from collections.abc import Mapping

from frugan import games, optimisers, schedules
from frugan.blueprint import Blueprint
from frugan.games import Game, Order
from frugan.recipe import Recipe
from frugan.registry import UserError, suggest


def orders(recipe: Recipe) -> dict[str, Order]:
    """The networks that the recipe's game needs. Raises UserError where the recipe has another set."""
    ordered = games.orders(recipe.game.name, recipe.game.options)
    for name, order in ordered.items():
        if (order.like or name) not in recipe.networks:
            raise UserError(
                f"The game '{recipe.game.name}' needs a network '{order.like or name}'; the recipe '{recipe.name}' has "
                "none."
            )
    for name in recipe.networks:
        if name not in ordered:
            raise UserError(f"The game '{recipe.game.name}' does not use a network '{name}'. {suggest(name, ordered)}")
    return ordered


def check_streams(recipe: Recipe) -> None:
    """Raise UserError for a stream that the game has not, or a field that data have not."""
    declared = games.find(recipe.game.name).streams
    for stream, changed in recipe.streams.items():
        if stream not in declared:
            raise UserError(f"The game '{recipe.game.name}' has no stream '{stream}'. {suggest(stream, declared)}")
        for key in changed:
            if key not in vars(recipe.data):
                raise UserError(f"streams.{stream} has no field '{key}'. {suggest(key, vars(recipe.data))}")


def check_names(recipe: Recipe, ordered: Mapping[str, Order]) -> None:
    """Raise UserError for players and averages that name what there is not."""
    for name, player in recipe.players.items():
        for network in player.networks:
            if player.networks.count(network) > 1:
                raise UserError(f"players.{name}.networks names '{network}' twice. Name it once.")
            if network not in ordered:
                raise UserError(
                    f"The player '{name}' trains '{network}', but the game has no such network. "
                    f"{suggest(network, ordered)}"
                )
            others = [other for other, one in recipe.players.items() if other != name and network in one.networks]
            if others:
                raise UserError(
                    f"The players '{name}' and '{others[0]}' both train '{network}', so each would undo what the other "
                    f"does. Take it out of players.{name}.networks or players.{others[0]}.networks."
                )
        optimisers.check(player.optimiser.name, player.optimiser.options)
    ended = [
        name for name, player in recipe.players.items()
        if schedules.find(player.schedule.name, **player.schedule.options).follows_the_end
    ]  # fmt: skip
    if recipe.rounds is not None and ended:
        typed = " ".join(f"players.{name}.schedule={recipe.players[name].schedule.name},end=N" for name in ended)
        raise UserError(
            f"rounds={recipe.rounds}: the schedule of {' and '.join(ended)} counts images, so it needs to know the end "
            f"in images. Give images=N instead of rounds, or {typed}."
        )
    for name in recipe.averages:
        if name not in ordered:
            raise UserError(
                f"The recipe asks for an average of '{name}', but the game has no such network. "
                f"{suggest(name, ordered)}"
            )


def check_shipped(recipe: Recipe, game: Game, planned: Mapping[str, Blueprint]) -> None:
    """Raise UserError for a role that nothing could use, or a network that cannot be in it."""
    who, shipped = f"The game '{recipe.game.name}'", game.shipped()
    if not shipped:
        raise UserError(
            f"{who} ships no network, so its runs would be useless. Ship one in a role of: {', '.join(games.SHIPPED)}."
        )
    for role, item in shipped.items():
        part = games.SHIPPED.get(role.partition("_")[0])
        if part is None:
            raise UserError(
                f"{who} ships a network in the role '{role}', but nothing can use that role. "
                f"{suggest(role, games.SHIPPED)} For two networks in one role, add a word to each, e.g. translator_ab."
            )
        if item.network not in planned:
            raise UserError(
                f"{who} ships the network '{item.network}', but there is no such network. "
                f"{suggest(item.network, planned)}"
            )
        if planned[item.network].part != part:
            raise UserError(
                f"{who} ships '{item.network}' in the role '{role}', which needs a network of the part '{part}', but "
                f"it asks for '{item.network}' as the part '{planned[item.network].part}'. Change the role or the part."
            )
