"""InfoGAN's networks: the layers of the paper's appendix C.1, and categories."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan.registry import UserError

DIGITS = (1, 28, 28)


def test_the_layers_are_those_of_the_paper(make_meta):
    generator = make_meta("infogan", "decoder", DIGITS, 74, categories=[10])
    dense = [(part.in_features, part.out_features) for part in generator.modules() if isinstance(part, nn.Linear)]
    assert dense == [(74, 1024), (1024, 7 * 7 * 128)]
    shapes = [tuple(part.weight.shape) for part in generator.modules() if isinstance(part, nn.ConvTranspose2d)]
    assert shapes == [(128, 64, 4, 4), (64, 1, 4, 4)]
    judge = make_meta("infogan", "encoder", DIGITS, {"category_0": 10, "continuous": 2, "score": 1})
    dense = [(part.in_features, part.out_features) for part in judge.modules() if isinstance(part, nn.Linear)]
    assert dense == [(7 * 7 * 128, 1024), (1024, 128), (128, 10), (1024, 128), (128, 2), (1024, 1)]
    shapes = [tuple(part.weight.shape) for part in judge.modules() if isinstance(part, nn.Conv2d)]
    assert shapes == [(64, 1, 4, 4), (128, 64, 4, 4)]


def test_the_largest_of_a_category_is_seen_as_1_and_what_is_no_category_as_it_is(make):
    generator = make("infogan", "decoder", (1, 8, 8), 7, width=0.05, categories=[3, 2])
    seen = generator.entrance(torch.tensor([[0.1, 0.9, -0.3, -0.5, -0.7, 0.25, -2.0]]))
    assert seen.tolist() == [[0, 1, 0, 1, 0, 0.25, -2]]
    plain = make("infogan", "decoder", (1, 8, 8), 3, width=0.05)
    assert plain.entrance(torch.tensor([[0.5, -1.0, 2.0]])).tolist() == [[0.5, -1, 2]]


@pytest.mark.parametrize("categories", [[1], [4, 4]])
def test_categories_that_cannot_be_are_refused_in_words(categories, make):
    with pytest.raises(UserError, match="sizes of 2 or more, which are 7 latents or fewer"):
        make("infogan", "decoder", (1, 8, 8), 7, categories=categories)
