from __future__ import annotations

import torch
from torch import Tensor

from frugan import classifying
from frugan.batch import ImageShape
from frugan.classifying import images_shown, input_size, network


def stripes(count: int = 80) -> tuple[Tensor, Tensor]:
    """Lying and standing stripes in noise, 8 x 8: labels 0 and 1."""
    images = torch.randint(0, 90, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(count) % 2
    images[labels == 0, :, ::2] += 120
    images[labels == 1, :, :, ::2] += 120
    return images, labels


def parameters(*shape: int, classes: int = 10) -> int:
    return sum(tensor.numel() for tensor in network(ImageShape(*shape), classes).parameters())


def test_metrics_sheet_2_14_parameters() -> None:
    assert parameters(1, 28, 28) == 1_199_882
    assert network(ImageShape(1, 28, 28), 10)[7].in_features == 9216


def test_the_net_fits_other_images() -> None:
    assert input_size(ImageShape(3, 32, 32)) == (32, 32)
    assert input_size(ImageShape(1, 128, 128)) == (32, 32)
    assert input_size(ImageShape(3, 64, 48)) == (32, 24)
    assert parameters(3, 64, 64, classes=4) == parameters(3, 32, 32, classes=4)


def test_training_shows_whole_batches_and_no_image_too_often() -> None:
    assert images_shown(60_000) == images_shown(10_000) == 468 * 128
    assert images_shown(100) == 15 * 128
    assert images_shown(3) == 128


def test_learns_from_the_rows_that_are_given_and_from_no_other() -> None:
    images, labels = stripes()
    rows = torch.arange(60)
    net = classifying.train(images, labels, rows, 2, seed=0, device="cpu")
    assert torch.equal(classifying.classify(net, images[60:]), labels[60:])
    others = torch.cat([labels[:60], 1 - labels[60:]])
    again = classifying.train(images, others, rows, 2, seed=0, device="cpu")
    other = classifying.train(images, labels, rows, 2, seed=1, device="cpu")
    weights = [torch.cat([tensor.flatten() for tensor in one.parameters()]) for one in (net, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_what_is_told_follows_from_the_image_alone() -> None:
    images, labels = stripes()
    net = classifying.train(images, labels, torch.arange(80), 2, seed=0, device="cpu")
    predictions = classifying.predict(net, images)
    assert predictions.features.shape == (80, 128)
    assert torch.allclose(predictions.log_probabilities.exp().sum(1), torch.ones(80), atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(classifying.predict(net, images).features, predictions.features)
    assert (classifying.predict(net, images[:1]).features - predictions.features[:1]).abs().max() < 1e-5
    assert not predictions.features.requires_grad
