"""StarGAN and its depthwise forms at 128 pixels, full width: a step of the generator, and whole rounds of training.

Two tables. The generator's forward and backward pass at batch 4: every form at the best precision of its own, against
the standard form at its best and against the plain formulation in float32 (`_plain_stargan.py`). Whole rounds (five
steps of the discriminator with its penalty, one of the generator) at batch 16, in the precision that ``auto`` means
here: the standard form, DepthwiseG and DepthwiseDG, and the plain formulation. The generator's table is then measured
again with one thread, and, where there is AMX, with that switched off: no phone has it. The short form plays rounds at
a quarter of the width, measures nothing again and holds no ratio to a gate.

Ours is what ``frugan train`` plays, kernels chosen by measurement (``kernels=measured``; choosing and compiling are
timed apart). The allocator keeps its memory, as there, and so for both sides: the plain one gains by it too. First it
is shown that both sides do the same, at a quarter of the width on 32 pixels: from the same weights, images and labels
their losses agree to 1e-4, for one round in float32 and for three in float64 (a round of float32 is six steps of Adam,
whose first ones are +-1e-4 whatever the gradient), or this program stops.

Gates, only on a CPU with AMX: the generator of DepthwiseG at least 2 times, the "deeper frugal" one 1.6 times and the
paper's deeper one 1.15 times faster than our standard one, DepthwiseG's 9 times faster than the plain one; rounds of
the standard form 2.5 times faster than plain ones, of DepthwiseG 1.4 and of DepthwiseDG 2.5 times faster than
the standard form's. Elsewhere the ratios are only printed, and the losses must agree.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from _in_default_type import InDefaultType
from _plain_stargan import Discriminator, Generator, Turn, make_plain_round
from _report import arguments, finish, in_turn, show, spread, times_faster
from torch import nn

from frugan import build, memory, recipes
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.engine import precision
from frugan.engine.clock import Progress
from frugan.engine.loop import Parts, play_round
from frugan.kernels import Choices
from frugan.recipe import Recipe

CPU = torch.device("cpu")
LABELS = 5
TOLERANCE = 1e-4
FORMS = ("stargan", "depthwise-g", "depthwise-g-full", "deeper-depthwise-g-frugal", "deeper-depthwise-g")
ROUNDS = ("stargan", "depthwise-g", "depthwise-dg")
STEP_GATES = {"depthwise-g": 2.0, "deeper-depthwise-g-frugal": 1.6, "deeper-depthwise-g": 1.15}
ROUND_GATES = {"depthwise-g": 1.4, "depthwise-dg": 2.5}


def random_faces(size: int, count: int = 256) -> Dataset:
    """Noise with attributes in place of faces."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=draws)
    bits = torch.randint(2, (count, LABELS), dtype=torch.int64, generator=draws)
    names = tuple(f"attribute_{number}" for number in range(LABELS))
    return Dataset("noise", "train", ImageShape(3, size, size), images, bits, (), "0" * 16, attributes=names)


def recipe_of(name: str, batch: int, wanted: str, size: int = 128, width: float = 1.0) -> Recipe:
    """The recipe as users have it, but for the flips, which the plain side does not make."""
    found = recipes.find(name).with_changes(
        {"data.size": size, "generator.width": width, "discriminator.width": width, "precision": wanted}
    )
    return replace(found, batch_size=batch, augment=())


def make_ours(name: str, batch: int, wanted: str, size: int = 128, width: float = 1.0, kernels: str = "plain") -> Parts:
    """The run that ``frugan train NAME`` plays."""
    assembly = build.assemble(recipe_of(name, batch, wanted, size, width), CPU)
    parts = build.parts(assembly, {"train": random_faces(size)}, kernels=kernels)
    for network in parts.game.networks.values():
        network.train()
    return parts


def take_over(ours: nn.Module, plain: nn.Module) -> None:
    """Copy the parameters of our network into the plain one: the same tensors in the same order."""
    with torch.no_grad():
        for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
            theirs.copy_(mine)


def turns_of(batches: InDefaultType, progress: Progress, batch: int, steps: int) -> list[Turn]:
    """What our round draws at that progress, drawn again for the plain side."""
    turns = []
    for turn in range(steps):
        real = batches.take("train", batch)
        assert real.labels is not None
        order = torch.randperm(batch, generator=progress.generator(f"targets.train.{turn}"))
        random = progress.generator(f"penalty.wgan_gp.train.{turn}")
        labels, shares = real.labels.to(real.images.dtype), torch.rand([batch, 1, 1, 1], generator=random)
        turns.append(Turn(real.images.contiguous(), labels, labels[order], shares.to(real.images.dtype)))
    return turns


def difference(computed: torch.dtype, rounds: int, batch: int = 2, size: int = 32) -> float:
    """The largest difference of both sides' losses over some rounds of small networks."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(computed)
    try:
        ours = make_ours("stargan", batch, "float32", size, 0.25)
        plain_g, plain_d = Generator(LABELS, 16), Discriminator(size, LABELS, 16, stages=4)
        take_over(ours.game.networks["generator"], plain_g)
        take_over(ours.game.networks["discriminator"], plain_d)
        play = make_plain_round(plain_g, plain_d)
        again = InDefaultType(make_ours("stargan", batch, "float32", size, 0.25).batches)
        ours = replace(ours, batches=InDefaultType(ours.batches))  # pyrefly: ignore
        largest = 0.0
        for _ in range(rounds):
            progress = Progress(ours.clock.images, ours.clock.rounds, ours.seed)
            plain = play(turns_of(again, progress, batch, 5))
            seen = play_round(ours)
            for mine, theirs in zip((seen["discriminator.loss"], seen["generator.loss"]), plain[-2:], strict=True):
                largest = max(largest, abs(float(mine) - theirs))
        return largest
    finally:
        torch.set_default_dtype(before)


def check_losses() -> dict[str, float]:
    """The differences of both sides' losses. Ends the program if one is too large."""
    found = {
        "one round in float32": difference(torch.float32, 1), "three rounds in float64": difference(torch.float64, 3),
    }
    for where, value in found.items():
        print(f"losses after {where} differ by {value:.1g}")
        if value > TOLERANCE:
            raise SystemExit(f"Both sides should do the same: at most {TOLERANCE} is allowed.")
    return found


def one_pass(network: nn.Module, wanted: str, batch: int, choices: Choices | None) -> Callable[[], float]:
    """A forward and backward pass of a generator."""
    draws = torch.Generator().manual_seed(0)
    layout = torch.contiguous_format if choices is None else torch.channels_last
    images = torch.rand(batch, 3, 128, 128, generator=draws).contiguous(memory_format=layout)
    labels = torch.randint(2, (batch, LABELS), generator=draws).float()
    network = network.to(memory_format=layout)  # pyrefly: ignore
    autocast, active = precision.autocast(wanted, CPU), (choices or Choices("plain")).active

    def run() -> float:
        with autocast(), active():
            made = network(images, labels)
        loss = made.float().square().mean()
        torch.autograd.grad(loss, list(network.parameters()))
        return float(loss.detach())

    return run


def generator_table(batch: int, repeats: int, forms: Sequence[str]) -> dict[str, Any]:
    """Forward and backward of every form in both precisions."""
    choices = {(name, wanted): Choices("measured") for name in forms for wanted in ("float32", "bf16")}
    sides = {"plain float32": one_pass(Generator(LABELS), "float32", batch, None)}
    first: dict[str, float] = {}
    for (name, wanted), choice in choices.items():
        network, _ = build.networks(recipe_of(name, batch, wanted))["generator"]
        sides[f"{name} {wanted}"] = one_pass(network, wanted, batch, choice)
        began = time.perf_counter()
        sides[f"{name} {wanted}"]()
        first[f"{name} {wanted}"] = time.perf_counter() - began
    seconds = in_turn(sides, repeats)

    def best(name: str) -> str:
        return min((f"{name} float32", f"{name} bf16"), key=lambda side: spread(seconds[side]).median)

    standard, rows, ratios = best("stargan"), [], {}
    for name in ("plain", *forms):
        side = "plain float32" if name == "plain" else best(name)
        taken = spread([1000 * value / batch for value in seconds[side]])
        against = times_faster(seconds[standard], seconds[side])
        over_plain = times_faster(seconds["plain float32"], seconds[side])
        ratios[name] = {"side": side, "over standard": against._asdict(), "over plain": over_plain._asdict()}
        rows.append([side, taken.median, f"{taken.lower:.4g}-{taken.upper:.4g}", against.median, over_plain.median,
                     first.get(side, 0.0)])  # fmt: skip
    show(["generator, forward + backward", "ms an image", "quartiles", "over standard", "over plain", "first s"], rows)
    chosen = {f"{name} {wanted}": dict(choice.chosen) for (name, wanted), choice in choices.items()}
    return {"batch": batch, "seconds": seconds, "first": first, "ratios": ratios, "kernels": chosen}


def round_table(batch: int, repeats: int, forms: Sequence[str], width: float) -> dict[str, Any]:
    """Whole rounds of every form in the precision that is the default here."""
    runs = {name: make_ours(name, batch, "auto", width=width, kernels="measured") for name in forms}
    turns = turns_of(InDefaultType(make_ours("stargan", batch, "float32").batches), Progress(0, 0, 0), batch, 5)
    channels = round(64 * width)
    play = make_plain_round(Generator(LABELS, channels), Discriminator(128, LABELS, channels))
    sides: dict[str, Callable[[], object]] = {"plain": lambda: play(turns)}
    for name, parts in runs.items():
        sides[name] = lambda parts=parts: float(play_round(parts)["generator.loss"])
    seconds = in_turn(sides, repeats)
    rows, ratios = [], {}
    for name, values in seconds.items():
        taken, over_plain = spread(values), times_faster(seconds["plain"], values)
        against = times_faster(seconds["stargan"], values)
        ratios[name] = {"over standard": against._asdict(), "over plain": over_plain._asdict()}
        rows.append([name, taken.median, f"{taken.lower:.4g}-{taken.upper:.4g}", against.median, over_plain.median])
    show(["round", "s", "quartiles", "over standard", "over plain"], rows)
    resolved = precision.resolve("auto", CPU)
    return {"batch": batch, "width": width, "precision": resolved, "seconds": seconds, "ratios": ratios}


def elsewhere(batch: int, repeats: int, forms: Sequence[str]) -> dict[str, Any]:
    """The generator's table as on smaller machines: with one thread, and without AMX. Each in a process of its own."""
    smaller = {"one thread": ("OMP_NUM_THREADS", "1")}
    if torch.cpu._is_amx_tile_supported():
        smaller["without AMX"] = ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
    found = {}
    for name, (key, value) in smaller.items():
        print(f"{name} ({key}={value})", flush=True)
        before = os.environ.get(key)
        os.environ[key] = value  # read when torch is loaded, so by a new process alone
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(memory.keep).result()
            found[name] = pool.submit(generator_table, batch, repeats, forms).result()
        os.environ.pop(key) if before is None else os.environ.update({key: before})
    return found


def missed(steps: dict[str, Any], rounds: dict[str, Any]) -> list[str]:
    """The ratios that are below their gates."""
    def ratio(table: dict[str, Any], name: str, over: str) -> float:
        return table["ratios"][name][over]["median"]

    gates = [(steps, name, "over standard", least) for name, least in STEP_GATES.items()]
    gates += [(rounds, name, "over standard", least) for name, least in ROUND_GATES.items()]
    gates += [(steps, "depthwise-g", "over plain", 9.0), (rounds, "stargan", "over plain", 2.5)]
    return [
        f"{name} {over}: {ratio(table, name, over):.2f}, not {least}"
        for table, name, over, least in gates
        if name in table["ratios"] and ratio(table, name, over) < least
    ]


def main() -> None:
    options = arguments(__doc__ or "")
    memory.keep()
    differences = check_losses()
    forms, rounds = (("stargan", "depthwise-g"), ("stargan", "depthwise-g")) if options.quick else (FORMS, ROUNDS)
    steps = generator_table(2 if options.quick else 4, 2 if options.quick else 5, forms)
    played = round_table(2, 2, rounds, 0.25) if options.quick else round_table(16, 5, rounds, 1.0)
    below, smaller = ([], {}) if options.quick else (missed(steps, played), elsewhere(4, 5, forms))
    for line in below:
        print(line)
    claimed = torch.cpu._is_amx_tile_supported()
    gate = f"equal losses, and on a CPU with AMX{'' if claimed else ' (not this one)'} the ratios of its description"
    result = {
        "loss_differences": differences, "generator": steps, "rounds": played, "elsewhere": smaller, "below": below,
    }  # fmt: skip
    finish(options, result, met=not claimed or not below, gate=gate)


if __name__ == "__main__":
    main()
