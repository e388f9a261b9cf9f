"""A trained encoder: numbers from images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from frugan.arithmetic import exact
from frugan.artefact._trained import CHUNK, TrainedNetwork, chunks_of
from frugan.registry import UserError, suggest

if TYPE_CHECKING:
    import numpy as np


class Encoder(TrainedNetwork):
    """A trained encoder of images.

    Attributes:
        module: the network, in evaluation mode. Called with ``(images, labels)``, it gives a tensor for each output.
        config: what it is and how it was made, as stored in ``config.json``.
    """

    def __init__(self, module: nn.Module, config: Mapping[str, Any]) -> None:
        super().__init__(module, "encoder", config)

    @property
    def outputs(self) -> dict[str, int]:
        """The names of its outputs, and how many numbers each has."""
        return dict(self.config["outputs"])

    def __call__(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Images ``[n, c, h, w]`` in the range that it was trained on, and labels: output name -> ``[n, size]``."""
        return self.module(images, labels) if labels is not None else self.module(images)

    def encode(self, images: Any, output: str | None = None, labels: Any = None) -> np.ndarray[Any, Any]:
        """One output for images given as bytes ``[n, height, width, channels]``: float32 ``[n, size]``.

        Args:
            output: a name in `outputs`. If left out: the first one.
            labels: for an encoder that was trained with labels: the class of each image, or one number for all. If its
                condition is values instead of classes: ``[n, size]``, or ``[size]`` for all.

        Raises UserError for an unknown output, and for images or labels that do not fit the network.
        """
        name = next(iter(self.outputs)) if output is None else output
        if name not in self.outputs:
            raise UserError(f"This {self.role} has no output '{name}'. {suggest(name, self.outputs)}")
        return self._look(images, labels, lambda chunk, told: self(chunk, told)[name], self.outputs[name])

    def hidden(self, images: Any, labels: Any = None) -> np.ndarray[Any, Any]:
        """What its last stage, before the outputs, says of images: float32 ``[n, width]``; arguments as of `encode`.

        Raises UserError as `encode` does, and for a network that does not show its stages.
        """
        if not hasattr(self.module, "features"):
            raise UserError(
                f"This {self.role} does not show its stages (`features`, see frugan.nets.Attributes). Use encode()."
            )

        def last(chunk: Tensor, told: Tensor | None) -> Tensor:
            return self.module.features(chunk, told)[-1].flatten(1)  # pyrefly: ignore

        return self._look(images, labels, last, 0)

    def _look(
        self, images: Any, labels: Any, look: Callable[[Tensor, Tensor | None], Tensor], size: int
    ) -> np.ndarray[Any, Any]:
        """What `look` makes of bytes, chunk by chunk; ``[0, size]`` of none."""
        import numpy as np

        images = np.asarray(images)
        condition = self.condition(len(images) if images.ndim else 0, labels)
        if condition is not None and labels is None:
            raise UserError(
                f"This {self.role} was trained with labels, so it needs labels: {self.role}.encode(images, labels=...)."
            )
        encoded = []
        chunks = chunks_of(images, self.config["image"], self.image_range, self.device, f"this {self.role}")
        for number, chunk in enumerate(chunks):
            part = None if condition is None else condition[number * CHUNK : (number + 1) * CHUNK].to(self.device)
            with exact(self.device):
                encoded.append(look(chunk, part).float().cpu())
        return np.ascontiguousarray((torch.cat(encoded) if encoded else torch.empty(0, size)).numpy())

    @property
    def image_range(self) -> tuple[float, float]:
        """The range of the images that it takes."""
        low, high = self.config["image_range"]
        return low, high


class Classifier(Encoder):
    """A trained classifier of images: an encoder whose output ``classes`` are logits.

    Attributes as of `Encoder`.
    """

    def __init__(self, module: nn.Module, config: Mapping[str, Any]) -> None:
        super().__init__(module, config)
        if OUTPUT not in self.outputs:
            raise UserError(
                f"A classifier needs the output '{OUTPUT}', but this network only has the outputs "
                f"{', '.join(self.outputs)}. Load it in its own role, e.g. frugan.load(path, role=\"encoder\")."
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes by name, in the order of their numbers."""
        return tuple(self.config["classes"])

    def probabilities(self, images: Any) -> np.ndarray[Any, Any]:
        """The probability of each of the data's classes, float32 ``[n, classes]``; images as for `encode`.

        They add up to 1. A further logit of the network ("fake") is left out.
        """
        logits = torch.from_numpy(self.encode(images, OUTPUT))
        return torch.softmax(logits[:, : len(self.classes) or None], dim=1).numpy()

    def classify(self, images: Any) -> np.ndarray[Any, Any]:
        """The number of the most likely class of each image, int64 ``[n]``; images as for `encode`."""
        return self.probabilities(images).argmax(1)


OUTPUT = "classes"
