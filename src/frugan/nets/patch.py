"""PatchGAN: a discriminator that scores overlapping patches instead of the whole image.

Isola et al. 2017 (arXiv 1611.07004), in the form that CycleGAN (arXiv 1703.10593) trains: 4 x 4 layers, instance norm
without parameters everywhere but in the first and the last layer, LeakyReLU 0.2, weights from N(0, 0.02).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture, scaled
from frugan.nets._condition import Entrance
from frugan.nets._encoder import Encoder
from frugan.nets._initialise import initialise
from frugan.nets._means import MapMeans
from frugan.ranges import Count, Repeats
from frugan.registry import UserError


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Count = 64, stages: Repeats = 3, normalisation: str = "instance_norm",
) -> Encoder:
    """Images to outputs. Roles: ``stem``, ``down.0``, ``down.1`` ...; the two layers of stride 1 have none.

    ``score`` is a map, one logit for each patch; every other output is averaged over the patches.

    Args:
        channels: of the first layer; doubled by every layer up to eight times as many.
        stages: layers of stride 2. With 1, 2, 3, 4, 5 a patch is 16, 34, 70, 142, 286 pixels wide.
        normalisation: "instance_norm" or "none".
    """
    if stages < 1:
        raise UserError(f"stages={stages}: 'patch' needs 1 or more layers of stride 2. The paper has 3.")
    if normalisation not in ("instance_norm", "none"):
        raise UserError(f"normalisation={normalisation!r}: 'patch' takes instance_norm or none.")
    smallest = min(image.height, image.width) // 2**stages
    if smallest - 2 < 1 or (normalisation == "instance_norm" and smallest - 1 < 2):
        raise UserError(
            f"'patch' with stages={stages} needs images of {3 * 2 ** stages} x {3 * 2 ** stages} pixels or more, but "
            f"these are {image.height} x {image.width}. Give fewer stages or a larger data.size."
        )
    entrance = Entrance("join", classes, tuple(image))
    base = now = scaled(channels, width)

    def finished(layer: nn.Module, features: int) -> nn.Module:
        norm = [nn.InstanceNorm2d(features)] if normalisation == "instance_norm" else []
        return nn.Sequential(layer, *norm, nn.LeakyReLU(0.2, inplace=True))

    built: list[nn.Module] = [
        nn.Sequential(layers.down("stem", entrance.channels, now, 4), nn.LeakyReLU(0.2, inplace=True))
    ]
    for stage in range(1, stages):
        after = base * min(2**stage, 8)
        built.append(finished(layers.down(f"down.{stage - 1}", now, after, 4), after))
        now = after
    after = base * min(2**stages, 8)
    built.append(finished(nn.Conv2d(now, after, 4, padding=1), after))

    def head(name: str, size: int) -> nn.Module:
        patches = nn.Conv2d(after, size, 4, padding=1)
        return patches if name == "score" else nn.Sequential(patches, MapMeans())

    network = Encoder(image, outputs, entrance, classes, built, nn.Identity(), head)
    initialise(network, "dcgan")
    return network


variant = Architecture("patch", encoder=encoder)
