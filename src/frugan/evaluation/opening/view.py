"""Chooses and builds the view of an evaluation, and the classifier that predicts labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from frugan import views
from frugan.data import Dataset
from frugan.evaluation.opening.fakes import Fakes
from frugan.evaluation.opening.reals import Reals, Statistics
from frugan.registry import UserError, options_of
from frugan.views import View

BuildView = Callable[[Dataset], View]
"""From the data that a view may learn from to the view."""


def suitable_view(dataset: Dataset) -> str:
    """The name of the view that is used for these data if the user names none."""
    return next((name for name in ("stacked", "classifier", "contrast") if views.find(name).suits(dataset)), "pixels")


def build_view(
    view: str | View | None, seed: int, fakes: Fakes, reals: Reals | Statistics, device: str,
    announce: Callable[[str], None],
) -> View:  # fmt: skip
    """Build the view that the user named, or one that suits the data. Raises UserError if nothing tells which."""
    if isinstance(reals, Reals):
        return view_builders(view, seed, device, announce)[0](reals.train)
    if view is not None and not isinstance(view, str):
        return view
    if view is None and len(reals.mean) != 2048:
        raise UserError(
            f"--real {reals.name} holds statistics of {len(reals.mean)} features per image. Say which view made these "
            f"features: --view ({', '.join(views.names())})."
        )
    return views.build(view or "inception", dataset=fakes.dataset, device=device, announce=announce)


def view_builders(
    view: str | View | None, seed: int, device: str, announce: Callable[[str], None]
) -> tuple[BuildView, BuildView]:
    """Two functions of a data set: one builds the view, the other the classifier that predicts the data's labels."""

    def build(name: str, dataset: Dataset) -> View:
        return views.build(name, dataset=dataset, device=device, announce=announce, **_seed_option(name, seed))

    def build_given(dataset: Dataset) -> View:
        if view is not None and not isinstance(view, str):
            return view
        return build(view or suitable_view(dataset), dataset)

    return build_given, lambda dataset: build("classifier", dataset)


def _seed_option(name: str, seed: int) -> dict[str, Any]:
    """The option `seed` of a view, if it is another than that of every view. Raises UserError if it takes none."""
    if seed and "seed" not in options_of(views.find(name).build):
        raise UserError(f"The view '{name}' is not trained, so it has no seed. Leave view_seed out.")
    return {"seed": seed} if seed else {}
