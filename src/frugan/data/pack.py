"""Packs: the images of any source as one array of bytes, made once and then memory-mapped.

A pack is a folder of the cache, `packs/<key>`: `images.npy` (uint8 ``[count, channels, height, width]``),
`labels.npy` (int64 ``[count]`` or ``[count, bits]``, where there are labels) and `manifest.json` (format version,
names, shape, content hash, the rules of conversion, what was set aside and why). The key depends on the source's files
(paths, sizes, times of change) and on what was asked for. So a changed folder is packed anew, and an unchanged one
opens at once. A pack holds all attributes; opening it selects some. It is written under another name and then renamed,
so a pack with its final name is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import shutil
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from frugan import files, memory, seeds, terminal
from frugan.batch import ImageShape
from frugan.cache import cache_root
from frugan.data._attributes import holding
from frugan.data._convert import RULES, Converted, Skipped, Unusable, convert, formats
from frugan.data.readers import Content, Found, Item
from frugan.registry import UserError, suggest

FORMAT = 1
UNUSABLE_SHARE = 0.05  # more than this set aside, and the source is refused
_CHUNK = 64  # images that one thread converts in one go

Progress = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Wanted:
    """What to read of a source: size (height, width), channels, classes by number or name, at most how many images.

    `holdout`: a random draw of so many images, always the same one, is held out. If `held`, it is read; else the rest.
    """

    size: tuple[int, int] | None
    channels: int | None
    only: tuple[str | int, ...]
    limit: int | None
    holdout: int = 0
    held: bool = False


@dataclass(frozen=True, eq=False)
class Pack:
    """An open pack: images uint8 ``[count, channels, height, width]``, labels int64 ``[count]`` or None.

    Attributes are labels ``[count, bits]``. `images_hash` then allows to hash some of the attributes without reading
    the images.
    """

    name: str
    shape: ImageShape
    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    content_hash: str
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    folder: Path
    attributes: tuple[str, ...]
    images_hash: str


class Conversion(NamedTuple):
    """One image of a source: its path, and its pixels; or no pixels (None) but the reason why it cannot be used."""

    path: str
    converted: Converted | None
    reason: str


class _Colour(Exception):
    """The source began grey and goes on in colour: packing starts again with three channels."""


def open_pack(
    found: Found, split: str, wanted: Wanted, *, allow_unusable: bool, cache: Path | None, progress: Progress | None
) -> Pack:
    """Open the pack of a source; make it first if it is not there.

    Raises:
        UserError: more than `UNUSABLE_SHARE` of the images cannot be used (unless allowed), or none; sizes differ and
            no size is asked for; a class does not exist; or the cache cannot be written.
    """
    asked = [FORMAT, found.name, found.identity, split, wanted.size, wanted.channels, wanted.only, wanted.limit]
    if wanted.holdout:
        asked += [wanted.holdout, wanted.held]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    folder = (cache or cache_root()) / "packs" / key
    if _whole(folder):
        opened = _open(folder)
        _check_share(found.name, split, opened.skipped, len(opened.images), allow_unusable)
        return opened
    if folder.exists():
        terminal.tell(f"frugan: {folder} is damaged or was changed; {found.name} is packed again.")
    try:
        with files.temporary_folder(folder.parent) as beside:
            _write(beside, found, split, wanted, allow_unusable, progress)
            _put(beside, folder)
    except OSError as error:
        raise _cannot_write(folder.parent, error) from error
    return _open(folder)


def open_content(found: Found, wanted: Wanted) -> tuple[Content, list[int]]:
    """Open the source: its content and the numbers of the images asked for. Raises UserError for an unknown class."""
    content = readable(found.open, found.name)
    return content, _choose(found, content, wanted)[0].tolist()


def convert_all(content: Content, numbers: Sequence[int], wanted: Wanted) -> Iterator[Conversion]:
    """The images with the given numbers, converted in parallel, in order."""
    threads = min(os.cpu_count() or 1, 16)
    # In their own size, images may be large: 25 megapixels are 75 MB. So few of them wait for their turn.
    chunk_size, ahead = (_CHUNK, 4) if wanted.size is not None else (1, 1)
    formats()  # loads Pillow's plugins before there are threads
    items = content.read(numbers)
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        # Pillow warns of oddities in files that it then reads well. Set here since threads share the filters.
        warnings.simplefilter("ignore")
        chunks = iter(lambda: readable(lambda: list(islice(items, chunk_size))), [])
        waiting: deque[Future[list[Conversion]]] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(_convert_items, chunk, wanted))
            if len(waiting) > ahead * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def class_numbers(name: str, classes: Sequence[str], only: Sequence[str | int]) -> list[int]:
    """The numbers of classes given by name or number, in the same order. Raises UserError for an unknown class."""
    if not classes:
        raise UserError(
            f"{name} has no labels, so data.only cannot choose classes ({', '.join(map(str, only))}). Leave it out."
        )
    chosen, numbers = [], set(map(str, range(len(classes))))
    for wanted in only:
        if str(wanted) in classes:  # first, as a name may be a number: of the classes 1, 2 and 3, 1 is the first
            chosen.append(list(classes).index(str(wanted)))
        elif str(wanted) in numbers:
            chosen.append(int(wanted))
        else:
            raise UserError(f"{name} has no class '{wanted}'. {suggest(str(wanted), classes)}")
    if len(set(chosen)) < len(chosen):
        raise UserError(f"{name}: one class is named twice in {', '.join(map(str, only))}. Name each once.")
    return chosen


def renumber(labels: np.ndarray, chosen: Sequence[int]) -> np.ndarray:
    """The position of each label in `chosen`; -1 for other labels."""
    table = np.full(max(int(labels.max(initial=0)), *chosen) + 1, -1, np.int64)
    table[list(chosen)] = np.arange(len(chosen))
    return table[labels]


def content_hash(images: Iterable[Any], labels: np.ndarray | None, shape: Sequence[int]) -> str:
    """16 hex digits of SHA-256 over the image bytes (given in any pieces), the labels and the whole shape."""
    digest = hashlib.sha256()
    for piece in images:
        digest.update(piece)
    return _finish(digest, labels, shape)


def attributes_hash(images_hash: str, labels: np.ndarray, shape: Sequence[int]) -> str:
    """The content hash of images with attributes ``[count, bits]``, made from the hash of the image bytes."""
    return _finish(hashlib.sha256(images_hash.encode()), labels.ravel(), shape)


def _finish(digest: Any, labels: np.ndarray | None, shape: Sequence[int]) -> str:
    if labels is not None and labels.ndim == 2:
        return attributes_hash(digest.hexdigest(), labels, shape)
    digest.update(b"unlabelled" if labels is None else np.ascontiguousarray(labels, "<i8").tobytes())
    digest.update(json.dumps(list(shape)).encode())
    return digest.hexdigest()[:16]


def readable(read: Callable[[], T], name: str = "The source") -> T:
    """What `read` returns of a source. Whatever a reader stumbles over becomes a UserError that names the source.

    (An OSError is then about the source, not about the cache's disk.)
    """
    try:
        return read()
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error}") from error
    except Exception as error:  # damaged files raise nearly anything
        said = str(error).splitlines()[0] if str(error) else "it says no more"
        raise UserError(
            f"{name} cannot be read: it is damaged, or of another form than its name says ({type(error).__name__}: "
            f"{said[:100]}). Make or fetch it again, or give another source (frugan data list)."
        ) from error


def _convert_items(items: list[Item], wanted: Wanted) -> list[Conversion]:
    """A few items, converted in order."""
    conversions = []
    for item in items:
        if isinstance(item.content, str):
            conversions.append(Conversion(item.path, None, item.content))
            continue
        try:
            conversions.append(Conversion(item.path, convert(item.content, wanted.size, wanted.channels), ""))
        except Unusable as error:
            conversions.append(Conversion(item.path, None, str(error)))
    return conversions


def _choose(found: Found, content: Content, wanted: Wanted) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Numbers of the images to pack, all labels renumbered to the chosen classes, and the classes."""
    numbers, labels, classes = np.arange(content.count), content.labels, content.classes
    if wanted.only and content.attributes:
        assert labels is not None  # there are attributes
        numbers = np.flatnonzero(holding(found.name, content.attributes, labels, wanted.only))
    elif wanted.only:
        chosen = class_numbers(found.name, classes, wanted.only)
        if labels is not None:
            labels = renumber(labels, chosen)
            numbers = np.flatnonzero(labels >= 0)
        classes = tuple(classes[number] for number in chosen)
    if wanted.holdout:
        numbers = _divide(found.name, numbers, wanted)
    if wanted.limit is not None and wanted.limit < len(numbers):
        # The first ones of a folder would all be of its first class: a fixed draw instead.
        drawn = torch.randperm(len(numbers), generator=seeds.generator(0, "limit"))[: wanted.limit]
        numbers = numbers[drawn.sort().values.numpy()]
    return numbers, labels, classes


def _divide(name: str, numbers: np.ndarray, wanted: Wanted) -> np.ndarray:
    """Those of the images that are held out, or the others. Raises UserError if none would be left."""
    if wanted.holdout >= len(numbers):
        raise UserError(
            f"data.holdout={wanted.holdout}: {name} has {len(numbers)} images, so none would be left to train on. Give "
            f"fewer, e.g. {len(numbers) // 10}, or 0."
        )
    order = torch.randperm(len(numbers), generator=seeds.generator(0, "holdout"))
    chosen = order[: wanted.holdout] if wanted.held else order[wanted.holdout :]
    return numbers[chosen.sort().values.numpy()]


def _write(
    folder: Path, found: Found, split: str, wanted: Wanted, allow_unusable: bool, progress: Progress | None
) -> None:
    content = readable(found.open, found.name)
    numbers, labels, classes = _choose(found, content, wanted)
    chosen = ",".join(classes or map(str, wanted.only))
    if not len(numbers):
        raise UserError(f"{found.name} ({split}) has no images{(f' of {chosen}' if wanted.only else '')}.")
    try:
        written = _write_images(folder / "images.npy", found, content, numbers, wanted, progress)
    except _Colour:
        colour = replace(wanted, channels=3)
        written = _write_images(folder / "images.npy", found, content, numbers, colour, progress)
    _check_share(found.name, split, written.skipped, len(written.used), allow_unusable)
    kept = None if labels is None else labels[numbers[written.used]]
    if kept is not None:
        with (folder / "labels.npy").open("wb") as file:
            np.lib.format.write_array(file, kept, allow_pickle=False)
            _flush(file)
    notes = list(content.notes)
    if written.enlarged:
        height, width = written.shape[2:]
        count = f"{written.enlarged:,} of {len(written.used):,}"
        notes.append(f"{count} images were smaller than {height} x {width} and enlarged")
    manifest = {
        "format": FORMAT,
        "name": f"{found.name}[{chosen}]" if wanted.only else found.name,
        "split": split,
        "source": found.identity if len(str(found.identity)) < 10_000 else "many files",
        "asked": {"size": wanted.size, "channels": wanted.channels, "only": wanted.only, "limit": wanted.limit},
        "shape": list(written.shape),
        "labelled": kept is not None,
        "classes": list(classes),
        "attributes": list(content.attributes),
        "images_hash": written.digest.hexdigest(),
        "labels_hash": None if kept is None else _sha256(folder / "labels.npy"),
        "stamp": _stamp(folder / "images.npy"),
        "content_hash": _finish(written.digest, kept, written.shape),
        "rules": RULES,
        "notes": notes,
        "skipped": [entry._asdict() for entry in written.skipped],
    }
    manifest["checksum"] = _checksum(manifest)
    files.write(folder / "manifest.json", json.dumps(manifest, indent=1))


@dataclass(frozen=True)
class _Written:
    """What went into images.npy: whole shape, places in the given numbers, what was set aside, running hash."""

    shape: tuple[int, int, int, int]
    used: list[int]
    skipped: tuple[Skipped, ...]
    enlarged: int
    digest: Any


def _write_images(
    path: Path, found: Found, content: Content, numbers: np.ndarray, wanted: Wanted, progress: Progress | None
) -> _Written:
    """Write the usable images one by one, then the header again: its length is fixed, their count now known."""
    used: list[int] = []
    skipped: list[Skipped] = []
    enlarged, shape, first, header = 0, None, "", 0
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for place, conversion in enumerate(convert_all(content, numbers.tolist(), wanted)):
            if progress is not None and place % _CHUNK == 0:
                progress(place, len(numbers))
            if conversion.converted is None:
                skipped.append(Skipped(conversion.path, conversion.reason))
                continue
            pixels = conversion.converted.pixels
            if shape is None:
                shape, first = pixels.shape, conversion.path
                header = _header(file, (len(numbers), *shape))
            elif pixels.shape != shape:
                pixels = _agree(found, pixels, conversion.path, shape, first)
            enlarged += conversion.converted.enlarged
            data = pixels.tobytes()
            digest.update(data)
            file.write(data)
            used.append(place)
        if shape is None:
            raise UserError(f"{found.name}: none of the {len(numbers)} images can be used. {_listed(skipped)}")
        file.seek(0)
        if _header(file, (len(used), *shape)) != header:
            raise AssertionError("numpy's header changed its length with the count of images")
        _flush(file)
    if progress is not None:
        progress(len(numbers), len(numbers))
    return _Written((len(used), *shape), used, tuple(skipped), enlarged, digest)


def _header(file: IO[bytes], shape: tuple[int, ...]) -> int:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.tell()


def _agree(found: Found, pixels: np.ndarray, path: str, shape: tuple[int, ...], first: str) -> np.ndarray:
    """`pixels` with the first image's channels; _Colour or UserError where that cannot be."""
    if pixels.shape[1:] != shape[1:]:
        (height, width), (other_height, other_width) = shape[1:], pixels.shape[1:]
        raise UserError(
            f"{found.name} has images of different sizes ({height} x {width}: {first}; {other_height} x {other_width}: "
            f"{path}). Give one size for all, e.g. data.size=64 (in frugan data and frugan evaluate: --size 64)."
        )
    if pixels.shape[0] == 3:
        raise _Colour
    return np.broadcast_to(pixels, shape)


def _check_share(name: str, split: str, skipped: Sequence[Skipped], usable: int, allowed: bool) -> None:
    total = len(skipped) + usable
    if not allowed and len(skipped) > UNUSABLE_SHARE * total:
        raise UserError(
            f"{name} ({split}): {len(skipped):,} of {total:,} images cannot be used, more than {UNUSABLE_SHARE:.0%}. "
            f"{_listed(skipped)} Repair or remove them, or continue without them: --allow-unusable"
        )


def _listed(skipped: Sequence[Skipped]) -> str:
    shown = "; ".join(f"{path}: {reason}" for path, reason in skipped[:10])
    more = f"; and {len(skipped) - 10:,} more" if len(skipped) > 10 else ""
    return f"They are {shown}{more}." if shown else ""


def _whole(folder: Path) -> bool:
    """Whether a pack is there and has not changed since it was packed.

    Everything is checked by its content, but images of more than `HASHED` bytes only if their size or time of change is
    not the one that the manifest says.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        images = np.load(folder / "images.npy", mmap_mode="r")  # raises ValueError if the file is too short
        if list(images.shape) != manifest["shape"] or manifest.get("checksum", known := _checksum(manifest)) != known:
            return False
        if manifest["labelled"] and manifest.get("labels_hash", known := _sha256(folder / "labels.npy")) != known:
            return False
        if images.nbytes > HASHED and manifest.get("stamp", known := _stamp(folder / "images.npy")) == known:
            return True
        digest, step = hashlib.sha256(), max(1, (1 << 24) // max(1, images[0].nbytes))
        for start in range(0, len(images), step):
            digest.update(images[start : start + step].tobytes())
        return manifest.get("images_hash", known := digest.hexdigest()) == known
    except Exception:  # whatever the readers stumble over
        return False


HASHED = 1 << 28
"""Images of more bytes are hashed only if their file looks changed: reading them takes seconds."""


def _checksum(manifest: dict[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> list[int]:
    """Size and time of change of a file, in nanoseconds."""
    known = path.stat()
    return [known.st_size, known.st_mtime_ns]


LARGE = 1 << 30
"""A file of so many bytes may not stay in memory, so that batches are read from the disk."""


def mapped(path: Path) -> Tensor:
    """The images of an .npy file, memory-mapped: only the parts that are read take memory.

    The system's reading ahead is switched off. A batch comes from random places of the file, and some systems read 8 MB
    at each of them: a batch of 64 out of a million images then took a second.
    """
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        data = memory.mapped(file)
        images = np.ndarray(shape, dtype, data, file.tell())
    if images.nbytes >= LARGE and hasattr(mmap, "MADV_RANDOM"):
        data.madvise(mmap.MADV_RANDOM)
    return torch.from_numpy(images)


def _open(folder: Path) -> Pack:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    images = mapped(folder / "images.npy")
    labels = torch.from_numpy(np.load(folder / "labels.npy")) if manifest["labelled"] else None
    return Pack(
        name=manifest["name"],
        shape=ImageShape(*manifest["shape"][1:]),
        images=images,
        labels=labels,
        classes=tuple(manifest["classes"]),
        content_hash=manifest["content_hash"],
        skipped=tuple(Skipped(**entry) for entry in manifest["skipped"]),
        notes=tuple(manifest["notes"]),
        folder=folder,
        attributes=tuple(manifest.get("attributes", ())),  # packs made before there were any have none
        images_hash=manifest.get("images_hash", ""),
    )


def _put(beside: Path, folder: Path) -> None:
    """Give a finished pack its name. If another process was first, its pack is kept; a damaged one is replaced."""
    try:
        beside.rename(folder)
    except OSError:
        if _whole(folder):
            return
        with contextlib.suppress(OSError):
            folder.rename(beside.with_name(f"{beside.name}.damaged"))
        beside.rename(folder)
        shutil.rmtree(beside.with_name(f"{beside.name}.damaged"), ignore_errors=True)


def _flush(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _cannot_write(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"The packed images cannot be written to {folder}: {error.strerror or error}. Free some space there, or set "
        "FRUGAN_CACHE to a folder with enough."
    )
