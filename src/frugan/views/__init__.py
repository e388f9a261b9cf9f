"""Views: from images to features, the numbers that metrics compare, and to class probabilities where a view has them.

Each public file of this folder is one view: a `Builder` called ``variant`` whose function makes a `View`. A view knows
no metric. Its `version` changes with everything that could change its features (weights, resizing), and is part of the
protocol of every value computed with it::

    view = frugan.views.build("classifier", dataset=dataset)
    real = frugan.views.features(view, dataset)   # kept in the cache, the same images are looked at once
    fake = frugan.views.extract(view, samples)
    frugan.metrics.fid.compute(real=real.features, fake=fake.features)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan.cache import cache_root
from frugan.countdown import Countdown
from frugan.registry import Registry, UserError, check_options, declared

if TYPE_CHECKING:
    from torch import Tensor

    from frugan.data import Dataset

    Images = Tensor | Iterable[Tensor]


@dataclass(frozen=True)
class Seen:
    """What a view computes from images: float32 on the CPU, one row for each image.

    `features` are ``[count, width]``. `log_probabilities` are log-softmax values ``[count, classes]``; for a view that
    knows attributes, log-sigmoid values ``[count, bits]``; None if it knows neither.
    """

    features: Tensor
    log_probabilities: Tensor | None = None


@dataclass(frozen=True)
class View:
    """A view that is ready to use: a function from images to features.

    Args:
        name: as users type it.
        version: name, hash of weights and resizing in one word. Features of equal versions can be compared. If the view
            is a user's own, `build` adds the hash of its code.
        width: how many features an image has.
        input_size: height and width of images after its own resizing.
        look: from images ``[count, channels, height, width]`` to `Seen`. Images are uint8, or float32 from 0 to 255,
            also with fractions. It has no randomness and no gradients.
        classes: how many classes its probabilities are for; 0 if it has none.
        description: facts for the protocol (resizing, hash of weights, accuracy, ...), as JSON has them.
        takes_floats: whether `look` takes floats as well as bytes.
        attributes: how many attributes its probabilities are for; 0 if it has none.
    """

    name: str
    version: str
    width: int
    input_size: tuple[int, int]
    look: Callable[[Tensor], Seen]
    classes: int
    description: dict[str, Any]
    takes_floats: bool = True
    attributes: int = 0

    def features(self, images: Tensor) -> Tensor:
        """Features ``[count, width]`` of uint8 images ``[count, channels, height, width]``, in one pass."""
        return self.look(images).features

    def features_of_floats(self, images: Tensor) -> Tensor:
        """Features ``[count, width]`` of float images in -1..1 that were never rounded to bytes; one pass.

        It is for metrics of very small changes of an image, which rounding to bytes would hide or exaggerate. For whole
        grey levels the result equals `features` up to rounding in float32. Raises UserError if the view takes only
        bytes.
        """
        if not self.takes_floats:
            raise UserError(
                f"The view '{self.name}' only takes bytes, but these images are floats. Use another view, e.g. "
                "'classifier' or 'pixels'."
            )
        return self.features(images.float().add(1).mul(127.5))  # a new tensor: a view may work in place


@dataclass(frozen=True)
class Builder:
    """What makes a view, and what it needs for that.

    Args:
        name: as users type it.
        build: called with keyword arguments ``dataset`` (or None), ``cache`` (a folder), ``device``, ``announce`` (a
            function that takes a line of text before something slow) and the view's own options, which have defaults.
        needs: what `build` needs, some of "images" (at least the data set's shape), "labels", "weights" (converted
            ones).
        weights_name: a part of the names of the published files that `convert` can read.
        suits: data set -> whether the view can be built for it. If left out: for all data.
        kept: (data set, cache folder) -> whether a view that learns was trained for these data before and is in the
            cache.
        convert: (published file of weights, cache folder) -> the path of the converted file in that cache.
    """

    name: str
    build: Callable[..., View]
    needs: tuple[str, ...]
    weights_name: str = ""
    convert: Callable[[Path, Path], Path] | None = None
    suits: Callable[[Dataset], bool] = lambda dataset: True
    kept: Callable[[Dataset, Path], bool] | None = None


registry = Registry("view", "frugan.views")
names = registry.names


def find(name: str) -> Builder:
    """The builder of the view called `name`. Raises UserError with the nearest name if there is none."""
    return registry.find(name)


def add(name: str, builder: Builder) -> Builder:
    """Register a view of your own under `name`."""
    return registry.add(name, builder)


def cache_folder(cache: str | Path | None = None) -> Path:
    """Where trained and converted weights are kept: `cache`, else $FRUGAN_CACHE/views, else ~/.cache/frugan/views."""
    return cache_root() / "views" if cache is None else Path(cache)


def build(
    name: str,
    *,
    dataset: Dataset | None = None,
    cache: str | Path | None = None,
    device: str = "cpu",
    announce: Callable[[str], None] | None = None,
    **options: Any,
) -> View:
    """Build the view called `name`.

    Args:
        dataset: the data that the view is for. A view that learns is trained on these images, so give training data.
        cache: see `cache_folder`.
        device: where it computes. Results are always returned on the CPU.
        announce: called with one line before something slow, e.g. ``print``.
        **options: the view's own options.

    Raises:
        UserError: the name or an option is unknown, or something that the view needs is missing.
    """
    builder = find(name)
    options = check_options(
        f"View '{name}'", options, declared(builder.build, without=("dataset", "cache", "device", "announce"))
    )
    announce = announce or (lambda line: None)
    view = builder.build(dataset=dataset, cache=cache_folder(cache), device=device, announce=announce, **options)
    origin = registry.origin(name)
    # Whoever writes a view may forget to change its version with its code.
    return view if origin is None else replace(view, version=f"{view.version}-code-{origin.short}")


def is_kept(name: str, dataset: Dataset, cache: str | Path | None = None) -> bool:
    """Whether the cache holds this view for these data, so that `build` does not train it."""
    kept = find(name).kept
    return kept is not None and kept(dataset, cache_folder(cache))


def convert_weights(path: str | Path, *, cache: str | Path | None = None) -> Path:
    """Convert a view's published weights to safetensors in the cache, where the view looks; return the new file's path.

    The name of the published file tells which view it belongs to. If the name ends in a hash, the content is checked
    against it. Only tensors are read; no code is run. Raises UserError if the file is not right.
    """
    path = Path(path)
    builders = [builder for builder in map(find, names()) if builder.convert is not None]
    for builder in builders:
        if builder.convert is not None and builder.weights_name in path.name:
            return builder.convert(path, cache_folder(cache))
    known = ", ".join(f"*{builder.weights_name}* for the view '{builder.name}'" for builder in builders)
    raise UserError(
        f"{path.name} is not the name of a weights file that frugan knows. It can convert files called {known}. Keep "
        "the name that the file was published with."
    )


def extract(view: View, images: Images, batch_size: int = 256) -> Seen:
    """Compute what `view` sees in all `images`, in one pass.

    Args:
        images: uint8 ``[count, channels, height, width]``, or an iterator of such chunks, of which only one must be in
            memory at a time. The features go to a temporary file, so memory does not grow with the number of images.
        batch_size: how many images at a time, which decides how much memory is needed. It changes a feature only by
            rounding in float32, less than 1e-5 of the largest.

    Raises:
        UserError: no images, or tensors that are not bytes of that shape.
    """
    from frugan.views import _store

    return _split(view, _store.passing(_rows(view, images, batch_size)))


def features(
    view: View,
    dataset: Dataset,
    rows: Tensor | None = None,
    *,
    batch_size: int = 256,
    cache: str | Path | None = None,
    announce: Callable[[str], None] | None = None,
) -> Seen:
    """What `view` sees in images of a data set: computed once, then read from the cache.

    The cache's key is everything that features depend on: content hash and split of the data, the rows and their
    number, the view's version (weights and resizing) and the format of the cache. If any of these differs, or the file
    is damaged, features are computed again. Memory does not grow with the number of images.

    Args:
        rows: int64 ``[count]``, which images, in this order. If left out: all.
        batch_size: see `extract`.
        cache: a folder. If left out: ``$FRUGAN_CACHE/features``, else ``~/.cache/frugan/features``.
        announce: called with one line before features are computed, and if a file in the cache was damaged.

    Raises:
        UserError: no images.
    """
    from frugan.views import _store

    say = announce or (lambda line: None)
    count = len(dataset) if rows is None else len(rows)
    if not count:
        raise _no_images(view)
    of = {
        "view": view.version,
        "resizing": view.description.get("resizing", "none"),
        "content_hash": dataset.content_hash,
        "split": dataset.split,
        "count": count,
        "rows": "all" if rows is None else hashlib.sha256(rows.long().numpy().tobytes()).hexdigest()[:16],
    }

    def extracted() -> Iterator[Tensor]:
        what = f"Looking at {count:,} images of {dataset.name} ({view.name})"
        say(f"{what}.")
        return _rows(view, Countdown(say, what, count).over(_chunks(dataset, rows, count)), batch_size)

    return _split(view, _store.kept(cache_root() / "features" if cache is None else Path(cache), of, extracted, say))


CHUNK = 1024
"""Images of a data set that are read together."""


def _chunks(dataset: Dataset, rows: Tensor | None, count: int) -> Iterator[Tensor]:
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        yield dataset.images[part] if rows is None else dataset.images.index_select(0, rows[part])


def _rows(view: View, images: Images, batch_size: int) -> Iterator[Tensor]:
    """A row for each image, batch by batch: its features, then its log-probabilities if the view has any."""
    import torch

    for chunk in [images] if isinstance(images, torch.Tensor) else images:
        if chunk.dtype != torch.uint8 or chunk.ndim != 4:
            raise UserError(
                f"The view '{view.name}' needs bytes (uint8) [count, channels, height, width], but these images are "
                f"{str(chunk.dtype).removeprefix('torch.')} {list(chunk.shape)}. frugan.batch.to_bytes makes bytes."
            )
        for seen in (view.look(part) for part in chunk.split(batch_size) if len(part)):
            logs = seen.log_probabilities
            yield seen.features if logs is None else torch.cat([seen.features, logs], 1)


def _split(view: View, rows: Tensor | None) -> Seen:
    if rows is None:
        raise _no_images(view)
    return Seen(rows[:, : view.width], rows[:, view.width :] if rows.shape[1] > view.width else None)


def _no_images(view: View) -> UserError:
    return UserError(f"The view '{view.name}' was given no images.")
