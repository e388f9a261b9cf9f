"""The tangent game: semi-supervised, with a classifier that must not change where an image stays what it is.

Kumar, Sattigeri, Fletcher 2017 (arXiv 1705.08850): a frozen encoder, trained before in the bidirectional game, tells
the tangents of the images' manifold at each real image (`frugan.tangents`). The classifier pays for changing along
them, and a little for changing in any direction. Everything else is the game `semi_supervised`.

Ours, since the paper does not say: the penalties are of probabilities, not logits, which could grow; and of the
classifier in evaluation mode, so that no image's slope depends on others, and none on dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from frugan import tangents
from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.games import Batches, LatentSize, Loss, Order, Progress, Update, Variant, settle
from frugan.games import semi_supervised as few_labels
from frugan.games.semi_supervised import SemiSupervised, class_logits
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.ranges import Times
from frugan.registry import UserError, suggest

ON = ("probabilities", "logits")
ROWS, STEPS = 6, (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)


class Tangent:
    """A semi-supervised game with a third network, an encoder that stays as it is.

    Args:
        generator, discriminator, batch_size, latents, loss, penalties, augment, form, unsupervised, matching, neutral:
            as of `SemiSupervised`.
        encoder: images -> ``{"latents": [n, size]}``.
        directions: how many tangents each image has; all that there are, if the latents are fewer.
        along: weight of the squared change along tangents, the paper's alpha; 0 leaves it out.
        everywhere: weight of the squared Jacobian, the paper's beta; 0 leaves it out.
        on: what must not change, "probabilities" or "logits" of the classes.
        every: both are applied in one of so many rounds, and then counted so many times.
        step: 0 for exact derivatives; otherwise differences of images so far apart, for networks that have none.
    """

    streams = SemiSupervised.streams
    unlabelled = SemiSupervised.unlabelled
    settle = staticmethod(settle)

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        encoder: nn.Module,
        *,
        batch_size: int,
        latents: Latents,
        loss: AdversarialLoss,
        penalties: Sequence[Penalty] = (),
        augment: Sequence[Augmentation] = (),
        form: str = "stacked",
        unsupervised: float = 1.0,
        matching: str = "mean_absolute",
        neutral: bool = False,
        directions: Times = 10,
        along: float = 0.1,
        everywhere: float = 1e-4,
        on: str = "probabilities",
        every: int = 1,
        step: float = 0.0,
    ) -> None:
        if on not in ON:
            raise UserError(f"game.on={on}: {suggest(on, ON)}")
        for name, value in (("along", along), ("everywhere", everywhere), ("step", step)):
            if value < 0:
                raise UserError(f"game.{name}={value}: give 0 or more.")
        for name, value in (("directions", directions), ("every", every)):
            if value < 1:
                raise UserError(f"game.{name}={value}: give a whole number, 1 or more.")
        if getattr(encoder, "classes", 0):
            raise UserError(
                "encoder.labels=true: the game 'tangent' has no labels of most images, so its encoder cannot be told "
                "any. Set encoder.labels=false, and give an encoder that was trained without."
            )
        self.inner = SemiSupervised(
            generator, discriminator, batch_size=batch_size, latents=latents, loss=loss, penalties=penalties,
            augment=augment, form=form, unsupervised=unsupervised, matching=matching, neutral=neutral,
        )
        self.penalties = self.inner.penalties
        self.networks = {**self.inner.networks, "encoder": encoder}
        self.sample, self.shipped = self.inner.sample, self.inner.shipped
        self.form, self.on, self.every, self.difference = form, on, every, step
        self.directions = min(directions, latents.size)
        self.weights = {"along": along, "everywhere": everywhere}

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round of the semi-supervised game, in which the discriminator pays both penalties too."""
        paid: dict[str, Tensor] = {}
        due = progress.rounds % self.every == 0

        def regularise(real: Tensor) -> list[Loss]:
            return [self._price(name, real, progress, paid) for name, one in self.weights.items() if one and due]

        return self.inner.play(batches, progress, update, regularise) | paid

    def _price(self, name: str, real: Tensor, progress: Progress, paid: dict[str, Tensor]) -> Loss:
        prices: dict[str, Callable[[], Tensor]] = {
            "along": lambda: tangents.along(
                self._tell, real, self._tangents(self.networks["encoder"], real).directions, step=self.difference
            ),
            "everywhere": lambda: tangents.everywhere(
                self._tell, real, progress.generator("everywhere"), step=self.difference
            ),
        }

        def price() -> Tensor:
            with evaluating(self.networks["discriminator"]):
                found = prices[name]()
            paid[f"discriminator.{name}"] = found.detach()
            return self.weights[name] * self.every * found

        return price

    def _tell(self, images: Tensor) -> Tensor:
        """What the classifier says of images, each by itself ``[n, K]``."""
        logits = class_logits(self.networks["discriminator"](images), self.form)
        return logits.softmax(1) if self.on == "probabilities" else logits

    def _tangents(self, encoder: nn.Module, images: Tensor) -> tangents.Tangents:
        """Tangents of images, by an encoder that is not trained and in evaluation mode."""
        with evaluating(encoder), torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return tangents.dominant(lambda seen: encoder(seen)["latents"], images, self.directions)

    def preview(self, networks: Mapping[str, nn.Module], first: Mapping[str, Batch], seed: int) -> tuple[Tensor, int]:
        """Rows of real images, each in the middle, moved along one tangent to both sides: of the first image all
        tangents that have a row, then of the second.

        The steps are of length 2 in all pixels together. Last come as many samples as are in a row, if any are made.
        """
        images = first["train"].images[:2]
        along = self._tangents(networks["encoder"], images).directions[:, :ROWS]
        steps = torch.tensor(STEPS).to(images).view(1, 1, -1, 1, 1, 1)
        moved = (images[:, None, None] + steps * along[:, :, None]).flatten(0, 2)
        low, high = images.min(), images.max()
        shown = [moved.clamp(low, high)]
        if self.inner.unsupervised:
            real = first["train"]
            rows = torch.arange(len(STEPS)) % real.count
            shown.append(self.sample(networks, Batch(real.images[rows], None), seed))
        return torch.cat(shown), len(STEPS)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Inside, `network` is in evaluation mode."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def order(**options: object) -> dict[str, Order]:
    """The networks of the semi-supervised game, and a frozen encoder of latents."""
    inner = {name: value for name, value in options.items() if name in ("form",)}
    return {**few_labels.order(**inner), "encoder": Order("encoder", {"latents": LatentSize()}, role="encoder")}  # type: ignore[arg-type]


variant = Variant(Tangent, order)
