"""Arithmetic on exemplars: "3,7,9 - 1,4,6 + 2,5,8" by their numbers, "glasses - not glasses + hat" by their labels.

Each term is the mean of the latents of its exemplars, and the result is the sum with its signs. One exemplar a term is
too few, since it brings along everything else that it shows. The DCGAN paper takes three, chosen by eye; where labels
choose, more cost nothing and work better. Around the result stand variants, with small uniform noise in every latent.

Normal latents lie near a sphere, and a mean of many lies well inside it, where the generator has seen few. So where
labels choose exemplars, means and results are brought to the samples' norm. Numbers are taken as they are typed: A - B
+ C of means of three has that norm anyhow, but for chance.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from frugan.explore.judges import NOT, Judge
from frugan.explore.samples import Samples
from frugan.registry import UserError
from frugan.seeds import derive
from frugan.seeds import generator as random_of

EXEMPLARS, FEWEST, VARIANTS, NOISE = 30, 3, 8, 0.25
"""How many exemplars a label gives, and at least; how many variants stand around a result, with how much noise."""

CLASS = "class:"
"""Stands before a label that would be read as the number of a sample, "class:7"."""


@dataclass(frozen=True)
class Term:
    """One term: its sign, and its exemplars by their `numbers`, or by the `wanted` labels that each must have."""

    sign: int
    numbers: tuple[int, ...] = ()
    wanted: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As it was typed, without its sign."""
        return ",".join(map(str, self.numbers)) or ",".join(self.wanted)


def parse(text: str) -> tuple[Term, ...]:
    """The terms of an expression. Raises UserError where it is none."""
    pieces = re.split(r"(?:^|\s+)([+-])\s+", text.strip())
    signed = list(zip(["+", *pieces[1::2]], [pieces[0], *pieces[2::2]], strict=True))
    signed = signed[1:] if len(signed) > 1 and not signed[0][1] else signed
    terms = [_term(1 if sign == "+" else -1, written) for sign, written in signed]
    return tuple(terms)


def _term(sign: int, written: str) -> Term:
    parts = tuple(part.strip() for part in written.split(",") if part.strip())
    joined = r"(^|\s)[+-](\s|$)|^\d+[+-]\d+$"  # a sign with a space on one side, or numbers with none
    if not parts or any(part == NOT.strip() or re.search(joined, part) for part in parts):
        raise UserError(
            f"'{written}' is no term. Type numbers of samples or labels, with spaces around + and -, for example "
            '"3,7,9 - 1,4,6 + 2,5,8" or "glasses - not glasses + hat".'
        )
    if all(part.isdecimal() for part in parts):
        return Term(sign, numbers=tuple(map(int, parts)))
    return Term(sign, wanted=tuple(part.replace(CLASS, "") for part in parts))


@dataclass(frozen=True, eq=False)
class Result:
    """What arithmetic gave.

    Attributes:
        terms: the exemplars of each term, in order.
        means: the mean of each term ``[terms, size]``.
        latents: the result, then its variants ``[1 + variants, size]``.
        labels: the condition of all of them, of a generator that takes one.
    """

    terms: tuple[Samples, ...]
    means: Tensor
    latents: Tensor
    labels: Tensor | None


def combine(
    samples: Samples, terms: Sequence[Term], judge: Judge | None = None, *, exemplars: int = EXEMPLARS,
    variants: int = VARIANTS, noise: float = NOISE, seed: int = 0, told: Tensor | None = None,
) -> Result:
    """Add and subtract the means of exemplars.

    Args:
        samples: from which exemplars are chosen.
        judge: tells the labels of images; needed for terms of labels.
        exemplars: how many of the samples with a label are taken, at random; all if there are fewer.
        noise: variants differ from the result by uniform numbers from -noise to noise.
        told: what `judge.bits` says of the samples, if it was asked before.

    A generator that takes labels makes the result with those of the first exemplar. Raises UserError for numbers and
    labels that there are not.
    """
    if exemplars < 1 or noise < 0 or variants < 0:
        raise UserError(f"{exemplars} exemplars, {variants} variants, noise {noise}: give 1 or more, and 0 or more.")
    if any(term.wanted for term in terms):
        if judge is None:
            raise UserError("Terms of labels need a judge that tells labels. Use numbers of samples instead.")
        judge.check(label for term in terms for label in term.wanted)
        told = judge.bits(samples) if told is None else told
    chosen = []
    for number, term in enumerate(terms):
        if term.numbers:
            chosen.append(samples.take(term.numbers))
            continue
        assert judge is not None  # there are terms of labels
        assert told is not None
        fitting = judge.having(told, term.wanted).nonzero().flatten()
        needed = min(exemplars, FEWEST)
        if len(fitting) < needed:
            raise UserError(
                f"Only {len(fitting)} of {len(samples):,} samples are judged to be '{term.text}', and {needed} are "
                "needed. Give a larger --count, or another label."
            )
        random = random_of(seed, "exemplars", number)
        chosen.append(samples.take(fitting[torch.randperm(len(fitting), generator=random)[:exemplars]].tolist()))
    means = torch.stack([one.latents.mean(0) for one in chosen])
    signs = torch.tensor([float(term.sign) for term in terms])
    centre = (signs[:, None] * means).sum(0, keepdim=True)
    if any(term.wanted for term in terms) and samples.generator.latents.distribution == "normal":
        norm = samples.latents.norm(dim=1).mean()
        means, centre = (norm * functional.normalize(latents) for latents in (means, centre))
    random = random_of(seed, "variants")
    around = noise * (2 * torch.rand(variants, centre.shape[1], generator=random) - 1)
    first = chosen[0].labels
    labels = None if first is None else first[:1].expand(1 + variants, *first.shape[1:])
    return Result(tuple(chosen), means, torch.cat([centre, centre + around]), labels)


@dataclass(frozen=True)
class Trials:
    """How often A - B + C has what A has and B has not.

    Attributes:
        expected: these labels.
        rate: the share of trials whose result has them.
        chance: the share of the same trials in which the mean of C's exemplars alone has them.
        exemplar: the share of all exemplars of A that the judge of results finds to have them: its own doubts.
    """

    trials: int
    expected: tuple[str, ...]
    rate: float
    chance: float
    exemplar: float


def measure(
    samples: Samples, terms: Sequence[Term], judge: Judge, independent: Judge, *, trials: int = 200,
    exemplars: int = EXEMPLARS, seed: int = 0,
) -> Trials:
    """Repeat A - B + C with other exemplars, and count how often the result has what tells A from B.

    Args:
        judge: chooses the exemplars; `independent`: another one, which judges the results.

    Raises UserError where the expression is not A - B + C with labels, or nothing tells A from B.
    """
    expected = expected_of(terms)
    judge.check(label for term in terms for label in term.wanted)
    results, controls, firsts, told = [], [], [], judge.bits(samples)
    for trial in range(trials):
        result = combine(
            samples, terms, judge, exemplars=exemplars, variants=0, seed=derive(seed, "trial", trial), told=told
        )
        results.append(result.latents[:1])
        controls.append(result.means[2:])
        firsts.append(result.terms[0].latents)
    labels = None if samples.labels is None else samples.labels[:1]

    def share(latents: list[Tensor]) -> float:
        whole = torch.cat(latents)
        told = None if labels is None else labels.expand(len(whole), *labels.shape[1:])
        these = Samples(samples.generator, whole, told, samples.truncation)
        return float(independent.having(independent.bits(these), expected).double().mean())

    return Trials(trials, expected, share(results), share(controls), share(firsts))


def expected_of(terms: Sequence[Term]) -> tuple[str, ...]:
    """The labels of A in "A - B + C" that B contradicts. Raises UserError where trials cannot be judged by them."""
    if [term.sign for term in terms] != [1, -1, 1] or not all(term.wanted for term in terms):
        raise UserError(
            'Trials need labels in the form "A - B + C", e.g. "glasses - not glasses + not glasses", or for classes '
            '"class:7 - class:1 + class:1".'
        )
    first, second, _ = (term.wanted for term in terms)
    opposed = tuple(label for label in first if opposite(label) in second)
    # Classes exclude one another, so those of A are expected if B and C are of one class.
    expected = opposed or tuple(label for label in first if set(terms[1].wanted) == set(terms[2].wanted))
    if not expected:
        raise UserError(
            f"Nothing tells '{terms[0].text}' from '{terms[1].text}'. A label of the first must be denied in the "
            'second, "glasses - not glasses + ..."; or B and C must be one class, "class:7 - class:1 + class:1".'
        )
    return expected


def opposite(label: str) -> str:
    """"not glasses" of "glasses", and the other way round."""
    return label.removeprefix(NOT) if label.startswith(NOT) else NOT + label
