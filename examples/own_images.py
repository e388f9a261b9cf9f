"""Train on your own folder of pictures: check which can be used, look at them, train, sample.

    python examples/own_images.py path/to/pictures --images 200k
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

import frugan
from frugan import data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="pictures, in class subfolders or flat, of any sizes and kinds")
    parser.add_argument("--images", default="200k", help="real images to show in all, each many times")
    parser.add_argument("--out", type=Path, default=Path("runs/example-own"), help="where everything goes")
    given = parser.parse_args()

    found = data.check(given.folder, size=32, channels=3)
    print(f"{found.usable} of {found.total} pictures can be used.")
    for skipped in found.skipped:
        print(f"  {skipped.path}: {skipped.reason}")

    given.out.mkdir(parents=True, exist_ok=True)
    dataset = data.open_dataset(given.folder, size=32, channels=3, allow_unusable=True)
    data.contact_sheet(dataset).save(given.out / "data.png")

    # Few pictures are soon known by heart; what the discriminator sees is therefore moved, recoloured and cut.
    run = frugan.train(
        "dcgan-64", data=given.folder, images=given.images, allow_unusable=True, out=given.out / "run",
        changes={"data.size": 32, "augment": "flip+diff_augment"},
    )
    made = frugan.load(run.path).sample(16, seed=0)  # bytes [16, 32, 32, 3]
    for number, image in enumerate(made):
        Image.fromarray(image).save(given.out / f"made-{number:02}.png")
    print(f"See {given.out}")


if __name__ == "__main__":
    main()
