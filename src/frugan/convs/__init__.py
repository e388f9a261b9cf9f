"""Convolution families: how a layer that keeps, doubles or halves the image is built.

A family is a record of three functions. Architectures never name a family: they ask a `Layers` object for "a layer of
this role that doubles the image", and the recipe's rules decide which family builds it. A family may decline a layer.
Then the standard family builds it, and the report says why.

Every function of a family takes the same arguments (`same`, `down` and `up` differ in what `stride` does):

    family.up(in_channels, out_channels, kernel, *, stride, bias, inner_bias, inner_norm, padding, padding_mode)

`padding` is (before, after), the same on both axes. For `same` and `down` it is added around the input. For `up` it is
cropped from the full output, whose length is (n - 1) stride + kernel (a negative number appends zeros). If left out,
the size is exactly kept, divided or multiplied: the padding is kernel - stride in all, with the smaller half before.
`padding_mode` is torch's; families that enlarge by a transposed convolution refuse all but "zeros".
`inner_bias` and `inner_norm` are for families that split a layer in two. They say whether there is a bias between the
two pieces (as `bias` if left out), and which norm (a function from channels to a module, or a name in `NORMS`).

A layer of several pieces starts with the same variance as the standard layer in its place (the option `start` of every
rule is then "composite"). With ``start="layerwise"`` each piece starts as if it stood alone, as in published nets.

The primitive convolutions inside have a `tag`, ``"spatial"`` or ``"pointwise"``, so that architectures can treat
weights by kind (initialisation, spectral norm, equalised rate).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from inspect import Parameter
from typing import Annotated, Any, Literal

from torch import nn

from frugan.convs._primitives import Convolution as Convolution
from frugan.convs._primitives import Pads as Pads
from frugan.convs._primitives import Transposed as Transposed
from frugan.convs._primitives import narrower
from frugan.convs._start import STARTS, Start, start_of
from frugan.convs._start import Standard as Standard
from frugan.convs._start import calibrate as calibrate
from frugan.convs._start import composites as composites
from frugan.convs._start import is_chain as is_chain
from frugan.convs._start import pieces_of as pieces_of
from frugan.ranges import Range, Side
from frugan.registry import Registry, UserError, check_options, declared, options_of, suggest

registry = Registry("convolution family", "frugan.convs")
names = registry.names

NORMS: dict[str, Callable[[int], nn.Module]] = {"batch_norm": nn.BatchNorm2d, "instance_norm": nn.InstanceNorm2d}


def _layer(
    *, kernel: Side = 1, stride: Side = 1, bias: bool = True, inner_bias: bool | None = None,
    inner_norm: str | Callable[[int], nn.Module] | None = None,
    padding: Annotated[Pads | None, Range(-1_000, most=1_000)] = None,
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros", start: str = STARTS[0],
) -> None:
    """What a network asks of a layer beside its channels, of whatever family; a rule for a role may ask otherwise."""


ASKED = declared(_layer)
CONTRACT = tuple(name for name in ASKED if name not in ("kernel", "start"))
SEAM = {name: ASKED[name] for name in ("inner_norm", "inner_bias")}
"""What of it every network leaves open."""


class Declined(Exception):
    """Raised by a family that cannot build a layer. The text says why and is shown in the report."""


@dataclass(frozen=True)
class ConvFamily:
    """How layers that keep (`same`), divide (`down`) and multiply (`up`) the image size by their stride are built.

    Attributes:
        ignores: what networks ask of every layer and this family's layers do nothing with, such as `SEAM` where a layer
            is of one piece. A rule that gives such an option is refused, since it would change nothing.
    """

    name: str
    same: Callable[..., nn.Module]
    down: Callable[..., nn.Module]
    up: Callable[..., nn.Module]
    options: dict[str, Any] = field(default_factory=dict)
    ignores: tuple[str, ...] = ()

    def with_options(self, **options: Any) -> ConvFamily:
        """The same family with these options, e.g. ``middle=0.5``. Raises UserError for those that it ignores."""
        for name in options:
            if name in self.ignores:
                raise UserError(
                    f"The convolution family '{self.name}': the option '{name}' is without effect on its layers. Leave "
                    "it out."
                )
        return replace(self, options={**self.options, **options})

    def accepted(self) -> dict[str, Parameter]:
        """The family's own options, all arguments besides the contract's, as it declares them."""
        own: dict[str, Parameter] = {}
        for build in (self.same, self.down, self.up):
            own.update(declared(build, without=CONTRACT))
        return own


def find(name: str, **options: Any) -> ConvFamily:
    """The family called `name`, with these options.

    Raises UserError with the nearest name or option, and for values without sense.
    """
    family: ConvFamily = registry.find(name)
    asked = {key: option for key, option in ASKED.items() if key in options}  # offered to nobody, see `recipe.OWN`
    accepted = {**SEAM, "start": ASKED["start"], **asked, **family.accepted()}
    return family.with_options(**check_options(f"The convolution family '{name}'", options, accepted))


def add(name: str, family: ConvFamily) -> ConvFamily:
    """Register a family of your own: `name` then works wherever a family can be named."""
    return registry.add(name, family)


@dataclass(frozen=True)
class LayerChoice:
    """How one layer was built: the family that the rules chose, the family that built it, and why if they differ."""

    role: str
    kind: str
    family: str
    asked: str
    declined: str | None
    in_channels: int
    out_channels: int
    kernel: int
    stride: int


class Layers:
    """Builds the layers of one network by ordered rules (role pattern -> family). The last rule that matches counts.

    Options of a rule that are arguments of the contract (``kernel``, ``stride``, ``inner_norm`` ...) replace what the
    architecture asks for. So a rule can say for one role: "use a 3 x 3 kernel here". `choices` lists what was built.
    """

    def __init__(self, rules: Sequence[tuple[str, ConvFamily]] = ()) -> None:
        self.rules = [("*", find("standard")), *rules]
        self.choices: list[LayerChoice] = []
        self._starts: dict[str, Start] = {}

    def same(self, role: str, in_channels: int, out_channels: int, kernel: int, **arguments: Any) -> nn.Module:
        """Build a layer that keeps the image size. `arguments` are those at the top of this module."""
        return self._build("same", role, in_channels, out_channels, kernel, {"stride": 1, **arguments})

    def down(self, role: str, in_channels: int, out_channels: int, kernel: int, **arguments: Any) -> nn.Module:
        """Build a layer that divides the image size by `stride` (2 if left out)."""
        return self._build("down", role, in_channels, out_channels, kernel, {"stride": 2, **arguments})

    def up(self, role: str, in_channels: int, out_channels: int, kernel: int, **arguments: Any) -> nn.Module:
        """Build a layer that multiplies the image size by `stride` (2 if left out)."""
        return self._build("up", role, in_channels, out_channels, kernel, {"stride": 2, **arguments})

    def _build(
        self, kind: str, role: str, in_channels: int, out_channels: int, kernel: int, asked: dict[str, Any]
    ) -> nn.Module:
        family = next(family for pattern, family in reversed(self.rules) if fnmatch.fnmatchcase(role, pattern))
        own: dict[str, Any] = {}
        # What the architecture asked for, also where a rule has another kernel.
        meant = Standard(kind, in_channels, out_channels, kernel, asked["stride"])
        contract: dict[str, Any] = {"kernel": kernel, "start": STARTS[0], **asked}
        for name, value in family.options.items():
            (contract if name in contract or name in CONTRACT else own)[name] = value
        if "padding" not in family.options and contract.get("padding") is not None:
            # The architecture's padding was meant for its own kernel and stride.
            if contract["stride"] != asked["stride"]:
                contract["padding"] = None
            elif contract["kernel"] != kernel:
                contract["padding"] = narrower(contract["padding"], kernel, contract["kernel"])
        kernel, start = contract.pop("kernel"), contract.pop("start")
        if start not in STARTS:
            raise UserError(f"The layer '{role}' has start='{start}', which is unknown. {suggest(start, STARTS)}")
        norm = contract.get("inner_norm")
        if isinstance(norm, str):
            if norm not in NORMS:
                raise UserError(f"inner_norm={norm} is unknown. {suggest(norm, NORMS)}")
            contract["inner_norm"] = NORMS[norm]
        accepted = options_of(getattr(family, kind), without=CONTRACT)
        own = {name: value for name, value in own.items() if name in accepted}
        built, declined = family, None
        try:
            module = getattr(family, kind)(in_channels, out_channels, kernel, **contract, **own)
        except Declined as reason:
            built, declined = find("standard"), str(reason)
            module = getattr(built, kind)(in_channels, out_channels, kernel, **contract)
        module.role = role  # what cost tables call the layer
        module.layerwise = start == "layerwise"  # how its pieces start, also where a network draws them itself
        if built.name != "standard" and start == "composite":
            self._calibrate(module, meant, repr((built, meant, kernel, contract, own)))
        self.choices.append(
            LayerChoice(
                role, kind, built.name, family.name, declined, in_channels, out_channels, kernel, contract["stride"]
            )
        )
        return module

    def _calibrate(self, module: nn.Module, meant: Standard, made_of: str) -> None:
        """Let a layer start as `meant` does with torch's weights; `nets.initialise` does it for other rules."""
        pieces = pieces_of(module)
        if not pieces or any(piece.weight.is_meta for piece in pieces):
            return
        if made_of not in self._starts:  # found once for all layers that are alike
            self._starts[made_of] = start_of(module, meant)
        module.starts_as = self._starts[made_of]  # type: ignore[assignment]
        calibrate(module, 1 / (3 * meant.fans[0]))

    def check_rules_used(self) -> None:
        """Raise UserError for a rule whose pattern matched no role of the network: most likely a misspelt pattern."""
        roles = [choice.role for choice in self.choices]
        for pattern, family in self.rules:
            if pattern != "*" and not fnmatch.filter(roles, pattern):
                raise UserError(
                    f"The rule '{pattern}' -> {family.name} matches no layer. This network has layers with the roles "
                    f"{', '.join(roles)}."
                )
