"""`small`: what `frugan train --data FOLDER` trains. Found by trial, see docs/results/small.md."""

from __future__ import annotations

from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe
from frugan.recipes import recipe
from frugan.recipes._tables import WHOLE_OUTPUT

SOURCE = (
    "our own; layout and loss of DCGAN (arXiv 1511.06434), R1 of Mescheder et al. 2018 (arXiv 1801.04406), augmenting "
    "as Zhao et al. 2020 (arXiv 2006.10738)"
)


@recipe
def small() -> Recipe:
    """A small generator from a folder of images, in minutes and without a GPU.

    ``frugan train --data FOLDER`` trains it with settings that suit the folder. By its name it is trained as it is
    here, on images of 64 pixels.
    """
    rate = {"learning_rate": 1e-3, "betas": (0.0, 0.99)}
    return Recipe(
        name="small", system="small", source=SOURCE, expects="G 956,867 and D 694,241 parameters",
        data=Data("portraits", 64, 3),
        networks={"generator": Network("small", tables=WHOLE_OUTPUT), "discriminator": Network("small")},
        players={"generator": Player(("generator",), **rate), "discriminator": Player(("discriminator",), **rate)},
        images=100_000, batch_size=16, penalties=(Choice("r1", {"weight": 2.0, "every": 4}),),
        augment=(Choice("diff_augment", {"colour": False, "cutout": 0.0}),),
        latents=LatentsChoice(64), averages={"generator": Average(10_000.0, ramp=0.1)},
    )
