"""Which classifier is judged: one that a run ships alone, or beside its generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frugan import artefact
from frugan.arguments import File
from frugan.batch import ImageShape
from frugan.engine.run import RunFolder
from frugan.evaluation.opening.translators import hashes_of_data
from frugan.files import expanded

if TYPE_CHECKING:
    from frugan.artefact import Classifier

CLASSIFIER = "classifier"


@dataclass(frozen=True, eq=False)
class ShippedClassifier:
    """A classifier that is judged, and where values are kept, if anywhere.

    Attributes:
        trained_on: the hashes of all its data, with spaces between.
        made_with: the weights of what is shipped beside it, "" if it is shipped alone.
    """

    name: str
    classifier: Classifier
    trained_on: str
    run: RunFolder | None
    made_with: str = ""

    @property
    def config(self) -> Mapping[str, Any]:
        """What the classifier is and how it was made."""
        return self.classifier.config

    @property
    def shape(self) -> ImageShape:
        """Of the images that it takes."""
        return ImageShape(*self.config["image"])


def open_classifier(
    given: File, *, device: str, beside: artefact.Generator | None = None
) -> ShippedClassifier | None:
    """The classifier of a run or an artefact; None if there is none, or it is beside a generator and not asked for so.

    `beside` is the generator of the same run, if it is judged too.
    """
    path = expanded(given)
    run = RunFolder(path)
    config = artefact.config_at(path)
    if config is not None:
        if config.get("role") != CLASSIFIER:
            return None
        return ShippedClassifier(str(path), artefact.open_shipped(path, device=device), config["data"]["hash"], None)
    if not run.exists():
        return None
    facts = run.read_json(run.facts)
    if CLASSIFIER not in facts["shipped"] or ("generator" in facts["shipped"]) != (beside is not None):
        return None
    classifier = artefact.open_shipped(path, role=CLASSIFIER, device=device)
    made_with = "" if beside is None else beside.weights_hash
    return ShippedClassifier(str(path), classifier, hashes_of_data(facts), run, made_with)
