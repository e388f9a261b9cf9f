"""Averaged weights: a copy of a network that follows it slowly. The copy is evaluated and shipped."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

_NORMS = (nn.modules.batchnorm._BatchNorm,)

STANDING_BATCH, STANDING_BATCHES = 64, 8
"""Standing statistics are measured over 64 x 8 = 512 images; more change no measured value."""


class Average:
    """An exponential moving average of a network's weights, with a half-life in images seen.

    theta_average <- beta theta_average + (1 - beta) theta with beta = 0.5^(batch / half-life) (Karras et al. 2018; the
    half-life form of 2020). Running statistics of norms are averaged like weights; `measure_standing` replaces them
    with better ones. Other buffers are copied, unless the module's dict `averaging` says otherwise.

    Args:
        half_life: after this many images, an old weight counts half. 0 means a plain copy.
        start: images seen before averaging begins. Until then the copy equals the network.
        ramp: the half-life is at most this share of the images seen, so that the first weights soon stop to count
            (Karras et al. 2020, arXiv 2006.06676, code: 0.05). None: no such limit.
    """

    def __init__(self, network: nn.Module, half_life: float, start: int = 0, ramp: float | None = None) -> None:
        self.source = network
        self.half_life = half_life
        self.start = start
        self.ramp = ramp
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
        """Follow the network for one round. `images` real images were seen so far, `batch` of them in this round."""
        half_life = self.half_life if self.ramp is None else min(self.half_life, self.ramp * images)
        beta = 0.5 ** (batch / half_life) if half_life > 0 and images > self.start else 0.0
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


@torch.no_grad()
def measure_standing(networks: Iterable[nn.Module], show: Callable[[int], object]) -> Callable[[], None]:
    """Measure the means and variances that batch norms store anew, for averaged weights.

    Averaged weights have never seen a batch, and the averaged statistics of training are not right for them. Early in a
    run this error alone can add half or more to a generator's distance to real images. (Izmailov et al. 2018, arXiv
    1803.05407, section 3.2; the "standing statistics" of Brock et al. 2019, arXiv 1809.11096.) A norm that no image
    passes through keeps its values.

    Args:
        show: called with 0, 1, 2, ...; makes a batch of 64 images with the networks, a different one for each number.

    Returns:
        A function that restores the norms' old statistics.
    """
    norms: list[Any] = [norm for network in networks for norm in norms_of(network).values()]
    momenta = [norm.momentum for norm in norms]
    stored = [(norm, {name: buffer.clone() for name, buffer in norm.named_buffers(recurse=False)}) for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
            norm.train()
        for number in range(STANDING_BATCHES if norms else 0):
            show(number)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
    _restore([(norm, buffers) for norm, buffers in stored if not norm.num_batches_tracked])
    return functools.partial(_restore, stored)


def norms_of(network: nn.Module) -> dict[str, nn.Module]:
    """The norms of a network whose statistics `measure_standing` measures, by their path."""
    return {
        path: module for path, module in network.named_modules()
        if isinstance(module, _NORMS) and module.track_running_stats
    }  # fmt: skip


@torch.no_grad()
def _restore(stored: Iterable[tuple[nn.Module, dict[str, Tensor]]]) -> None:
    for module, buffers in stored:
        for name, value in buffers.items():
            getattr(module, name).copy_(value)
