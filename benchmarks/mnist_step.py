"""One training round of the MNIST pair at batch 128: the factorised form against the naive one, as both are trained.

Both sides are the rounds that ``frugan train mnist`` plays, the settings that work (`mnist`) and the published ones
(`mnist-faithful`, whose discriminator drops features out): kernels chosen by measurement, the precision that ``auto``
means here, the allocator as in training. The discriminators are the same, so whole rounds save less than the generators
do. R is the ratio of the multiply-adds that torch counts in four whole rounds, with backward passes and every fourth
round's penalty.

Gate, only on a CPU with AMX: the factorised form is at least R^0.6 times faster. Elsewhere the ratios are only printed.
"""

from __future__ import annotations

from typing import Any

import torch
from _report import arguments, finish, in_turn, show, spread, times_faster
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from frugan import build, memory
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.engine import precision
from frugan.engine.loop import Parts, play_round
from frugan.training import resolve

BATCH = 128
IMAGES = 2048
PAIRS = ("mnist", "mnist-faithful")
FORMS = ("standard", "factorised")
EVERY = 4
"""Rounds from one penalty to the next."""


def random_digits() -> Dataset:
    """Noise in place of digits: a round takes as long on it."""
    images = torch.randint(256, (IMAGES, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Dataset("noise", "train", ImageShape(1, 28, 28), images, None, (), "0" * 16)


def make_run(name: str, form: str, batch: int = BATCH, wanted: str = "auto", kernels: str = "measured") -> Parts:
    """The run that ``frugan train NAME --family FORM`` plays."""
    recipe = resolve(name, family=form, batch_size=batch, precision=wanted, changes={"data.classes": 0})
    parts = build.parts(build.assemble(recipe), {"train": random_digits()}, kernels=kernels)
    for network in parts.game.networks.values():
        network.train()
    return parts


class Counted(TorchDispatchMode):
    """Sums what torch's registry says of every operation. (Its own counter cannot be used with `autograd.grad`.)"""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in flop_registry:
            self.flops += flop_registry[packet](*args, **(kwargs or {}), out_val=result)
        return result


def operations(name: str, form: str, batch: int = BATCH) -> int:
    """Multiply-adds of four rounds, as torch counts what it is asked to compute."""
    parts = make_run(name, form, batch, "float32", "plain")
    with Counted() as counted:
        play(parts)
    return counted.flops // 2


def play(parts: Parts) -> float:
    """Four rounds; the loss that is read makes sure that all is done."""
    return [float(play_round(parts)["generator.loss"]) for _ in range(EVERY)][-1]


def main() -> None:
    options = arguments(__doc__ or "")
    memory.keep()
    pairs, repeats = (PAIRS[:1], 2) if options.quick else (PAIRS, 7)
    runs = {(name, form): make_run(name, form) for name in pairs for form in FORMS}
    seconds = in_turn({" ".join(run): lambda parts=parts: play(parts) for run, parts in runs.items()}, repeats)
    rows, found = [], {}
    for name in pairs:
        naive, factorised = (operations(name, form) for form in FORMS)
        times = times_faster(seconds[f"{name} standard"], seconds[f"{name} factorised"])
        ratio, least = naive / factorised, (naive / factorised) ** 0.6
        found[name] = {
            "operations": {"standard": naive, "factorised": factorised}, "ratio": ratio, "least": least,
            "times_faster": times._asdict(),
        }  # fmt: skip
        taken = [1000 * spread(seconds[f"{name} {form}"]).median / EVERY for form in FORMS]
        rows.append([name, *taken, ratio, least, times.median, f"{times.lower:.3g}-{times.upper:.3g}"])
    show(["round", "naive, ms", "factorised, ms", "R", "R^0.6", "times faster", "quartiles"], rows)
    met = all(pair["times_faster"]["median"] >= pair["least"] for pair in found.values())
    result = {
        "batch": BATCH, "precision": precision.resolve("auto", torch.device("cpu")), "seconds": seconds, "pairs": found,
    }  # fmt: skip
    claimed = torch.cpu._is_amx_tile_supported() and not options.quick
    gate = f"on a CPU with AMX{'' if claimed else ' (not here)'} the factorised form at least R^0.6 times faster"
    finish(options, result, met=not claimed or met, gate=gate)


if __name__ == "__main__":
    main()
