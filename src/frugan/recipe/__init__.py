"""A recipe: everything that a run is made of, as names and numbers only.

A recipe is a frozen record, most often another recipe with two fields changed. It goes to JSON and back without loss;
the JSON beside a run replays it. `build` turns the names into objects; nothing here imports torch.

Single values are changed by dotted keys, as typed after ``frugan train``:

    batch_size=64   learning_rate=1e-4   loss=hinge   loss.smoothing=0.9   data.size=64   penalties=r1,weight=1
    generator.width=0.5        an option of the network's architecture (any network's name)
    architecture.width=0.5     the same for the networks that make images
    streams.b.source=FOLDER    the data of one of the game's streams, where they are not those of `data`
    labels=true                whether all networks are told labels
    players.discriminator.learning_rate=4e-4   game.discriminator_steps=5   averages.generator.half_life=20000
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

from frugan.arguments import Changes, Name, strict
from frugan.ranges import Amount, Count, Range, Side
from frugan.recipe._checked import Checked, checked, word_of
from frugan.recipe._places import check_effects, covering, flatten, meet
from frugan.recipe._typed import choice_of, parted
from frugan.recipe._typed import parse_count as parse_count
from frugan.recipe._typed import parse_value as parse_value
from frugan.registry import UserError, suggest

if TYPE_CHECKING:
    from frugan.engine.run import RunFolder

FORMAT = 1

Positive = Annotated[int, Range(1)]

SIDES = "For height and width: data.size=[48,64]."
NO_CLASSES = (
    "Give how many classes the data have. If the folders of images are no classes, give data.source=flat:FOLDER "
    "(--data flat:FOLDER)."
)

OWN = ("kernel", "stride", "padding")
"""What an architecture asks of each of its layers: a rule for some layers may change it, a family for all may not."""


@dataclass(frozen=True)
class Choice:
    """A variant by name, with its options."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """Layers whose role matches `pattern` are built by `family` with these options."""

    pattern: str
    family: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Data(Checked):
    """Which images: a source (see ``frugan data list``), its split, and the size that all are brought to.

    `size` is the side in pixels, or (height, width).

    `classes` is how many the source is expected to have, or how many attributes (0: unlabelled); `only` keeps some
    classes, or the images that have some attributes; `attributes` are those that the labels shall be, in this order;
    `exclusive` are groups of attributes of which an image has at most one (hair colours), those that other data have
    passed over; `balance` is ``"even"`` to draw every class or combination of attributes equally often; `image_range`
    is what the discriminator sees, the generator's own range if left out. `even_limit` keeps only so many images, as
    equally many of each class as can be; which ones follows from `limit_seed`, never from the seed of a run. `finer` is
    how many times as large an encoder sees them, in games that let it (`bidirectional_unary`). `holdout` is how many
    images are held out for evaluation where the source has no test split; if it is None, a new run chooses, and keeps
    the number.
    """

    source: str
    size: Annotated[int | tuple[int, int], Range(1, most=100_000)] = field(metadata={"instead": SIDES})
    channels: Count
    classes: Amount = field(default=0, metadata={"instead": NO_CLASSES})
    split: str = "train"
    only: tuple[str | int, ...] = ()
    limit: Annotated[int | None, Range(1)] = None
    image_range: Annotated[tuple[float, float] | None, Range(rising=True)] = None
    attributes: tuple[str, ...] = ()
    exclusive: tuple[tuple[str, ...], ...] = ()
    balance: str | None = None
    even_limit: Annotated[int | None, Range(1)] = None
    limit_seed: Annotated[int, Range(0, most=math.inf)] = 0
    finer: Side = 1
    holdout: Annotated[int | None, Range(0)] = None

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


@dataclass(frozen=True)
class Network:
    """One network: an architecture with options, family rules, and whether it is told the labels of the data.

    `tables` are this network's own rules for a family's name: what ``--family NAME`` means here. Without one, the
    family is used for every layer that has a role. `init` is a run or artefact whose weights it begins with; a network
    that no player trains needs one, and keeps these weights.
    """

    architecture: str
    options: dict[str, Any] = field(default_factory=dict)
    families: tuple[Rule, ...] = ()
    labels: bool = False
    tables: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    init: str | None = None

    def with_family(self, name: str) -> Network:
        """This network with its layers built by a family, ``NAME[,option=value...]``, by its own table for it."""
        (family,) = parse_choices([name])
        own = [option for option in family.options if option in OWN]
        if own:
            raise UserError(
                f"{name}: {', '.join(own)} is the network's own, and no option of a family for all its layers. Leave "
                f"it out; an option of the network may change it, and so may a rule for some layers, e.g. "
                f"generator.families='[{{\"pattern\": \"up.*\", \"family\": \"{family.name}\", \"options\": "
                f"{{\"{own[0]}\": 3}}}}]'."
            )
        rules = self.tables.get(family.name, (Rule("*", family.name),))
        return replace(self, families=tuple(
            replace(rule, options={**rule.options, **family.options}) if rule.family == family.name else rule
            for rule in rules
        ))  # fmt: skip


@dataclass(frozen=True)
class Player(Checked):
    """Which networks are trained together, and how.

    `optimiser` is one of `frugan.optimisers`, which say what they use of `betas`, `epsilon` and `weight_decay`.
    `clip_norm` scales the gradient, `clip_value` cuts each element. `schedule`, one of `frugan.schedules`, is a factor
    on the rate over images seen.
    """

    networks: tuple[str, ...]
    learning_rate: Annotated[float, Range(above=0, such_as="2e-4")] = 2e-4
    optimiser: Choice = field(default_factory=lambda: Choice("adam"))
    betas: Annotated[tuple[float, float], Range(0, below=1)] = (0.5, 0.999)
    epsilon: Annotated[float, Range(0)] = 1e-8
    weight_decay: Annotated[float, Range(0)] = 0.0
    clip_norm: Annotated[float | None, Range(above=0)] = None
    clip_value: Annotated[float | None, Range(above=0)] = None
    schedule: Choice = field(default_factory=lambda: Choice("constant"))


@dataclass(frozen=True)
class Average(Checked):
    """An averaged copy of a network: its half-life in images, when it begins, and how fast it may lengthen.

    With `ramp` the half-life is at most this share of the images seen, so that short runs are averaged over less.
    """

    half_life: Annotated[float, Range(above=0)] = 10_000.0
    start: Annotated[int, Range(0)] = 0
    ramp: Annotated[float | None, Range(above=0)] = None


@dataclass(frozen=True)
class LatentsChoice(Checked):
    """How many latents, and whether they are normal or uniform on [-1, 1]."""

    size: Count = 100
    distribution: str = "normal"


@dataclass(frozen=True)
class Recipe(Checked):
    """All settings of a run. `system`, `source` and `expects` are shown to people and change nothing.

    The budget is `images`, or `rounds` if given. With `minutes`, training measures first how many images that is on
    this machine; the run's own recipe has both.
    """

    name: str
    system: str
    source: str
    expects: str
    data: Data
    networks: dict[str, Network]
    players: dict[str, Player]
    images: Positive
    game: Choice = field(default_factory=lambda: Choice("adversarial"))
    loss: Choice = field(default_factory=lambda: Choice("non_saturating"))
    penalties: tuple[Choice, ...] = ()
    augment: tuple[Choice, ...] = ()
    latents: LatentsChoice = field(default_factory=LatentsChoice)
    averages: dict[str, Average] = field(default_factory=dict)
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    batch_size: Count = 64
    rounds: Annotated[int | None, Range(1)] = None
    minutes: Annotated[float | None, Range(above=0, such_as="20")] = None
    seed: Annotated[int, Range(0, most=math.inf)] = 0
    precision: str = "auto"
    kernels: str = "auto"

    @property
    def budget(self) -> int:
        """Real images to be shown; where rounds are counted, as many as each shows with one batch."""
        return self.images if self.rounds is None else self.rounds * self.batch_size

    @property
    def whole_rounds(self) -> int:
        """About how many rounds the budget is: as if each showed one batch."""
        return self.images // self.batch_size if self.rounds is None else self.rounds

    def ended(self, images: int, rounds: float) -> bool:
        """Whether a run that has got so far is at the end of its budget."""
        return images >= self.images if self.rounds is None else rounds >= self.rounds

    def with_images(self, images: int) -> Recipe:
        """This recipe with another budget in images. A schedule that ends with the budget ends with the new one."""

        def moved(schedule: Choice) -> Choice:
            options = schedule.options
            if options.get("end") != self.budget:
                return schedule
            start = round(options.get("start", 0) * images / self.budget)
            return replace(schedule, options={**options, "start": start, "end": images})

        players = {name: replace(one, schedule=moved(one.schedule)) for name, one in self.players.items()}
        return replace(self, images=images, rounds=None, players=players)

    def data_of(self, stream: str) -> Data:
        """The data of one of the game's streams: `data`, but for what `streams` says of it."""
        return replace(self.data, **self.streams.get(stream, {}))

    def with_sources(self, sources: Mapping[str, str]) -> Recipe:
        """This recipe with other sources of images, by the stream; those of `data` are said once."""
        own = {stream for stream, changed in self.streams.items() if "source" in changed}
        streams = {
            stream: {**changed, "source": sources.get(stream, changed["source"])} if stream in own else changed
            for stream, changed in self.streams.items()
        }
        source = next((one for stream, one in sources.items() if stream not in own), self.data.source)
        return replace(self, data=replace(self.data, source=source), streams=streams)

    @strict
    def with_family(self, name: Name, role: Name = "generator") -> Recipe:
        """This recipe with its networks of a role built by a family, ``NAME[,option=value...]``.

        Of the role "generator" if left out.
        """
        targets = self.with_role(role)
        if not targets:
            known = suggest(role, self.roles())
            raise UserError(f"The recipe '{self.name}' has no network with the role '{role}'. {known}")
        changed = {target: self.networks[target].with_family(name) for target in targets}
        return replace(self, networks={**self.networks, **changed})

    def with_role(self, role: str) -> tuple[str, ...]:
        """The networks that have this role in the recipe's game, see `frugan.games.Order`."""
        return self.roles().get(role, ())

    def roles(self) -> dict[str, tuple[str, ...]]:
        """The networks of each role in the recipe's game."""
        from frugan import games  # only here: games import torch, and most recipes are read without it

        by_role: dict[str, tuple[str, ...]] = {}
        for name, order in games.orders(self.game.name, self.game.options).items():
            if name in self.networks:
                by_role[order.role] = (*by_role.get(order.role, ()), name)
        return by_role

    def makers(self) -> tuple[str, ...]:
        """The networks that make images: those of the role "generator"."""
        return self.with_role("generator")

    @strict
    def with_changes(self, changes: Changes) -> Recipe:
        """This recipe with dotted keys changed in their order, see this module.

        Raises UserError with the nearest key for an unknown one, and for a key that later ones leave without effect.
        """
        tree = to_dict(self)
        paths = {key: self._paths(key) for key in changes}
        for key, value in changes.items():
            for path in paths[key]:
                _change(tree, path, value, key, self)
        check_effects(paths)
        return from_dict(tree)

    def outlasting(self, keys: Iterable[str], later: Iterable[str]) -> list[str]:
        """Those of `keys` that still have an effect if all of `later` are changed after them."""
        after = {tuple(path): key for key in later for path in self._paths(key)}
        return [key for key in keys if None in covering(self._paths(key), after)]

    def apart_from(self, keys: Iterable[str], said: Iterable[str]) -> list[str]:
        """Those of `keys` that have no place in the recipe in common with any of `said`, by whatever name."""
        taken = [path for key in said for path in self._paths(key)]
        return [key for key in keys if not any(meet(path, other) for path in self._paths(key) for other in taken)]

    def _paths(self, key: str) -> list[list[str]]:
        head, _, rest = key.partition(".")
        if key == "labels":
            return [["networks", name, "labels"] for name in self.networks]
        if head == "architecture" and rest:
            return [["networks", name, "options", *rest.split(".")] for name in self.makers()]
        if head in self.networks and rest:
            direct = rest.split(".")[0] in {item.name for item in dataclasses.fields(Network)}
            return [["networks", head, *([] if direct else ["options"]), *rest.split(".")]]
        if head in {item.name for item in dataclasses.fields(Player)} - {"networks"}:
            return [["players", name, *key.split(".")] for name in self.players]
        if head in ("game", "loss") and rest and rest.split(".")[0] not in ("name", "options"):
            return [[head, "options", *rest.split(".")]]
        return [key.split(".")]

    def keys(self) -> dict[str, Any]:
        """Every key that can be set, with this recipe's values; options not written out have their defaults."""
        flat: dict[str, Any] = {}
        flatten(to_dict(self), "", flat)
        short = {}
        for key, value in flat.items():
            head, *rest = key.split(".")
            if head == "networks" and len(rest) > 1:
                key = ".".join([rest[0], *rest[2:]] if rest[1] == "options" else rest)
            if head in ("game", "loss") and rest:
                key = head if rest == ["name"] else ".".join([head, *rest[1:]])
            if rest[-1:] == ["options"] and value == {}:
                continue
            if head not in ("name", "system", "source", "expects", "format", "frugan") and "tables" not in rest:
                short[key] = value
        return short


def parse_choices(given: str | Sequence[str | Choice]) -> tuple[Choice, ...]:
    """Variants with options: ``"r1,weight=2+r2"`` as typed, or a list of such names and of `Choice`."""
    items = parted(given, "+") or [given] if isinstance(given, str) else given
    return tuple(item if isinstance(item, Choice) else Choice(**choice_of(item)) for item in items if item != "")


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values, ready for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def from_dict(value: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """A recipe from plain values. Raises UserError for unknown, missing or wrongly typed fields."""
    if not isinstance(value, Mapping):
        raise UserError(f'{where} is no recipe: it must hold an object, such as {{"name": "mine", ...}}.')
    plain = {key: item for key, item in value.items() if key not in ("format", "frugan")}
    version = value.get("format", FORMAT)
    if not isinstance(version, int) or not 1 <= version <= FORMAT:
        raise UserError(
            f"{where} has recipe format {version}, but this frugan reads only 1 to {FORMAT}. Update frugan."
        )
    recipe = _read(Recipe, plain, where)
    hints = typing.get_type_hints(Data)  # fields of another name are for `build` to tell
    streams: dict[str, dict[str, Any]] = {}
    for stream, changed in recipe.streams.items():
        for key, item in changed.items():
            read = _read(hints.get(key, Any), item, f"{where}.streams.{stream}.{key}")
            streams.setdefault(stream, {})[key] = list(read) if isinstance(read, tuple) else read  # as JSON has it
    return replace(recipe, streams={**recipe.streams, **streams}) if streams else recipe


def from_run(run: RunFolder) -> Recipe:
    """The recipe of a run folder, whose sources are found from any working folder.

    Raises UserError if it is missing or cannot be read.
    """
    from frugan import data

    recipe = from_dict(run.read_json(run.recipe), where=str(run.recipe))
    about = run.read_json(run.facts)["data"] if run.facts.is_file() else {}
    sources = {stream: one["path"] for stream, one in about.items() if "path" in one}
    return recipe.with_sources({stream: source for stream, source in sources.items() if data.paths(source)})


def _read(kind: Any, value: Any, where: str, instead: str = "") -> Any:
    """`value` as the type `kind`, strictly: unknown keys and wrong types are errors, whole numbers serve as floats.

    `instead` is what a field's metadata advise where its type is wrong.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [option for option in arguments if option is not type(None)]
        for option in options:
            listed = isinstance(value, (list, tuple)) and typing.get_origin(option) is tuple
            if listed or option is type(value):
                return _read(option, value, where, instead)
        return _read(options[0], value, where, instead)
    if dataclasses.is_dataclass(kind):
        if isinstance(value, str) and kind is Choice:
            return Choice(value)
        if not isinstance(value, Mapping):
            fields = ", ".join(item.name for item in dataclasses.fields(kind))
            raise UserError(f"{where} is {value!r}, but it must be {{{fields}}}.")
        hints, known = typing.get_type_hints(kind), {item.name: item for item in dataclasses.fields(kind)}
        for key in value:
            if key not in hints:
                raise UserError(f"{where} has no field '{key}'. {suggest(key, hints)}")
        missing = [
            item.name for item in dataclasses.fields(kind)
            if item.name not in value
            and item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        ]
        if missing:
            raise UserError(f"{where}: the field '{missing[0]}' is missing.")
        read = {
            key: _read(hints[key], item, f"{where}.{key}", known[key].metadata.get("instead", ""))
            for key, item in value.items()
        }
        return kind(**checked(kind, read, where))
    if origin is dict and isinstance(value, Mapping):
        return {key: _read(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is tuple and arguments[-1] is Ellipsis and isinstance(value, (int, str, Mapping)):
        value = [value]  # data.only=3 is a list of one
    if origin is tuple and isinstance(value, (list, tuple)):
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise UserError(f"{where} is {list(value)}, but it must have {len(arguments)} values.")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        pairs = enumerate(zip(kinds, value, strict=True))
        return tuple(_read(each, item, f"{where}.{number}") for number, (each, item) in pairs)
    if kind is Any:
        _check_finite(value, where)
        return value
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and float(value).is_integer():
        return int(value)
    if isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise UserError(f"{where} is {value!r}, but it must be {word_of(kind)}. {instead}".rstrip())


def _check_finite(value: Any, where: str) -> None:
    """Raise UserError for a number in an option's value, or in a list of them, that is nan or infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}={value}: give a finite number.")
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        _check_finite(item, f"{where}.{key}")


def _change(tree: dict[str, Any], path: list[str], value: Any, key: str, recipe: Recipe) -> None:
    """Set one value in a recipe's tree; a Choice may be given as ``name,option=value,...``."""
    parent: Any = tree
    for number, step in enumerate(path[:-1]):
        if isinstance(parent, list):
            raise UserError(
                f"'{key}' names one entry of a list, which cannot be set alone. Set the whole list "
                f"'{'.'.join(path[:number])}' instead."
            )
        if step not in parent:
            raise _unknown(recipe, key)
        parent = parent[step]
    last = path[-1]
    # Any field of the data may be set for a stream; `build` checks its name.
    free = (len(path) > 1 and path[-2] == "options") or (len(path) == 3 and path[0] == "streams")
    if not isinstance(parent, dict) or (last not in parent and not free):
        raise _unknown(recipe, key)
    if last in ("penalties", "augment"):
        given = [] if value in (None, "", "none") else [value] if isinstance(value, Mapping) else value
        items = given if isinstance(given, (list, tuple)) else parted(str(given), "+") or [given]
        parent[last] = [choice_of(item) for item in items]
    elif last in ("game", "loss", "optimiser", "schedule") and not isinstance(value, Mapping):
        parent[last] = choice_of(value)
    else:
        parent[last] = value


def _unknown(recipe: Recipe, key: str) -> UserError:
    """The error for a key that a recipe does not have; what all players share is offered by its short name too."""
    shared = {item.name for item in dataclasses.fields(Player)} - {"networks"}
    return UserError(f"The recipe '{recipe.name}' has no key '{key}'. {suggest(key, {*recipe.keys(), *shared})}")


def differences(one: Recipe, other: Recipe, but: tuple[str, ...] = ()) -> list[str]:
    """The keys in which two recipes differ, as ``key: this -> that`` lines; keys named in `but` are passed over."""
    mine, theirs = _told_apart(one), _told_apart(other)
    return [
        f"{key}: {mine.get(key)!r} -> {theirs.get(key)!r}"
        for key in sorted({*mine, *theirs})
        if mine.get(key) != theirs.get(key) and key not in but
    ]


def _told_apart(recipe: Recipe) -> dict[str, Any]:
    """A recipe's keys; those by which nothing is held out, None in a run and 0 if it was asked for, are equal."""
    return {key: value or None if key.endswith(".holdout") else value for key, value in recipe.keys().items()}
