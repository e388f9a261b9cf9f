"""Which metrics are computed, and why others cannot be. It is one list of checks, also for runs not trained yet.

`frugan.evaluate` uses it for the fakes that it was given, and `frugan.compare` for all arms before training. No images
are read here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from frugan import metrics, views
from frugan.arguments import names_in
from frugan.evaluation.opening.reals import Reals
from frugan.metrics import Metric, Need, parse_need
from frugan.recipe import parse_count
from frugan.registry import UserError, suggest

if TYPE_CHECKING:
    from frugan.evaluation.arguments import EvaluationArguments
    from frugan.evaluation.opening.targets import Target
    from frugan.evaluation.values.inputs import ImageSets
    from frugan.evaluation.values.measurement import Measurement
    from frugan.evaluation.values.of_fakes import MeasurementOfFakes
    from frugan.evaluation.values.of_translations import MeasurementOfTranslations
    from frugan.views import View

LEAST_SHARE = 0.5
"""Of the images that a metric takes, each target of a translator needs so many: the value is the mean of several."""

OF_ATTRIBUTES = ("preservation",)
"""The metrics that there are of attributes alone."""


# ----------------------------------------------------------------------------------------------------------- arguments


def resolve_arguments(asked: EvaluationArguments) -> EvaluationArguments:
    """The arguments as plain values, with a number for the count and a device. Every name is checked.

    Nothing is opened. The user's own code must have been run before. Raises UserError for an unknown name, a count
    below 1, or a device that does not exist.
    """
    from frugan.engine.precision import choose_device

    named = None if asked.metrics is None else names_in(asked.metrics)
    for name in (*(named or ()), *names_in(asked.allow_few)):
        metrics.find(name)
    if named == ():
        raise UserError("No metric was named. Leave --metrics out, or name some, e.g. fid,kid.")
    if isinstance(asked.view, str):
        views.find(asked.view)
    if asked.reference not in (None, "train", "test"):
        raise UserError(f"There is no reference '{asked.reference}'. {suggest(asked.reference, ('train', 'test'))}")
    try:
        count = None if asked.count is None else parse_count(asked.count)
    except UserError as error:
        raise UserError(f"--count {asked.count}: {error}") from None
    return replace(
        asked, metrics=named, allow_few=names_in(asked.allow_few), count=count, device=str(choose_device(asked.device))
    )


# -------------------------------------------------------------------------------------------------------------- metrics


def choose_metrics(
    named: Sequence[str] | None, measurement: Measurement, needed: str | None = None
) -> list[Metric]:
    """The metrics to compute: the named ones, or else the usual ones that can be computed.

    Raises UserError if a metric that was named or is `needed` cannot be computed, or if no metric can.
    """
    if needed is not None:  # before the view, which may have to be trained, says what is usual
        why = measurement.refusal(metrics.find(needed))
        if why:
            raise UserError(why)
    chosen: list[Metric] = []
    refused = ""
    for name in measurement.usual if named is None else named:
        metric = metrics.find(name)
        why = measurement.refusal(metric)
        if why and named is not None:
            raise UserError(why)
        if why:
            refused = refused or why
            measurement.announce(f"{name} is left out: {why}")
            continue
        chosen.append(metric)
        few = measurement.too_few(metric)
        if few:
            measurement.announce(
                f"{name} is computed with few images: {few}. With more its value would be very different. Compare it "
                "only with values of the same counts (the protocol tells them)."
            )
    unasked = measurement.unasked(chosen)
    if not chosen and not unasked:
        raise UserError(refused)
    return [*chosen, *unasked]


def looks_at(metric: Metric, images: str) -> bool:
    """Whether a metric uses these images ("real", "fake" or "held_out")."""
    alive = ("generator", "look", "condition", "classifier")
    return any(need.images == images and need.kind not in alive for need in _needs(metric))


def _needs(metric: Metric) -> list[Need]:
    return [parse_need(word) for word in metric.needs]


# ---------------------------------------------------------------------------------------------------------------- fakes


def refusal_of_fakes(metric: Metric, of: MeasurementOfFakes) -> str:
    """Why there can be no value of `metric`, in a line that says what to do; empty if there can be one."""
    return next(filter(None, (check(metric, of) for check in CHECKS_OF_FAKES)), "")


def _asks_for_translations(metric: Metric, of: MeasurementOfFakes) -> str:
    if not metrics.of_translations(metric):
        return ""
    return f"{metric.name} judges translators, but {of.fakes.name} does not translate. Leave {metric.name} out."


def _asks_for_a_classifier(metric: Metric, of: MeasurementOfFakes) -> str:
    if not metrics.of_classifiers(metric):
        return ""
    return (
        f"{metric.name} judges the classifier that a run ships, and {of.fakes.name} ships none; leave it out, or train "
        "a recipe that ships one, such as 'sgan'."
    )


def _asks_for_a_generator(metric: Metric, of: MeasurementOfFakes) -> str:
    kinds = {need.kind for need in _needs(metric)}
    if kinds.isdisjoint(metrics.OF_GENERATORS):
        return ""
    if of.fakes.generator is not None:
        cut = of.fakes.truncation is not None and "latents" not in kinds
        return f"{metric.name} draws latents itself, without truncation. Leave it out." if cut else ""
    return f"{metric.name} needs a generator, but {of.fakes.name} holds images only. Leave {metric.name} out."


def _asks_for_an_encoder(metric: Metric, of: MeasurementOfFakes) -> str:
    if of.fakes.encoder is not None or not metrics.of_encoders(metric):
        return ""
    return (
        f"{metric.name} needs an encoder that was trained with the generator, but {of.fakes.name} has none. Evaluate "
        "the run folder of a recipe such as 'bigan-mnist', or leave it out."
    )


def _asks_more_than_statistics(metric: Metric, of: MeasurementOfFakes) -> str:
    if isinstance(of.reals, Reals) or metric.name == "fid":
        return ""
    if not (looks_at(metric, "real") or looks_at(metric, "held_out")):
        return ""
    return f"{metric.name} needs real images (--real); the statistics {of.reals.name} are enough for fid only."


def _asks_for_held_out_images(metric: Metric, of: MeasurementOfFakes) -> str:
    if not isinstance(of.reals, Reals) or of.reals.held_out is not None:
        return ""
    if not any(need.images == "held_out" and not need.optional for need in _needs(metric)):
        return ""
    return f"{metric.name} needs held-out images, but {of.reals.train.name} has no test split. Leave {metric.name} out."


def _asks_for_one_class_an_image(metric: Metric, of: MeasurementOfFakes) -> str:
    if not isinstance(of.reals, Reals) or not of.reals.train.attributes:
        return ""
    if not any(need.kind == "labels" and not need.optional for need in _needs(metric)):
        return ""
    return f"{metric.name} needs one class for each image, but {of.reals.train.name} has attributes. Leave it out."


def _asks_for_labels(metric: Metric, of: MeasurementOfFakes) -> str:
    if not isinstance(of.reals, Reals):
        return ""
    makes = of.fakes.generator is not None
    labels = [need for need in _needs(metric) if need.kind == "labels"]
    return next(filter(None, (refusal_of_labels(metric, need, of.sets(metric), makes) for need in labels)), "")


def _asks_for_larger_images(metric: Metric, of: MeasurementOfFakes) -> str:
    height, width = of.fakes.shape.height, of.fakes.shape.width
    if min(height, width) >= metric.least_side:
        return ""
    return (
        f"{metric.name} needs images with sides of at least {metric.least_side} pixels, but those of {of.fakes.name} "
        f"are {height} x {width}. Use a metric of features, e.g. fid."
    )


def _asks_for_more_images(metric: Metric, of: MeasurementOfFakes) -> str:
    few = of.too_few(metric)
    if not few or metric.name in of.allow_few:
        return ""
    others = [name for name in _takes_fewer(metric) if not of.too_few(metrics.find(name))]
    fair = f", or take others that are fair with few: --metrics {','.join(others)}" if others else ""
    single = any(images is not None and images.count < 2 for images in of.sets(metric))  # nothing is computed of one
    allowed = "" if single else f", or allow few: --allow-few {metric.name}"
    return (
        f"{metric.name} needs at least {metric.least} images, but {few.partition(' images')[0]} would be compared. "
        f"Give more (for a generator: --count){allowed}{fair}"
    )


def _takes_fewer(metric: Metric) -> list[str]:
    """Metrics that need to see the same, but of fewer images."""
    others = map(metrics.find, metrics.names())
    return [one.name for one in others if one.needs == metric.needs and one.least < metric.least]


def _asks_another_view_for_statistics(metric: Metric, of: MeasurementOfFakes) -> str:
    if isinstance(of.reals, Reals) or not looks_at(metric, "real") or len(of.reals.mean) == of.view.width:
        return ""
    return (
        f"--real {of.reals.name} has statistics of {len(of.reals.mean)} features, but the view '{of.view.name}' has "
        f"{of.view.width}. Give the view that they were made with, e.g. --view inception."
    )


def _asks_for_probabilities(metric: Metric, of: MeasurementOfFakes) -> str:
    return refusal_of_view(metric, of.view) if _asks_classes(metric) else ""


def _asks_for_a_view_of_floats(metric: Metric, of: MeasurementOfFakes) -> str:
    if not any(need.kind == "look" for need in _needs(metric)) or of.view.takes_floats:
        return ""
    return f"{metric.name} needs a view of floats, but '{of.view.name}' takes bytes only. Give --view pixels."


CHECKS_OF_FAKES: tuple[Callable[[Metric, MeasurementOfFakes], str], ...] = (
    _asks_for_translations, _asks_for_a_classifier, _asks_for_a_generator, _asks_for_an_encoder,
    _asks_more_than_statistics, _asks_for_held_out_images, _asks_for_one_class_an_image, _asks_for_labels,
    _asks_for_larger_images, _asks_for_more_images, _asks_another_view_for_statistics, _asks_for_probabilities,
    _asks_for_a_view_of_floats,
)  # fmt: skip
"""In this order; the last ones build the view, which may take minutes to train."""


def refusal_of_labels(metric: Metric, need: Need, sets: ImageSets, makes: bool) -> str:
    """Why `metric` cannot use the labels of one set of images; empty if it can, or does not need them.

    `makes`: whether the fakes come from a generator.
    """
    images = sets.named(need.images)
    if images is None:
        return ""
    if images.labels is None and not need.optional:
        how = "Give images in one folder for each class, or an .npz with 'labels'"
        if need.images == "fake" and makes:
            how = "Train a recipe whose generator takes labels, such as 'cgan'"
        return f"{metric.name} needs labels, but the {need.images} images have none. {how}."
    if images.labels is None or (images.labels.ndim == 2 and need.optional):
        return ""  # a metric that can do without labels knows what to do with classes
    # Labels are numbers: they mean the same classes only where these have the same names.
    if sets.real is None or sets.real.labels is None or images.classes == sets.real.classes:
        return ""
    return (
        f"{metric.name} compares classes, but the {need.images} images have {_listed(images.classes)} and the real "
        f"images {_listed(sets.real.classes)}. Give the folders of the fakes the names of the real classes."
    )


def refusal_of_view(metric: Metric, view: View) -> str:
    """Why a view cannot be used for a metric of class probabilities; empty if it can."""
    if view.classes:
        return ""
    why = "knows attributes instead of classes" if view.attributes else "knows no classes"
    return (
        f"{metric.name} needs class probabilities, but the view '{view.name}' {why}. Give --view classifier if each "
        "image has one class, or else --view inception."
    )


def _asks_classes(metric: Metric) -> bool:
    return any(need.kind == "probabilities" for need in _needs(metric))


def _listed(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:4])
    return f"{shown}, ..." if len(classes) > 4 else shown or "nothing"


# --------------------------------------------------------------------------------------------------------- translations


def refusal_of_translations(metric: Metric, of: MeasurementOfTranslations) -> str:
    """Why there can be no value of `metric`, in a line that says what to do; empty if there can be one."""
    return next(filter(None, (check(metric, of) for check in CHECKS_OF_TRANSLATIONS)), "")


def _asks_for_latents(metric: Metric, of: MeasurementOfTranslations) -> str:
    if metrics.of_classifiers(metric):
        return f"{metric.name} judges the classifier that a run ships, and translators are judged here: leave it out."
    of_generators = any(need.kind in metrics.OF_GENERATORS for need in _needs(metric))
    if not of_generators and not metrics.of_encoders(metric):
        return ""
    return f"{metric.name} needs a generator that makes images from latents; a translator does not. Leave it out."


def _asks_for_images_beside_the_real_ones(metric: Metric, of: MeasurementOfTranslations) -> str:
    if not any(need.images == "held_out" for need in _needs(metric)):
        return ""
    return f"{metric.name} needs held-out images besides the ones that are translated. Leave it out."


def _asks_for_no_translated_image(metric: Metric, of: MeasurementOfTranslations) -> str:
    needs = _needs(metric)
    if not needs or not all(need.images == "real" for need in needs):
        return ""
    return f"{metric.name} does not look at translated images. Leave it out."


def _asks_for_attributes(metric: Metric, of: MeasurementOfTranslations) -> str:
    if metric.name not in OF_ATTRIBUTES or have_attributes(of.targets):
        return ""
    return f"{metric.name} needs attributes, but these images have one class each. Leave it out."


def _asks_for_larger_translations(metric: Metric, of: MeasurementOfTranslations) -> str:
    height, width = of.targets[0].real.dataset.shape[1:]
    if min(height, width) >= metric.least_side:
        return ""
    return (
        f"{metric.name} needs images with sides of at least {metric.least_side} pixels, but these are {height} x "
        f"{width}. Use a metric of features, e.g. fid."
    )


def _asks_for_more_of_each_target(metric: Metric, of: MeasurementOfTranslations) -> str:
    few = of.too_few(metric)
    if not few or metric.name in of.allow_few:
        return ""
    return f"{few}. Give more, or allow few: --allow-few {metric.name}"


def _asks_for_a_view_that_fits(metric: Metric, of: MeasurementOfTranslations) -> str:
    if metrics.sees_by_itself(metric):
        return ""
    try:
        used = [of.view_for(metric, group) for group in of.groups]
    except UserError as error:
        return f"{metric.name}: {error}"
    return next(filter(None, (refusal_of_view(metric, view) for view in used if _asks_classes(metric))), "")


CHECKS_OF_TRANSLATIONS: tuple[Callable[[Metric, MeasurementOfTranslations], str], ...] = (
    _asks_for_latents, _asks_for_images_beside_the_real_ones, _asks_for_no_translated_image, _asks_for_attributes,
    _asks_for_larger_translations, _asks_for_more_of_each_target, _asks_for_a_view_that_fits,
)  # fmt: skip
"""In this order; the last one builds the view, which may take minutes to train."""


def too_few_of_a_target(metric: Metric, targets: Sequence[Target], count: int) -> str:
    """Which targets have fewer images than `metric` needs, in words; empty if all have enough."""
    least = math.ceil(LEAST_SHARE * metric.least)
    if count < least:
        return f"{metric.name} takes {least:,} images of each target, and {count:,} were asked for"
    asked = {need.images for need in _needs(metric)}
    short = []
    for target in targets:
        counts = [len(target.source)] if asked & {"fake", "source", "returned"} else []
        counts += [len(target.real)] if asked & {"real", "unchanged"} else []
        if counts and min(counts) < least:
            short.append(f"'{target.name}' has {min(counts):,}")
    return f"{metric.name} takes {least:,} images of each target, and {' and '.join(short)}" if short else ""


def have_attributes(targets: Sequence[Target]) -> bool:
    """Whether an image may have several of the labels of all these targets."""
    return all(target.real.labels.ndim == 2 for target in targets)
