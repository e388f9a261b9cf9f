"""Replace the convolutions of your own torch module, and see what this saves: counted and measured.

    python examples/swap_any_module.py --family depthwise
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

import frugan
from frugan.costs import latencies


class Denoiser(nn.Module):
    """A plain torch module without anything of frugan."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        # No family builds a dilated layer: it is left, and named.
        self.wide = nn.Conv2d(2 * width, 2 * width, 3, padding=2, dilation=2)
        self.inner = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.up = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[n, 3, h, w]`` to images of the same shape."""
        x = self.first(images).relu()
        x = self.inner(self.wide(self.down(x).relu()).relu()).relu()
        return images + self.last(self.up(x).relu())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="depthwise", help="factorised, depthwise, grouped, ...")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each batch size may be timed")
    given = parser.parse_args()

    torch.manual_seed(0)
    plain = Denoiser()
    shape = (1, 3, 32, 32)
    thin, report = frugan.swap(plain, given.family, inputs=shape, keep_first=True, keep_last=True)
    print(report)

    # Fewer multiply-accumulates are a hypothesis; both are timed in turn, so that what disturbs one disturbs both.
    times = latencies({"plain": (plain, shape), given.family: (thin, shape)}, batches=(1, 16), seconds=given.seconds)
    for name, measured in times.items():
        for one in measured:
            print(f"{name}: {one}")


if __name__ == "__main__":
    main()
