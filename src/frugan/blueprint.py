"""A blueprint: all that is needed to build one network of a recipe or an artefact, as names and numbers.

It stands between the words (a recipe's spec, a game's order, an artefact's config) and the module. Whoever wants a
network, or what one is called with, asks its blueprint; nobody else puts these inputs together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frugan import convs, nets
from frugan.batch import ImageShape
from frugan.recipe import Network, Rule


@dataclass(frozen=True)
class Blueprint:
    """One network that can be built.

    Attributes:
        part: a name in `frugan.nets.PARTS`.
        spec: the architecture, its options and family rules.
        image: the shape of the images that it makes, sees or changes.
        latents: how many latents a decoder is given.
        outputs: name -> size, of an encoder or a joint part.
        condition: the size of what the network is told beside its input, 0 for nothing.
        labels: whether that is class numbers ``[n]``; otherwise it is values ``[n, condition]``.
        vector: the size of the vectors that a joint part judges with the images.
    """

    part: str
    spec: Network
    image: ImageShape
    latents: int
    outputs: Mapping[str, int] | None = None
    condition: int = 0
    labels: bool = False
    vector: int = 0

    def check(self) -> None:
        """Raise UserError for an unknown architecture, part, option or family; nothing is built."""
        nets.check(self.spec.architecture, self.part, self.spec.options)
        self._rules()

    def build(self) -> tuple[nn.Module, convs.Layers]:
        """The network, on torch's current default device and by its random numbers; and what each role became.

        Raises UserError as `check` does, and for sizes that the architecture cannot make.
        """
        options = nets.check(self.spec.architecture, self.part, self.spec.options)
        layers = convs.Layers(self._rules())
        given: tuple[Any, ...] = {
            "decoder": (self.image, self.latents, layers, self.condition),
            "encoder": (self.image, dict(self.outputs or {}), layers, self.condition),
            "translator": (self.image, layers, self.condition),
            "joint": (self.image, self.vector, dict(self.outputs or {}), layers, self.condition),
        }[self.part]
        module = nets.find(self.spec.architecture).part(self.part)(*given, **options)
        layers.check_rules_used()
        return module, layers

    def inputs(self, batch: int = 1) -> list[tuple[int, ...] | Tensor]:
        """What the network is called with, as `frugan.cost` takes it: shapes, and a tensor of zeros for a condition."""
        first = (batch, self.latents) if self.part == "decoder" else (batch, *self.image)
        given: list[tuple[int, ...] | Tensor] = [first]
        if self.part == "joint":
            given.append((batch, self.vector))
        if self.condition:
            given.append(
                torch.zeros(batch, dtype=torch.int64) if self.labels else torch.zeros(batch, self.condition)
            )
        return given

    def example(self, batch: int = 1) -> list[Tensor]:
        """What `inputs` gives, with a tensor of zeros in the place of every shape."""
        return [torch.zeros(one) if isinstance(one, tuple) else one for one in self.inputs(batch)]

    def _rules(self) -> list[tuple[str, convs.ConvFamily]]:
        return [(rule.pattern, convs.find(rule.family, **rule.options)) for rule in self.spec.families]


def spec_from(described: Mapping[str, Any]) -> Network:
    """The spec that an artefact's config describes under "network"."""
    rules = tuple(Rule(**rule) for rule in described["families"])
    return Network(described["architecture"], described["options"], rules, labels=described["labels"])
