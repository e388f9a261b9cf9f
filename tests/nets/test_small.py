"""The nets `small`: within their budget of parameters, for images that are not square, with labels by projection."""

from __future__ import annotations

import pytest
import torch

from frugan import build, recipes
from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import small


@pytest.mark.parametrize(("size", "most"), [(64, 5_000_000), ((64, 96), 5_000_000), (32, 1_000_000)])
def test_both_nets_together_keep_to_the_parameters_that_the_recipe_may_have(size, most):
    recipe = recipes.find("small").with_changes({"data.size": size})
    networks = build.assemble(recipe).networks
    assert sum(p.numel() for network in networks.values() for p in network.parameters()) <= most


def test_images_keep_their_shape_from_latents_to_scores():
    shape = ImageShape(1, 40, 32)
    made = small.decoder(shape, 8, Layers(), width=0.125)(torch.randn(3, 8))
    assert made.shape == (3, *shape)
    judged = small.encoder(shape, {"score": 1, "other": 4}, Layers(), width=0.125)(made)
    assert {name: tuple(value.shape) for name, value in judged.items()} == {"score": (3, 1), "other": (3, 4)}


def test_labels_change_the_score_by_the_product_of_their_row_with_the_maps_means():
    torch.manual_seed(0)
    network = small.encoder(ImageShape(3, 16, 16), {"score": 1}, Layers(), classes=5, width=0.25)
    images, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 4, 2, 2])
    means = network.features(images, labels)[-1].mean((2, 3))
    told = (network.table.rows.weight[labels] * means).sum(1, keepdim=True)
    with torch.no_grad():
        plain = network.heads["score"](network.flatten(network.features(images, labels)[-1]))
    assert torch.allclose(network(images, labels)["score"], plain + told, atol=1e-6)
