"""CycleGAN's translator (Zhu et al. 2017, arXiv 1703.10593): residual blocks, padding by reflection.

As in the authors' PyTorch code: 64, 128, 256 channels, 3 x 3 layers that halve and double, instance norm without
parameters and without running statistics, weights from N(0, 0.02). Its discriminator is `patch`.
"""

from __future__ import annotations

from collections.abc import Sequence

from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture
from frugan.nets._condition import Entrance
from frugan.nets._initialise import initialise
from frugan.nets._translator import Style, Translator
from frugan.nets._translator import translator as build
from frugan.ranges import Count, Repeats, Times


def translator(
    image: ImageShape, layers: Layers, classes: int = 0, *, width: float = 1.0, channels: Count = 64,
    stages: Repeats = 2, blocks: Repeats = 9, block_layers: Sequence[Times] = (2,), biases: bool = True,
) -> Translator:
    """Images in -1 to 1 to images. Roles: ``stem``, ``down.i``, ``block.i.j``, ``up.i``, ``output``.

    With labels, which the original has none of, the first layer is padded with zeros: by reflection nothing of them
    would be left after the norm.

    Args:
        channels: of the first layer; every stage doubles them.
        stages: how often the image is halved and doubled again.
        blocks: residual blocks: 9 for 256 x 256 and above, 6 for 128 x 128.
        block_layers: 3 x 3 layers in a block: one number for all, or one for each block.
        biases: in every layer as in the authors' code, though a norm cancels all but the last; else in the last only.
    """
    style = Style(7, 3, (1, 1), (1, 0), biases, True, False, "zeros" if classes else "reflect", "reflect")
    entrance = Entrance("join", classes, tuple(image))
    network = build(
        image, layers, entrance, style, width=width, channels=channels, stages=stages, blocks=blocks,
        block_layers=block_layers,
    )
    initialise(network, "dcgan")
    return network


variant = Architecture("cyclegan", translator=translator)
