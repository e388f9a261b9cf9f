"""Health: numbers that show that a run goes wrong, before its pictures show it.

They are measured on 128 images of fixed latents, and compared with 128 real images. For a translator: on 128 real
images after translation, compared with the same images before it, since it should keep most of each image.

- `spread`: mean distance between two fakes, divided by that between two real images. It is 0 if all fakes are equal.
- `nearest`: median distance of a fake to the nearest other fake, divided by the same distance for real images. It falls
  when a few images are repeated, even if those few are far apart.
- `distance`: how far the fakes as a whole are from the real images (energy distance, divided by the distance between
  two real images). It is 0 for images like the real ones, 0.41 for their mean image, and 0.7 to 1.5 for untrained nets.
  It is measured with the weights as they train now, since averages lag behind. Translators have none, since they should
  keep most of an image.
- `matched`: the same distance, after the fakes as a whole were given the brightness and contrast of the real images.
- `flicker`: how far the images of the same latents moved since the last look, divided by the distance between two real
  images. (What was seen at that look is in the checkpoint, so a resumed run has the same numbers.)
- `memorised`: how the discriminator scores real images that were held out: 0 like the real images that it is trained
  on, 1 like fakes (Karras et al. 2020, arXiv 2006.06676, r_v in eq. 1). It is 0 too if it cannot tell fakes from the
  images that it is trained on. Measured of few training images, if there are held-out ones.

Distances are between `features`: pixels, shrunk to at most 16 x 16, unless a view is given. What `findings` and
`find_untrained` say depends on the log only. So the running program, the report and a comparison say the same, also
about old runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from frugan.batch import Batch
from frugan.engine.observers import Moment, Remembered, Rhythm, every
from frugan.engine.run import RunFolder

WARM_UP = 20_000
WARM_UP_ROUNDS = 250
TINY = 1e-6
COLLAPSED_SPREAD = 0.5
COLLAPSED_NEAREST = 0.4
SATURATED_LOSS = 0.05
SATURATED_IMAGES = 20_000
FLICKERING = 0.6
MEMORISED = 0.6
MATCHED = 0.25
MEMORISED_LOOKS = 3
FEW = 20_000  # more training images are hardly learnt by heart
FEWEST_HELD_OUT = 16

UNTRAINED = "untrained"
"""The kind of the finding that a run does not train."""

EARLIEST = 10_000
FLAT_SPREAD = 0.05
STILL_LOSS = 0.05
STILL_SPREAD = 0.02
STILL_LINES = 10
WALLED = 15_000
WALLED_ROUNDS = 400
FAR = 0.35  # the mean of all real images, made of every latent, has 0.41
RIGHT = 0.9
NEARER = 0.9
RECENT = 5_000

ACCURACIES = ("discriminator.accuracy_real", "discriminator.accuracy_fake")

STRONG = (
    "Try a lower players.discriminator.learning_rate, penalties=r1 or another batch_size, and start=composite where a "
    "family's layers have start=layerwise."
)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: what, since how many images, and what to do about it."""

    kind: str
    images: int
    text: str


def shrunk(images: Tensor) -> Tensor:
    """Images ``[n, c, h, w]``, shrunk to at most 16 x 16 pixels by averaging areas, as vectors."""
    size = (min(16, images.shape[-2]), min(16, images.shape[-1]))
    return functional.adaptive_avg_pool2d(images, size).flatten(1)


def spread(points: Tensor) -> float:
    """Mean distance between two different points of ``[n, d]``."""
    count = len(points)
    return float(_distances(points, points).sum() / max(count * (count - 1), 1))


def distance(points: Tensor, others: Tensor) -> float:
    """How far two sets of points ``[n, d]`` and ``[m, d]`` are apart: 2 x mean distance between them - both spreads.

    The energy distance (Székely and Rizzo 2013, Energy statistics), without the distance of a point to itself.
    """
    return 2 * float(_distances(points, others).mean()) - spread(points) - spread(others)


def _matched(points: Tensor, others: Tensor) -> Tensor:
    """Points with the mean and the deviation that all numbers of `others` have together."""
    return (points - points.mean()) / points.std().clamp_min(TINY) * others.std() + others.mean()


def nearest(points: Tensor) -> float:
    """Median distance of a point of ``[n, d]`` to the nearest other point; 0 if there is only one point."""
    if len(points) < 2:
        return 0.0
    distances = _distances(points, points)
    distances.fill_diagonal_(float("inf"))
    return float(distances.amin(dim=1).median())


def _distances(points: Tensor, others: Tensor) -> Tensor:
    # Exactly: by a product of matrices, images that are all alike would be a little apart.
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")


def memorised(trained: Tensor, held_out: Tensor, fake: Tensor) -> float:
    """How far the scores ``[n]`` of held-out real images are from those of trained ones, on the way to those of fakes.

    0 if the scores of fakes are not lower than those of trained images by more than chance (two standard errors).
    """
    gap = trained.mean() - fake.mean()
    chance = (trained.var() / len(trained) + fake.var() / len(fake)).sqrt()
    return float((trained.mean() - held_out.mean()) / gap) if gap > 2 * chance else 0.0


@dataclass(frozen=True)
class Judged:
    """Real images by which it is seen whether a discriminator learns by heart, in the range that it is trained in.

    `trained` are some that it is trained on, `held_out` as many that it never saw; with their labels.
    """

    trained: Batch
    held_out: Batch


@dataclass
class Health:
    """An observer that measures images of fixed latents, logs the numbers at the top of this module, and warns.

    Args:
        real: real images, in the generator's range; for a translator, its inputs.
        like: a batch of the same size; its labels are used for sampling.
        tell: called with each new `Finding`.
        seen: features of the fakes at the last look; a run keeps it.
        translates: whether fakes are translations of `real`. Then their distance to `real` is not measured.
        judged: real images, trained on and held out, that the discriminator is to score; None if there are none.
    """

    folder: RunFolder
    real: Tensor
    like: Batch
    seed: int
    tell: Callable[[Finding], None]
    due: Rhythm = field(default_factory=lambda: every(5000))
    features: Callable[[Tensor], Tensor] = shrunk
    translates: bool = False
    seen: Remembered = field(default_factory=Remembered)
    judged: Judged | None = None
    _known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._real = self.features(self.real)
        # Real images that are all alike give large numbers, not a division by zero.
        self._real_spread, self._real_nearest = max(spread(self._real), TINY), max(nearest(self._real), TINY)

    def look(self, moment: Moment) -> None:
        """Measure, write to the log, and report what is wrong now and was not before."""
        images = moment.sample(self.like, self.seed)
        fake = self.features(images)
        numbers = {
            "health.spread": spread(fake) / self._real_spread, "health.nearest": nearest(fake) / self._real_nearest,
        }
        if not self.translates and self._real_spread > TINY:
            live = moment.live.sample(self.like, self.seed)
            points = self.features(live)
            numbers["health.distance"] = distance(points, self._real) / self._real_spread
            numbers["health.matched"] = distance(_matched(points, self._real), self._real) / self._real_spread
            if self.judged is not None:
                made = Batch(live, self.like.labels)
                scores = moment.scores([self.judged.trained, self.judged.held_out, made])
                if scores is not None:
                    numbers["health.memorised"] = memorised(*scores)
        before = self.seen.tensors.get("health")
        if before is not None:
            numbers["health.flicker"] = float((fake - before.to(fake.device)).norm(dim=1).mean()) / self._real_spread
        self.seen.tensors["health"] = fake
        if not all(map(math.isfinite, numbers.values())):
            return  # images that are not finite say nothing of others
        rounded = {name: round(value, 4) for name, value in numbers.items()}
        self.folder.append(self.folder.log, {"images": moment.images, "rounds": moment.rounds, **rounded})
        for finding in findings(self.folder.lines(self.folder.log)):
            if finding.kind not in self._known:
                self._known.add(finding.kind)
                self.tell(finding)


def findings(lines: Sequence[Mapping[str, Any]], ended: bool = False) -> list[Finding]:
    """What is wrong with a run now, or when it has `ended`. It depends on the lines of its log only.

    A collapse (too little spread, or too near neighbours) is reported if the two newest looks show it,
    a flicker and memorised training images if the three newest do. A saturated discriminator (both accuracies above
    0.99 and its loss below 0.05) is reported after 20,000 images.

    Nothing is reported in the first 20,000 images, in which an averaged generator still makes nearly equal images, nor
    in the first 250 rounds. (StarGAN's translator takes one step for 80 images. It made the same grey of all images
    after 5,000, and kept three quarters of their spread after 10,000. With larger batches it needs as many rounds.)

    Fakes of another brightness or contrast (far from real images, and near once these are matched) are reported if the
    three newest looks show it, and they hardly come nearer. Fakes with less contrast lie nearer together too. So while
    they are like this, no collapse is reported.

    A run that does not train (`find_untrained`) is not called collapsed or saturated as well.
    """
    untrained = find_untrained(lines, ended)
    wrong = [] if untrained is None else [untrained]
    lines = [line for line in lines if line["images"] >= WARM_UP and line.get("rounds", math.inf) >= WARM_UP_ROUNDS]
    looks = [line for line in lines if "health.spread" in line]
    recent = looks[-2:]
    pale = [line for line in looks[-3:] if _is_pale(line)]
    if len(pale) == 3 and pale[-1]["health.distance"] >= NEARER * pale[0]["health.distance"]:
        wrong.append(
            Finding(
                "brightness", pale[0]["images"],
                f"wrong brightness or contrast: fakes are far from real images ({pale[-1]['health.distance']:.2f}), "
                f"and near ({pale[-1]['health.matched']:.2f}) once both are matched. Give the generator a standard "
                "output layer (docs/families.md), and see that data.image_range is what the generator makes.",
            )
        )
    if untrained is None and not pale and len(recent) == 2 and all(_collapsed(line) for line in recent):
        since = next(line for number, line in enumerate(looks) if all(map(_collapsed, looks[number:])))
        wrong.append(
            Finding(
                "collapse", since["images"],
                f"mode collapse: fakes are {recent[-1]['health.spread']:.2f} as far apart as real images, nearest "
                f"neighbours {recent[-1]['health.nearest']:.2f}. Lower learning_rate, or add "
                "penalties=r1.",
            )
        )
    moving = looks[-3:]
    if len(moving) == 3 and all(line.get("health.flicker", 0) > FLICKERING for line in moving):
        wrong.append(
            Finding(
                "flicker", moving[0]["images"],
                f"flicker: images of fixed latents move {moving[-1]['health.flicker']:.2f} of the distance between two "
                "real images from look to look. Lower learning_rate or betas, or lengthen the average's half_life.",
            )
        )
    judged = [line for line in looks if "health.memorised" in line]
    if len(judged) >= MEMORISED_LOOKS and all(map(_memorises, judged[-MEMORISED_LOOKS:])):
        since = next(line for number, line in enumerate(judged) if all(map(_memorises, judged[number:])))
        wrong.append(
            Finding(
                "memorised", since["images"],
                f"memorised data: the discriminator scores real images that it never saw like fakes (the share "
                f"{judged[-1]['health.memorised']:.2f} of the way), so it has learnt its training images by heart, and "
                "the generator hardly gains. Stop here, and begin anew (another --out) with more images, a stronger "
                "augment=diff_augment, or a smaller discriminator (discriminator.width=0.5).",
            )
        )
    losses = [line for line in lines if "discriminator.loss" in line]
    if untrained is None and losses:
        newest = losses[-1]["images"]
        window = [line for line in losses if line["images"] > newest - SATURATED_IMAGES]
        if newest >= SATURATED_IMAGES and all(_saturated(line) for line in window):
            wrong.append(
                Finding(
                    "saturated", window[0]["images"],
                    "saturated discriminator: it is right on everything with a loss below 0.05, the generator learns "
                    "little. Lower the discriminator's learning_rate, or add penalties=r1.",
                )
            )
    return wrong


def titled(images: int, lines: Sequence[Mapping[str, Any]]) -> str:
    """The title of a picture: how many images were seen, and what the log says is wrong."""
    return "; ".join([f"{images:,} images seen", *(one.text for one in findings(lines))])


def find_untrained(lines: Sequence[Mapping[str, Any]], ended: bool = False) -> Finding | None:
    """Why a run does not train; None if it trains or too little is known. It depends on the lines of its log only.

    - *Flat output*: the images were all alike (spread below 0.05) at every look, at two looks or more.
    - *A wall*: since the first look, the discriminator has been right on 90 % of what it saw, for 15,000 images and
      400 rounds.
    - *Still*: every loss has stayed within 5 %, and the spread within 2 %.

    The first two also need fakes that are far from real images and hardly come nearer: by less than a tenth since the
    first look. So a discriminator that is always right is not enough, since images may come nearer all the same. An
    average that still lags behind is not a failure either. A run that trained first and collapsed later has trained.
    Nothing is said in the first 10,000 images or 250 rounds. But of a run that has `ended` flat output is said after
    fewer rounds too, if its fakes are known not to come nearer: with large batches it has no more rounds.
    """
    looks = [line for line in lines if "health.spread" in line]
    if len(looks) < 2 or not _is_past(looks[-1], EARLIEST, 0 if ended else WARM_UP_ROUNDS):
        return None
    if not _is_past(looks[-1], EARLIEST, WARM_UP_ROUNDS):
        return _flat(looks) if _is_stuck(looks) else None
    return _flat(looks) or _walled(lines, looks) or _still(lines, looks)


def _flat(looks: Sequence[Mapping[str, Any]]) -> Finding | None:
    if any(line["health.spread"] >= FLAT_SPREAD for line in looks) or _is_stuck(looks) is False:
        return None
    return Finding(
        UNTRAINED, looks[0]["images"],
        f"its images are all alike (flat output): {looks[-1]['health.spread']:.2g} as far apart as real ones, below "
        f"{FLAT_SPREAD} at each of {len(looks)} looks. {STRONG}",
    )  # fmt: skip


def _walled(lines: Sequence[Mapping[str, Any]], looks: Sequence[Mapping[str, Any]]) -> Finding | None:
    first, newest = looks[0], looks[-1]
    if not _is_past(newest, WALLED, WALLED_ROUNDS) or not _is_stuck(looks):
        return None
    judged = [line for line in lines if line["images"] > first["images"] and all(key in line for key in ACCURACIES)]
    recent = [line for line in judged if line["images"] > newest["images"] - RECENT]
    if not recent or min(_mean_right(judged), _mean_right(recent)) < RIGHT:
        return None
    return Finding(
        UNTRAINED, first["images"],
        f"from early on its discriminator has been right on {100 * _mean_right(judged):.0f} % of what it saw "
        f"(saturated), and its images have hardly come nearer to real ones: distance {first['health.distance']:.2f} "
        f"after {first['images']:,} images, {newest['health.distance']:.2f} after {newest['images']:,}. {STRONG}",
    )  # fmt: skip


def _is_stuck(looks: Sequence[Mapping[str, Any]]) -> bool | None:
    """Whether fakes were far from real images at every look and hardly come nearer; None where it is not known."""
    if any("health.distance" not in line for line in looks):
        return None
    far = [line["health.distance"] for line in looks]
    return min(far) > FAR and far[-1] >= NEARER * far[0]


def _still(lines: Sequence[Mapping[str, Any]], looks: Sequence[Mapping[str, Any]]) -> Finding | None:
    losses: dict[str, list[float]] = {}
    for line in lines:
        for name, value in line.items():
            if name.endswith(".loss"):
                losses.setdefault(name, []).append(value)
    spreads = [line["health.spread"] for line in looks]
    if not losses or any(len(values) < STILL_LINES or _band(values) > STILL_LOSS for values in losses.values()):
        return None
    if _band(spreads) > STILL_SPREAD or _is_stuck(looks) is False:
        return None
    return Finding(
        UNTRAINED, looks[0]["images"],
        f"its losses have never moved: none has left a band of {100 * STILL_LOSS:.0f} %, and its images are as far "
        "apart as at first. Try a higher learning_rate, and see that no schedule holds it at 0.",
    )  # fmt: skip


def _is_past(line: Mapping[str, Any], images: int, rounds: int) -> bool:
    return line["images"] >= images and line.get("rounds", math.inf) >= rounds


def _mean_right(lines: Sequence[Mapping[str, Any]]) -> float:
    return sum(line[key] for line in lines for key in ACCURACIES) / (len(ACCURACIES) * len(lines))


def _band(values: Sequence[float]) -> float:
    """How far numbers lie apart, as a share of their mean."""
    return (max(values) - min(values)) / max(abs(sum(values) / len(values)), TINY)


def _collapsed(line: Mapping[str, Any]) -> bool:
    return line["health.spread"] < COLLAPSED_SPREAD or line["health.nearest"] < COLLAPSED_NEAREST


def _is_pale(line: Mapping[str, Any]) -> bool:
    far = line.get("health.distance", 0.0)
    return far > FAR and line.get("health.matched", far) < MATCHED * far


def _memorises(line: Mapping[str, Any]) -> bool:
    return line["health.memorised"] > MEMORISED


def _saturated(line: Mapping[str, Any]) -> bool:
    right = min(line.get("discriminator.accuracy_real", 0.0), line.get("discriminator.accuracy_fake", 0.0))
    # Below zero there is no such end: a Wasserstein loss falls as far as it may.
    return right > 0.99 and 0 <= line["discriminator.loss"] < SATURATED_LOSS
