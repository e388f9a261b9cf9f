"""Recipes at equal seconds on one data set: the Fréchet distance against seconds of training, as lines and a plot.

    python benchmarks/equal_seconds.py --data portraits --limit 500 --seconds 150 small dcgan-64 "small batch_size=8"

Each arm is a recipe's name with values as key=value, or `plain`: the loop in `_plain_dcgan.py`, in the well-known
example's manner (64 pixels whatever the size, batches of 128, float32). Seconds are those of the processor in rounds
alone, with one thread: neither other work on the machine nor looking counts. At each look 1,000 images, of our
generators' averages, are compared with held-out ones (2,000 at most), in the view `classifier` of the data that --judge
names, at 32 pixels. Only values of one judge and one data set may be compared. At the end the images are also compared
with those that were trained on: are they copies? Every finished run is appended to --results, one JSON line
each; --plot draws what stands there.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from _plain_dcgan import LATENTS, initial_weights, make_plain
from torch import Tensor, nn

from frugan import build, data, kernels, memory, metrics, recipes, views
from frugan.batch import Batch, from_bytes, to_bytes
from frugan.engine.loop import moment_of, play_round
from frugan.pictures import save_grid
from frugan.recipe import Recipe, parse_value
from frugan.resizing import area

SIDE, COUNT, MOST, PLAIN_BATCH = 32, 1000, 2000, 128
LOOKS = (30, 60, 100, 150, 200, 300, 450, 600, 900, 1200)


def recipe_of(arm: str, asked: argparse.Namespace, seed: int) -> Recipe:
    """The recipe that an arm names, on the data of this benchmark."""
    name, *keys = arm.split()
    changes = {key: parse_value(value) for key, _, value in (one.partition("=") for one in keys)}
    recipe = recipes.find(name)
    wanted = replace(
        recipe.data, source=asked.data, size=asked.size, channels=asked.channels, limit=asked.limit, classes=0
    )
    return replace(recipe, data=wanted, seed=seed).with_changes(changes)


def features(view: views.View, images: Tensor) -> Tensor:
    """Features of bytes ``[n, c, h, w]`` of any size, as the judge sees them."""
    images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
    if images.shape[2:] != (SIDE, SIDE):
        images = area(images.float(), SIDE, SIDE)
    return torch.cat([view.features(part) for part in images.split(256)])


class Seen(NamedTuple):
    """Real images as the judge sees them: features of held-out ones and of those that are trained on."""

    held_out: Tensor
    trained: Tensor


class Side(Protocol):
    """What is trained: a round at a time, looked at in between."""

    networks: dict[str, nn.Module]

    @property
    def rounds(self) -> int: ...

    @property
    def images(self) -> int: ...

    def play(self) -> None: ...

    def sampled(self) -> Tensor: ...


class Ours:
    """A recipe's run."""

    def __init__(self, arm: str, asked: argparse.Namespace, seed: int) -> None:
        self.recipe = recipe_of(arm, asked, seed)
        assembly, sets = build.assemble(self.recipe), build.datasets(self.recipe)
        mode = kernels.resolve(self.recipe.kernels, assembly.device, self.recipe.whole_rounds)
        self.parts = build.parts(assembly, sets, kernels=mode)
        self.networks: dict[str, nn.Module] = dict(self.parts.game.networks)
        for network in self.parts.trained().values():
            network.train()

    @property
    def rounds(self) -> int:
        return self.parts.clock.rounds

    @property
    def images(self) -> int:
        return self.parts.clock.images

    def play(self) -> None:
        play_round(self.parts)

    def sampled(self) -> Tensor:
        """`COUNT` images as the run would ship them, as bytes."""
        parts, made = self.parts, []
        moment = moment_of(parts, {}, self.recipe.budget)
        like = Batch(parts.batches.first(next(iter(parts.game.streams)), 64).images, None)
        for number in range(-(-COUNT // 64)):
            made.append(to_bytes(moment.sample(like, 1000 + number), parts.batches.image_range))
        return torch.cat(made)[:COUNT]


class Plain:
    """The plain loop over shuffled epochs of images of 64 pixels."""

    def __init__(self, asked: argparse.Namespace, seed: int) -> None:
        self.bytes = data.open_dataset(asked.data, size=64, channels=3, limit=asked.limit).images
        self.random = torch.Generator().manual_seed(seed)
        weights = initial_weights(seed)
        self.generator, self.step = make_plain(weights)
        self.networks: dict[str, nn.Module] = {"generator": self.generator}
        self.rounds = self.images = 0
        self.left: list[int] = []

    def play(self) -> None:
        if not self.left:
            self.left = torch.randperm(len(self.bytes), generator=self.random).tolist()
        chosen, self.left = self.left[:PLAIN_BATCH], self.left[PLAIN_BATCH:]
        real = from_bytes(self.bytes[chosen])
        self.step(real, torch.randn(len(real), LATENTS, generator=self.random))
        self.rounds, self.images = self.rounds + 1, self.images + len(real)

    @torch.no_grad()
    def sampled(self) -> Tensor:
        """`COUNT` images by the norms' running statistics, as bytes."""
        self.generator.eval()
        latents = torch.randn(COUNT, LATENTS, generator=torch.Generator().manual_seed(0))
        made = torch.cat([self.generator(part[:, :, None, None]) for part in latents.split(64)])
        self.generator.train()
        return to_bytes(made)


def run(arm: str, asked: argparse.Namespace, seed: int, view: views.View, real: Seen) -> dict[str, Any]:
    """Train one arm for so many seconds, and look at it now and then."""
    side: Side = Plain(asked, seed) if arm == "plain" else Ours(arm, asked, seed)
    looks = [seconds for seconds in LOOKS if seconds < asked.seconds] + [asked.seconds]
    curve, spent, seen = [], 0.0, torch.empty(0)
    for look in looks:
        while spent < look:
            began = time.process_time()
            side.play()
            spent += time.process_time() - began
        made = side.sampled()
        seen = features(view, made)
        values = metrics.find("kid").compute(
            real=real.held_out, fake=seen, subset_size=min(len(real.held_out), COUNT)
        )
        values |= metrics.find("fid").compute(real=real.held_out, fake=seen)
        about = {"seconds": look, "rounds": side.rounds, "images": side.images}
        curve.append({**about, "fid": values["fid"], "kid": values["kid"]})
        print(f"{arm}, seed {seed}: {curve[-1]}", flush=True)
        if asked.pictures:
            place = f"{asked.name}-{asked.arms.index(arm)}-{arm.split()[0]}-{seed}-{look:g}.png"
            save_grid(made[:32], asked.pictures / place, 8, 1)
    counts = {name: sum(one.numel() for one in net.parameters()) for name, net in side.networks.items()}
    copies = metrics.find("memorisation").compute(real=real.trained, fake=seen, held_out=real.held_out)
    return {
        "data": asked.name, "arm": arm, "seed": seed, "parameters": counts, "curve": curve, "memorisation": copies,
    }  # fmt: skip


def plot(results: Path, path: Path) -> None:
    """One panel for each data set: FID against seconds, a line for each arm and seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = [json.loads(line) for line in results.read_text().splitlines()]
    sets, arms = (list(dict.fromkeys(line[key] for line in lines)) for key in ("data", "arm"))
    names = [arm.split()[0] for arm in arms]
    names = names if len(set(names)) == len(arms) else arms
    figure, panels = pyplot.subplots(1, len(sets), figsize=(4.2 * len(sets), 3.6), squeeze=False)
    for panel, name in zip(panels[0], sets, strict=True):
        for line in lines:
            if line["data"] == name:
                points = [(one["seconds"], one["fid"]) for one in line["curve"]]
                number = arms.index(line["arm"])
                panel.plot(
                    *zip(*points, strict=True), color=f"C{number}", marker="o", markersize=3, linewidth=0.8,
                    label=names[number],
                )  # fmt: skip
        panel.set(title=name, xlabel="seconds of training, one thread", ylabel="FID", yscale="log")
        known = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
        panel.legend(known.values(), known.keys(), fontsize=7)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arms", nargs="*", help='recipes, e.g. small "dcgan-64 batch_size=16", or plain')
    parser.add_argument("--data", default="portraits")
    parser.add_argument("--name", help="the data's name in results (their source if left out)")
    parser.add_argument("--judge", default="cifar10", help="labelled data, of 32 pixels, whose classifier is the view")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--results", type=Path, default=Path("equal_seconds.jsonl"))
    parser.add_argument("--pictures", type=Path, help="a folder for 32 images of each look")
    parser.add_argument("--plot", type=Path, help="draw the results to this file, and train nothing")
    asked = parser.parse_args()
    asked.name = asked.name or asked.data
    if asked.plot:
        plot(asked.results, asked.plot)
        return
    memory.keep()
    torch.set_num_threads(1)
    view = views.build("classifier", dataset=data.open_dataset(asked.judge, size=SIDE, channels=3, limit=20_000))
    of = {"size": asked.size, "channels": asked.channels}
    held_out = data.open_dataset(asked.data, split="test", limit=MOST, **of)
    trained = data.open_dataset(asked.data, limit=asked.limit, **of)
    real = Seen(features(view, held_out.images), features(view, trained.images))
    for seed in asked.seeds:
        for arm in asked.arms:
            line = run(arm, asked, seed, view, real)
            with asked.results.open("a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
