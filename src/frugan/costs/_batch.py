"""How many images a network was called with, where nobody said so.

The first axis of an input counts images as a rule, but a time step has none, a table of words has another, and an image
may come without one. What came out, and the layers that know how many images they were given, settle it or show that it
is not clear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from frugan.costs._formulas import Images, Shape


def images_of(
    given: Sequence[Shape], outputs: Sequence[Shape], layers: Mapping[str, Sequence[Images]]
) -> int | None:
    """How many images tensors of the shapes `given` hold; None if it is not clear.

    Args:
        outputs: the shapes of what the network made of them.
        layers: for each layer that knows, by its name, the images that it was given in each call.
    """
    axes = [shape for shape in given if shape]
    # A single number, such as a time step, goes with any number of images.
    firsts = {shape[0] for shape in axes if shape != (1,)} or {shape[0] for shape in axes}
    made = {shape[0] for shape in outputs if shape}
    alike = len(firsts) == 1
    candidates = firsts if alike else firsts & made
    if len(candidates) != 1:
        return None
    (batch,) = candidates
    if batch <= 1:
        return 1
    # A layer may take images in parts, or many patches of each: over its calls they are as many, or a multiple. What
    # has no batch axis is an image only if it has as many axes as what was given; else it may be a time step's code.
    widest = max(map(len, axes))
    known = [
        [one.count for one in calls] for calls in layers.values()
        if not steps_first(calls, batch) and all(one.axis is not None or len(one.shape) == widest for one in calls)
    ]  # fmt: skip
    if any(sum(counts) % batch == 0 for counts in known):
        return batch
    if known:
        return 1 if all(count == 1 for counts in known for count in counts) else None
    return batch if alike and (not made or batch in made) else None


def may_hold(batch: int, given: Sequence[Shape], layers: Mapping[str, Sequence[Images]]) -> bool:
    """Whether tensors of the shapes `given` may hold `batch` images, as somebody says, or parts of so many.

    `layers` are as for `images_of`: those that were given a batch know better than the lengths of axes.
    """
    known = [sum(one.count for one in calls if one.axis is not None) for calls in layers.values()]
    lengths = [length for shape in given for length in shape]
    return any(count % batch == 0 for count in list(filter(None, known)) or lengths)


def steps_first(calls: Sequence[Images], batch: int) -> bool:
    """Whether a layer took the axis that was taken for the images to be the steps of sequences."""
    return any(one.axis == 1 and one.shape[0] == batch != one.count for one in calls)
