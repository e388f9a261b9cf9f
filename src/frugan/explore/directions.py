"""Directions in the latents: fitted to labels, or found without any.

Without labels: the closed form takes the directions that change what the generator's first layer says most (Shen and
Zhou 2021, arXiv 2007.06600): eigenvectors of A^T A, A being the layer's weights. PCA takes the main components of
images, and for each the direction along which it changes, by least squares (as Härkönen et al. 2020, arXiv 2004.02546,
do with a layer's activations).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frugan import linear
from frugan.artefact import Generator
from frugan.explore.judges import Judge
from frugan.explore.samples import Samples
from frugan.registry import UserError

LAYER, PCA, LATENT = "layer", "pca", "latent:"

C = 0.1
"""Of the logistic regression: latents are many and plain, so it matters little."""


@dataclass(frozen=True, eq=False)
class Directions:
    """Unit vectors ``[count, size]``, a name for each, and how well it fits in words, "" if there is nothing to fit."""

    vectors: Tensor
    names: tuple[str, ...]
    fits: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.vectors)

    def along(self, start: Tensor, reaches: Tensor) -> Tensor:
        """`start` ``[size]`` moved along every direction by each of `reaches`: ``[count, reaches, size]``."""
        return start + reaches[None, :, None] * self.vectors[:, None, :]


def by_labels(samples: Samples, judge: Judge, labels: Sequence[str]) -> Directions:
    """One direction for each label: from samples without it to those with it, by logistic regression on their latents.

    A fifth of the samples is held back. Of these it is told in which share of all pairs, one with the label and one
    without, the first lies farther along: half of them is chance. Raises UserError for a label that there is not, or
    that fewer than ten samples have, or lack.
    """
    judge.check(labels)
    bits = judge.bits(samples)
    vectors, fits = [], []
    held = len(samples) // 5
    for label in labels:
        has = judge.having(bits, [label]).long()
        rare = int(min(has.sum(), len(has) - has.sum()))
        if rare < 10:
            raise UserError(
                f"{int(has.sum())} of {len(samples):,} samples are judged to be '{label}'; at least 10 with it and 10 "
                "without are needed. Give a larger --count."
            )
        fit = linear.fit(samples.latents[held:], has[held:], 2, loss="logistic", c=C)
        vectors.append(fit.weight[1] - fit.weight[0])
        places, told = samples.latents[:held] @ vectors[-1], has[:held] == 1
        pairs = (places[told][:, None] > places[~told][None]).double()
        fits.append(f"in order in {100 * float(pairs.mean()):.1f} % of held-back pairs" if pairs.numel() else "")
    stacked = torch.stack(vectors)
    return Directions(stacked / stacked.norm(dim=1, keepdim=True), tuple(labels), tuple(fits))


def by_first_layer(generator: Generator, count: int) -> Directions:
    """The `count` directions that change the output of the generator's first layer most, in closed form.

    If only a part of the latents meets that layer (BigGAN's chunks), the directions lie in that part. Raises UserError
    if no layer takes the latents.
    """
    size = generator.latents.size
    layer, shape = _first_layer(generator)
    width = min(shape[1], size)  # labels that are joined come after the latents
    units = torch.zeros(width + 1, *shape[1:], device=generator.device)
    units[torch.arange(width), torch.arange(width)] = 1.0
    with torch.no_grad():
        answers = layer(units).flatten(1).double().cpu()
    changes = answers[:-1] - answers[-1:]  # without the bias
    squares, vectors = torch.linalg.eigh(changes @ changes.T)
    order = squares.argsort(descending=True)[:count]
    found = torch.zeros(len(order), size)
    found[:, :width] = vectors[:, order].T.float()
    share = (squares[order] / squares.sum()).tolist()
    names = tuple(f"{LAYER} {number}" for number in range(len(order)))
    return Directions(_signed(found), names, tuple(f"{100 * one:.1f} % of the layer's change" for one in share))


def by_latents(generator: Generator, numbers: Sequence[int]) -> Directions:
    """Single latents by their numbers, for example InfoGAN's codes, which are the first ones.

    Raises UserError for a number that there is not.
    """
    size = generator.latents.size
    for number in numbers:
        if not 0 <= number < size:
            raise UserError(f"There is no latent {number}; this generator's are 0 to {size - 1}.")
    vectors = torch.eye(size)[list(numbers)]
    return Directions(vectors, tuple(f"latent {number}" for number in numbers), ("",) * len(numbers))


def by_pca(samples: Samples, count: int) -> Directions:
    """The `count` main components of the samples' images, each as the direction of latents that changes it.

    Raises UserError for a single sample.
    """
    if len(samples) < 2:
        raise UserError("Components of one sample tell nothing. Give 2 or more, better hundreds: --count 1000.")
    images = torch.from_numpy(samples.images()).flatten(1).double()
    images -= images.mean(0)
    squares, vectors = torch.linalg.eigh(images @ images.T)  # images are fewer than their numbers
    order = squares.argsort(descending=True)[: min(count, len(samples) - 1)]
    scores = vectors[:, order]  # [samples, count], of unit length, uncorrelated
    latents = (samples.latents - samples.latents.mean(0)).double()
    found = (scores.T @ latents).float()  # least squares, the scores being orthonormal
    share = (squares[order] / squares.sum().clamp_min(1e-300)).tolist()
    vectors = found / found.norm(dim=1, keepdim=True).clamp_min(1e-12)
    names = tuple(f"{PCA} {number}" for number in range(len(order)))
    return Directions(_signed(vectors), names, tuple(f"{100 * one:.1f} % of the images' variance" for one in share))


def _signed(vectors: Tensor) -> Tensor:
    """Each vector with its largest number positive: its sign says nothing, so that it is always the same."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0)


def _first_layer(generator: Generator) -> tuple[nn.Module, tuple[int, ...]]:
    """The first layer with a matrix of weights that the latents meet, and the shape of its input."""
    met: list[tuple[nn.Module, tuple[int, ...]]] = []

    def meet(module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        given = inputs[0] if inputs else None
        if isinstance(given, Tensor) and given.is_floating_point() and given.shape[2:].numel() == 1:
            met.append((module, tuple(given.shape)))

    layers = [
        module for module in generator.module.modules()
        if isinstance(getattr(module, "weight", None), Tensor) and module.weight.dim() >= 2  # pyrefly: ignore
        and not isinstance(module, nn.Embedding)
    ]  # fmt: skip
    hooks = [module.register_forward_hook(meet) for module in layers]
    try:
        with torch.no_grad():
            latents = generator.latents.rows(0, 2, 0).to(generator.device)
            labels = generator.condition(2, None)
            generator(latents, None if labels is None else labels.to(generator.device))
    finally:
        for hook in hooks:
            hook.remove()
    if not met:
        raise UserError("No layer of this generator takes the latents as a vector. Use --by pca, or labels.")
    return met[0]
