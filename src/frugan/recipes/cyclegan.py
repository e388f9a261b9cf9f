"""CycleGAN: translation between two sets of images without pairs (Zhu et al. 2017, arXiv 1703.10593)."""

from __future__ import annotations

from dataclasses import replace

from frugan.recipe import Choice, Data, Network, Player, Recipe, Rule
from frugan.recipes import recipe
from frugan.recipes._tables import WHOLE_OUTPUT

SOURCE = "Zhu et al. 2017, arXiv 1703.10593; junyanz/pytorch-CycleGAN-and-pix2pix"

# What `--family depthwise` means in these networks: the residual layers only, as is usual for small devices.
TABLES: dict[str, tuple[Rule, ...]] = {**WHOLE_OUTPUT, "depthwise": (Rule("block.*", "depthwise"),)}


@recipe
def cyclegan() -> Recipe:
    """CycleGAN for 256 x 256: nine residual blocks, 70 x 70 PatchGAN, image pools, identity loss; glasses on and off.

    For a folder with subfolders A and B: ``frugan train cyclegan --data FOLDER 'streams.a.only=["A"]'
    'streams.b.only=["B"]'``. For two folders:
    ``streams.a.source=FOLDER streams.b.source=FOLDER streams.a.only=[] streams.b.only=[]``.
    """
    players = {"generator": ("generator_ab", "generator_ba"), "discriminator": ("discriminator_a", "discriminator_b")}
    # 100 epochs at the same rate and 100 in which it falls.
    schedule = Choice("linear", {"hold": 0.5, "steps": 200})
    return Recipe(
        name="cyclegan", system="CycleGAN", source=SOURCE,
        expects="each generator 11,378,179 and each discriminator 2,764,737 parameters",
        data=Data("portraits", 256, 3),
        streams={"a": {"only": ["not glasses"]}, "b": {"only": ["glasses"]}},
        networks={
            **{name: Network("cyclegan", tables=TABLES) for name in players["generator"]},
            **{name: Network("patch") for name in players["discriminator"]},
        },
        players={
            name: Player(networks, 2e-4, betas=(0.5, 0.999), schedule=schedule) for name, networks in players.items()
        },
        images=533_600, game=Choice("cycle"), loss=Choice("lsgan", {"generator_weight": 1.0}),
        augment=(Choice("crop"), Choice("flip")), batch_size=1,
    )


@recipe
def cyclegan_6() -> Recipe:
    """CycleGAN for 128 x 128: six residual blocks."""
    plain = cyclegan()
    networks = {
        name: replace(network, options={"blocks": 6} if network.architecture == "cyclegan" else {})
        for name, network in plain.networks.items()
    }
    return replace(
        plain, name="cyclegan-6", networks=networks, data=replace(plain.data, size=128),
        expects="each generator 7,837,699 and each discriminator 2,764,737 parameters",
    )
