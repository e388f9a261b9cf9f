"""DCGAN (Radford, Metz and Chintala 2016, arXiv 1511.06434), in the forms that the paper and its code bases use.

Strided layers only, batch norm everywhere but at the images, ReLU and tanh in the decoder, LeakyReLU 0.2 in the
encoder, no biases, weights from N(0, 0.02). The defaults are the paper's 64-pixel faces nets: 5 x 5 kernels, base width
128. The well-known Torch and PyTorch example has 4 x 4 kernels, base width 64, and convolutions at both ends
(``kernel=4, channels=64, projection="convolution", projection_norm="channel"`` and ``head="convolution"``). The
32-pixel ImageNet nets have ``kernel=3, layers_per_stage=2``.

The number of stages follows from the image: it is halved while at least 4 pixels are left. Padding is even on both
sides where the kernel is odd, as in those codes, which shifts the decoder by a pixel against Keras.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from frugan.batch import ImageShape
from frugan.convs import Layers, Pads, Transposed
from frugan.nets import Architecture, scaled
from frugan.nets._choices import halvings, one_of
from frugan.nets._condition import Entrance
from frugan.nets._decoder import Decoder
from frugan.nets._encoder import Encoder, Flatten
from frugan.nets._initialise import initialise
from frugan.nets._norms import encoder_norm, set_batch_norms
from frugan.nets._spectral import spectral
from frugan.ranges import Count, Repeats, Side
from frugan.registry import UserError


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Count = 128, kernel: Side = 5, layers_per_stage: Repeats = 1, projection: str = "dense",
    projection_norm: str = "unit", eps: float = 1e-5, condition: str = "join",
) -> Decoder:
    """Latents ``[n, latents]`` to images in -1 to 1. Roles: ``up.0``, ``up.1`` ..., ``block.i``, ``output``.

    Args:
        channels: base width, of the last inner layer; every stage before it has twice as many.
        kernel: of all layers between the projection and the image.
        layers_per_stage: 1, or 2 for a layer ``block.i`` that keeps the size after each ``up.i``.
        projection: "dense", or "convolution", a transposed one of the size of the first map.
        projection_norm: batch norm over every "unit" of the projection or every "channel".
        eps: of the batch norms.
        condition: how labels enter, "join" or "multiply".
    """
    stages, height, width_ = halvings(image, "The decoder of 'dcgan'")
    _check(kernel, layers_per_stage)
    entrance = Entrance(condition, classes, (latents,))
    now = scaled(channels, width) * 2 ** (stages - 1)
    units = now * height * width_
    body: list[nn.Module] = []
    if one_of("projection", projection, ("dense", "convolution")) == "dense":
        body += [nn.Linear(entrance.channels, units, bias=False), nn.Unflatten(1, (now, height, width_))]
    else:
        body += [
            nn.Unflatten(1, (entrance.channels, 1, 1)),
            Transposed(entrance.channels, now, (height, width_), bias=False),
        ]
    if one_of("projection_norm", projection_norm, ("unit", "channel")) == "unit":
        body += [nn.Flatten(), nn.BatchNorm1d(units), nn.Unflatten(1, (now, height, width_)), nn.ReLU(inplace=True)]
    else:
        body += [nn.BatchNorm2d(now), nn.ReLU(inplace=True)]
    for stage in range(stages):
        last, after = stage == stages - 1, now // 2
        doubled = now if layers_per_stage == 2 else image.channels if last else after
        name = "output" if last and layers_per_stage == 1 else f"up.{stage}"
        body += [layers.up(name, now, doubled, kernel, bias=False, padding=_around(kernel, kernel - 2))]
        if layers_per_stage == 2:
            body += [nn.BatchNorm2d(doubled), nn.ReLU(inplace=True)]
            name, kept = ("output", image.channels) if last else (f"block.{stage}", after)
            body += [layers.up(name, now, kept, kernel, stride=1, bias=False, padding=_around(kernel, kernel - 1))]
        body += [nn.Tanh()] if last else [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        now = after
    network = Decoder(image, latents, entrance, nn.Sequential(*body))
    set_batch_norms(network, eps=eps, momentum=0.1)
    initialise(network, "dcgan")
    return network


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Count = 128, kernel: Side = 5, layers_per_stage: Repeats = 1, head: str = "dense",
    normalisation: str = "batch_norm", eps: float = 1e-5, condition: str = "join",
) -> Encoder:
    """Images to outputs. Roles: ``stem``, ``down.0``, ``down.1`` ..., and ``block.i``.

    Args:
        channels: base width, of the first layer; every stage after it has twice as many.
        kernel: of all layers but the head.
        layers_per_stage: 1, or 2 for a layer that keeps the size before each one that halves it.
        head: "dense" on the flattened last map, or "convolution", an unpadded one of its size.
        normalisation: "batch_norm" after every layer but the first as in the paper, "layer_norm" there, "spectral" on
            every weight, or "none". With the last two every layer has a bias.
        eps: of the batch norms.
        condition: how labels enter, "join" or "multiply".
    """
    stages, height, width_ = halvings(image, "The encoder of 'dcgan'")
    _check(kernel, layers_per_stage)
    now = scaled(channels, width)
    one_of("head", head, ("dense", "convolution"))
    entrance = Entrance(condition, classes, tuple(image))
    # Without norms, which shift, and without biases a score would grow in proportion to an image's contrast. Grey would
    # be 0, the safest image of a generator that cannot deceive yet.
    bias = normalisation in ("none", "spectral")

    def halve(role: str, before: int, after: int) -> nn.Module:
        # Symmetric, as many zeros after as before, which is one more than halving needs where the kernel is odd.
        half = (kernel - 1) // 2
        return layers.down(role, before, after, kernel, bias=bias, padding=(half, half))

    def keep(role: str, before: int, after: int) -> nn.Module:
        return layers.same(role, before, after, kernel, bias=bias, padding=_around(kernel, kernel - 1))

    def after_norm(convolution: nn.Module, features: int) -> nn.Module:
        return nn.Sequential(convolution, *encoder_norm(normalisation, features), nn.LeakyReLU(0.2, inplace=True))

    first = halve if layers_per_stage == 1 else keep
    built: list[nn.Module] = [nn.Sequential(first("stem", entrance.channels, now), nn.LeakyReLU(0.2, inplace=True))]
    if layers_per_stage == 1:
        for stage in range(stages - 1):
            built.append(after_norm(halve(f"down.{stage}", now, 2 * now), 2 * now))
            now *= 2
    else:
        for stage in range(stages):
            built.append(after_norm(halve(f"down.{stage}", now, now), now))
            if stage < stages - 1:
                built.append(after_norm(keep(f"block.{stage}", now, 2 * now), 2 * now))
                now *= 2

    def head_of(name: str, size: int) -> nn.Module:
        if head == "dense":
            return nn.Linear(now * height * width_, size, bias=bias)
        return nn.Conv2d(now, size, (height, width_), bias=bias)

    neck = Flatten() if head == "dense" else nn.Identity()
    network = Encoder(image, outputs, entrance, classes, built, neck, head_of)
    set_batch_norms(network, eps=eps, momentum=0.1)
    initialise(network, "dcgan")
    if normalisation == "spectral":
        spectral(network)
    return network


def _check(kernel: int, layers_per_stage: int) -> None:
    if layers_per_stage not in (1, 2):
        raise UserError(f"layers_per_stage={layers_per_stage}: 'dcgan' takes 1 or 2.")
    if kernel < 3:
        raise UserError(f"kernel={kernel}: 'dcgan' needs kernels of 3 or more. The paper's codes have 3, 4 and 5.")


def _around(kernel: int, total: int) -> Pads:
    """`total` rows of padding or crop, (kernel - 1) // 2 of them before."""
    half = (kernel - 1) // 2
    return half, total - half


variant = Architecture("dcgan", decoder=decoder, encoder=encoder)
