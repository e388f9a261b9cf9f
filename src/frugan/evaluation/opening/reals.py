"""The real images to compare with: training images, held-out images, or published statistics of real images."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from frugan import build, data
from frugan.data import Dataset
from frugan.evaluation.opening.fakes import open_images
from frugan.files import DAMAGED_ARCHIVE, expanded
from frugan.recipe import Data, from_run
from frugan.registry import UserError

if TYPE_CHECKING:
    import torch

    from frugan.batch import ImageShape
    from frugan.engine.run import RunFolder

class Judged(Protocol):
    """What is judged by real images: fakes, or a classifier."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> ImageShape: ...

    @property
    def run(self) -> RunFolder | None: ...

    @property
    def config(self) -> Mapping[str, Any] | None: ...


ENOUGH = 1000
"""A handful of held-out images would be a worse yardstick than the many that were trained on."""


@dataclass(frozen=True, eq=False)
class Reals:
    """The real images of an evaluation: training and held-out images, and which of them fakes are compared with."""

    train: Dataset
    held_out: Dataset | None
    reference: Dataset


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean ``[width]`` and covariance ``[width, width]`` of features that another program computed; float64."""

    name: str
    sha256: str
    mean: torch.Tensor
    covariance: torch.Tensor


def open_reals(
    fakes: Judged, real: str | None, reference: str | None, announce: Callable[[str], None], *,
    size: int | None = None, channels: int | None = None, allow_unusable: bool = False,
) -> Reals | Statistics:  # fmt: skip
    """Open the data set or the statistics at `real`; if it is None, the data that what is judged was trained on.

    Raises UserError if they do not exist, are not the same as in training, or have another shape than the fakes.
    """
    if real is None:
        if size is not None or channels is not None:
            raise UserError("--size and --channels only apply to the images of --real. Leave them out, or give --real.")
        reals = _open_trained_on(fakes, reference, announce)
    elif _holds_statistics(expanded(real)):
        for option, value in (("reference", reference), ("size", size), ("channels", channels)):
            if value is not None:
                raise UserError(
                    f"--real {real} holds statistics instead of images, so --{option} has nothing to act on. Leave "
                    f"--{option} out."
                )
        return read_statistics(expanded(real))
    else:
        options: dict[str, Any] = {"size": size, "channels": channels, "allow_unusable": allow_unusable}
        train = open_images("--real", real, ("train", "test"), announce, **options)
        held_out = None
        if train.split != "test" and data.has_split(real, "test"):
            held_out = open_images("--real", real, ("test",), announce, **options)
        reals = _choose_reference(real, train, held_out, reference)
    _check_shapes(fakes, reals, real)
    return reals


def open_reals_of(
    wanted: Data, reference: str | None, announce: Callable[[str], None] = lambda line: None
) -> Reals:
    """Open the images of a recipe's data. Raises UserError if they do not exist."""
    packing = data.tell_packing(wanted.source, announce)
    train = build.open_data(wanted, allow_unusable=True, progress=packing)
    held_out = build.open_held_out(wanted, allow_unusable=True, progress=packing)
    return _choose_reference(wanted.source, train, held_out, reference)


def describe_data(about: Mapping[str, Any]) -> Data:
    """The data that an artefact was trained on, from its config."""
    size = about["size"]
    return Data(
        source=about["source"], size=size if isinstance(size, int) else (size[0], size[1]),
        channels=about["channels"], limit=about["limit"],
        split=about["split"], only=tuple(about["only"]), attributes=tuple(about.get("attributes", ())),
        even_limit=about.get("even_limit"), limit_seed=about.get("limit_seed", 0),
        finer=about.get("finer", 1), holdout=about.get("holdout"),
    )  # fmt: skip


def _open_trained_on(fakes: Judged, reference: str | None, announce: Callable[[str], None]) -> Reals:
    """The data that a generator was trained on. Raises UserError if nothing tells which, or they are others now."""
    if fakes.run is not None:
        stream, facts = next(iter(fakes.run.read_json(fakes.run.facts)["data"].items()))
        wanted = from_run(fakes.run).data_of(stream)
    elif fakes.config is not None:
        facts = fakes.config["data"]
        if "source" not in facts:
            raise UserError(
                f"{fakes.name} was trained on {facts['title']}, but it does not say where these data are. Name them: "
                "--real SOURCE"
            )
        wanted = describe_data(facts)
    else:
        raise UserError(
            f"{fakes.name} holds images, so frugan cannot know which real images to compare them with. Name those: "
            "--real SOURCE (a folder, a file, or a name from: frugan data list)."
        )
    reals = open_reals_of(wanted, reference, announce)
    if reals.train.content_hash != facts["hash"]:
        raise UserError(
            f"{fakes.name} was trained on {facts['title']}, but '{wanted.source}' now holds other images: "
            f"{reals.train.title}. Restore the data, train again, or compare with other images: --real SOURCE"
        )
    return reals


def _choose_reference(source: str, train: Dataset, held_out: Dataset | None, reference: str | None) -> Reals:
    if reference == "test" and held_out is None and train.split != "test":
        raise UserError(f"The data '{source}' have no held-out images (split test). Use --reference train.")
    enough = held_out is not None and len(held_out) >= min(ENOUGH, len(train))
    use_held_out = reference == "test" or (reference is None and enough)
    return Reals(train, held_out, held_out if use_held_out and held_out is not None else train)


def _check_shapes(fakes: Judged, reals: Reals, real: str | None) -> None:
    if fakes.shape == reals.reference.shape:
        return
    channels, height, width = fakes.shape
    shape = reals.reference.shape
    wanted = ""
    if shape[1:] != fakes.shape[1:] and height == width:
        wanted += f" --size {height}"
    if shape.channels != channels:
        wanted += f" --channels {channels}"
    how = f" (--real {real}{wanted})" if wanted else ""
    raise UserError(
        f"The images of {fakes.name} are {channels} x {height} x {width}, but those of {reals.reference.title} are "
        f"{shape.channels} x {shape.height} x {shape.width}. Only images of equal shape can be compared. Make the "
        f"fakes in the other shape, or convert the real images{how}."
    )


def _holds_statistics(path: Path) -> bool:
    """Whether a file is what FID programs write: mean and covariance, and no images beside them."""
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return False  # the reader of data sets says what is wrong with it
    return {"mu", "sigma"} <= names and not names & {"images", "x", "x_train", "train_images", "arr_0"}


def read_statistics(path: Path) -> Statistics:
    """Read the arrays ``mu`` and ``sigma`` of an .npz file. Raises UserError if they are not mean and covariance."""
    import torch

    try:
        with np.load(path, allow_pickle=False) as arrays:
            mean, covariance = (np.asarray(arrays[name], np.float64) for name in ("mu", "sigma"))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except DAMAGED_ARCHIVE as error:
        raise UserError(f"--real {path}: its statistics cannot be read: {error}") from None
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise UserError(
            f"--real {path}: mu is {list(mean.shape)} and sigma {list(covariance.shape)}. They must be a mean [width] "
            "and a covariance [width, width]."
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise UserError(f"--real {path}: mu or sigma holds numbers that are not finite. Make the file again.")
    if not np.allclose(covariance, covariance.T, atol=1e-6 * float(np.abs(covariance).max(initial=0))):
        raise UserError(f"--real {path}: sigma is not symmetric, so it cannot be a covariance. Make the file again.")
    return Statistics(path.name, digest, torch.from_numpy(mean), torch.from_numpy(covariance))
