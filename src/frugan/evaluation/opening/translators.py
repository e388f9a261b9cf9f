"""Opens the translators to evaluate, and the images of each stream for training and for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from frugan import artefact, build, data
from frugan.arguments import File
from frugan.engine.run import RunFolder
from frugan.evaluation.opening.reals import describe_data
from frugan.evaluation.opening.targets import Split, label_layouts
from frugan.files import expanded
from frugan.recipe import Data, from_run
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.artefact import Translator


@dataclass(frozen=True, eq=False)
class ShippedTranslators:
    """The translators to evaluate by role, the facts about each, and their run, which keeps values, if there is one.

    `trained_on` are the hashes of all their training data, with spaces between.
    """

    name: str
    translators: Mapping[str, Translator]
    shipped: Mapping[str, Mapping[str, Any]]
    trained_on: str
    run: RunFolder | None

    @property
    def config(self) -> Mapping[str, Any]:
        """The config of the main translator."""
        return next(iter(self.translators.values())).config


def open_translators(fakes: File, *, device: str) -> ShippedTranslators | None:
    """Open the translators of a run or an artefact; None if the path holds no translators.

    Raises UserError for an artefact of one direction, since an evaluation needs both.
    """
    path = expanded(fakes)
    run = RunFolder(path)
    config = artefact.config_at(path)
    if config is not None:
        if not str(config.get("role", "generator")).startswith("translator"):
            return None
        if config["domains"]["kind"] not in ("attributes", "classes"):
            raise UserError(
                f"{path} is an artefact, which lacks what its evaluation needs (a way back, both data sets, names of "
                "labels). Evaluate the run folder that it came from."
            )
        translator = artefact.open_shipped(path, device=device)
        shipped = {"translator": config["domains"]}
        return ShippedTranslators(str(path), {"translator": translator}, shipped, config["data"]["hash"], None)
    if not run.exists():
        return None
    facts = run.read_json(run.facts)
    shipped = facts["shipped"]
    roles = [role for role in shipped if role.startswith("translator")]
    if not roles or "generator" in shipped:
        return None
    translators = {role: artefact.open_shipped(path, role=role, device=device) for role in roles}
    described = {role: shipped[role] for role in roles}
    return ShippedTranslators(str(path), translators, described, hashes_of_data(facts), run)


def hashes_of_data(facts: Mapping[str, Any]) -> str:
    """The hashes of all data that a run was trained on, with spaces between them."""
    return " ".join(about["hash"] for about in facts["data"].values())


def open_splits(
    shipping: ShippedTranslators, real: str | None, reference: str | None, announce: Callable[[str], None], *,
    size: int | None, channels: int | None, allow_unusable: bool = False,
) -> dict[str, Split]:  # fmt: skip
    """Open the training images of each stream, and the images for evaluation.

    Raises UserError if they do not exist, have changed since training, or `real` has other labels.
    """
    if real is None and (size is not None or channels is not None):
        raise UserError("--size and --channels only apply to the images of --real. Leave them out, or give --real.")
    if real is not None:
        if len(shipping.translators) > 1 or any(map(label_layouts, shipping.shipped.values())):
            raise UserError(
                f"--real {real}: {shipping.name} was trained on two data sets, so one source cannot replace them. "
                "Leave --real out."
            )
        other = _describe_other_data(shipping, real, size, channels)
        return {"real": open_split(other, reference, announce, allow_unusable)}
    if shipping.run is None:
        about = shipping.config["data"]
        if "source" not in about:
            raise UserError(
                f"{shipping.name} was trained on {about['title']}, but it does not say where these data are. Name "
                "them: --real SOURCE"
            )
        wanted = {"train": (replace(describe_data(about), exclusive=_exclusive_names(shipping)), about)}
    else:
        recipe, facts = from_run(shipping.run), shipping.run.read_json(shipping.run.facts)["data"]
        wanted = {stream: (recipe.data_of(stream), about) for stream, about in facts.items()}
    splits = {}
    for stream, (one, about) in wanted.items():
        split = open_split(one, reference, announce, True)
        if split.train.content_hash != about["hash"]:
            raise UserError(
                f"{shipping.name} was trained on {about['title']}, but '{one.source}' now holds other images: "
                f"{split.train.title}. Restore the data, train again, or compare with other images: --real SOURCE"
            )
        splits[stream] = split
    return splits


def _exclusive_names(shipping: ShippedTranslators) -> tuple[tuple[str, ...], ...]:
    """The groups of attributes of which an image has at most one, by name."""
    domains = shipping.config["domains"]
    return tuple(tuple(domains["names"][number] for number in group) for group in domains["exclusive"])


def _describe_other_data(shipping: ShippedTranslators, real: str, size: int | None, channels: int | None) -> Data:
    """Other data for the labels that the translator knows."""
    domains, image = shipping.config["domains"], shipping.config["image"]
    attributes = tuple(domains["names"]) if domains["kind"] == "attributes" else ()
    return Data(
        real, size or image[1], channels or image[0], attributes=attributes, exclusive=_exclusive_names(shipping)
    )


def open_split(
    wanted: Data, reference: str | None, announce: Callable[[str], None], allow_unusable: bool
) -> Split:
    """Open the images of one stream. Raises UserError if there are none, or none held out if these are asked for."""
    how: dict[str, Any] = {
        "allow_unusable": allow_unusable, "progress": data.tell_packing(wanted.source, announce)
    }
    train = build.open_data(wanted, **how)
    held_out = None if reference == "train" else build.open_held_out(wanted, **how)
    if reference == "test" and held_out is None and wanted.split != "test":
        raise UserError(f"The data '{wanted.source}' have no held-out images (split test). Use --reference train.")
    return Split(train, train if held_out is None else held_out)
