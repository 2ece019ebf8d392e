"""One training step, in which the CPU never waits for a number from the device."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from pruning_core.engine.models.devices import autocast
from pruning_core.engine.training.state import TrainingState

SMALLEST_NORM = 1e-12
log = logging.getLogger(__name__)


def step(
    state: TrainingState, images: Tensor, labels: Tensor, lr: float, clip_grad_norm: float
) -> Tensor:
    """One optimizer step with a learning rate. Returns the mean loss, a scalar.

    `images` (N, 3, S, S) are normalized, `labels` are (N,). The gradients of pruned weights are
    set to zero, and so is their optimizer state: they stay zero without being masked again.
    """
    loss = compute_gradients(state, images, labels)
    update(state, lr, clip_grad_norm)
    return loss


def update(state: TrainingState, lr: float, clip_grad_norm: float) -> None:
    """Step the optimizer with the gradients that the parameters have."""
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    overflow = clip_gradients(state, clip_grad_norm)
    if state.movement:
        state.movement.add(overflow)
    # Fused optimizers skip the step on the device where `found_inf` is 1: the interface that
    # mixed-precision training uses. An `if` here would wait for the device in every step.
    state.optimizer.found_inf = overflow  # type: ignore[attr-defined]
    state.optimizer.step()
    state.skipped = state.skipped.to(overflow.device, non_blocking=True) + overflow


@torch.no_grad()
def clip_gradients(state: TrainingState, max_norm: float) -> Tensor:
    """Clip the gradient of each tensor to an L2 norm; 0 clips nothing.

    Returns a scalar: 1 where a gradient is not finite, else 0. A channel that a large pruning step
    left almost empty has hardly any variance, so batch norm multiplies its gradient by up to 300,
    which grows without bound over several layers. Each tensor is clipped alone, because one such
    channel would otherwise shrink the gradients of all others.
    """
    if state.masks:
        # Before the norms, so that pruned weights do not count in them.
        state.masks.multiply_gradients()
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack(torch._foreach_norm(gradients))
    if max_norm:
        factors = (max_norm / norms.clamp(min=SMALLEST_NORM)).clamp(max=1.0)
        torch._foreach_mul_(gradients, list(factors.unbind()))
    return 1.0 - norms.isfinite().all().float()


def compute_gradients(
    state: TrainingState, images: Tensor, labels: Tensor, batch: int = 0
) -> Tensor:
    """Fill the gradients for images (N, 3, S, S). Returns the mean loss, a scalar.

    Where the images are a part of a batch of `batch` images, the gradients and the loss are the
    share of this part.

    Where the GPU runs out of memory, the batch is processed in twice as many parts from then on.
    """
    while True:
        state.optimizer.zero_grad(set_to_none=True)
        try:
            return accumulate_gradients(state, images, labels, batch or len(images))
        except torch.OutOfMemoryError:
            if state.parts * 2 > len(images):
                raise
            state.parts *= 2
            log.warning(
                "Out of memory: batches of %d are now processed in %d parts.",
                len(images),
                state.parts,
            )


def accumulate_gradients(
    state: TrainingState, images: Tensor, labels: Tensor, batch: int
) -> Tensor:
    """Add up the gradients of the parts of the images, which are all or some of a batch.

    Returns their share of the mean loss of the batch, a scalar.
    """
    total = torch.zeros((), device=images.device)
    # At least two images per part, because batch norm needs two.
    parts = max(1, min(state.parts, len(images) // 2))
    pairs = zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True)
    for part_images, part_labels in pairs:
        # Weighted by its share, so that the sum is the gradient of the whole batch's mean loss.
        share = len(part_images) / batch
        with autocast(images.device.type, state.precision):
            loss = state.objective(state.model, part_images, part_labels) * share
        loss.backward()
        total += loss.detach()
    return total
