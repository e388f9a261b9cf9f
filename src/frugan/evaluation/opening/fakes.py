"""Fakes: a generator, which makes images when they are needed, or images that another program has made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import artefact, data, seeds
from frugan.arguments import File
from frugan.arithmetic import exact
from frugan.batch import ImageShape, to_bytes
from frugan.data import Dataset
from frugan.engine.run import RunFolder
from frugan.files import expanded
from frugan.games import labels_for
from frugan.registry import UserError

if TYPE_CHECKING:
    import torch

    from frugan.artefact import Encoder, Generator

BEST = "best"
"""The folder of a run in which training keeps the best checkpoint, if it was asked to."""

_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp")


@dataclass(frozen=True, eq=False)
class Images:
    """A set of images: `rows` of a data set (all if None), or the chunks that `batches` makes.

    Equal images have an equal `key`. `labels` are ``[count]``, or None; `classes` are their names.
    """

    key: str
    count: int
    labels: torch.Tensor | None
    classes: tuple[str, ...]
    batches: Callable[[], Iterator[torch.Tensor]]
    dataset: Dataset | None = None
    rows: torch.Tensor | None = None

    @property
    def finer(self) -> Images:
        """The same images as large as an encoder sees them: the data's finer ones, if there are any."""
        if self.dataset is None or self.dataset.finer is None:
            return self
        images, rows = self.dataset.finer.images, self.rows
        chosen = images if rows is None else images[rows]
        return replace(self, dataset=None, rows=None, batches=lambda: iter(chosen.split(1024)))


def draw_places(images: Sized, count: int, skip: int = 0) -> torch.Tensor:
    """Row numbers of `count` images (or all, if fewer) in ascending order: a random choice, but always the same one.

    `skip` leaves out this many images at the start of the random order.
    """
    import torch

    order = torch.randperm(len(images), generator=seeds.generator(0, "reference"))
    return order[skip : skip + count].sort().values


def draw_images(dataset: Dataset, count: int, skip: int = 0) -> Images:
    """Choose `count` images of a data set by `draw_places`."""
    rows = draw_places(dataset, count, skip)
    labels = None if dataset.labels is None else dataset.labels.index_select(0, rows)
    return Images(
        f"{dataset.content_hash} {dataset.split} {skip}+{len(rows)}", len(rows), labels, dataset.classes,
        lambda: (dataset.images.index_select(0, part) for part in rows.split(1024)), dataset, rows,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Fakes:
    """The fakes of an evaluation: a generator or images.

    Args:
        name: the path that the user gave, for messages.
        shape: (channels, height, width) of one image.
        generator: makes the images; None if the images themselves were given.
        dataset: the images themselves, or None.
        run: the generator's run, which keeps values and tells the training data; None if there is no run.
        how: where the images came from, for the protocol.
        truncation: for the latents of the generator, see `frugan.latents.Latents.rows`.
        encoder: finds latents in images; None if none was trained with the generator.
    """

    name: str
    shape: ImageShape
    generator: Generator | None
    dataset: Dataset | None
    run: RunFolder | None
    how: str
    truncation: float | None = None
    encoder: Encoder | None = None

    @property
    def config(self) -> Mapping[str, Any] | None:
        """What made them and how that was made; None where the images themselves were given."""
        return None if self.generator is None else self.generator.config

    def images(self, count: int, seed: int, like: Dataset | None) -> Images:
        """The first `count` images of `seed`. A conditional generator gets labels drawn from those of `like`."""
        if self.generator is None:
            assert self.dataset is not None  # one of the two was given
            return draw_images(self.dataset, count)
        generator, labels = self.generator, _draw_labels(self.generator, count, seed, like)

        def batches() -> Iterator[torch.Tensor]:
            import torch

            waiting: list[torch.Tensor] = []
            for batch in generator.batches(count, seed, labels, self.truncation):  # of 32: a view is faster on more
                waiting.append(batch)
                if len(waiting) == 16:
                    yield torch.cat(waiting)
                    waiting = []
            if waiting:
                yield torch.cat(waiting)

        cut = "" if self.truncation is None else f", truncation {self.truncation}"
        return Images(f"made {count} of seed {seed}{cut}", count, labels, tuple(generator.config["classes"]), batches)

    def latents(self, count: int, seed: int) -> torch.Tensor:
        """The latents ``[count, size]`` that `images` are made of."""
        assert self.generator is not None  # images have none
        return self.generator.latents.rows(0, count, seed, self.truncation)

    def reconstructed(self, real: Images) -> Images | None:
        """What the generator makes of what the encoder finds in `real`, row by row; None without an encoder."""
        generator, encoder = self.generator, self.encoder
        if generator is None or encoder is None:
            return None

        def batches() -> Iterator[torch.Tensor]:
            import torch

            start = 0
            for pixels in real.finer.batches():
                labels = None if real.labels is None else real.labels[start : start + len(pixels)]
                start += len(pixels)
                latents = torch.from_numpy(encode(encoder, pixels, labels))
                told = labels_for(generator.module, labels)
                with exact(generator.device):
                    made = generator(
                        latents.to(generator.device), None if told is None else told.to(generator.device)
                    )
                yield to_bytes(made, generator.module.image_range).cpu()  # pyrefly: ignore

        return Images(f"reconstructed {real.key}", real.count, real.labels, real.classes, batches)

    def describe(self, count: int, seed: int, like: Dataset | None) -> dict[str, Any]:
        """The facts about these fakes for the protocol."""
        if self.generator is None:
            assert self.dataset is not None  # one of the two was given
            labels = "none" if self.dataset.labels is None else "as given"
            return {
                "fakes": self.how, "fake_count": count, "trained_on": None, "labels": labels, "weights": None,
                "norms": None, "checkpoint": None, "sampling_seed": None, "generator": self.dataset.content_hash,
            }  # fmt: skip
        config = self.generator.config
        labels = "none"
        if getattr(self.generator.module, "classes", 0):
            labels = "drawn from the training labels" if _labels_follow(self.generator, like) else "every class in turn"
        return {
            "fakes": self.how, "fake_count": count, "trained_on": config["data"]["hash"], "labels": labels,
            "weights": "averaged" if config["averaged"] else "live", "checkpoint": config.get("checkpoint", "last"),
            "norms": config.get("norms"), "sampling_seed": seed, "generator": self.generator.weights_hash,
            **({"given": config["given"]} if config.get("given") else {}),
            **({"generator_code": config["own_code"]} if config.get("own_code") else {}),
            **({"exported": config["exported"]} if config.get("exported") else {}),
        }  # fmt: skip


def encode(encoder: Encoder, pixels: torch.Tensor, labels: torch.Tensor | None, kind: str = "encoded") -> Any:
    """What an encoder finds in bytes ``[n, c, h, w]`` (or its last stage, of the kind "hidden"): ``[n, size]``.

    For an encoder of finer images, those that were made are enlarged by repeating their pixels.
    """
    times = encoder.config["image"][1] // pixels.shape[2]
    if times > 1:
        pixels = pixels.repeat_interleave(times, 2).repeat_interleave(times, 3)
    look = encoder.hidden if kind == "hidden" else encoder.encode
    return look(pixels.permute(0, 2, 3, 1).numpy(), labels=labels_for(encoder.module, labels))


def _labels_follow(generator: Generator, like: Dataset | None) -> bool:
    classes = int(getattr(generator.module, "classes", 0))
    return like is not None and like.labels is not None and like.conditions == classes > 0


def _draw_labels(generator: Generator, count: int, seed: int, like: Dataset | None) -> torch.Tensor | None:
    import torch

    classes = int(getattr(generator.module, "classes", 0))
    if not classes:
        return None
    if like is None or like.labels is None or not _labels_follow(generator, like):
        return generator.condition(count, None)
    rows = torch.randint(len(like.labels), (count,), generator=seeds.generator(seed, "labels"))
    return like.labels.index_select(0, rows)


def fakes_of(generator: Generator, name: str, run: RunFolder | None, encoder: Encoder | None = None) -> Fakes:
    """The `Fakes` of a generator, with the encoder that was trained with it."""
    shape = ImageShape(*generator.config["image"])
    return Fakes(
        name, shape, generator, None, run, "made by the generator", truncation=generator.truncation, encoder=encoder
    )


def open_fakes(
    given: File, *, device: str, allow_unusable: bool,
    announce: Callable[[str], None],
) -> Fakes:  # fmt: skip
    """Open the fakes at a path: a run, an artefact, or images of any program (a folder, .npz or parquet).

    Raises UserError if it is none of these.
    """
    path = expanded(given)
    if RunFolder(path).exists() or (path / "config.json").is_file() or artefact.is_exported(path):
        home = path if RunFolder(path).exists() else path.parent if path.name == BEST else None
        run = RunFolder(home) if home is not None and RunFolder(home).exists() else None
        generator = artefact.open_shipped(path, role="generator", device=device)
        return fakes_of(generator, str(path), run, _open_encoder(path, device))
    if not path.exists():
        raise UserError(f"{path} does not exist or is no run, artefact, folder of images or .npz of images.")
    dataset = open_images("", str(path), ("train", "test"), announce, allow_unusable=allow_unusable)
    for note in dataset.notes:
        announce(f"{path}: {note}.")
    if dataset.skipped:
        announce(f"{path}: {len(dataset.skipped):,} images cannot be used and are left out.")
    how, lossy = "images", _count_lossy(path)
    if lossy:
        how = f"images, {lossy}"
        announce(f"{path}: {lossy}. Losses of compression move FID by whole points; write PNGs to be sure.")
    return Fakes(str(path), dataset.shape, None, dataset, None, how)


def _open_encoder(path: Path, device: str) -> Encoder | None:
    """The encoder that a run ships beside its generator; an artefact holds one network alone."""
    run = RunFolder(path)
    if not run.exists() or "encoder" not in run.read_json(run.facts)["shipped"]:
        return None
    return artefact.open_shipped(path, role="encoder", device=device)


def open_images(
    label: str, source: str, splits: tuple[str, ...], announce: Callable[[str], None], **options: Any
) -> Dataset:
    """Open the first of the `splits` that a source has. Raises UserError, which names the option `label`."""
    try:
        split = next((split for split in splits if data.has_split(source, split)), splits[0])
        return data.open_dataset(source, split=split, progress=data.tell_packing(source, announce), **options)
    except UserError as error:
        raise UserError(f"{label} {error}".strip() if str(error).startswith(source) else str(error)) from None


def _count_lossy(path: Path) -> str:
    """How many files of a folder are of a kind that loses detail when it is written; empty if none is."""
    if not path.is_dir():
        return ""
    suffixes = [
        Path(name).suffix.lower() for _, _, files in os.walk(path) for name in files if not name.startswith(".")
    ]
    lossy = [suffix for suffix in suffixes if suffix in _LOSSY]
    kinds = " and ".join(sorted({"WebP" if suffix == ".webp" else "JPEG" for suffix in lossy}))
    return f"{len(lossy):,} of {len(suffixes):,} files are {kinds}" if lossy else ""
