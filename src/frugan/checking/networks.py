"""The contract of `frugan.nets`: what every part of every architecture must do."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from frugan import convs, costs, nets
from frugan.batch import ImageShape
from frugan.blueprint import Blueprint
from frugan.checking._contract import Contract, NotAsked, NotKept, Remark, Requirement, find_difference
from frugan.checking._ground import PLAIN, Ground
from frugan.checking._runs import plays_a_round, resumes_bit_for_bit, ships_what_was_trained
from frugan.games import DISCRIMINATOR, GENERATOR
from frugan.recipe import Choice, Network, Player, Recipe, Rule
from frugan.registry import UserError

SHAPES = tuple(ImageShape(*shape) for shape in (
    (1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 128, 128),
))  # fmt: skip
"""What is tried. One of them will do; what an architecture cannot make it must refuse."""
LATENTS, VECTOR, CONDITION = 12, 6, 4
OUTPUTS = {"score": 1, "classes": 5}
FEW = 6
WIDTH = 0.25


@dataclass(frozen=True)
class Part:
    """One part of an architecture that is tested against its contract; `full_name` is e.g. "brief.decoder"."""

    full_name: str
    ground: Ground

    @property
    def name(self) -> str:
        """The name of the architecture."""
        return self.full_name.rpartition(".")[0]

    @property
    def part(self) -> str:
        """Which part it is, a name in `frugan.nets.PARTS`."""
        return self.full_name.rpartition(".")[2]

    @property
    def makes_images(self) -> bool:
        """Whether its outputs are images: it is a decoder or a translator."""
        return self.part in ("decoder", "translator")

    @functools.cached_property
    def shape(self) -> ImageShape:
        """The first of `SHAPES` that it can be built for. Raises UserError if there is none."""
        errors = []
        for shape in SHAPES:
            try:
                self.network(shape=shape)
            except UserError as error:
                errors.append(str(error))
            else:
                return shape
        raise UserError(f"It can be built for no image of {', '.join(map(_spell, SHAPES))}: {errors[0]}")

    def blueprint(self, size: int = 0, *, width: float = WIDTH, family: str | None = None,
                  shape: ImageShape | None = None, numbers: bool = True) -> Blueprint:  # fmt: skip
        """The blueprint of this part: with a condition of this size, at this width, built by this family."""
        options = {"width": width} if "width" in nets.options(self.name, self.part) else {}
        rules = () if family is None else (Rule("*", family),)
        judging = self.part in ("encoder", "joint")
        return Blueprint(
            self.part, Network(self.name, options, rules), shape or self.shape, LATENTS, OUTPUTS if judging else None,
            size, numbers, VECTOR if self.part == "joint" else 0,
        )

    def network(self, size: int = 0, **how: Any) -> nn.Module:
        """Build the network of `blueprint`; equal calls give equal weights."""
        torch.manual_seed(0)
        module, _ = self.blueprint(size, **how).build()
        return module

    def inputs(self, size: int = 0, count: int = FEW) -> list[Tensor]:
        """Inputs to call the network with, always the same numbers."""
        random = torch.Generator().manual_seed(1)
        first = (LATENTS,) if self.part == "decoder" else tuple(self.shape)
        given = [torch.randn(count, *first, generator=random)]
        if self.part == "joint":
            given.append(torch.randn(count, VECTOR, generator=random))
        return [*given, torch.arange(count) % size] if size else given

    def takes(self, size: int) -> nn.Module:
        """The network with a condition of this size. Raises NotAsked if it takes no condition."""
        try:
            return self.network(size)
        except UserError as error:
            raise NotAsked(f"it takes no labels: {error}") from None

    @functools.cached_property
    def recipe(self) -> Recipe:
        """A small recipe that trains this part against our smallest networks. Raises NotAsked for a joint part."""
        spec, size, channels = self.blueprint().spec, self.shape.height, self.shape.channels
        if self.part == "joint":
            raise NotAsked(
                "none of the small recipes here trains a network of the part 'joint'. Check it together with a game "
                "that needs one."
            )
        if self.part == "decoder":
            return self.ground.pair(spec, size=size, channels=channels)
        if self.part == "encoder":
            return self.ground.pair(discriminator=spec, size=size, channels=channels)
        players = {GENERATOR: ("generator_ab", "generator_ba"), DISCRIMINATOR: ("discriminator_a", "discriminator_b")}
        networks = {name: spec if player == GENERATOR else PLAIN for player, names in players.items() for name in names}
        return self.ground.recipe(
            networks, size, channels, game=Choice("cycle"), loss=Choice("lsgan"), averages={},
            players={player: Player(names, 2e-3) for player, names in players.items()},
        )


def _spell(shape: ImageShape) -> str:
    return "x".join(map(str, shape))


def _flat(output: Any) -> Tensor:
    """The outputs of an encoder, scores of every place one after the other, or images, as one tensor [n, values]."""
    whole = list(output.values()) if isinstance(output, dict) else [output]
    return torch.cat([one.flatten(1) for one in whole], dim=1)


def builds_or_refuses(part: Part) -> None:
    """It can be built for images of any size, or refuses a size with a UserError."""
    for shape in SHAPES:
        try:
            part.network(shape=shape)
        except UserError:
            continue
        except Exception as error:
            raise NotKept(
                f"for images of {_spell(shape)} it fails ({type(error).__name__}: {error}): for sizes that it cannot "
                "build, raise frugan.registry.UserError and name sizes that it can."
            ) from error
    _ = part.shape


def gives_the_ordered_shapes(part: Part) -> None:
    """Outputs have the shapes that were asked for, and images their range."""
    network = part.network()
    output = network(*part.inputs())
    if not part.makes_images:
        _check_outputs(output)
        return
    if not isinstance(output, Tensor) or output.shape != (FEW, *part.shape):
        given = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise NotKept(f"it gives {given}, but images {[FEW, *part.shape]} were ordered.")
    stated = getattr(network, "image_range", None)
    if not (isinstance(stated, tuple) and len(stated) == 2):
        raise NotKept("it has no image_range: say in which range its images are, e.g. image_range = (-1.0, 1.0).")
    low, high = stated
    if output.min() < low or output.max() > high:
        raise Remark(
            f"its images reach from {float(output.min()):.3g} to {float(output.max()):.3g}, but image_range says {low} "
            f"to {high}. Values beyond it are cut off in bytes. An output layer such as tanh keeps the range."
        )


def _check_outputs(output: Any) -> None:
    if not isinstance(output, dict):
        raise NotKept(f"it gives a {type(output).__name__}: give a dict, output -> tensor, with the names ordered.")
    for name, size in OUTPUTS.items():
        if name not in output:
            raise NotKept(f"it was asked for the output '{name}', but gives only {', '.join(output)}.")
        value, maps = output[name], name == "score"
        if tuple(value.shape[:2]) != (FEW, size) or value.dim() not in ((2, 4) if maps else (2,)):
            shape = f"[{FEW}, {size}]{' or a map of scores' if maps else ''}"
            raise NotKept(f"the output '{name}' has the shape {list(value.shape)}; it should be {shape}.")


def is_thinner_by_width(part: Part) -> None:
    """`width` multiplies every inner channel count. Comparisons use it for controls and for damaged arms."""
    if "width" not in nets.options(part.name, part.part):
        raise NotKept(
            "it has no option `width`: take it as a keyword-only argument, width=1.0, and multiply every inner channel "
            "count by it (frugan.nets.scaled). Comparisons need it to make controls."
        )
    sizes = []
    for width in (WIDTH, 1.0):
        with torch.device("meta"):
            module, _ = part.blueprint(width=width).build()
        sizes.append(sum(parameter.numel() for parameter in module.parameters()))
    if sizes[0] >= 0.6 * sizes[1]:
        raise NotKept(f"width={WIDTH} leaves {sizes[0]:,} of {sizes[1]:,} parameters: multiply inner channel counts.")


def follows_from_the_seed(part: Part) -> None:
    """Its first weights depend on torch's global random numbers only."""
    apart = find_difference(part.network().state_dict(), part.network().state_dict())
    if apart is not None:
        raise NotKept(f"two networks of the same seed differ in '{apart}': draw from torch's own random numbers alone.")


def is_its_state(part: Part) -> None:
    """A network with another network's state computes the same outputs."""
    network, given = part.network(), part.inputs()
    network(*given)  # moves running statistics
    other = part.network()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(network.state_dict())
    one, two = (_flat(module.eval()(*given)) for module in (network, other))
    if not torch.equal(one, two):
        raise NotKept(
            "with the state_dict of another network it computes something else in evaluation mode: keep everything "
            "that matters in parameters and buffers, and use no randomness there."
        )


def judges_each_image_alone(part: Part) -> None:
    """In evaluation mode an output depends on its own input only, not on the rest of the batch."""
    network, many = part.network(), part.inputs(count=16)
    network(*many)
    network.eval()
    with torch.no_grad():
        whole, one = _flat(network(*many))[7:8], _flat(network(*[given[7:8] for given in many]))
    if not torch.allclose(whole, one, rtol=0, atol=1e-4):
        raise NotKept(
            f"in evaluation mode an output differs by {float((whole - one).abs().max()):.2g} when other images are in "
            "the batch: use statistics of a batch only in training, and no randomness."
        )


def trains_every_weight(part: Part) -> None:
    """Every weight gets a finite gradient; that of a matrix or kernel is not zero."""
    for size in (0, CONDITION):
        try:
            network = part.network(size)
        except UserError:
            continue
        for level in _levels(network):
            if level is not None:
                network.grow(level)  # type: ignore[operator]
            output = _flat(network(*part.inputs(size)))
            (output * torch.randn_like(output)).sum().backward()
        for name, parameter in network.named_parameters():
            if parameter.grad is None:
                raise Remark(
                    f"'{name}' gets no gradient, so the network does not use it. This may be right for a network that "
                    "grows later."
                )
            if not parameter.grad.isfinite().all():
                raise NotKept(f"'{name}' gets a gradient that is not finite.")
            if parameter.dim() > 1 and not parameter.grad.any():
                raise NotKept(f"'{name}' gets a gradient of zeros only: no output depends on it.")


def _levels(network: Any) -> list[float | None]:
    """Every level of a network that grows, and every half one; of any other None."""
    return [half / 2 for half in range(2 * network.top + 1)] if hasattr(network, "grow") else [None]


def grows_level_by_level(part: Part) -> None:
    """If it has `grow`, it works at every level, and images have the level's size in training alone."""
    network: Any = _own(part, "grow", "decoder", "encoder")[0]
    channels, full, _ = part.shape
    for half in range(2 * network.top + 1):
        level, side = half / 2, full // 2 ** (network.top - (half + 1) // 2)
        network.grow(level)
        if float(network.level) != level:
            raise NotKept(
                f"after grow({level}) its buffer `level` is {float(network.level)}: say self.level.fill_(level)."
            )
        for training, expected in ((True, side), (False, full)):
            network.train(training)
            if part.part == "encoder":
                _check_outputs(network(torch.zeros(FEW, channels, expected, expected)))
            elif (made := network(*part.inputs())).shape[2:] != (expected, expected):
                mode = "training" if training else "evaluation"
                raise NotKept(
                    f"grown to level {level}, in {mode} mode it makes images of {made.shape[2]} x {made.shape[3]} "
                    f"pixels; it should make {expected} x {expected}."
                )


def is_told_labels(part: Part) -> None:
    """Labels change the output, given as class numbers or as values. `classes` says that it takes labels."""
    network = part.takes(CONDITION)
    _know_statistics(network, part.inputs(CONDITION))
    network.eval()
    if getattr(network, "classes", 0) != CONDITION:
        raise NotKept(
            f"built for {CONDITION} labels, its attribute `classes` is {getattr(network, 'classes', 'not there')}: "
            "games ask it whether to pass labels on. Say self.classes = classes."
        )
    if getattr(part.network(), "classes", 0):
        raise NotKept("built without labels, its attribute `classes` is not 0, so games would pass labels on.")
    *given, labels = part.inputs(CONDITION)
    output = _flat(network(*given, labels))
    if not (output != _flat(network(*given, (labels + 1) % CONDITION))).any(1).all():
        raise NotKept("another label does not change the output.")
    bits = nn.functional.one_hot(labels, CONDITION).float()
    try:
        by_bits = _flat(network(*given, bits))
    except Exception as error:
        raise NotKept(
            f"it takes class numbers [n] and not values [n, {CONDITION}] ({type(error).__name__}: {error}): "
            "attributes, and what a game tells, come as values. Take what has two dimensions as it is."
        ) from error
    if not torch.allclose(output, by_bits, rtol=0, atol=1e-5):
        raise NotKept("a label as a class number and the same as a one-hot vector give different outputs.")


def _know_statistics(network: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Let every batch norm know the statistics of these inputs, as after training.

    With those that it is built with, of 0 and 1, small first weights make a signal smaller from layer to layer, until
    nothing of a label is left.
    """
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        network.train()(*inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def costs_what_can_be_believed(part: Part) -> None:
    """Its parameters and multiply-accumulates can be counted, without doubts."""
    blueprint = part.blueprint()
    module, _ = blueprint.build()
    cost = costs.cost(module.eval(), *blueprint.inputs())
    if cost.doubts:
        raise Remark(
            f"its multiply-accumulates may be wrong: {cost.doubts[0]} Until then comparisons show them with "
            "a question mark."
        )


def is_built_by_every_family(part: Part) -> None:
    """Any family can build every layer that has a role."""
    _, layers = part.blueprint().build()
    if not layers.choices:
        raise NotAsked("no layer has a role (layers.up, layers.down, layers.same), so a family changes nothing.")
    roles = [choice.role for choice in layers.choices]
    twice = next((role for role in roles if roles.count(role) > 1), None)
    if twice is not None:
        raise NotKept(f"two layers have the role '{twice}': rules name layers by their roles, so give each its own.")
    for family in convs.names():
        try:
            network = part.network(width=0.5, family=family)
            with torch.no_grad():
                output = network.eval()(*part.inputs(count=2))
        except Exception as error:
            raise NotKept(
                f"with the family '{family}' it fails ({type(error).__name__}: {error}): call what `layers` builds "
                "with images only, and do not use its weights: their names and shapes differ between families."
            ) from error
        if part.makes_images and output.shape != (2, *part.shape):
            raise NotKept(f"with the family '{family}' it gives {list(output.shape)}.")


def _own(part: Part, name: str, *parts: str) -> tuple[nn.Module, Any]:
    """The network and an attribute that it may leave out, and that means something in these parts alone."""
    network = part.network()
    if part.part not in parts:
        raise NotAsked(f"`{name}` is read of a part '{parts[0]}' only.")
    if not hasattr(network, name):
        raise NotAsked(f"it has no `{name}`, which it may leave out.")
    return network, getattr(network, name)


def has_features(part: Part) -> None:
    """`features` gives the activations of each stage, if the network has this attribute."""
    _, features = _own(part, "features", "encoder")
    activations = features(*part.inputs())
    tensors = all(isinstance(one, Tensor) and len(one) == FEW and one.dim() in (2, 4) for one in activations)
    if not len(activations) or not tensors:
        raise NotKept("features(images) must return a list of maps [n, c, h, w] or vectors [n, c], one for each stage.")


def names_its_outputs(part: Part) -> None:
    """The attribute `outputs`, if the network has it, equals the names and sizes that were asked for."""
    _, outputs = _own(part, "outputs", "encoder", "joint")
    if dict(outputs) != OUTPUTS:
        raise NotKept(f"its attribute `outputs` is {outputs!r}, but {OUTPUTS} were ordered.")


def judges_joined_batches_alike(part: Part) -> None:
    """If `joins` is true, one call on two batches together gives the same as two calls."""
    network, joins = _own(part, "joins", "encoder")
    if not joins:
        raise NotAsked("it says joins=False: two batches are judged by two calls.")
    for module in network.modules():
        if not module.state_dict():
            module.eval()  # what it drops at random
    one, two = part.inputs(), [given.flip(0) for given in part.inputs()]
    with torch.no_grad():
        together = _flat(network(*[torch.cat(pair) for pair in zip(one, two, strict=True)]))
        apart = torch.cat([_flat(network(*one)), _flat(network(*two))])
    if not torch.allclose(together, apart, rtol=1e-4, atol=1e-4):
        raise NotKept(
            "it says `joins`, but one call on two batches gives other numbers than two calls: leave `joins` out."
        )


def takes_other_sizes(part: Part) -> None:
    """If it has `multiple`, it takes images whose sides are another multiple of it, and keeps their size."""
    network, multiple = _own(part, "multiple", "translator")
    height, width = (multiple * (side // multiple + 1) for side in part.shape[1:])
    images = torch.zeros(1, part.shape.channels, height, width)
    if network.eval()(images).shape != images.shape:
        raise NotKept(f"it says multiple={multiple}, but from images {list(images.shape)} it makes another size.")


def _parts(name: str) -> list[str]:
    return [f"{name}.{part}" for part in nets.PARTS if getattr(nets.find(name), part) is not None]


CONTRACT = Contract("architecture", nets.names, Part, (
    Requirement(builds_or_refuses, "frugan.nets"),
    Requirement(gives_the_ordered_shapes, "frugan.nets", (builds_or_refuses,)),
    Requirement(is_thinner_by_width, "frugan.nets", (builds_or_refuses,)),
    Requirement(follows_from_the_seed, "frugan.nets", (builds_or_refuses,)),
    Requirement(is_its_state, "frugan.nets", (gives_the_ordered_shapes,)),
    Requirement(judges_each_image_alone, "frugan.nets", (gives_the_ordered_shapes,)),
    Requirement(trains_every_weight, "frugan.nets", (gives_the_ordered_shapes,)),
    Requirement(grows_level_by_level, "frugan.nets, Attributes.grow", (gives_the_ordered_shapes,)),
    Requirement(is_told_labels, "frugan.nets, Attributes.classes", (gives_the_ordered_shapes,)),
    Requirement(costs_what_can_be_believed, "frugan.nets, Attributes.macs", (gives_the_ordered_shapes,)),
    Requirement(is_built_by_every_family, "frugan.convs", (gives_the_ordered_shapes,)),
    Requirement(has_features, "frugan.nets, Attributes.features", (gives_the_ordered_shapes,)),
    Requirement(names_its_outputs, "frugan.nets, Attributes.outputs", (gives_the_ordered_shapes,)),
    Requirement(judges_joined_batches_alike, "frugan.nets, Attributes.joins", (gives_the_ordered_shapes,)),
    Requirement(takes_other_sizes, "frugan.nets, Attributes.multiple", (gives_the_ordered_shapes,)),
    Requirement(plays_a_round, "frugan.games, Game.step", (gives_the_ordered_shapes,)),
    Requirement(resumes_bit_for_bit, "frugan.games, Game", (plays_a_round,)),
    Requirement(ships_what_was_trained, "frugan.artefact", (plays_a_round,)),
), _parts)  # fmt: skip
