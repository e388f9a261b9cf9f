"""The decoder that most architectures here return: labels come in with the latents, then one layer after another."""

from __future__ import annotations

from torch import Tensor, nn

from frugan.batch import SIGNED, ImageShape, Range
from frugan.nets._condition import Entrance
from frugan.registry import UserError


class Decoder(nn.Module):
    """Latents ``[n, latents]``, and labels if it takes any, to images ``[n, c, h, w]`` in `image_range`."""

    def __init__(
        self, image: ImageShape, latents: int, entrance: Entrance, body: nn.Module, image_range: Range = SIGNED
    ) -> None:
        super().__init__()
        self.image = image
        self.latents = latents
        self.classes = entrance.classes
        self.image_range = image_range
        self.entrance = entrance
        self.body = body

    def forward(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        check_latents(latents, self.latents)
        return self.body(self.entrance(latents, condition))


def check_latents(latents: Tensor, expected: int) -> None:
    """Raise UserError if the latents are not ``[n, expected]``."""
    if latents.dim() != 2 or latents.shape[1] != expected:
        raise UserError(
            f"The latents have the shape {list(latents.shape)}, but this network needs [count, {expected}]."
        )
