"""One training step, in which nothing waits for a number to come back from the device."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from pruning_core.engine.models.devices import computing
from pruning_core.engine.training.state import Trainee

SHORTEST = 1e-12
log = logging.getLogger(__name__)


def step(
    trainee: Trainee, images: Tensor, labels: Tensor, rate: float, clip_grad_norm: float
) -> Tensor:
    """One optimizer step with a learning rate. Returns the mean loss, a scalar.

    `images` is (N, 3, S, S), normalized. The gradients of removed weights are zeroed, and
    with them the optimizer's state of these: so they stay zero without being masked again.
    """
    for group in trainee.optimizer.param_groups:
        group["lr"] = rate
    loss = gradients(trainee, images, labels)
    overflow = tame(trainee, clip_grad_norm)
    if trainee.movement:
        trainee.movement.add(overflow)
    # Fused optimizers leave a step out where this is 1, as mixed-precision training asks them.
    trainee.optimizer.found_inf = overflow  # type: ignore[attr-defined]
    trainee.optimizer.step()
    trainee.skipped = trainee.skipped.to(overflow.device, non_blocking=True) + overflow
    return loss


@torch.no_grad()
def tame(trainee: Trainee, clip_grad_norm: float) -> Tensor:
    """Clip each tensor's gradient to a length. Returns 1 where one is not finite, else 0.

    A channel that a deep cut has left almost empty has next to no variance, and batch norm
    multiplies its gradient by up to 300: over some layers that grows without bound. Each
    tensor is clipped by itself, since one such channel would otherwise hold up all others.
    """
    if trainee.masks:
        trainee.masks.multiply_gradients()
    found = [p.grad for p in trainee.model.parameters() if p.grad is not None]
    lengths = torch.stack(torch._foreach_norm(found))
    if clip_grad_norm:
        factors = (clip_grad_norm / lengths.clamp(min=SHORTEST)).clamp(max=1.0)
        torch._foreach_mul_(found, list(factors.unbind()))
    return 1.0 - lengths.isfinite().all().float()


def gradients(trainee: Trainee, images: Tensor, labels: Tensor) -> Tensor:
    """Fill the gradients. Out of GPU memory, the batch goes through in twice as many parts."""
    while True:
        trainee.optimizer.zero_grad(set_to_none=True)
        try:
            return accumulate(trainee, images, labels)
        except torch.OutOfMemoryError:
            if trainee.parts * 2 > len(images):
                raise
            trainee.parts *= 2
            log.warning(
                "Out of memory: batches of %d now go through in %d parts.",
                len(images),
                trainee.parts,
            )


def accumulate(trainee: Trainee, images: Tensor, labels: Tensor) -> Tensor:
    """Add up the gradients of the parts of a batch. Returns the mean loss."""
    total = torch.zeros((), device=images.device)
    parts = max(1, min(trainee.parts, len(images) // 2))
    for part, wanted in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True):
        share = len(part) / len(images)
        with computing(images.device.type, trainee.precision):
            loss = trainee.objective(trainee.model, part, wanted) * share
        loss.backward()
        total += loss.detach()
    return total
