"""StarGAN (Choi et al. 2018, arXiv 1711.09020): one translator for all domains, and a discriminator that names them.

As in the authors' code: 64, 128, 256 channels, residual blocks, instance norm with affine parameters, no biases in the
translator; six strided layers without a norm, with biases and LeakyReLU 0.01, in the encoder. Weights begin as torch's
layers do. Unlike there, instance norm keeps no running statistics: in evaluation mode it would use them, and the
pictures be bad; training is the same.

The depth of the translator is a matter of options, and which of its layers are frugal one of family rules; so are the
depthwise forms (Ngxande et al. 2019, arXiv 1903.02225).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture, scaled
from frugan.nets._condition import Entrance
from frugan.nets._encoder import Encoder
from frugan.nets._translator import Style, Translator
from frugan.nets._translator import translator as build
from frugan.ranges import Count, Repeats, Times
from frugan.registry import UserError

MOST_STAGES = 6


def translator(
    image: ImageShape, layers: Layers, classes: int = 0, *, width: float = 1.0, channels: Count = 64,
    stages: Repeats = 2, blocks: Repeats = 6, block_layers: Sequence[Times] = (2,),
) -> Translator:
    """Images in -1 to 1 and labels to images. Roles: ``stem``, ``down.i``, ``block.i.j``, ``up.i``, ``output``.

    Labels join the image as constant planes. Zeros around the first layer's input are what carries them: a convolution
    makes a constant shift of a constant plane, which instance norm removes everywhere but at the border.

    Args:
        channels: of the first layer; every stage doubles them.
        stages: how often the image is halved and doubled again.
        blocks: residual blocks at the smallest size.
        block_layers: 3 x 3 layers in a block: one number for all, or one for each block.
    """
    style = Style(7, 4, None, None, False, False, True, "zeros", "zeros")
    entrance = Entrance("join", classes, tuple(image))
    return build(
        image, layers, entrance, style, width=width, channels=channels, stages=stages, blocks=blocks,
        block_layers=block_layers,
    )


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Count = 64, stages: Repeats | None = None,
) -> Encoder:
    """Images to outputs. Roles: ``stem``, ``down.0``, ``down.1`` ... and ``down.last``.

    ``score`` is a map, one logit for each place, by a 3 x 3 layer; every other output one set of numbers for the
    image, by a layer of the size of the last map.

    Args:
        channels: of the first layer; every one after it has twice as many.
        stages: strided layers; if left out, as many as leave at least 2 x 2 pixels, at most 6 as in the paper.
    """
    possible, height, width_ = 0, image.height, image.width
    while min(height, width_) >= 4 and height % 2 == width_ % 2 == 0 and possible < (stages or MOST_STAGES):
        possible, height, width_ = possible + 1, height // 2, width_ // 2
    if possible < (stages or 1):
        raise UserError(
            f"The encoder of 'stargan' halves the image {stages or 1} times and must end with 2 x 2 pixels or more, "
            f"which is impossible for {image.height} x {image.width}. Possible are at most {possible}. Set stages, or "
            "give another data.size."
        )
    now = scaled(channels, width)
    entrance = Entrance("join", classes, tuple(image))
    built: list[nn.Module] = []
    before = entrance.channels
    for stage in range(possible):
        # The last one, with most of the weights, has the same name at every image size, for rules to single it out.
        role = "stem" if stage == 0 else "down.last" if stage == possible - 1 else f"down.{stage - 1}"
        built.append(nn.Sequential(layers.down(role, before, now, 4), nn.LeakyReLU(0.01, inplace=True)))
        before, now = now, 2 * now

    def head(name: str, size: int) -> nn.Module:
        if name == "score":
            return nn.Conv2d(before, size, 3, padding=1, bias=False)
        return nn.Conv2d(before, size, (height, width_), bias=False)

    return Encoder(image, outputs, entrance, classes, built, nn.Identity(), head)


variant = Architecture("stargan", encoder=encoder, translator=translator)
