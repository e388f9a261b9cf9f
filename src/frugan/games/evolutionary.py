"""The evolutionary game: generators have children, of which the fittest are the next generators.

E-GAN (Wang et al. 2018, arXiv 1803.00657). In each round every parent has one child for each mutation, which is one
step of its optimiser on one adversarial loss. Fitness is F = F_q + gamma F_d: how well a child fools the discriminator,
and how little the discriminator would then learn. The fittest survive, each with its own optimiser's state, and no
parent does ("comma" selection). Then the discriminator is trained on the survivors' images that fitness has seen.

Against the authors' codes: all children are compared on the same latents, so that luck decides less, and the mutations
of one parent share one forward pass; ``fresh_latents=True`` draws anew for each. The published number of images for
fitness is ``evaluation=256``. Both forms of F_d that they compute can be had (`diversity`), and both of their least
squares: the mutations `sigmoid_lsgan` and `lsgan`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from frugan import kernels, losses
from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.discriminating import by_name, check_steps
from frugan.games import Batches, Fork, Order, Progress, Update, Variant, settle
from frugan.games._pair import Pair, shipped
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.ranges import Count, Times
from frugan.registry import UserError, suggest

MUTATIONS = ("non_saturating", "minimax", "sigmoid_lsgan")
"""As in the authors' codes, in their order; the paper calls the first "heuristic"."""

POWERS = {"norm": 1, "squared_norm": 2}
"""What of the discriminator's gradient F_d takes the logarithm of, and how many times log of the norm that is."""


@dataclass(eq=False)
class Child:
    """One child that is alive, with the images that its fitness is about."""

    mutation: str
    fork: Fork
    fakes: Batch
    quality: float = math.nan
    diversity: float = math.nan
    fitness: float = math.nan


class Evolutionary:
    """A population of generators against one discriminator.

    Args:
        discriminator: images -> ``{"score": logits}``.
        batch_size: images of each mutation and of each discriminator step, over all processes.
        latents, loss, penalties, augment: values, see their modules. `loss` is the discriminator's alone; penalties
            count in its steps and not in F_d.
        parents: how many generators survive each round.
        mutations: the losses by whose generator's side children are made, by name.
        gamma: the weight of F_d.
        diversity: F_d is minus the logarithm of the gradient's "norm", or of its "squared_norm", which is twice that.
        evaluation: images by which each child is judged, fakes and as many real ones; `discriminator_steps` batches if
            left out.
        fresh_latents: draw latents anew for every child, for its step and for its fitness.
        discriminator_steps: how often the discriminator is trained in a round.
        labels: "real" makes fakes with the labels of the real batch, "uniform" draws them evenly.
        generators: latents ``[n, size]`` -> images, one for each parent.
    """

    streams = ("train",)
    shipped = staticmethod(shipped)
    settle = staticmethod(settle)

    def __init__(
        self,
        discriminator: nn.Module,
        *,
        batch_size: int,
        latents: Latents,
        loss: AdversarialLoss,
        penalties: Sequence[Penalty] = (),
        augment: Sequence[Augmentation] = (),
        parents: Times = 1,
        mutations: Sequence[str] = MUTATIONS,
        gamma: float = 0.01,
        diversity: str = "norm",
        evaluation: Count | None = None,
        fresh_latents: bool = False,
        discriminator_steps: Times = 3,
        labels: str = "real",
        **generators: nn.Module,
    ) -> None:
        check_steps(discriminator_steps)
        if diversity not in POWERS:
            raise UserError(f"game.diversity={diversity!r} is not known. {suggest(str(diversity), POWERS)}")
        if not math.isfinite(gamma) or gamma < 0:
            raise UserError(f"game.gamma={gamma}: give a number of 0 or more, such as 0.01.")
        if loss.needs_real:
            raise UserError(
                f"The game 'evolutionary' takes the gradients of real and of fake images apart, which '{loss.name}' "
                "compares with each other. Use another loss, e.g. loss=non_saturating."
            )
        self.parents = [name_of(number) for number in range(parents)]
        self.mutations = _mutations(mutations)
        self.penalties = by_name(penalties)
        self.networks = {**{name: generators[name] for name in self.parents}, "discriminator": discriminator}
        first = self.networks[self.parents[0]]
        self.pair = Pair(first, discriminator, batch_size, latents, loss, self.penalties, tuple(augment), labels)
        self.sample, self.score_images = self.pair.sample, self.pair.score
        self.check_attributes = self.pair.check_attributes
        self.gamma, self.power = gamma, POWERS[diversity]
        self.fresh_latents = fresh_latents
        self.discriminator_steps = discriminator_steps
        self.evaluation = discriminator_steps * batch_size if evaluation is None else evaluation
        least = discriminator_steps * math.ceil(batch_size / parents)
        if self.evaluation < least:
            raise UserError(
                f"game.evaluation={self.evaluation}: the discriminator is trained on the images that fitness has seen, "
                f"and its {discriminator_steps} steps need {least} of each survivor. Give {least} or more."
            )

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One generation: children, their fitness, the survivors, then the discriminator's steps."""
        turns = [batches.take("train", self.pair.batch_size) for _ in range(self.discriminator_steps)]
        real = batches.take("train", self.evaluation)
        children = self._children(turns[0], real, progress, update)
        survivors = children
        if len(children) > len(self.parents):
            self._measure(children, real, progress, update)
            survivors = select(children, len(self.parents), self.gamma, progress.images)
        for parent, child in zip(self.parents, itertools.cycle(survivors), strict=False):
            child.fork.keep(into=parent)
        scalars = self._train_discriminator(turns, [child.fakes for child in survivors], progress, update)
        return {**scalars, **self._reported(children, survivors)}

    def _children(self, seen: Batch, real: Batch, progress: Progress, update: Update) -> list[Child]:
        """The children that are alive; `seen` has the labels of their steps, `real` those of the images made after."""
        children, dead = [], None
        for parent in self.parents:
            forks = self._mutated(parent, seen, progress, update)
            for number, (mutation, fork) in enumerate(zip(self.mutations, forks, strict=True)):
                if not fork.alive:
                    dead = fork
                    continue
                place = f"{parent}.{number}" if self.fresh_latents else "all"
                pair = replace(self.pair, generator=fork.networks[parent], batch_size=self.evaluation)
                fakes = pair.fake(real, progress, f"latents.fitness.{place}", graph=False)
                children.append(Child(mutation, fork, fakes))
        if not children and dead is not None:
            dead.keep()  # stops the run, and says what was not finite
        return children

    def _mutated(self, parent: str, seen: Batch, progress: Progress, update: Update) -> list[Fork]:
        """A trial copy of `parent` for each mutation, stepped by it."""
        generator = self.networks[parent]
        pair, forks = replace(self.pair, generator=generator), []
        passed: Passed | None = None
        for number, mutation in enumerate(self.mutations.values()):
            if passed is None or self.fresh_latents:
                place = f"{parent}.{number}" if self.fresh_latents else "all"
                passed = Passed(pair, pair.fake(seen, progress, f"latents.mutation.{place}"), progress)
            gradients = passed.gradients(mutation, progress)
            fork = update.fork(parent)
            weights = list(fork.networks[parent].parameters())

            def linear(weights: list[nn.Parameter] = weights, gradients: list[Tensor | None] = gradients) -> Tensor:
                """A loss whose gradient is the one at hand."""
                pairs = zip(weights, gradients, strict=True)
                return torch.stack([(weight * own).sum() for weight, own in pairs if own is not None]).sum()

            fork.update(linear)
            forks.append(fork)
        return forks

    def _measure(self, children: Sequence[Child], real: Batch, progress: Progress, update: Update) -> None:
        """Set the fitness of every child, on the same real images.

        The discriminator's loss is a sum, so its gradient is that of the real half, computed once, and of the child's.
        """
        loss, judge = self.pair.loss, self.pair.judge

        def real_half() -> Tensor:
            scores = judge(real, progress, "real.fitness")
            return loss.discriminator(scores, torch.zeros_like(scores), random=progress.generator("targets.fitness"))

        shared = update.gradients("discriminator", real_half) if self.gamma else {}
        values = []
        for child in children:
            seen: list[Tensor] = []

            def fake_half(child: Child = child, seen: list[Tensor] = seen) -> Tensor:
                scores = judge(child.fakes, progress, "fake.fitness")
                seen.append(scores.detach())
                random = progress.generator("targets.fitness")
                return loss.discriminator(torch.zeros_like(scores), scores, random=random)

            if self.gamma:
                gradients = update.gradients("discriminator", fake_half)
                norms = torch.stack([(shared[name] + own).norm() for name, own in gradients.items()])
                norm = torch.linalg.vector_norm(norms)
            else:
                with torch.no_grad():
                    fake_half()
                norm = torch.ones_like(seen[0].sum())
            # Every process must select alike. (Gradients are means over processes already.)
            quality = progress.mean(seen[0].float().sigmoid().mean())
            values.append(torch.stack([quality, diversity_of(norm, self.power)]))
        for child, (quality, diversity) in zip(children, torch.stack(values).tolist(), strict=True):
            child.quality, child.diversity = quality, diversity
            child.fitness = quality + self.gamma * diversity

    def _train_discriminator(
        self, turns: Sequence[Batch], fakes: Sequence[Batch], progress: Progress, update: Update
    ) -> dict[str, Tensor]:
        pair, scalars = self.pair, {}
        for turn, real in enumerate(turns):
            fake = dealt(fakes, turn, len(turns), real.count)
            step = pair.begin_step(real, fake, progress, turn)

            def adversarial(step=step, turn=turn) -> Tensor:
                real_scores = pair.judge(step.real, progress, f"real.{turn}")
                fake_scores = pair.judge(step.fake, progress, f"fake.{turn}")
                return step.loss(real_scores, fake_scores, progress.generator(f"targets.{turn}"))

            update("discriminator", adversarial, *step.further())
            scalars = step.reported()
        return scalars

    def _reported(self, children: Sequence[Child], survivors: Sequence[Child]) -> dict[str, Tensor]:
        """Of which mutation the survivors are, and what decided: the fittest child's values, and all children's spread.

        A part of fitness whose spread is much the larger decides alone.
        """
        scalars: dict[str, float] = {"generator.alive": len(children)}
        for mutation in self.mutations:
            chosen = sum(child.mutation == mutation for child in survivors)
            scalars[f"shares.mutations.{mutation}"] = chosen / len(survivors)
        if not math.isnan(survivors[0].fitness):
            qualities = [child.quality for child in children]
            diversities = [self.gamma * child.diversity for child in children]
            scalars |= {
                "fitness.quality": survivors[0].quality, "fitness.diversity": self.gamma * survivors[0].diversity,
                "fitness.quality_spread": max(qualities) - min(qualities),
                "fitness.diversity_spread": max(diversities) - min(diversities),
            }
        device = survivors[0].fakes.images.device
        return {name: torch.tensor(value).to(device, non_blocking=True) for name, value in scalars.items()}


class Passed:
    """A parent's images on the way through the discriminator, once for all mutations that see them."""

    def __init__(self, pair: Pair, fakes: Batch, progress: Progress) -> None:
        self.weights, self.fakes = list(pair.generator.parameters()), fakes.images
        self.seen = fakes.images.detach().requires_grad_()
        self.scores = pair.judge(Batch(self.seen, fakes.labels), progress, "fake.mutation")

    def gradients(self, mutation: AdversarialLoss, progress: Progress) -> list[Tensor | None]:
        """The gradient of a mutation's loss for each of the parent's weights, on this process's images."""
        with torch.autocast(self.scores.device.type, enabled=False):
            with kernels.towards_images():
                value = mutation.generator(self.scores, random=progress.generator("targets.mutation"))
                (slope,) = torch.autograd.grad(value, self.seen, retain_graph=True)
            return list(torch.autograd.grad(self.fakes, self.weights, slope, retain_graph=True, allow_unused=True))


def diversity_of(norm: Tensor, power: int = 1) -> Tensor:
    """F_d of the norm of the discriminator's gradient: minus the logarithm of it, or of its power."""
    # Where the discriminator has nothing to learn at all, the logarithm is that of the smallest number, not infinity.
    return -power * norm.clamp(min=torch.finfo(norm.dtype).tiny).log()


def select(children: Sequence[Child], count: int, gamma: float, images: int) -> list[Child]:
    """The `count` fittest children, the fittest first; those whose fitness is not finite count as dead.

    Raises UserError if that is so of all.
    """
    fit = [child for child in children if math.isfinite(child.fitness)]
    if not fit:
        child = children[0]
        broken = not (math.isfinite(child.quality) and math.isfinite(child.diversity))
        advice = (
            "The discriminator's scores or gradients are not finite: lower players.discriminator.learning_rate."
            if broken else "Give game.gamma a smaller number, such as 0.01."
        )
        raise UserError(
            f"After {images:,} images no child has a finite fitness F_q + gamma F_d: F_q is {child.quality:.3g} and "
            f"F_d {child.diversity:.3g}, with game.gamma={gamma:g}. {advice}"
        )
    return sorted(fit, key=lambda child: child.fitness, reverse=True)[:count]


def dealt(fakes: Sequence[Batch], turn: int, turns: int, count: int) -> Batch:
    """The fakes of one of the discriminator's `turns`: `count` of what the survivors have, and no image twice.

    Alike of all survivors, and evenly from all places of their batches: several processes, which each hold a part of
    every batch, then deal the same images as one does.
    """
    each = math.ceil(count / len(fakes))
    have = fakes[0].count
    places = torch.arange(turn, each * turns, turns) * have // (each * turns)
    picked = [[batch.images[place] for batch in fakes] for place in places.tolist()]
    images = torch.stack(list(itertools.chain.from_iterable(picked))[:count])
    if fakes[0].labels is None:
        return Batch(images, None)
    labels = [batch.labels[place] for place in places.tolist() for batch in fakes if batch.labels is not None]
    return Batch(images, torch.stack(labels[:count]))


def name_of(number: int) -> str:
    """The name of a parent's network and player."""
    return "generator" if number == 0 else f"generator_{number}"


def _mutations(names: Sequence[str]) -> dict[str, AdversarialLoss]:
    """Losses by name, that see fakes alone."""
    if isinstance(names, str) or not names:
        raise UserError(f"game.mutations={names!r}: give a list of losses, such as [{','.join(MUTATIONS)}].")
    found = {name: losses.find(name) for name in names}
    if len(found) < len(names):
        raise UserError(f"game.mutations={list(names)!r}: give every loss once.")
    for name, loss in found.items():
        if loss.needs_real:
            raise UserError(
                f"game.mutations: '{name}' compares fakes with real images, which no child is shown. Leave it out."
            )
    return found


def order(parents: int = 1, **options: object) -> dict[str, Order]:
    """As many decoders as there are parents, all like the first, and an encoder that scores what they make."""
    if not isinstance(parents, int) or parents < 1:
        raise UserError(f"game.parents={parents}: give a whole number, 1 or more.")
    first, *others = (name_of(number) for number in range(parents))
    population = {first: Order("decoder"), **{name: Order("decoder", like=first) for name in others}}
    return {**population, "discriminator": Order("encoder", {"score": 1})}


variant = Variant(Evolutionary, order)
