"""Metrics of features and of probabilities hold a chunk of them in float64, however many images there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import frugan.metrics
from frugan.metrics._features import CHUNK

COUNT, WIDTH = 6 * CHUNK, 64
WHOLE = COUNT * WIDTH * 8
"""Bytes of all features of one set in float64."""


class Largest(TorchDispatchMode):
    """While it is entered, the size in bytes of the largest tensor that anything allocates."""

    size = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        def stores(values: Any) -> dict[int, int]:
            found = (leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
            return {store.data_ptr(): store.nbytes() for store in found}

        made = func(*args, **(kwargs or {}))
        given = stores((args, kwargs))
        self.size = max([self.size, *(size for place, size in stores(made).items() if place not in given)])
        return made


def features(seed: int) -> Tensor:
    return torch.randn(COUNT, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["fid", "fid_infinity", "kid", "inception_score", "class_coverage", "modes"])
def test_memory_does_not_grow_with_the_number_of_images(name: str) -> None:
    metric = frugan.metrics.find(name)
    given: dict[str, Any] = {"kid": {"subsets": 1}, "fid_infinity": {"sizes": 2}}.get(name, {})
    if "probabilities" in metric.needs:
        given |= {"probabilities": features(0).log_softmax(1)}
    else:
        given |= {"real": features(0), "fake": features(1)}
    with Largest() as largest:
        metric.compute(**given)
    assert CHUNK * WIDTH * 8 <= largest.size < WHOLE / 2


def test_what_it_measures_is_seen() -> None:
    whole = features(0)
    with Largest() as largest:
        whole.double()
    assert largest.size == WHOLE
