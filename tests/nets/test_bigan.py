"""The sheet's facts of BiGAN's dense networks (sections 2a and 5)."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import find
from frugan.registry import UserError

MNIST, LATENTS = (1, 28, 28), {"latents": 50}


def make_joint(outputs=None, classes=0, **options):
    return find("bigan").part("joint")(ImageShape(*MNIST), 50, outputs or {"score": 1}, Layers(), classes, **options)


def test_bigan_sheet_2a_counts(make_meta, count):
    assert count(make_meta("bigan", "decoder", MNIST, 50)).trainable == 1_953_792
    assert count(make_meta("bigan", "encoder", MNIST, LATENTS)).trainable == 1_902_592
    assert count(make_meta("bigan", "encoder", MNIST, {"score": 1})).trainable == 1_852_416
    with torch.device("meta"):
        assert count(make_joint()).trainable == 1_903_616


def test_bigan_sheet_2a_layers(make_meta):
    decoder, encoder = make_meta("bigan", "decoder", MNIST, 50), make_meta("bigan", "encoder", MNIST, LATENTS)
    with torch.device("meta"):
        joint = make_joint()
    for network, shapes in {
        decoder: [(1024, 50), (1024, 1024), (1024, 50), (784, 1024)],
        encoder: [(1024, 784), (1024, 1024), (50, 1024)],
        joint: [(1024, 784), (1024, 1024), (1024, 50), (1, 1024)],
    }.items():
        assert [tuple(parameter.shape) for parameter in network.parameters()] == shapes
        norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm1d)]
        assert len(norms) == (2 if network is decoder else 1)
        assert {(norm.eps, norm.affine) for norm in norms} == {(1e-8, False)}


def test_bigan_sheet_2a_the_decoder_by_hand(make):
    network = make("bigan", "decoder", MNIST, 50, width=0.1)
    first, second, again, last = network.parameters()
    latents = torch.randn(6, 50)

    def normed(x):
        return (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-8).sqrt()

    hidden = functional.relu(normed(latents @ first.T))
    hidden = functional.relu(normed(hidden @ second.T + latents @ again.T))
    torch.testing.assert_close(network(latents), torch.sigmoid(hidden @ last.T).view(6, *MNIST))


def test_bigan_sheet_2a_the_joint_part_by_hand():
    network = make_joint(outputs={"classes": 3}, width=0.1)
    first, second, vector, last = network.parameters()
    images, vectors = torch.rand(6, *MNIST), torch.randn(6, 50)
    hidden = functional.leaky_relu(images.flatten(1) @ first.T, 0.2) @ second.T + vectors @ vector.T
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-8).sqrt()
    torch.testing.assert_close(network(images, vectors)["classes"], functional.leaky_relu(hidden, 0.2) @ last.T)


def test_bigan_sheet_5_fact_3_the_score_begins_at_0_and_all_other_weights_small(make):
    images, vectors = torch.rand(4, *MNIST), torch.randn(4, 50)
    joint, encoder = make_joint(), make("bigan", "encoder", MNIST, {"score": 1, "latents": 50})
    assert joint.outputs == {"score": 1}
    for network, scores in ((joint, joint(images, vectors)["score"]), (encoder, encoder(images)["score"])):
        assert torch.equal(scores, torch.zeros(4, 1))
        deviations = [parameter.std() for parameter in network.parameters() if parameter.any()]
        torch.testing.assert_close(torch.stack(deviations), torch.full((len(deviations),), 0.02), rtol=0.02, atol=0)


def test_bigan_sheet_5_fact_7_latents_lie_in_minus_1_to_1_and_can_be_left_free(make):
    torch.manual_seed(0)
    bounded = make("bigan", "encoder", MNIST, LATENTS, width=0.1)
    free = make("bigan", "encoder", MNIST, LATENTS, width=0.1, bounded=[])
    with torch.no_grad():
        for mine, theirs in zip(bounded.parameters(), free.parameters(), strict=True):
            mine.mul_(20)
            theirs.copy_(mine)
    images = torch.rand(4, *MNIST)
    latents, raw = bounded(images)["latents"], free(images)["latents"]
    assert latents.abs().max() < 1 < raw.abs().max()
    torch.testing.assert_close(latents, 2 * torch.sigmoid(raw) - 1)


def test_labels_join_the_vector_of_a_joint_part_and_other_vectors_are_refused():
    network = make_joint(classes=10)
    assert network.second.vector.in_features == 60
    with pytest.raises(UserError, match=r"vectors have the shape \[2, 49\], but this network needs \[count, 50\]"):
        network(torch.zeros(2, *MNIST), torch.zeros(2, 49), torch.tensor([0, 1]))
