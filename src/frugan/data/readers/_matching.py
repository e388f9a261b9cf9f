"""Which line of a list belongs to which image, however people write names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath


def match(images: Sequence[str], listed: Sequence[str]) -> list[int | None]:
    """The number of the line that names each image; None if none does, or if it is not clear which.

    `images` are paths below the folder. A line may name a path below it, a path that leads there from elsewhere
    (absolute, or with ``./`` or backslashes), or the name alone, if no other image has it. Capitals do not matter, and
    the ending may be left out.
    """
    lines = [_parts(name) for name in listed]
    by_stem: dict[str, list[int]] = {}
    for number, parts in enumerate(lines):
        for stem in dict.fromkeys([_stem(parts[-1]), parts[-1]]):  # "1.a" may be a whole stem or have an ending
            by_stem.setdefault(stem, []).append(number)
    exact: dict[int, int] = {}
    likely: dict[int, int] = {}
    times: Counter[int] = Counter()  # how many images each line may mean
    for image, name in enumerate(images):
        parts = _parts(name)
        candidates = [line for line in by_stem.get(_stem(parts[-1]), []) if _leads_to(lines[line], parts)]
        same = [line for line in candidates if lines[line] == parts]
        times.update(candidates)
        if same:
            exact[image] = same[0]
        elif len(candidates) == 1:
            likely[image] = candidates[0]
    return [
        exact[image] if image in exact else likely[image] if times[likely.get(image, -1)] == 1 else None
        for image in range(len(images))
    ]


def _parts(name: str) -> tuple[str, ...]:
    """A path's parts in small letters, without ``.``, ``..`` and what makes it absolute."""
    plain = name.strip().strip("\"'").replace("\\", "/").lower()
    return tuple(part for part in plain.split("/") if part not in ("", ".", "..")) or ("",)


def _stem(last: str) -> str:
    return PurePosixPath(last).stem


def _leads_to(line: tuple[str, ...], image: tuple[str, ...]) -> bool:
    """Whether a line's path ends as an image's, as far as both go."""
    last, *above = reversed(line)
    if last not in (image[-1], _stem(image[-1])):
        return False
    return all(one == other for one, other in zip(above, reversed(image[:-1]), strict=False))
