"""What a target gets: a trained network with the names, shapes and ranges of what goes in and comes out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import frugan
from frugan.artefact import Generator, Translator
from frugan.batch import Range, to_bytes
from frugan.fusing import folded
from frugan.registry import UserError
from frugan.seeds import generator

if TYPE_CHECKING:
    import numpy as np

    from frugan.artefact import Encoder

EXAMPLES = 64
"""How many inputs are computed both ways."""
TOLERANCE = 1e-4
"""How far an output may be from the artefact's, in the numbers of the image range; for other outputs: relative to the
largest."""
CHUNKS = (1, 31, 32)
"""The batch sizes in which the `EXAMPLES` are compared: a file that takes only one size is found out."""


@dataclass(frozen=True)
class Input:
    """One input of an exported network. Its first axis, the batch, is free.

    Attributes:
        name: "latents", "images", "labels" (class numbers), or "condition" (values).
        shape: without the batch; ``()`` for class numbers. Images are (channels, height, width), or as bytes (height,
            width, channels).
        type: "float32", "int64", or "uint8" for images as bytes.
        range: the least and the largest value that makes sense. Of normal latents, where all but a few lie.
        distribution: "normal" or "uniform" of latents, "" of anything else.
        truncation: at which value latents are cut off, if the network is meant for such; see `Latents.rows`.
        names: of class numbers or values, what they mean; may be empty.
        exclusive: of values, groups of which at most one may be 1.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    range: tuple[float, float]
    distribution: str = ""
    truncation: float | None = None
    names: tuple[str, ...] = ()
    exclusive: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Output:
    """One output of an exported network, with its shape without the batch.

    Attributes:
        type: "float32", or "uint8" for images as bytes.
        range: of images, the values of black and white; None of other numbers.
    """

    name: str
    shape: tuple[int, ...]
    type: str = "float32"
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Parity:
    """How far the outputs of an exported network are from those of the artefact, over `inputs` inputs.

    Attributes:
        largest, mean: absolute differences: of images in numbers of their range, of other outputs relative to the
            largest number.
        tolerance: what `largest` may be; None where it may be anything, and images are judged instead.
        unit: what the differences are counted in.
    """

    inputs: int
    largest: float
    mean: float
    tolerance: float | None
    unit: str = "of the output's range"

    def __str__(self) -> str:
        accepted = "" if self.tolerance is None else f" (accepted: {self.tolerance:g})"
        return (
            f"{self.inputs} inputs, artefact against exported file: largest difference {self.largest:.2g}, mean "
            f"{self.mean:.2g} {self.unit}{accepted}"
        )


class Calling(nn.Module):
    """A network as `inputs` and `outputs` describe it: outputs in order, and images as bytes if they say so."""

    def __init__(
        self, network: nn.Module, inputs: Sequence[Input], outputs: Sequence[Output], image_range: Range
    ) -> None:
        super().__init__()
        self.network, self.inputs, self.outputs, self.image_range = network, inputs, outputs, image_range

    def forward(self, first: Tensor, second: Tensor | None = None) -> tuple[Tensor, ...]:
        low, high = self.image_range
        if self.inputs[0].type == "uint8":
            first = first.permute(0, 3, 1, 2).to(torch.float32) * ((high - low) / 255) + low
        made = self.network(first) if second is None else self.network(first, second)
        named = made if isinstance(made, dict) else {self.outputs[0].name: made}
        return tuple(
            to_bytes(named[one.name], self.image_range).permute(0, 2, 3, 1) if one.type == "uint8" else named[one.name]
            for one in self.outputs
        )


@dataclass(frozen=True, eq=False)
class Parcel:
    """What is exported: a trained network, what goes in, and what comes out.

    Attributes:
        artefact: the `Generator`, `Translator`, `Encoder` or `Classifier` as `frugan.load` gives it.
        module: the network to export, in evaluation mode: the artefact's own, or of a generator the one for truncated
            latents.
        inputs, outputs: in the order in which the network takes and gives them.
        place: where it is meant to run, a name in `PLACES`; None for anywhere.
    """

    artefact: Generator | Translator | Encoder
    module: nn.Module
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    place: str | None = None

    @classmethod
    def of(cls, artefact: Any, place: str | None = None, truncation: float | None = None) -> Parcel:
        """The parcel of what `frugan.load` gives. Raises UserError for a truncation that it cannot use."""
        if truncation is not None and not isinstance(artefact, Generator):
            raise UserError(f"--truncation is for generators; this is a {artefact.role}.")
        module = artefact.module
        if truncation is not None:
            artefact.latents.rows(0, 1, 0, truncation)  # it says what is wrong with one
            module = artefact.under(truncation)
        inputs = tuple(_inputs(artefact, truncation))
        made = _made_alike(module, [_draw(one, artefact, 2) for one in inputs])
        if isinstance(made, dict):
            outputs = tuple(Output(name, tuple(value.shape[1:])) for name, value in made.items())
        else:
            name = "translated" if isinstance(artefact, Translator) else "images"
            outputs = (Output(name, tuple(made.shape[1:]), range=artefact.image_range),)
        return cls(artefact, module, inputs, outputs, place)

    def in_bytes(self) -> Parcel:
        """The same, but it takes and gives images as bytes ``[n, height, width, channels]``, 0 to 255."""
        def of_bytes(one: Any, shown: bool) -> Any:
            if not shown:
                return one
            channels, height, width = one.shape
            return replace(one, shape=(height, width, channels), type="uint8", range=(0, 255))

        inputs = tuple(of_bytes(one, one.name == "images") for one in self.inputs)
        return replace(self, inputs=inputs, outputs=tuple(of_bytes(one, one.range is not None) for one in self.outputs))

    def prepared(self, *rewrites: Callable[[nn.Module], object]) -> nn.Module:
        """The network for inference: takes `inputs`, gives a tuple of `outputs`. Batch norms are folded into layers.

        `rewrites` are further changes, e.g. of `frugan.fusing.REWRITES`.
        """
        network, _ = folded(self.module)
        for rewrite in rewrites:
            rewrite(network)
        if hasattr(network, "grow"):
            network.grow(float(network.level))  # type: ignore[operator, arg-type]
        return self._calling(network.to(memory_format=torch.contiguous_format))  # pyrefly: ignore

    def examples(self, count: int = EXAMPLES) -> list[Tensor]:
        """The first `count` inputs, always the same: latents of seed 0, smooth pictures, every class in turn."""
        return [_draw(one, self.artefact, count) for one in self.inputs]

    def free_axes(self) -> dict[str, dict[int, Any]]:
        """Which axes of what `prepared` takes are free, as torch's exporters want to be told: each input's batch."""
        return {name: {0: torch.export.Dim("batch")} for name, _ in zip(("first", "second"), self.inputs, strict=False)}

    @torch.no_grad()
    def expected(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """What the artefact's own network makes of these inputs, one tensor for each of `outputs`."""
        return list(self._calling(self.module)(*inputs))

    @torch.no_grad()
    def _exactly(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """`expected` in float64: in float32, nets with instance norms can be farther from it than their files are.

        In float32 if images go in as bytes, since then a grey level is allowed, and for a network that insists on it.
        """
        if self.inputs[0].type == "uint8":
            return self.expected(inputs)
        finer = [one.double() if one.is_floating_point() else one for one in inputs]
        try:
            return list(self._calling(copy.deepcopy(self.module).double())(*finer))
        except RuntimeError:
            return self.expected(inputs)

    def _calling(self, network: nn.Module) -> Calling:
        return Calling(network, self.inputs, self.outputs, self.artefact.image_range).eval()

    def compare(
        self, run: Callable[[list[np.ndarray[Any, Any]]], Sequence[np.ndarray[Any, Any]]],
        tolerance: float | None = TOLERANCE, *, levels: float | None = 1.0,
    ) -> Parity:  # fmt: skip
        """Compute `EXAMPLES` inputs both ways. `run` takes arrays in the order of `inputs`, gives those of `outputs`.

        Images as bytes may differ by `levels`: by one grey level where a number lies between two. Raises UserError if
        there is a difference of more than `tolerance`.
        """
        largest, total, count = 0.0, 0.0, 0
        in_levels = self.outputs[0].type == "uint8"
        for inputs in _in_chunks(self.examples()):
            made = run([one.numpy() for one in inputs])
            for output, expected, got in zip(self.outputs, self._exactly(inputs), made, strict=True):
                if tuple(got.shape) != tuple(expected.shape):
                    raise UserError(
                        f"The exported network gives '{output.name}' of the shape {list(got.shape)}, the artefact "
                        f"{list(expected.shape)}. Nothing was written."
                    )
                unit = 1.0 if output.range is not None else max(1.0, float(expected.abs().max()))
                apart = (torch.from_numpy(got).double() - expected.double()).abs() / unit
                largest = max(largest, float(apart.nan_to_num(torch.inf).max()))
                total, count = total + float(apart.sum()), count + apart.numel()
        parity = Parity(EXAMPLES, largest, total / count, levels if in_levels else tolerance)
        parity = replace(parity, unit="grey levels") if in_levels else parity
        if parity.tolerance is not None and not largest <= parity.tolerance:
            raise UserError(
                f"The exported network computes something else than the artefact: {parity}. Nothing was written."
            )
        return parity

    def description(self) -> dict[str, Any]:
        """What whoever runs the exported network must know, as JSON: what goes in and comes out, and who made it how.

        ``config`` is the artefact's own, see ``config.json``.
        """
        return {
            "frugan": frugan.__version__, "role": self.artefact.config.get("role", "generator"),
            "inputs": [asdict(one) for one in self.inputs], "outputs": [asdict(one) for one in self.outputs],
            "image_range": list(self.artefact.image_range), "for": self.place,
            "truncation": self.inputs[0].truncation,
            "norms_follow_truncation": getattr(self.module, "norms_follow_truncation", False),
            "weights": self.artefact.weights_hash, "config": self.artefact.config,
        }


def _inputs(artefact: Any, truncation: float | None) -> Iterator[Input]:
    blueprint = artefact.blueprint
    if isinstance(artefact, Generator):
        latents = artefact.latents
        most = truncation or (1.0 if latents.distribution == "uniform" else 4.0)
        yield Input("latents", (latents.size,), "float32", (-most, most), latents.distribution, truncation)
    else:
        low, high = artefact.image_range
        yield Input("images", tuple(blueprint.image), "float32", (low, high))
    if not blueprint.condition:
        return
    domains: Mapping[str, Any] = artefact.config.get("domains") or {"names": artefact.config["classes"]}
    names, size = tuple(domains["names"]), blueprint.condition
    names = names if len(names) == size else ()
    if blueprint.labels:
        yield Input("labels", (), "int64", (0, size - 1), names=names)
    else:
        exclusive = tuple(map(tuple, domains.get("exclusive", ())))
        yield Input("condition", (size,), "float32", (0.0, 1.0), names=names, exclusive=exclusive)


@torch.no_grad()
def _made_alike(module: nn.Module, inputs: Sequence[Tensor]) -> Any:
    """What a network makes of inputs. Raises UserError if that follows from more than the inputs of each row alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = module(*inputs)
        torch.manual_seed(1)
        again, alone = module(*inputs), module(*(one[:1] for one in inputs))
    for one, two, first in zip(*map(_listed, (made, again, alone)), strict=True):
        if not torch.equal(one, two):
            raise UserError(
                "The network draws random numbers in evaluation mode, so no file could be compared with it. Draw them "
                "outside, as latents, or in training mode only."
            )
        if not torch.allclose(one[:1], first, rtol=1e-3, atol=1e-3):
            raise UserError(
                "What the network makes of one input depends on the others of the batch: a norm uses the batch's "
                "statistics in evaluation mode (track_running_stats=False, or left in training mode). Let it keep "
                "running statistics."
            )
    return made


def _listed(made: Any) -> list[Tensor]:
    return list(made.values()) if isinstance(made, dict) else [made]


def _draw(one: Input, artefact: Any, count: int) -> Tensor:
    """`count` examples of an input. Row i depends on i alone."""
    if one.name == "latents":
        return artefact.latents.rows(0, count, 0, one.truncation)
    if one.name == "labels":
        return torch.arange(count) % (int(one.range[1]) + 1)
    low, high = one.range
    if one.name == "condition":
        drawn = [torch.rand(one.shape, generator=generator(0, "condition", row)).round() for row in range(count)]
        return torch.stack(drawn)
    # Smooth pictures, as photos are: a coarse random pattern enlarged, kept to whole grey levels.
    channels, height, width = one.shape if one.type == "float32" else (one.shape[2], *one.shape[:2])
    coarse = [torch.rand(channels, 5, 5, generator=generator(0, "picture", row)) for row in range(count)]
    pictures = nn.functional.interpolate(torch.stack(coarse), (height, width), mode="bicubic").clamp(0, 1)
    pictures = (pictures * 255).round()
    if one.type == "uint8":
        return pictures.permute(0, 2, 3, 1).to(torch.uint8).contiguous()
    return pictures * ((high - low) / 255) + low


def _in_chunks(inputs: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    for parts in zip(*(one.split(CHUNKS) for one in inputs), strict=True):
        yield list(parts)
