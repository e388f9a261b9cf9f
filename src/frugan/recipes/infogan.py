"""InfoGAN (Chen et al. 2016, arXiv 1606.03657)."""

from __future__ import annotations

from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe
from frugan.recipes import recipe
from frugan.recipes._tables import WHOLE_OUTPUT


@recipe
def infogan() -> Recipe:
    """Digits with codes that nobody labelled: ten categories, two continuous codes and 62 numbers of noise.

    The run's pictures walk along each code. ``frugan evaluate RUN --metrics code_accuracy`` says how well the category
    tells the class. ``game.weight=0 game.continuous_weight=0`` is the same GAN without codes. For other numbers of
    codes give ``game.categories=[10,10] generator.categories=[10,10]``.
    """
    adam = {"betas": (0.5, 0.999)}
    codes = [10]
    return Recipe(
        name="infogan", system="InfoGAN", source="Chen et al. 2016, arXiv 1606.03657, appendix C.1",
        expects="a category that tells digits apart: 5 % wrong, as published", data=Data("mnist", 28, 1, 10),
        networks={
            "generator": Network("infogan", {"categories": codes}, tables=WHOLE_OUTPUT),
            "discriminator": Network("infogan"),
        },
        players={
            "generator": Player(("generator",), 1e-3, **adam), "discriminator": Player(("discriminator",), 2e-4, **adam)
        },
        images=3_000_000, game=Choice("infogan", {"categories": codes, "continuous": 2}),
        latents=LatentsChoice(74, "uniform"), batch_size=128,
        averages={"generator": Average(10_000.0, ramp=0.1), "discriminator": Average(10_000.0, ramp=0.1)},
    )
