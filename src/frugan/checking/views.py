"""The contract of `frugan.views`."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frugan import data, views
from frugan.checking._contract import Contract, NotAsked, NotKept, Requirement
from frugan.checking._ground import Ground
from frugan.data import Dataset
from frugan.registry import UserError, options_of
from frugan.views import Builder, View

GIVEN = ("dataset", "cache", "device", "announce")
SIZE = 32


@dataclass(frozen=True)
class Checked:
    """A view that is tested against its contract."""

    name: str
    ground: Ground

    @property
    def builder(self) -> Builder:
        """The builder of the view as it is registered."""
        return views.find(self.name)

    @functools.cached_property
    def dataset(self) -> Dataset:
        """Colour test images that suit this view.

        Raises NotAsked if the view needs published weights, is for other data, or learns from its data (too slow here).
        """
        if "weights" in self.builder.needs:
            raise NotAsked("it needs published weights, which are not used in checks.")
        dataset = data.open_dataset(str(self.ground.pictures), size=SIZE, channels=3)
        if not self.builder.suits(dataset):
            raise NotAsked("it is for other data than our test pictures (in colour, of three classes).")
        if self.builder.kept is not None:
            raise NotAsked("it learns from the data, which takes too long here.")
        return dataset

    @property
    def images(self) -> Tensor:
        """Some images of `dataset`, as bytes."""
        return self.dataset.images[:9].clone()

    def built(self, **options: Any) -> View:
        """Build the view for `dataset`."""
        return views.build(self.name, dataset=self.dataset, cache=self.ground.folder / "views", **options)


def gives_a_row_for_each_image(view: Checked) -> None:
    """It gives one row of float32 features for each image, on the CPU, as wide as it says."""
    built, images = view.built(), view.images
    seen = built.look(images)
    if seen.features.shape != (len(images), built.width) or seen.features.dtype != torch.float32:
        raise NotKept(
            f"for {len(images)} images it gives {seen.features.dtype} {list(seen.features.shape)}. It must give "
            f"float32 [{len(images)}, {built.width}], since its `width` is {built.width}."
        )
    if seen.features.requires_grad or seen.features.device.type != "cpu" or not seen.features.isfinite().all():
        raise NotKept("its features must be finite numbers on the CPU, without a gradient graph.")
    logs, wide = seen.log_probabilities, built.classes or built.attributes
    if (logs is None) != (not wide) or (logs is not None and logs.shape != (len(images), wide)):
        raise NotKept(f"it says classes={built.classes}, attributes={built.attributes}, but gives other probabilities.")


def sees_each_image_alone(view: Checked) -> None:
    """An image's features do not depend on the other images, and the images are not changed."""
    built, images = view.built(), view.images
    before, random = images.clone(), torch.get_rng_state()
    whole, again, one = (built.features(given) for given in (images, images, images[3:4]))
    if not torch.equal(whole, again) or not torch.equal(random, torch.get_rng_state()):
        raise NotKept("the same images have other features the second time: use no randomness.")
    if not torch.allclose(whole[3:4], one, rtol=1e-4, atol=1e-4):
        raise NotKept("an image has other features when other images are in the batch.")
    if not torch.equal(images, before):
        raise NotKept("it changes the images that it gets: work on a copy.")


def tells_its_version(view: Checked) -> None:
    """A view built again for the same data has the same version; with an option that changes features, another."""
    built = view.built()
    if built.version != view.built().version:
        raise NotKept(f"built twice for the same data it has two versions: {built.version}, {view.built().version}.")
    if built.name != view.name:
        raise NotKept(f"it was added as '{view.name}' and is named '{built.name}': give it one name.")
    json.dumps(built.description)
    for option, default in options_of(view.builder.build, without=GIVEN).items():
        for value in _others(default):
            try:
                other = view.built(**{option: value})
            except UserError:
                continue
            features = built.features(view.images), other.features(view.images)
            changed = features[0].shape != features[1].shape or not torch.equal(*features)
            if changed and other.version == built.version:
                raise NotKept(
                    f"{option}={value!r} changes its features but not its version ({built.version}), so values of both "
                    "would be compared: put the option into `version`."
                )


def _others(default: Any) -> list[Any]:
    """Other values of an option."""
    if isinstance(default, bool):
        return [not default]
    return [2 * default, default / 2 if isinstance(default, float) else default // 2] if _is_number(default) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 1


def sees_floats_as_bytes(view: Checked) -> None:
    """If it takes floats, floats of whole grey levels have the same features as bytes."""
    built, images = view.built(), view.images
    if not built.takes_floats:
        raise NotAsked("it says takes_floats=False, so it takes bytes only.")
    floats = built.features_of_floats(images.float() / 127.5 - 1)
    if not torch.allclose(floats, built.features(images), rtol=1e-3, atol=1e-3):
        raise NotKept(
            "floats from 0 to 255 have other features than the same bytes: say takes_floats=False, or take both."
        )


WHERE = "frugan.views, View"

CONTRACT = Contract("view", views.names, Checked, (
    Requirement(gives_a_row_for_each_image, f"{WHERE}.look"),
    Requirement(sees_each_image_alone, f"{WHERE}.look", (gives_a_row_for_each_image,)),
    Requirement(tells_its_version, f"{WHERE}.version", (gives_a_row_for_each_image,)),
    Requirement(sees_floats_as_bytes, f"{WHERE}.takes_floats", (gives_a_row_for_each_image,)),
))  # fmt: skip
