"""Targets: the things that a translator can make of images, and the real images that judge each.

A target has images of other domains to translate, real images of its own domain to compare with, and functions that
translate there and back. Each attribute gives two targets, "with" and "without". Attributes of a group of which an
image has one (hair colours) give one each. So three hair colours, glasses and age are seven targets (the labels of Choi
et al. 2018, section 5). Each class gives one target. A pair of translators gives one for each direction.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from frugan import seeds
from frugan.artefact import NOT
from frugan.data import Dataset
from frugan.evaluation.opening.fakes import Images, draw_places
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.artefact import Translator

LEARNT_BYTES = 2**29
"""Of each of two sets without labels, as many images as fit in here teach the classifier that tells them apart."""


Parts = Callable[[Images], Iterator[Tensor]]
"""The bytes of images, part by part."""

Translate = Callable[[Tensor, Tensor], Tensor]
"""A translation of bytes ``[n, c, h, w]`` with their own labels, to bytes."""


class Split(NamedTuple):
    """The images of one stream: for training, and for evaluation (held-out images, if there are any)."""

    train: Dataset
    reference: Dataset


@dataclass(frozen=True, eq=False)
class Pool:
    """Some images of a data set, e.g. all with glasses, and their labels in the form that the judge predicts."""

    dataset: Dataset
    rows: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, key: str, order: Tensor) -> Images:
        """The images at these positions of the pool."""
        rows, labels = self.rows.index_select(0, order), self.labels.index_select(0, order)
        dataset = self.dataset
        hashed = hashlib.sha256(rows.numpy().tobytes()).hexdigest()[:16]
        return Images(
            f"{key} {dataset.content_hash} {dataset.split} {hashed}", len(rows), labels, (),
            lambda: (dataset.images.index_select(0, part) for part in rows.split(1024)), dataset, rows,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Target:
    """One target of translators, e.g. "glasses".

    Args:
        name: its name for ``frugan translate --to``.
        source: real images of other domains; real: real images of the target's own domain.
        spare: more images of its own domain, none of which is in `real`, for the floor; may be empty.
        asked: labels of sources -> the labels to ask for.
        undone: labels of real images of the target -> possible labels of sources that they could be made from. For hair
            colours, each other colour in turn.
        there, back, stay: (bytes ``[n, c, h, w]``, labels) -> bytes. They translate a source to the target; a
            translation back to its source (whose labels are given); a real image of the target to what it already is.
    """

    name: str
    source: Pool
    real: Pool
    spare: Pool
    asked: Callable[[Tensor], Tensor]
    undone: Callable[[Tensor], Tensor]
    there: Translate
    back: Translate
    stay: Translate

    def draw_sources(self, count: int, seed: int) -> Images:
        """Draw `count` images of other domains by `seed`; fewer if there are fewer."""
        order = torch.randperm(len(self.source), generator=seeds.generator(seed, "sources", self.name))
        return self.source.pick(f"to {self.name}", order[:count].sort().values)

    def translate(self, sources: Images, parts: Parts) -> Images:
        """Translate the sources to the target."""
        own = read_labels(sources)
        made = partial(_translate_parts, self.there, sources, own, parts)
        return Images(f"{sources.key} translated", sources.count, self.asked(own), (), made)

    def translate_back(self, sources: Images, fakes: Images, parts: Parts) -> Images:
        """Translate the fakes back to what their sources are."""
        own = read_labels(sources)
        made = partial(_translate_parts, self.back, fakes, own, parts)
        return Images(f"{fakes.key} and back", fakes.count, own, (), made)

    def translate_to_itself(self, real: Images, parts: Parts) -> Images:
        """Translate real images of the target to what they already are."""
        own = read_labels(real)
        made = partial(_translate_parts, self.stay, real, own, parts)
        return Images(f"{real.key} to itself", real.count, own, (), made)

    def label_as_sources(self, real: Images) -> Images:
        """Real images of the target, with labels of sources that they could have been made from."""
        labels = self.undone(read_labels(real))
        digest = hashlib.sha256(labels.numpy().tobytes()).hexdigest()[:16]
        return dataclasses.replace(real, key=f"{real.key} undone {digest}", labels=labels)


def _translate_parts(way: Translate, images: Images, labels: Tensor, parts: Parts) -> Iterator[Tensor]:
    """Images translated part by part: memory does not grow with their number."""
    start = 0
    for pixels in parts(images):
        yield way(pixels, labels[start : start + len(pixels)])
        start += len(pixels)


def read_labels(images: Images) -> Tensor:
    """The labels of images from a pool (these always have labels)."""
    assert images.labels is not None
    return images.labels


def draw_from(pool: Pool, key: str, count: int, skip: int = 0) -> Images:
    """Choose `count` images (or all, if fewer) of a pool after leaving out `skip` others; always the same ones."""
    return pool.pick(key, draw_places(pool, count, skip))


class Group(NamedTuple):
    """Targets that share a view: the data that the view is trained on, and the name of these data in messages."""

    learns_from: Dataset
    targets: tuple[Target, ...]


def find_targets(
    translators: Mapping[str, Translator], shipped: Mapping[str, Mapping[str, Any]], splits: Mapping[str, Split]
) -> list[Group]:
    """Find all targets of a run's translators, grouped by view.

    Args:
        translators: by role; shipped: the run's facts about them, by role; splits: by stream.

    Raises UserError if no target has real images and images of other domains.
    """
    directed = {role: tuple(about["direction"]) for role, about in shipped.items() if about.get("direction")}
    if directed:
        groups = [_find_directed(translators, directed, splits)]
    else:
        translator, about = next(iter(translators.values())), next(iter(shipped.values()))
        alone = {"stream": next(iter(splits)), "before": 0, "after": 0, "mask": ()}
        layouts = label_layouts(about) or [alone]
        called = _name_streams([one["stream"] for one in layouts], splits)
        groups = [
            _find_labelled(translator, splits[one["stream"]], one, aside)
            for one, aside in zip(layouts, called, strict=True)
        ]
    groups = [group for group in groups if group.targets]
    if not groups:
        names = ", ".join(split.reference.title for split in splits.values())
        raise UserError(
            f"{names}: each label is on all images or on none, so there is nothing to translate between. Use other "
            "data."
        )
    return groups


def label_layouts(shipped: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The `frugan.games.LabelLayout`s of a shipped network in a run.json (old runs have them under "told")."""
    return shipped.get("label_layouts") or shipped.get("told") or ()


class Sheet(NamedTuple):
    """Images ``[n, c, h, w]`` as bytes, and their translations by the name of the target."""

    images: Tensor
    made: dict[str, Tensor]


def draw_sheets(groups: Sequence[Group], count: int) -> list[Sheet]:
    """Translate `count` images of each data set to every target. They are chosen by `draw_places`, not by their looks.

    An image that already belongs to a target is translated to what it is.
    """
    made: list[Sheet] = []
    for group in groups:
        for dataset in {id(target.source.dataset): target.source.dataset for target in group.targets}.values():
            rows = draw_places(dataset, count)
            pixels = dataset.images.index_select(0, rows)
            own = [target for target in group.targets if target.source.dataset is dataset]
            made.append(Sheet(pixels, {target.name: _show(target, pixels, rows) for target in own}))
    return made


def _show(target: Target, pixels: Tensor, rows: Tensor) -> Tensor:
    shown = pixels.clone()
    for pool, way in ((target.source, target.there), (target.real, target.stay)):
        here = torch.isin(rows, pool.rows) if pool.dataset is target.source.dataset else torch.zeros(len(rows)).bool()
        if bool(here.any()):
            labels = pool.labels.index_select(0, torch.searchsorted(pool.rows, rows[here]))
            shown[here] = way(pixels[here], labels)
    return shown


# ------------------------------------------------------------------------------------------------------------- labelled


def _name_streams(streams: Sequence[str], splits: Mapping[str, Split]) -> list[str]:
    """What stands behind the names of each stream's targets: nothing for one, the data's name, or the stream's own."""
    if len(streams) == 1:
        return [""]
    names = [splits[stream].reference.name for stream in streams]
    return [f" ({name})" for name in (names if len(set(names)) == len(names) else streams)]


def _find_labelled(
    translator: Translator, split: Split, layout: Mapping[str, Any], aside: str
) -> Group:
    """The targets of one labelled stream; `aside` stands behind their names."""
    dataset = split.reference
    names = list(dataset.attributes or dataset.classes)
    labels = dataset.labels
    if labels is None:
        raise UserError(
            f"{dataset.title} has no labels, but the translator needs them. To see what a source has: frugan data show."
        )

    def through(pixels: Tensor, wanted: Tensor) -> Tensor:
        bits = wanted if wanted.ndim == 2 else torch.nn.functional.one_hot(wanted, len(names))
        mask = torch.tensor(layout["mask"]).expand(len(bits), -1)
        zeros = [torch.zeros(len(bits), layout[side]) for side in ("before", "after")]
        return translate_bytes(translator, pixels, torch.cat([zeros[0], bits.float(), zeros[1], mask], 1))

    def pool(of: Dataset, has: Callable[[Tensor], Tensor]) -> Pool:
        own = of.labels if of.labels is not None else torch.zeros(0, len(names))
        rows = has(own).nonzero()[:, 0]
        return Pool(of, rows, own.index_select(0, rows))

    targets = []
    for name, has, asked, undone in _describe_targets(names, labels.ndim == 2, dataset.exclusive):
        source, real = pool(dataset, lambda own, has=has: ~has(own)), pool(dataset, has)
        spare = pool(split.train, has)
        if split.train is dataset:
            spare = dataclasses.replace(spare, rows=spare.rows[:0], labels=spare.labels[:0])
        if len(source) and len(real):
            targets.append(
                Target(
                    f"{name}{aside}", source, real, spare, asked, undone,
                    there=lambda pixels, own, asked=asked: through(pixels, asked(own)), back=through, stay=through,
                )
            )
    return Group(split.train, tuple(targets))


Wanted = tuple[str, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


def _describe_targets(names: Sequence[str], attributes: bool, exclusive: Sequence[Sequence[int]]) -> Iterator[Wanted]:
    """Of each target its name; labels -> which images have it; its sources' labels -> those asked for; and undone."""
    for number, name in enumerate(names):
        if not attributes:
            count = len(names)
            yield (
                name, lambda labels, number=number: labels == number,
                lambda labels, number=number: torch.full_like(labels, number),
                lambda labels, count=count: (labels + 1) % count,
            )  # fmt: skip
            continue
        group = next((list(group) for group in exclusive if number in group), None)
        for wanted in (1, 0) if group is None else (1,):
            yield (
                name if wanted else f"{NOT}{name}",
                lambda labels, number=number, wanted=wanted: labels[:, number] == wanted,
                lambda labels, number=number, wanted=wanted, group=group: _with(labels, number, wanted, group or ()),
                lambda labels, number=number, wanted=wanted, group=group: _undone(labels, number, wanted, group or ()),
            )  # fmt: skip


def _with(labels: Tensor, number: int, bit: int, others: Sequence[int]) -> Tensor:
    """Attributes with one set to `bit`, after the `others` were taken away."""
    changed = labels.clone()
    changed[:, list(others)] = 0
    changed[:, number] = bit
    return changed


def _undone(labels: Tensor, number: int, bit: int, group: Sequence[int]) -> Tensor:
    """Attributes before one was set to `bit`; of a `group` of which an image has one, another in turn was set."""
    others = [one for one in group if one != number]
    changed = _with(labels, number, 1 - bit, ())
    if others:
        rows = torch.arange(len(labels))
        changed[rows, torch.tensor(others)[rows % len(others)]] = 1
    return changed


# ------------------------------------------------------------------------------------------------------------- directed


def _find_directed(
    translators: Mapping[str, Translator], directed: Mapping[str, tuple[str, str]], splits: Mapping[str, Split]
) -> Group:
    """A target for each direction; labels are which of the two sets an image is of."""
    backwards = {direction: role for role, direction in directed.items()}
    streams = list(dict.fromkeys(stream for direction in directed.values() for stream in direction))
    names = {end: translators[role].domains[0] for role, (_, end) in directed.items()}
    if len(set(names.values())) < len(names):
        names = {end: f"{name} ({end})" for end, name in names.items()}
    for role, (start, end) in directed.items():
        if (end, start) not in backwards:
            raise UserError(
                f"{role} translates from '{start}' to '{end}', but there is no translator back, so it cannot be "
                "evaluated."
            )
    both = _join(tuple(splits[stream].train for stream in streams), tuple(names[stream] for stream in streams))
    targets = []
    for role, (start, end) in directed.items():
        there, back = translators[role], translators[backwards[end, start]]
        numbers = streams.index(start), streams.index(end)

        def through(translator: Translator) -> Callable[[Tensor, Tensor], Tensor]:
            return lambda pixels, labels: translate_bytes(translator, pixels, None)

        spare = splits[end].train
        targets.append(
            Target(
                names[end], _pool_of_all(splits[start].reference, numbers[0]),
                _pool_of_all(splits[end].reference, numbers[1]),
                _pool_of_all(spare, numbers[1], empty=spare is splits[end].reference),
                asked=lambda labels, number=numbers[1]: torch.full_like(labels, number),
                undone=lambda labels, number=numbers[0]: torch.full_like(labels, number),
                there=through(there), back=through(back), stay=through(there),
            )
        )
    return Group(both, tuple(targets))


def _pool_of_all(dataset: Dataset, number: int, empty: bool = False) -> Pool:
    rows = torch.arange(0 if empty else len(dataset))
    return Pool(dataset, rows, torch.full_like(rows, number))


@lru_cache(maxsize=1)  # a run that is looked at while it trains asks for it again and again
def _join(sets: tuple[Dataset, ...], names: tuple[str, ...]) -> Dataset:
    """Two sets in one whose classes are the sets, in memory: what a classifier learns to tell them apart from."""
    most = max(1, LEARNT_BYTES // sets[0].images[0].numel())
    images = [one.images.index_select(0, draw_places(one, most)) for one in sets]
    digest = hashlib.sha256(" ".join(f"{one.content_hash} {len(part)}" for one, part in zip(sets, images, strict=True))
                          .encode()).hexdigest()  # fmt: skip
    return dataclasses.replace(
        sets[0], name=" and ".join(one.name for one in sets), images=torch.cat(images), classes=names,
        labels=torch.cat([torch.full((len(part),), number) for number, part in enumerate(images)]),
        content_hash=digest[:16], attributes=(), folder=None, skipped=(), notes=(),
    )  # fmt: skip


def translate_bytes(translator: Translator, pixels: Tensor, labels: Tensor | None) -> Tensor:
    """Translate bytes ``[n, c, h, w]`` to these labels, as bytes."""
    made = translator.translate(pixels.permute(0, 2, 3, 1).numpy(), to=labels)
    return torch.from_numpy(made).permute(0, 3, 1, 2).contiguous()
