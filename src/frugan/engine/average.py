"""Averaged weights: a copy of a network that follows it slowly, and is what gets evaluated and shipped."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

_NORMS = (nn.modules.batchnorm._BatchNorm,)


class Average:
    """An exponential moving average of a network's weights, by half-life in images seen.

    theta_average <- beta theta_average + (1 - beta) theta with beta = 0.5^(batch / half-life) (Karras et al. 2018; the
    half-life form of 2020). A norm's running statistics are averaged with the weights (BigGAN), other buffers copied,
    unless the module's dict `averaging` says otherwise.

    Args:
        half_life: images after which an old weight counts half; 0 copies.
        start: images seen before averaging begins; until then the copy equals the network.
    """

    def __init__(self, network: nn.Module, half_life: float, start: int = 0) -> None:
        self.source = network
        self.half_life = half_life
        self.start = start
        self.network = copy.deepcopy(network).eval()
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        self._pairs = list(self._match())

    def _match(self) -> Iterator[tuple[Tensor, Tensor, bool]]:
        """(copy, original, averaged rather than copied) for every parameter and buffer."""
        originals = dict(self.source.named_modules())
        for path, module in self.network.named_modules():
            original = originals[path]
            declared = getattr(original, "averaging", {})
            for name, parameter in module.named_parameters(recurse=False):
                yield parameter, getattr(original, name), True
            for name, buffer in module.named_buffers(recurse=False):
                usual = "average" if isinstance(original, _NORMS) and buffer.is_floating_point() else "copy"
                yield buffer, getattr(original, name), declared.get(name, usual) == "average"

    @torch.no_grad()
    def update(self, images: int, batch: int) -> None:
        """Follow the network one round further, after `images` real images of which `batch` were new."""
        beta = 0.5 ** (batch / self.half_life) if self.half_life > 0 and images > self.start else 0.0
        averaged = [(mine, theirs) for mine, theirs, average in self._pairs if average]
        copied = [(mine, theirs) for mine, theirs, average in self._pairs if not average]
        if averaged:
            torch._foreach_lerp_([mine for mine, _ in averaged], [theirs.detach() for _, theirs in averaged], 1 - beta)
        for mine, theirs in copied:
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights and buffers."""
        return self.network.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over averaged weights and buffers."""
        self.network.load_state_dict(state)
