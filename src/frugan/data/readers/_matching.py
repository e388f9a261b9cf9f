"""Which line of a list belongs to which image, however people write names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath


def match(images: Sequence[str], listed: Sequence[str]) -> list[tuple[int, ...]]:
    """The numbers of the lines that name each image: one; none, also if it is not clear which; or several.

    `images` are paths below the folder. A line may name a path below it, a path that leads there from elsewhere
    (absolute, or with ``./`` or backslashes), or the name alone, if no other image has it. Capitals do not matter
    (unless two images differ in nothing else), and the ending may be left out. Several lines are those that name the
    same image, each in its own way: whether they agree is for the reader to say.
    """
    lines = [_parts(name) for name in listed]
    wanted = [_parts(name) for name in images]
    alike = Counter(wanted)
    by_stem: dict[str, list[int]] = {}
    for number, parts in enumerate(lines):
        for stem in dict.fromkeys([_stem(parts[-1]), parts[-1]]):  # "1.a" may be a whole stem or have an ending
            by_stem.setdefault(stem, []).append(number)
    candidates = [
        [line for line in by_stem.get(_stem(parts[-1]), []) if _leads_to(lines[line], parts)] for parts in wanted
    ]
    times = Counter(line for found in candidates for line in found)  # how many images each line may mean
    matched: list[tuple[int, ...]] = []
    for name, parts, found in zip(images, wanted, candidates, strict=True):
        same = [line for line in found if lines[line] == parts]
        own = [line for line in found if times[line] == 1]
        if alike[parts] > 1:
            matched.append(tuple(line for line in same if listed[line] == name))
        elif same:
            matched.append((*same, *(line for line in own if line not in same and lines[line][:-1] == parts[:-1])))
        else:
            matched.append(tuple(own) if own == found and len({lines[line] for line in found}) == 1 else ())
    return matched


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
