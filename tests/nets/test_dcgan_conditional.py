from __future__ import annotations

import torch

MNIST, SCORE = (1, 28, 28), {"score": 1}


def test_dcgan_sheet_2_6_conditional_mnist_counts(make_meta, count):
    assert count(make_meta("dcgan_conditional", "decoder", MNIST, 100, classes=10)).trainable == 6_820_538
    assert count(make_meta("dcgan_conditional", "encoder", MNIST, SCORE, classes=10)).trainable == 6_688_202


def test_dcgan_sheet_2_5_norms_have_no_scale_or_shift(make_meta):
    for part, size in (("decoder", 100), ("encoder", SCORE)):
        network = make_meta("dcgan_conditional", part, MNIST, size, classes=10)
        names = [name for name, _ in network.named_parameters()]
        assert all(name.endswith("weight") for name in names)
        assert len(names) == 4


def test_dcgan_sheet_2_5_labels_meet_every_layer(make):
    """Of each layer's weights, those for the label's channels get a gradient only where the label is on."""
    decoder = make("dcgan_conditional", "decoder", MNIST, 6, classes=10, width=0.125)
    labels = torch.tensor([2, 2, 7, 7])
    images = decoder(torch.randn(4, 6), labels)
    assert images.min() >= 0
    assert images.max() <= 1
    images.sum().backward()
    encoder = make("dcgan_conditional", "encoder", MNIST, SCORE, classes=10, width=0.125)
    encoder(torch.rand(4, *MNIST), labels)["score"].sum().backward()
    for network in (decoder, encoder):
        for name, weight in network.named_parameters():
            transposed = weight.dim() == 4 and network is decoder
            of_labels = weight.grad.transpose(0, 1)[-10:] if not transposed else weight.grad[-10:]
            on = of_labels.flatten(1).abs().sum(1) > 0
            assert on.nonzero().flatten().tolist() == [2, 7], name
