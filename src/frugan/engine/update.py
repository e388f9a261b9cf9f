"""How players are trained: only needed gradients are computed, and no step uses a value that is not finite.

A player is a named set of networks with one optimiser. While a player's losses are computed, only its parameters need
gradients. The gradients of all processes are averaged in one flat buffer, then clipped, and the optimiser takes one
step. If a loss or gradient is not finite, no step is taken, and the loop finds out which tensor it was.
"""

from __future__ import annotations

import contextlib
import copy
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from frugan.engine.processes import Processes
from frugan.registry import UserError, suggest

Loss = Callable[[], Tensor]
MakeOptimiser = Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]


class NonFinite(Exception):
    """A loss or gradient of a player was not finite. No weight was changed."""

    def __init__(self, player: str, what: str) -> None:
        super().__init__(f"{what} of the player '{player}' is not finite")


@dataclass(eq=False)
class Player:
    """A named set of networks with one optimiser.

    Args:
        make_optimiser: builds the optimiser for a list of parameters (a fork builds another one).
        clip_norm: scale the gradient to at most this L2 norm; clip_value: cut each element to +-this.
        schedule: images seen -> the factor on all its rates, or None for constant rates.
    """

    name: str
    networks: Mapping[str, nn.Module]
    make_optimiser: MakeOptimiser
    clip_norm: float | None = None
    clip_value: float | None = None
    schedule: Callable[[int], float] | None = None
    optimiser: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.named: dict[str, nn.Parameter] = {}
        known: set[int] = set()
        for network, module in self.networks.items():
            for name, parameter in module.named_parameters():
                # Networks of one player may share layers, whose weights are then trained once.
                if parameter.requires_grad and id(parameter) not in known:
                    known.add(id(parameter))
                    self.named[f"{network}.{name}"] = parameter
        self.optimiser = self.make_optimiser(self.parameters)
        self.optimiser.register_load_state_dict_post_hook(_lay_out_like_weights)
        self._rates = [group["lr"] for group in self.optimiser.param_groups]

    def set_rates(self, factor: float) -> None:
        """Set the rate of every group of parameters to `factor` times its first rate."""
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def rate_factor(self, images: int) -> float:
        """The schedule's factor on all rates after `images` real images; 1 without a schedule."""
        return 1.0 if self.schedule is None else self.schedule(images)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters that this player trains."""
        return list(self.named.values())


def _lay_out_like_weights(optimiser: torch.optim.Optimizer) -> None:
    """Give loaded moments the memory layout of their weights.

    A fused step goes through the memory of both, so it would mix up the elements of two layouts.
    """
    for weight, state in optimiser.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


class Update:
    """Trains players; a game gets it as `update`.

    The loop plays rounds under autocast where the precision asks for it; gradients are always taken outside it.
    """

    def __init__(self, players: Mapping[str, Player], processes: Processes | None = None) -> None:
        self.players = dict(players)
        self.processes = processes or Processes()
        self.norms: dict[str, Tensor] = {}
        # Set while a round is replayed: look at every gradient, to name the first that is not finite.
        self.naming = False
        self.broken: Tensor | None = None
        self._forks: weakref.WeakSet[Player] = weakref.WeakSet()
        self._images = 0

    def __call__(self, player: str, *losses: Loss) -> list[Tensor]:
        """Step `player` once on the sum of `losses`; returns each loss's value, detached."""
        return self._step(self._player(player), losses)

    def together(self, losses: Mapping[str, Loss]) -> dict[str, Tensor]:
        """Step several players at once, each on its own loss. All gradients are computed before any step.

        The losses may share one forward pass, since the parameters of all these players need gradients.
        """
        players = {name: self._player(name) for name in losses}
        with self._needing([p for player in players.values() for p in player.parameters]), torch.enable_grad():
            values = {name: loss() for name, loss in losses.items()}
            left = len(values)
            for name, value in values.items():
                left -= 1
                wanted = players[name].parameters
                with _outside_autocast(value):
                    grads = torch.autograd.grad(value, wanted, retain_graph=left > 0, allow_unused=True)
                for parameter, grad in zip(wanted, grads, strict=True):
                    parameter.grad = grad
        for name, player in players.items():
            self._prepare(player, [values[name].detach()])
        for player in players.values():
            self._move(player)
        return {name: value.detach() for name, value in values.items()}

    def gradients(self, player: str, loss: Loss) -> dict[str, Tensor]:
        """The gradient of `loss` for each parameter of `player`, averaged over processes. No step is taken."""
        chosen = self._player(player)
        with self._needing(chosen.parameters), torch.enable_grad():
            value = loss()
            with _outside_autocast(value):
                grads = torch.autograd.grad(value, chosen.parameters, allow_unused=True)
        full = [torch.zeros_like(p) if g is None else g for p, g in zip(chosen.parameters, grads, strict=True)]
        self._average(full)
        torch.clear_autocast_cache()
        return dict(zip(chosen.named, full, strict=True))

    def fork(self, player: str) -> Fork:
        """A trial copy of `player` (weights, buffers, optimiser state), which can be stepped, then kept or dropped."""
        made = Fork(self, self._player(player))
        self._forks.add(made.player)
        return made

    def reset(self, player: str) -> None:
        """Forget the optimiser's moments of `player`, as if it had just been built; weights and rates stay."""
        self._player(player).optimiser.state.clear()

    def set_rates(self, images: int) -> None:
        """Set every optimiser's learning rates to what its schedule says after `images` real images."""
        for player in self.players.values():
            player.set_rates(player.rate_factor(images))
        self._images = images

    def scale_rate(self, player: str, factor: float) -> None:
        """Multiply the rates of `player` by `factor` for this round, also those of trial copies made afterwards.

        The next round begins with the usual rates, so a game with stages calls this in every round. If it is called
        twice, the last factor counts.
        """
        chosen = self._player(player)
        chosen.set_rates(factor * chosen.rate_factor(self._images))

    def _player(self, name: str) -> Player:
        if name not in self.players:
            raise UserError(
                f"The game trains a player '{name}', but the recipe has no such player. {suggest(name, self.players)}"
            )
        return self.players[name]

    def _step(self, player: Player, losses: Sequence[Loss]) -> list[Tensor]:
        values = self._losses(player, losses)
        self._prepare(player, values)
        self._move(player)
        return values

    def _losses(self, player: Player, losses: Sequence[Loss]) -> list[Tensor]:
        """Each loss's value, detached, its gradients added up in the parameters."""
        values = []
        with self._needing(player.parameters), torch.enable_grad():
            player.optimiser.zero_grad(set_to_none=True)
            for loss in losses:
                value = loss()
                with _outside_autocast(value):
                    value.backward()
                values.append(value.detach())
        return values

    def _prepare(self, player: Player, values: Sequence[Tensor], trial: bool = False) -> None:
        """Average, check and clip the gradients of one player, or of a trial copy of it."""
        grads = self._complete(player)
        # The losses' sum travels with the gradients, so that all processes agree whether everything is finite.
        total = torch.stack([value.float() for value in values]).sum().reshape(1)
        self._average([*grads, total])
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        finite = torch.isfinite(norm + total[0])
        if trial:
            if not finite:  # the game decides by it, so the device is waited for
                raise _named(player, values, grads, " of a trial copy")
        else:
            self.norms[player.name] = norm
            self._refuse_broken(player, values, grads, norm, ~finite)
        if player.clip_value is not None:
            torch._foreach_clamp_max_(grads, player.clip_value)
            torch._foreach_clamp_min_(grads, -player.clip_value)
        if player.clip_norm is not None:
            torch._foreach_mul_(grads, (player.clip_norm / (norm + 1e-6)).clamp(max=1.0))

    def _move(self, player: Player) -> None:
        """Step one player: the one place where weights change. They stay if `broken` is set, without a wait."""
        optimiser, broken = player.optimiser, None if self.naming else self.broken
        if broken is None:
            optimiser.step()
        elif optimiser.defaults.get("fused"):
            optimiser.found_inf = broken  # type: ignore[attr-defined]
            optimiser.step()  # skips itself
            optimiser.found_inf = None  # type: ignore[attr-defined]
        else:
            state = [value for values in optimiser.state.values() for value in values.values()]
            tensors = [one for one in (*player.parameters, *state) if isinstance(one, Tensor)]
            held = [one.detach() for one in tensors if one.device == broken.device]
            before = [one.clone() for one in held]
            optimiser.step()
            for one, old in zip(held, before, strict=True):
                one.copy_(torch.where(broken > 0, old, one))
        player.optimiser.zero_grad(set_to_none=True)
        # Autocast keeps low-precision copies of weights until its outermost block ends; these have just become stale.
        torch.clear_autocast_cache()

    def _complete(self, player: Player) -> list[Tensor]:
        """Every gradient of a player; one that is missing (on some processes, perhaps) counts as zero."""
        grads = []
        for parameter in player.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            grads.append(parameter.grad)
        return grads

    def _average(self, grads: Sequence[Tensor]) -> None:
        if self.processes.world > 1:
            flat = self.processes.mean_(torch.cat([grad.reshape(-1) for grad in grads]))
            parts = flat.split([grad.numel() for grad in grads])
            torch._foreach_copy_(list(grads), [part.view_as(g) for part, g in zip(parts, grads, strict=True)])

    def _refuse_broken(
        self, player: Player, values: Sequence[Tensor], grads: Sequence[Tensor], norm: Tensor, bad: Tensor
    ) -> None:
        """Raise NonFinite if `bad`. On a GPU, which must not be waited for, note it there instead."""
        if self.naming and bad:
            raise _named(player, values, grads)
        if not self.naming and not _may_wait(norm):
            # `_move` leaves the weights as they are, on the device, and the loop looks at its next log point.
            self.broken = bad.float() if self.broken is None else torch.maximum(self.broken, bad.float())
            return
        if bad:
            raise NonFinite(player.name, "a loss or gradient")

    @contextlib.contextmanager
    def _needing(self, wanted: Sequence[Tensor]) -> Iterator[None]:
        """Only `wanted` need gradients inside; afterwards everything does again."""
        keep = {id(parameter) for parameter in wanted}
        everyone = [*self.players.values(), *self._forks]
        others = [parameter for player in everyone for parameter in player.parameters if id(parameter) not in keep]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)


def _may_wait(tensor: Tensor) -> bool:
    """Whether a value may be read within a round. On a GPU that would wait for all the work before it."""
    return tensor.device.type != "cuda"


def _named(player: Player, values: Sequence[Tensor], grads: Sequence[Tensor], whose: str = "") -> NonFinite:
    """The error that names the first loss, or else the first gradient, that is not finite."""
    for number, value in enumerate(values):
        if not torch.isfinite(value):
            return NonFinite(player.name, f"loss {number + 1} ({value.item()}){whose}")
    for name, grad in zip(player.named, grads, strict=True):
        if not torch.isfinite(grad).all():
            return NonFinite(player.name, f"the gradient of '{name}'{whose}")
    return NonFinite(player.name, f"a loss or gradient{whose}")


def _outside_autocast(value: Tensor) -> contextlib.AbstractContextManager[object]:
    """Backward passes keep the precision of each forward operation; autocast would lower that of float32 regions."""
    return torch.autocast(value.device.type, enabled=False)


class Fork:
    """A trial copy of one player; its networks are `networks`, by the names they have in the player.

    ``fork.update(*losses)`` steps the copy alone; ``fork.keep()`` makes it the player (or ``keep(into)`` another player
    of the same shape); a fork that is not kept changes nothing. A fork whose loss or gradient was not finite is not
    `alive`: it was not stepped, and cannot be kept.
    """

    def __init__(self, update: Update, player: Player) -> None:
        self._update = update
        self._origin = player
        self.networks: dict[str, nn.Module] = copy.deepcopy(dict(player.networks))
        self.player = Player(
            player.name, self.networks, player.make_optimiser, player.clip_norm, player.clip_value, player.schedule
        )
        self.player.optimiser.load_state_dict(copy.deepcopy(player.optimiser.state_dict()))
        self._died: NonFinite | None = None

    @property
    def alive(self) -> bool:
        """Whether every loss and gradient so far was finite."""
        return self._died is None

    def update(self, *losses: Loss) -> list[Tensor]:
        """Step the copy once on the sum of `losses`. The players' own parameters get no gradients."""
        values = self._update._losses(self.player, losses)
        try:
            self._update._prepare(self.player, values, trial=True)
        except NonFinite as error:
            self._died = error.with_traceback(None)  # which would keep the graph
            self.player.optimiser.zero_grad(set_to_none=True)
        else:
            self._update._move(self.player)
        return values

    def keep(self, into: str | None = None) -> None:
        """Give the copy's weights, buffers and optimiser state to its player, or to the player `into`.

        Raises NonFinite, which stops the run, if the fork is not `alive`. A game calls it on such a fork only if no
        other is alive.
        """
        if self._died is not None:
            raise self._died
        target = self._origin if into is None else self._update._player(into)
        for mine, theirs in zip(self.networks.values(), target.networks.values(), strict=True):
            theirs.load_state_dict(mine.state_dict())
        target.optimiser.load_state_dict(copy.deepcopy(self.player.optimiser.state_dict()))
