"""The semi-supervised game: the discriminator is a classifier too, taught by few labelled and many unlabelled images.

Odena 2016 (arXiv 1606.01583) gives the discriminator a class more than the data have, for fakes; Salimans et al. 2016
(arXiv 1606.03498, section 5) find that its logit may as well be 0, and train the generator by feature matching. Labels
of the stream ``train`` are taken away before the run begins: only those of the stream ``labelled`` are ever seen.

Where the originals leave it open, or differ: labelled, unlabelled and fake images pass apart, and fakes do not move the
running statistics of the discriminator's batch norms, which the classifier uses for real images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.discriminating import by_name
from frugan.games import Batches, Classes, Loss, Order, Progress, Shipped, Update, Variant, settle
from frugan.games._pair import Pair
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.registry import UserError, suggest

FORMS = ("stacked", "softmax", "heads")
MATCHINGS = ("none", "sum_squares", "mean_squares", "mean_absolute")


class SemiSupervised:
    """A generator, and a discriminator that also tells the classes.

    Args:
        generator: latents ``[n, size]`` -> images; discriminator: images -> the outputs that `order` asks of it.
        batch_size: images of each kind in a step, over all processes: labelled, unlabelled, and fakes.
        loss: of the score; `halved` where the weights of the released code are wanted.
        latents, penalties, augment: values, see their modules.
        form: how the classes and the score hang together: "stacked" has K logits, whose log-sum-exp is the score
            (Salimans et al.); "softmax" has a logit more for fakes (Odena); "heads" has a separate output for the
            score, so that the classes learn from fakes only through the layers below.
        unsupervised: weight of all that is learnt without labels. At 0 the discriminator is a mere classifier of the
            labelled images, the supervised twin of such a run: no generator is trained or shipped.
        matching: how the generator matches the mean of the discriminator's last features on fresh unlabelled images,
            in the place of its adversarial loss: by the sum of squares (the paper), their mean (the released code for
            MNIST) or the mean absolute difference (that for CIFAR-10); "none" for the adversarial loss. Matching
            serves the classifier; the images are poorer.
        neutral: subtract ln K from the score, which is ln K for logits of 0 and says "real" of everything at first.
    """

    streams = ("train", "labelled")
    unlabelled = ("train",)
    settle = staticmethod(settle)

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        batch_size: int,
        latents: Latents,
        loss: AdversarialLoss,
        penalties: Sequence[Penalty] = (),
        augment: Sequence[Augmentation] = (),
        form: str = "stacked",
        unsupervised: float = 1.0,
        matching: str = "none",
        neutral: bool = False,
    ) -> None:
        _check_form(form)
        if matching not in MATCHINGS:
            raise UserError(f"game.matching={matching}: {suggest(matching, MATCHINGS)}")
        if matching != "none" and not callable(getattr(discriminator, "features", None)):
            raise UserError(
                f"game.matching={matching} compares features, but this discriminator has no method `features`. Give "
                "another architecture, or game.matching=none."
            )
        if unsupervised < 0:
            raise UserError(f"game.unsupervised={unsupervised}: give a weight of 0 or more.")
        if neutral and form == "heads":
            raise UserError("game.neutral has nothing to do where the score has a head of its own. Leave it out.")
        for name, network in (("generator", generator), ("discriminator", discriminator)):
            if getattr(network, "classes", 0):
                raise UserError(
                    f"{name}.labels=true: the game 'semi_supervised' has no labels of most images, so its networks "
                    f"cannot be told any. Set {name}.labels=false."
                )
        self.penalties = by_name(penalties)
        self.pair = Pair(generator, discriminator, batch_size, latents, loss, self.penalties, tuple(augment), "real")
        self.networks = self.pair.networks()
        self.sample = self.pair.sample
        self.form, self.unsupervised, self.matching, self.neutral = form, unsupervised, matching, neutral

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: the discriminator on labelled, unlabelled and fake images, then the generator."""
        return self.play(batches, progress, update, lambda real: [])

    def play(
        self, batches: Batches, progress: Progress, update: Update, regularise: Callable[[Tensor], list[Loss]]
    ) -> dict[str, Tensor]:
        """The same with further losses of the discriminator, which `regularise` gives for real images of this round.

        These are the unlabelled ones; the labelled ones where nothing is learnt without labels.
        """
        labelled = batches.take("labelled", self.pair.batch_size)
        labels, told = labels_of(labelled), dict[str, Tensor]()

        def classifying() -> Tensor:
            outputs = self._judge(labelled.images, progress, "labelled")
            found = classification(outputs, labels, self.form)
            right = class_logits(outputs, self.form).argmax(1).eq(labels)
            told["discriminator.classification"] = found.detach()
            told["discriminator.accuracy_labelled"] = right.float().mean()
            return found

        if not self.unsupervised:
            update("discriminator", classifying, *regularise(labelled.images))
            return told
        real = batches.take("train", self.pair.batch_size)
        fake = self.pair.fake(real, progress, "latents")
        step = self.pair.begin_step(real, fake, progress, 0)
        step.score = self._score

        def adversarial() -> Tensor:
            # Real images last: their statistics are the newest.
            of_fake = self._judge_fakes(step.fake.images, progress, "fake")
            of_real = self._scores(self._judge(real.images, progress, "real"))
            return self.unsupervised * step.loss(of_real, of_fake, progress.generator("targets"))

        further = [lambda price=price: self.unsupervised * price() for price in step.further()]
        update("discriminator", classifying, adversarial, *further, *regularise(real.images))
        return told | step.reported() | self._train_generator(real, fake, batches, progress, update)

    def _train_generator(
        self, real: Batch, fake: Batch, batches: Batches, progress: Progress, update: Update
    ) -> dict[str, Tensor]:
        loss = self.pair.loss

        def fooling() -> Tensor:
            of_fake = self._judge_fakes(fake.images, progress, "fake.generator")
            of_real = None
            if loss.needs_real:
                with statistics_kept(self.pair.discriminator):
                    of_real = self._scores(self._judge(real.images, progress, "real.generator"))
            return loss.generator(of_fake, of_real, random=progress.generator("targets.generator"))

        if self.matching == "none":
            return {"generator.loss": update("generator", fooling)[0]}
        fresh = batches.take("train", self.pair.batch_size)  # not the images that the discriminator has just seen

        def matching() -> Tensor:
            seen = [
                self.pair.augmented(images, progress, name)
                for images, name in ((fresh.images, "real.generator"), (fake.images, "fake.generator"))
            ]
            with statistics_kept(self.pair.discriminator):
                with torch.no_grad():
                    wanted = self._features(seen[0])
                made = self._features(seen[1])
            own = wanted.float().mean(0) - made.float().mean(0)
            # Of all processes together, with the gradient of this one's fakes.
            apart = own + (progress.mean(own.detach()) - own.detach())
            return matched(apart, self.matching)

        return {"generator.loss": update("generator", matching)[0]}

    def _features(self, images: Tensor) -> Tensor:
        return self.pair.discriminator.features(images)[-1].flatten(1)  # type: ignore[operator]

    def _judge(self, images: Tensor, progress: Progress, name: str) -> dict[str, Tensor]:
        return self.pair.discriminator(self.pair.augmented(images, progress, name))

    def _judge_fakes(self, images: Tensor, progress: Progress, name: str) -> Tensor:
        with statistics_kept(self.pair.discriminator):
            return self._scores(self._judge(images, progress, name))

    def _scores(self, outputs: Mapping[str, Tensor]) -> Tensor:
        return score(outputs, self.form, neutral=self.neutral)

    def _score(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """The score of images as they are, for penalties."""
        with statistics_kept(self.pair.discriminator):
            return self._scores(self.pair.discriminator(images))

    def shipped(self) -> dict[str, Shipped]:
        """The generator if one is trained, and the discriminator as a classifier."""
        classifier = {"classifier": Shipped("discriminator")}
        return {"generator": Shipped("generator"), **classifier} if self.unsupervised else classifier


def class_logits(outputs: Mapping[str, Tensor], form: str) -> Tensor:
    """The logits of the classes of the data ``[n, K]``, in at least float32."""
    logits = _wide(outputs["classes"])
    return logits[:, :-1] if form == "softmax" else logits


def score(outputs: Mapping[str, Tensor], form: str, *, neutral: bool = False) -> Tensor:
    """The logit of being real ``[n, 1]``: its sigmoid is 1 - p(fake).

    Of K logits l it is logsumexp(l), since Z / (Z + 1) = sigmoid(ln Z) with Z = sum exp(l) (Salimans et al., section
    5); of K + 1 the same less the last one, so that -log(1 - p(fake)) = softplus(-score).
    """
    if form == "heads":
        return _wide(outputs["score"])
    logits = class_logits(outputs, form)
    found = torch.logsumexp(logits, dim=1, keepdim=True)
    if form == "softmax":
        found = found - _wide(outputs["classes"])[:, -1:]
    return found - math.log(logits.shape[1]) if neutral else found


def classification(outputs: Mapping[str, Tensor], labels: Tensor, form: str) -> Tensor:
    """The mean cross-entropy of labelled images, 0 where there are none; over K + 1 classes of the form "softmax"."""
    logits = _wide(outputs["classes"])
    return functional.cross_entropy(logits, labels, reduction="sum") / max(len(labels), 1)


def matched(apart: Tensor, matching: str) -> Tensor:
    """How far two means of features lie apart, from their difference ``[features]``; see `SemiSupervised`."""
    if matching == "sum_squares":
        return apart.square().sum()
    return apart.square().mean() if matching == "mean_squares" else apart.abs().mean()


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Inside, what passes through `network` leaves the running statistics of its batch norms as they are."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def labels_of(batch: Batch) -> Tensor:
    """The classes ``[n]`` of a batch. Raises UserError if it has none."""
    if batch.labels is None or batch.labels.dim() != 1:
        has = "no labels" if batch.labels is None else "attributes"
        raise UserError(
            f"The game 'semi_supervised' needs one class for each image of the stream 'labelled', but these have {has}."
            " Give data with classes: streams.labelled.source=SOURCE, or --data SOURCE for all (frugan data list)."
        )
    return batch.labels


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _check_form(form: str) -> None:
    if form not in FORMS:
        raise UserError(f"game.form={form}: {suggest(form, FORMS)}")


def order(form: str = "stacked", **options: object) -> dict[str, Order]:
    """A decoder that makes images, and an encoder that tells classes and, in the form "heads", scores apart."""
    _check_form(form)
    outputs: dict[str, int | Classes] = {"classes": Classes(("labelled",), more=1 if form == "softmax" else 0)}
    if form == "heads":
        outputs["score"] = 1
    return {"generator": Order("decoder"), "discriminator": Order("encoder", outputs)}


variant = Variant(SemiSupervised, order)
