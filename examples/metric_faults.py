"""Which metric sees which fault? Spoil real images step by step, and measure them as if they were fakes.

    python examples/metric_faults.py --data mnist --metrics fid,kid,swd
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageFilter

from frugan import data, evaluate

BLUR, NOISE, MISSING, REPEATED = "blur, pixels", "noise, grey levels", "classes missing", "each image shown, times"
FAULTS = {BLUR: (0, 0.5, 1, 2), NOISE: (0, 16, 32, 64), MISSING: (0, 1, 4, 8), REPEATED: (1, 4, 20, 100)}


def spoil(real: data.Dataset, fault: str, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The real images ``[count, height, width]`` and labels, as many as before, spoilt by one fault."""
    images, labels, rows = real.images[:, 0].numpy(), np.asarray(real.labels), np.arange(len(real))
    if fault == BLUR:
        images = np.stack([np.asarray(Image.fromarray(one).filter(ImageFilter.GaussianBlur(level))) for one in images])
    elif fault == NOISE:
        images = (images + np.random.default_rng(0).normal(0, level, images.shape)).clip(0, 255).astype(np.uint8)
    else:
        rows = np.flatnonzero(labels >= level) if fault == MISSING else rows[: len(rows) // int(level)]
    return images[np.resize(rows, len(real))], labels[np.resize(rows, len(real))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="glyphs", help="labelled, grey; its training images are spoilt")
    parser.add_argument("--view", default="classifier", help="how images are looked at")
    parser.add_argument("--metrics", default="fid,kid,precision_recall,class_coverage", help="names, with commas")
    parser.add_argument("--out", type=Path, default=Path("runs/example-faults"), help="where numbers and plot go")
    given = parser.parse_args()
    (file := given.out / "spoilt.npz").parent.mkdir(parents=True, exist_ok=True)
    names = given.metrics.split(",")
    real = data.open_dataset(given.data, split="train", limit=5000)
    page, axes = plt.subplots(len(names), 4, figsize=(12, 2 * len(names)), sharey="row", squeeze=False, layout="tight")
    table, known = {name: {fault: {} for fault in FAULTS} for name in names}, {}
    for column, (fault, levels) in enumerate(FAULTS.items()):
        for level in levels:
            images, labels = spoil(real, fault, level)
            np.savez(file, images=images, labels=labels)
            if (key := images.tobytes()) not in known:  # every fault begins with the same unspoilt images
                known[key] = evaluate(file, real=given.data, metrics=names, view=given.view)
            for value in known[key]:
                table[value["metric"]][fault][f"{level:g}"] = value["values"][value["headline"]]
            print(fault, level, {name: table[name][fault][f"{level:g}"] for name in names}, flush=True)
        for axis, name in zip(axes[:, column], names, strict=True):
            axis.plot(*zip(*table[name][fault].items(), strict=True), "o-")
            axis.set_title(f"{name}: {fault}", fontsize=8)
    (given.out / "table.json").write_text(json.dumps(table, indent=1))
    page.savefig(given.out / "faults.png")


if __name__ == "__main__":
    main()
