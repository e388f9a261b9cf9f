"""How much do the images of one training batch depend on each other? For the generators of trained runs.

In training, batch norm makes every image depend on the others of its batch; virtual batch norm should not. Two numbers:
the share of an image's variance that comes from its companions (when the same latents get other companions), and the
correlation of two images of a batch (intraclass, over all pixels; 0 if they are independent).

    python examples/batch_correlation.py runs/dcgan-medium runs/vbn
"""

from __future__ import annotations

import argparse

import torch

import frugan


def images_of(generator: frugan.Generator, latents: torch.Tensor) -> torch.Tensor:
    """Images of one batch as in training, flat ``[batch, pixels]``, float64."""
    with torch.no_grad():
        return generator.module.train()(latents).double().flatten(1)


def companions_share(generator: frugan.Generator, batch: int, draws: int) -> float:
    """The share of the images' variance that is left when their own latents stay the same."""
    own, others = generator.latents.rows(0, batch // 2, seed=1), batch - batch // 2
    seen = torch.stack([
        images_of(generator, torch.cat([own, generator.latents.rows(0, others, seed=2 + draw)]))[: len(own)]
        for draw in range(draws)
    ])  # fmt: skip
    return float(seen.var(0).sum(-1).mean() / seen.flatten(0, 1).var(0).sum())


def intraclass(generator: frugan.Generator, batch: int, draws: int) -> float:
    """(B - W) / (B + (n - 1) W): mean squares between batches and within, summed over the pixels; n images a batch."""
    batches = torch.stack([images_of(generator, generator.latents.rows(0, batch, seed=1000 + n)) for n in range(draws)])
    within = float(batches.var(1).mean(0).sum())
    between = batch * float(batches.mean(1).var(0).sum())
    return (between - within) / (between + (batch - 1) * within)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="folders of trained runs without labels")
    parser.add_argument("--batch", type=int, default=64, help="images of a batch")
    parser.add_argument("--draws", type=int, default=64, help="batches drawn")
    given = parser.parse_args()
    for run in given.runs:
        generator = frugan.load(run)
        share, correlation = (f(generator, given.batch, given.draws) for f in (companions_share, intraclass))
        print(f"{run}: companions make {share:.2%} of the variance, intraclass correlation {correlation:+.5f}")


if __name__ == "__main__":
    main()
