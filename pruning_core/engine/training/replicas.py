"""Data-parallel training on the cores of one machine.

Each replica of the model computes the gradients of a part of every batch. All of them then take
the same step with the sum, so that their weights stay equal to the last bit. Batch norm uses the
statistics of a part, as `DistributedDataParallel` does (Li et al. 2020,
https://arxiv.org/abs/2006.15704). Replicas are processes, because small layers gain nothing from
threads. The Guide has the measured times.

The result depends on the number of replicas, but not on how they are computed: where they cannot
be processes, such as with fewer cores, one process computes the parts one after another, with the
same bits.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection

import torch
from torch import Tensor, nn

from pruning_core.common.machine import usable_cores
from pruning_core.storage.stage_context import StageInterrupted

# Computes the gradients of the part of a replica. Returns its share of the loss, a scalar.
ComputePart = Callable[[int], Tensor]
ALIGNMENT = 64
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
log = logging.getLogger(__name__)


class Replicas:
    """The replicas of a training: here one, which computes whole batches."""

    count = 1

    def seed(self, seeds: Sequence[int]) -> None:
        """Seed the random numbers of each replica."""
        torch.manual_seed(seeds[0])

    def gradients(self, compute: ComputePart) -> Tensor:
        """Fill the gradients with those of the whole batch. Returns its mean loss, a scalar."""
        return compute(0)


class SequentialReplicas(Replicas):
    """Replicas that one process computes one after another.

    Each has random numbers of its own. Buffers, such as running statistics, are those of the
    first replica.
    """

    def __init__(self, count: int, model: nn.Module) -> None:
        self.count, self.parameters, self.buffers = count, trained(model), list(model.buffers())
        self.random_states = [torch.get_rng_state()] * count

    def seed(self, seeds: Sequence[int]) -> None:
        """Seed the random numbers of each replica."""
        self.random_states = [torch.Generator().manual_seed(seed).get_state() for seed in seeds]

    @torch.no_grad()
    def gradients(self, compute: ComputePart) -> Tensor:
        """Fill the gradients with those of the whole batch. Returns its mean loss, a scalar."""
        losses, total = [self._compute(0, compute)], self._gradients()
        buffers = [buffer.clone() for buffer in self.buffers]
        for rank in range(1, self.count):
            losses.append(self._compute(rank, compute))
            total = [
                _sum([part], sum_so_far)
                for part, sum_so_far in zip(self._gradients(), total, strict=True)
            ]
        for buffer, value in zip(self.buffers, buffers, strict=True):
            buffer.copy_(value)
        for parameter, gradient in zip(self.parameters, total, strict=True):
            parameter.grad = gradient
        return torch.stack(losses).sum()

    def _compute(self, rank: int, compute: ComputePart) -> Tensor:
        torch.set_rng_state(self.random_states[rank])
        with torch.enable_grad():
            loss = compute(rank)
        self.random_states[rank] = torch.get_rng_state()
        return loss

    def _gradients(self) -> list[Tensor | None]:
        return [parameter.grad for parameter in self.parameters]


def _sum(parts: Sequence[Tensor | None], total: Tensor | None = None) -> Tensor | None:
    """Add the parts to `total` in this order, in place; to a copy of the first without a total.

    A part is None where a replica has no gradient.
    """
    for part in parts:
        if part is not None:
            total = part.clone() if total is None else total.add_(part)
    return total


class ForkedReplicas(Replicas):
    """The replica `rank` of several processes, which add up their gradients in shared memory.

    `connections` lead from the first replica to each of the others, and from those to the first.
    """

    def __init__(
        self, rank: int, memory: SharedGradients, connections: Sequence[Connection]
    ) -> None:
        self.count, self.rank = memory.count, rank
        self.memory, self.connections = memory, connections
        self.steps = 0

    def seed(self, seeds: Sequence[int]) -> None:
        """Seed the random numbers of this replica."""
        torch.manual_seed(seeds[self.rank])

    @torch.no_grad()
    def gradients(self, compute: ComputePart) -> Tensor:
        """Fill the gradients with those of the whole batch. Returns its mean loss, a scalar.

        Raises `StageInterrupted` where a replica has ended.
        """
        with torch.enable_grad():
            loss = compute(self.rank)
        # Two slots in turn: when all have written into one, all have read the other.
        slot = self.steps % 2
        self.steps += 1
        self.memory.write(slot, self.rank, loss)
        self._wait_for_all()
        return self.memory.add_up(slot, self.rank)

    def _wait_for_all(self) -> None:
        """Return when all replicas have come here."""
        if self.rank:
            self.connections[0].send_bytes(b"")
            self.connections[0].recv_bytes()
            return
        for connection in self.connections:
            try:
                error = connection.recv_bytes().decode()
            except (EOFError, ConnectionError):
                raise StageInterrupted(REPLICA_ENDED) from None
            if error:
                raise RuntimeError(f"A replica of the training failed:\n{error}")
        for connection in self.connections:
            try:
                connection.send_bytes(b"")
            except ConnectionError:
                raise StageInterrupted(REPLICA_ENDED) from None


REPLICA_ENDED = (
    "A process that trains a part of each batch was ended; the machine may be out of memory. With "
    "fewer replicas a training needs less."
)


class SharedGradients:
    """Memory of all replicas, for the gradients of the parameters and the loss of each.

    It has two slots. Each value of a replica is written by that replica only.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], count: int) -> None:
        self.parameters, self.count = parameters, count
        self.views = [[self._allocate() for _ in range(count)] for _ in range(2)]
        # For each slot and replica: the loss, then 1 for each parameter that has a gradient.
        self.facts = _shared((2, count, 1 + len(parameters)), torch.float32)

    def _allocate(self) -> list[Tensor]:
        """A tensor like each parameter, also in its memory format."""
        size = sum(_aligned(parameter.nbytes) for parameter in self.parameters)
        memory, offset, views = mmap.mmap(-1, max(size, 1)), 0, list[Tensor]()
        for parameter in self.parameters:
            flat = torch.frombuffer(
                memory, dtype=parameter.dtype, count=parameter.numel(), offset=offset
            )
            views.append(flat.as_strided(parameter.shape, parameter.stride()))
            offset += _aligned(parameter.nbytes)
        return views

    def write(self, slot: int, rank: int, loss: Tensor) -> None:
        """Store the gradients and the loss of a replica."""
        present = [parameter.grad is not None for parameter in self.parameters]
        self.facts[slot, rank] = torch.tensor([float(loss), *present])
        pairs = zip(self.views[slot][rank], self.parameters, strict=True)
        written = [(view, p.grad) for view, p in pairs if p.grad is not None]
        if written:
            views, gradients = zip(*written, strict=True)
            torch._foreach_copy_(views, gradients)

    def add_up(self, slot: int, rank: int) -> Tensor:
        """Set the gradients to the sums over all replicas, in their order. Returns the loss."""
        order = list(range(self.count))
        if rank < 2:
            # Two numbers have the same sum in either order, so the first two replicas begin with
            # their own gradients and need no copy.
            order.remove(rank)
        present = self.facts[slot, :, 1:].bool().tolist()
        for i, parameter in enumerate(self.parameters):
            parts = [self.views[slot][other][i] for other in order if present[other][i]]
            parameter.grad = _sum(parts, parameter.grad if rank < 2 else None)
        # Contiguous, because torch adds values with a stride in another order.
        return self.facts[slot, :, 0].contiguous().sum()


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _shared(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    size = torch.Size(shape).numel() * dtype.itemsize
    return torch.frombuffer(mmap.mmap(-1, size), dtype=dtype).view(shape)


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training changes."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@contextmanager
def replicated(
    count: int, model: nn.Module, follow: Callable[[Replicas], None]
) -> Iterator[Replicas]:
    """The first of `count` replicas. The others call `follow`, each in a process of its own.

    These processes are copies of this one as it is now, and end with the `with` block.
    """
    if count == 1:
        yield Replicas()
    elif _can_fork(count):
        with _forked(count, model, follow) as replicas:
            yield replicas
    else:
        log.info("%d replicas are computed one after another.", count)
        yield SequentialReplicas(count, model)


def _can_fork(count: int) -> bool:
    """Whether each replica can have a process of its own.

    Where torch has found a GPU, the backward pass uses threads, which a copy of a process lacks.
    """
    gpu = torch.accelerator.is_available()
    return sys.platform == "linux" and usable_cores() >= count and not gpu


@contextmanager
def _forked(
    count: int, model: nn.Module, follow: Callable[[Replicas], None]
) -> Iterator[ForkedReplicas]:
    memory, context = SharedGradients(trained(model), count), multiprocessing.get_context("fork")
    connections, processes = list[Connection](), []
    try:
        for rank in range(1, count):
            here, there = context.Pipe()
            connections.append(here)
            arguments = (os.getpid(), rank, memory, there, tuple(connections), follow)
            process = context.Process(target=_run_replica, args=arguments, daemon=True)
            try:
                process.start()
            except OSError as error:  # too many processes, or too little memory
                raise StageInterrupted(REPLICA_ENDED) from error
            there.close()
            processes.append(process)
        yield ForkedReplicas(0, memory, connections)
    finally:
        for connection in connections:
            connection.close()
        for process in processes:
            process.kill()
            process.join()


def _run_replica(
    first: int,
    rank: int,
    memory: SharedGradients,
    connection: Connection,
    inherited: Sequence[Connection],
    follow: Callable[[Replicas], None],
) -> None:
    """The life of a process other than the first."""
    _end_with(first)
    # Open copies of the other ends would hide that the first process has ended.
    for other in inherited:
        other.close()
    with closing(connection):
        try:
            follow(ForkedReplicas(rank, memory, [connection]))
        except (EOFError, ConnectionError):
            return  # the first process has ended
        except Exception:
            connection.send_bytes(traceback.format_exc().encode())
            raise


def _end_with(parent: int) -> None:
    """Have the system kill this process when the thread that has started it ends.

    Without this it would first finish its part of a batch, which may take seconds.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before
        os.kill(os.getpid(), signal.SIGKILL)
