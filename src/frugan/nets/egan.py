"""E-GAN's networks for 32 x 32 images (Wang et al. 2018, arXiv 1803.00657), in both sizes of the authors' PyTorch code.

Strided layers of 4 x 4. The decoder has ReLU, tanh and biases, and no norm; the encoder LeakyReLU 0.2, and batch norm
after every layer but the first. Weights from N(0, 0.02). The defaults are the present version, as large as the nets of
the paper's Theano code: 3,447,683 and 2,638,209 parameters. The first version also has a 3 x 3 layer at the size of the
image in both, and no biases in the encoder (``ends="kept"``, ``bias=False``): 12,653,827 and 11,033,473.

The image is halved while at least 4 pixels are left. The projection from 1 x 1 to the first map is no family's layer.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from frugan.batch import ImageShape
from frugan.convs import Layers, Transposed
from frugan.nets import Architecture, scaled
from frugan.nets._choices import halvings, one_of
from frugan.nets._condition import Entrance
from frugan.nets._decoder import Decoder
from frugan.nets._encoder import Encoder, simple_encoder
from frugan.nets._initialise import initialise
from frugan.nets._norms import encoder_norm
from frugan.nets._spectral import spectral
from frugan.ranges import Count

ENDS = ("strided", "kept")
NORMALISATIONS = ("none", "batch_norm")
KERNEL = 4


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Count = 128, ends: str = "strided", normalisation: str = "none", condition: str = "join",
) -> Decoder:
    """Latents ``[n, latents]`` to images in -1 to 1. Roles: ``up.0``, ``up.1`` ..., ``output``.

    Args:
        channels: base width, of the last inner layer; every stage before it has twice as many.
        ends: the layer that makes the image doubles the size ("strided"), or follows the last doubling and is 3 x 3
            ("kept").
        normalisation: "none", as published, or "batch_norm" after every layer but the last.
        condition: how labels enter, "join" or "multiply".
    """
    stages, height, width_ = halvings(image, "The decoder of 'egan'")
    kept = one_of("ends", ends, ENDS) == "kept"
    entrance = Entrance(condition, classes, (latents,))
    doubled = stages if kept else stages - 1
    normed = one_of("normalisation", normalisation, NORMALISATIONS) == "batch_norm"
    now = scaled(channels, width) * 2**doubled
    body: list[nn.Module] = [
        nn.Unflatten(1, (entrance.channels, 1, 1)), Transposed(entrance.channels, now, (height, width_))
    ]
    for stage in range(doubled):
        body += [*_rectified(now, normed), layers.up(f"up.{stage}", now, now // 2, KERNEL)]
        now //= 2
    body += _rectified(now, normed)
    last = layers.same("output", now, image.channels, 3) if kept else layers.up("output", now, image.channels, KERNEL)
    network = Decoder(image, latents, entrance, nn.Sequential(*body, last, nn.Tanh()))
    initialise(network, "dcgan")
    return network


def _rectified(channels: int, normed: bool) -> list[nn.Module]:
    return [*([nn.BatchNorm2d(channels)] if normed else []), nn.ReLU(inplace=True)]


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Count = 128, ends: str = "strided", bias: bool = True, normalisation: str = "batch_norm",
    condition: str = "join",
) -> Encoder:
    """Images to outputs. Roles: ``stem``, ``down.0``, ``down.1`` ...

    Args:
        channels: base width, of the first layer; every stage after it has twice as many.
        ends: the layer that sees the image halves it ("strided"), or is 3 x 3 and keeps its size ("kept").
        bias: of the convolutions; the heads have one always.
        normalisation: "batch_norm" after every layer but the first, "layer_norm" there, "spectral" on every weight, or
            "none".
        condition: how labels enter, "join" or "multiply".
    """
    stages, height, width_ = halvings(image, "The encoder of 'egan'")
    kept = one_of("ends", ends, ENDS) == "kept"
    entrance = Entrance(condition, classes, tuple(image))
    now = scaled(channels, width)
    first = layers.same("stem", entrance.channels, now, 3, bias=bias) if kept else layers.down(
        "stem", entrance.channels, now, KERNEL, bias=bias
    )
    built: list[nn.Module] = [nn.Sequential(first, nn.LeakyReLU(0.2, inplace=True))]
    for stage in range(stages if kept else stages - 1):
        halving = layers.down(f"down.{stage}", now, 2 * now, KERNEL, bias=bias)
        now *= 2
        built.append(nn.Sequential(halving, *encoder_norm(normalisation, now), nn.LeakyReLU(0.2, inplace=True)))
    network = simple_encoder(image, outputs, entrance, built, now * height * width_)
    initialise(network, "dcgan")
    if normalisation == "spectral":
        spectral(network)
    return network


variant = Architecture("egan", decoder=decoder, encoder=encoder)
