"""Games: the rules by which networks train each other.

A game knows networks and losses, nothing of loops, devices, files or schedules. It plays one round at a time:

    scalars = game.step(batches, progress, update)

- `batches.take(stream, count)` gives the next `count` real images of a stream that the game declares in `streams`; the
  count is over all processes, what comes back is this process's share. Every round takes some: the length of a run and
  its random numbers are counted in real images.
- `progress.images`, `progress.rounds`; `progress.generator(name)`, random numbers that follow from (seed, name,
  images); `progress.share(tensor)`, this process's slice of something drawn for the whole batch;
  `progress.mean(tensor)`, the mean over all processes. Whatever a game decides by (which child survives) must be such a
  mean: each process sees only its share, and processes that decide differently train different networks.
- `update(player, *losses)` trains one player: each loss is a function without arguments, called while only that
  player's parameters need gradients; their sum is stepped once. Also `update.together({player: loss})` for gradients
  from one shared forward pass, `update.gradients(player, loss)` which never steps, `update.fork(player)` for a trial
  copy, `update.reset(player)` which forgets the optimiser's state, `update.scale_rate(player, factor)` which multiplies
  the rates of this round.
- A trial copy whose loss or gradient is not finite is dead: `fork.alive` is False and its weights are as before the
  step. The run goes on with the others. Keeping a dead one stops the run, with what was not finite by name: that is
  what to do where none is alive.

Outside an update every parameter needs gradients, so a fake batch made before it serves both players.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from frugan.batch import Batch
from frugan.penalties import Penalty
from frugan.registry import Registry, UserError, check_options, declared, options_of

registry = Registry("game", "frugan.games")
names = registry.names

Loss = Callable[[], Tensor]


class Batches(Protocol):
    """Where real images come from, see `frugan.data.batches`."""

    def take(self, stream: str, count: int) -> Batch: ...


class Progress(Protocol):
    """How far the run is, see `frugan.engine.clock`."""

    @property
    def images(self) -> int: ...

    @property
    def rounds(self) -> int: ...

    def generator(self, name: str) -> torch.Generator: ...

    def share(self, whole: Tensor) -> Tensor: ...

    def mean(self, tensor: Tensor) -> Tensor: ...


class Fork(Protocol):
    """A trial copy of a player, see `frugan.engine.update`."""

    @property
    def networks(self) -> Mapping[str, nn.Module]: ...

    @property
    def alive(self) -> bool: ...

    def update(self, *losses: Loss) -> list[Tensor]: ...

    def keep(self, into: str | None = None) -> None: ...


class Update(Protocol):
    """How a game trains its players, see `frugan.engine.update`."""

    def __call__(self, player: str, *losses: Loss) -> list[Tensor]: ...

    def together(self, losses: Mapping[str, Loss]) -> dict[str, Tensor]: ...

    def gradients(self, player: str, loss: Loss) -> dict[str, Tensor]: ...

    def fork(self, player: str) -> Fork: ...

    def reset(self, player: str) -> None: ...

    def scale_rate(self, player: str, factor: float) -> None: ...


@dataclass(frozen=True)
class LabelLayout:
    """Where the labels of one stream stand in the condition of a translator that serves several streams.

    The condition is `before` zeros, the labels, `after` zeros (these are the other streams' labels), then the `mask`,
    which says whose labels are meant.
    """

    stream: str
    before: int
    after: int
    mask: tuple[float, ...]


@dataclass(frozen=True)
class Shipped:
    """Which network a finished run ships in a role.

    Attributes:
        averaged: whether its averaged copy is shipped.
        direction: of a translator with one direction, the streams that it leads from and to.
        reader: of a translator that needs all labels of an image to change one, the network whose output ``classes``
            reads them.
        label_layouts: of a translator of several streams, where its condition has the labels of each.
    """

    network: str
    averaged: bool = True
    direction: tuple[str, str] | None = None
    reader: str | None = None
    label_layouts: tuple[LabelLayout, ...] = ()


class Game(Protocol):
    """One set of rules, holding the networks that it trains.

    A game may also have:

    - the methods `state_dict` and `load_state_dict`, for state of its own that a resumed run needs;
    - the attribute `penalties`, see `penalties_of`;
    - the attribute `batch_sizes`: how many real images its steps take, if not `batch_size` in all of them;
    - ``notes(images)``: lines for people on a run that is shown so many real images, see `notes_of`;
    - the attribute `unlabelled` on its class: the streams whose labels it must not see. They are taken away before the
      run begins, so that nothing can follow from them;
    - ``check_attributes()``, called before any data is opened if they have attributes instead of classes: raises
      UserError where its options cannot be played with them;
    - ``preview(networks, first, seed) -> (images, columns)``, pure like `sample`: the pictures that people see instead
      of samples, so many to a row. `first` holds the first images of each stream with their labels;
    - ``score_images(images, labels) -> logits``: how real its discriminator now takes images to be, as they are. Then
      an alarm tells if it has learnt its training images by heart.
    """

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of real images that it takes from."""
        ...

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Every network by name."""
        ...

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """Play one round; returns named scalars, as tensors, which are read only when they are logged.

        Those named ``shares.WHOLE.PART`` are the parts of something, between 0 and 1, and sum to 1. The report draws
        each whole as one chart.
        """
        ...

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, seed: int) -> Tensor:
        """Images made by `networks` (live or averaged), as many as `like` holds and with its labels; pure."""
        ...

    def shipped(self) -> dict[str, Shipped]:
        """Role (generator, translator, encoder, classifier) -> what is shipped in it, the main one first.

        Where there are two of one role, each has its direction in its name: ``translator_ab``, ``translator_ba``.
        """
        ...

    def settle(self, network: nn.Module, seed: int) -> None:
        """Recompute the buffers of `network` that follow from its weights, before it is evaluated or shipped."""
        ...


@dataclass(frozen=True)
class Classes:
    """A size that follows from the data: as many as the classes (or attributes) of these streams, and `more`."""

    streams: tuple[str, ...]
    more: int = 0


@dataclass(frozen=True)
class LatentSize:
    """A size that follows from the recipe's latents: `times` as many (2 for means and deviations), and `more`."""

    times: int = 1
    more: int = 0


Size = int | Classes | LatentSize
"""How large an output, a condition or a vector is: a number, or where it comes from."""

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
SHIPPED = {GENERATOR: "decoder", "translator": "translator", "encoder": "encoder", "classifier": "encoder"}
"""Each role in which a finished run can ship a network -> the part that such a network is."""
MAKERS = ("decoder", "translator")
"""The parts that make images. A run that ships none of them shows none, and its images' health is not looked at."""
_USUAL_ROLES = {"decoder": GENERATOR, "translator": GENERATOR, "encoder": DISCRIMINATOR, "joint": DISCRIMINATOR}


@dataclass(frozen=True)
class Order:
    """One network that a game needs: which part of an architecture, and the sizes asked of it.

    Attributes:
        part: a name in `frugan.nets.PARTS`.
        outputs: name -> size, of encoders and joint parts.
        condition: the size of what the *game* tells the network beside its input (latents, a part of them, target
            labels); None if it tells nothing. The labels of the *data* are another thing: networks take them where the
            recipe says ``labels=True``, and are then built for as many as the data have.
        vector: the size of the vectors that a joint part judges with the images.
        role: what the network is in the game, by which it is found: ``--family`` means the networks of the role
            "generator", ``--discriminator-family`` those of the role "discriminator". Any other word is a role too
            ("encoder", "teacher"). Left out, what makes images is a generator and what judges them a discriminator.
        like: a network of the recipe. This one is built like it, and has a player and an average of its own with the
            same settings. So the recipe describes one member, and the game's options say how large a population is.
        finer: whether the network sees images as large as `Batch.finer` (``data.finer`` times ``data.size``).
    """

    part: str
    outputs: Mapping[str, Size] | None = None
    condition: Size | None = None
    vector: Size | None = None
    role: str = ""
    like: str | None = None
    finer: bool = False

    def __post_init__(self) -> None:
        if not self.role:
            object.__setattr__(self, "role", _USUAL_ROLES.get(self.part, self.part))


_PARTS = ("batch_size", "latents", "loss", "penalties", "augment")


@dataclass(frozen=True)
class Variant:
    """A game as the registry holds it.

    `game` is called with the ready networks by name and ``batch_size, latents, loss, penalties, augment`` (the parts
    that recipes choose) and its own options; `order` is called with those options that were given and says which
    networks it needs.
    """

    game: Callable[..., Game]
    order: Callable[..., dict[str, Order]]

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of real images that the game takes from, known before it is built."""
        return tuple(self.game.streams)  # type: ignore[attr-defined]

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """The streams whose labels the game must not see."""
        return tuple(getattr(self.game, "unlabelled", ()))

    def options(self) -> dict[str, Any]:
        """The game's own options and their defaults."""
        return options_of(self.game, without=_PARTS)

    def check(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options as the game takes them. Raises UserError for one that it does not have, or a value without sense.
        """
        return check_options(f"The game '{name}'", given, declared(self.game, without=_PARTS))


def orders(name: str, options: Mapping[str, Any]) -> dict[str, Order]:
    """Which networks the game called `name` needs with these options.

    Raises UserError for an unknown game or option.
    """
    variant = find(name)
    return variant.order(**variant.check(name, options))


def find(name: str) -> Variant:
    """The game called `name`. Raises UserError with the nearest name if there is none."""
    return registry.find(name)


def add(name: str, variant: Variant) -> Variant:
    """Register a game of your own under `name`."""
    return registry.add(name, variant)


def settle(network: nn.Module, seed: int) -> None:
    """The `Game.settle` of most games: every module with a method `settle()` recomputes its own buffers."""
    for module in network.modules():
        own = getattr(module, "settle", None)
        if callable(own):
            own()


def notes_of(game: Game, images: int) -> Sequence[str]:
    """What the game says to people of a run that is shown so many real images: its method `notes`, if it has one."""
    return game.notes(images) if hasattr(game, "notes") else ()  # pyrefly: ignore


def penalties_of(game: Game) -> Mapping[str, Penalty]:
    """The penalties that a game applies, by the names under which their state is saved: its attribute `penalties`.

    A game without that attribute has none, and recipes cannot give it any. Raises UserError if they have no names.
    """
    held = getattr(game, "penalties", {})
    if not isinstance(held, Mapping):
        raise UserError(
            f"The attribute `penalties` of {type(game).__name__} is a {type(held).__name__}. It must map name -> "
            "penalty, as frugan.discriminating.by_name(penalties) returns."
        )
    return held


def cycle_of(game: Game) -> int:
    """After how many rounds the same work comes again: the least in which each of a game's penalties is due alike."""
    return math.lcm(*(penalty.every for penalty in penalties_of(game).values()))


def labels_for(network: nn.Module, labels: Tensor | None) -> Tensor | None:
    """The labels, if `network` takes any; otherwise None."""
    return labels if getattr(network, "classes", 0) else None
