"""Several processes that train one run, started by `torchrun`. With one process, everything here does nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from frugan.registry import UserError

MARKED_AT_ONCE = 2**20
"""Numbers of a tensor that are compared at once: more would take much memory for large networks."""


@dataclass(frozen=True)
class Processes:
    """This process's number and how many there are."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the run folder and speaks to people."""
        return self.rank == 0

    def share(self, whole: Tensor) -> Tensor:
        """This process's slice of something drawn for the whole batch. Raises UserError if slices cannot be equal."""
        if len(whole) % self.world:
            raise UserError(
                f"A batch of {len(whole)} images cannot be divided equally among {self.world} processes. Set "
                f"batch_size to a multiple of {self.world}."
            )
        part = len(whole) // self.world
        return whole[self.rank * part : (self.rank + 1) * part]

    def mean_(self, flat: Tensor) -> Tensor:
        """Average a tensor over all processes, in place."""
        if self.world > 1:
            distributed.all_reduce(flat)
            flat /= self.world
        return flat

    def differing(self, tensors: Mapping[str, Tensor]) -> str | None:
        """The first name whose tensor is not the same, bit for bit, in all processes; None if all are the same.

        Every process must call this, with the same names.
        """
        if self.world == 1:
            return None
        marks = torch.stack([_mark(tensor) for tensor in tensors.values()])
        least, most = marks.clone(), marks
        distributed.all_reduce(least, op=distributed.ReduceOp.MIN)
        distributed.all_reduce(most, op=distributed.ReduceOp.MAX)
        unequal = (least != most).any(dim=1).tolist()
        return next((name for name, apart in zip(tensors, unequal, strict=True) if apart), None)

    def wait(self) -> None:
        """Wait until every process has called this."""
        if self.world > 1:
            distributed.barrier()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        if self.world == 1:
            return flag
        flags = torch.tensor(float(flag))
        distributed.all_reduce(flags)
        return bool(flags > 0)


def _mark(tensor: Tensor) -> Tensor:
    """Two whole numbers that follow from a tensor's bits, whatever the order in which a device adds them up."""
    data = tensor.detach().contiguous().reshape(-1)
    whole = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}[data.element_size()]
    places = torch.arange(1, min(len(data), MARKED_AT_ONCE) + 1, device=data.device)
    mark = torch.zeros(2, dtype=torch.int64, device=data.device)
    for part in data.view(whole).split(MARKED_AT_ONCE):
        bits = part.long()
        # Overflow wraps, alike on every process.
        mark = 31 * mark + torch.stack([bits.sum(), (bits * places[: len(bits)]).sum()])
    return mark


def join(device: torch.device) -> Processes:
    """Join the processes that `torchrun` started, if it did."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Processes()
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return Processes(distributed.get_rank(), world)


def leave() -> None:
    """Leave the group of processes. Without this, torchrun sometimes reports a failure at exit."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
