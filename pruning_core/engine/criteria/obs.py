"""Optimal Brain Surgeon (OBS): the loss of each weight when the others make up for its removal.

Hassibi and Stork 1992,
https://proceedings.neurips.cc/paper/1992/hash/303ed4c69846ab36c2904d3ba8573050-Abstract.html, for
each layer alone as in Optimal Brain Compression (Frantar and Alistarh 2022,
https://arxiv.org/abs/2208.11580). The squared error of a layer's outputs is a quadratic in each row
of its weight. Let A be the inverse of the damped Gram matrix of the inputs. Without weight j the
error grows by w_j^2 / A_jj if the others of its row change by -w_j A_j / A_jj; A then loses row and
column j. As in SparseGPT (Frantar and Alistarh 2023, https://arxiv.org/abs/2301.00774), all rows
start from one Cholesky decomposition, and columns are removed in blocks.

A pruning step takes two passes, because the weights of all layers are compared before one changes.
The first, `obs`, removes all weights of the unpruned model one after another, and scores each with
its loss at that time; the allocation chooses among them. The second goes through the layers in the
order of computation, with inputs from the layers that are pruned already: `rescoring` repeats the
choice within the layer, which loses as many weights as before, and the compensation that the
catalogue names solves for the remaining weights (`correction.corrections`). For a given mask that
is where the updates of OBS end, whatever their order.

Shapes: g groups of a convolution (1 for a linear layer), o output channels and d inputs of a group
(input channels times taps of the kernel). O = g * o, and d = I * K * L. U units of up to n rows
are pruned together: the rows of a block. Other granularities have units of one row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pruning_core.engine.correction.least_squares import RIDGE, ProductSums, regression_samples
from pruning_core.engine.criteria.gradients import obd, random_directions
from pruning_core.engine.criteria.inputs import (
    LOWER_RATE,
    CriterionInputs,
    Tensors,
    checked_scores,
    criterion_error,
)
from pruning_core.engine.models.modes import evaluation_mode, temporary_hooks
from pruning_core.engine.models.traced_layers import Layer, TracedLayer, traced_layers
from pruning_core.methods.corrections import MAX_INPUTS, RANKED_OUTPUTS, ranked_inputs
from pruning_core.methods.granularity import is_depthwise

Rescoring = Callable[[TracedLayer, ProductSums, Tensor], Tensor]

# One of so many remaining columns is removed at a time; of fewer than twice as many, one by one.
BLOCK = 8
# The matrices are copied to a smaller size once so many of their columns remain.
SHRINK = 0.75
# So much each loss in a row is above the one before, at least; more than float32 rounds.
STEP = 1e-6
# Numbers in the matrices of the layers or units that are computed together: 128 MB.
MAX_NUMBERS = 2**24


def obs(inputs: CriterionInputs) -> Tensors:
    """The increase of the loss (O, I, *K), in nats, when each weight is removed in its turn.

    The squared error of an output channel times half its curvature (see `output_curvatures`)
    estimates the increase of the cross-entropy, so the scores of all layers can be compared. Within
    a row they rise in the order of removal. Weights of layers that least squares does not solve,
    such as attention, get the scores of Optimal Brain Damage, which have the same unit. Raises
    `StageError` where a score or an input of a layer is not finite.
    """
    layers = _solvable_layers(inputs)
    scores: Tensors = {}
    with evaluation_mode(inputs.model):
        curvatures = output_curvatures(inputs, layers)
        for part in _parts(layers):
            for layer, gram in gram_matrices(inputs, part).items():
                weight, curvature = layer.module.weight.detach(), curvatures[layer.name]
                scores[layer.weight_name] = layer_scores(weight, gram, curvature, inputs.block)
    if others := {name: w for name, w in inputs.weights.items() if name not in scores}:
        scores |= obd(replace(inputs, weights=others))
    return checked_scores("obs", {name: scores[name] for name in inputs.weights})


def rescoring(inputs: CriterionInputs) -> Rescoring:
    """Scores of one layer for inputs from pruned layers; the model must not be pruned yet.

    The function takes a layer with its weight (O, I, *K) before the step, the sums over its inputs
    and over the outputs that should result, and the mask of weights that may remain. The weights
    that fit these outputs best lose their columns one after another, as in `obs`.
    """
    with evaluation_mode(inputs.model):
        curvatures = output_curvatures(inputs, _solvable_layers(inputs))

    def scores(layer: TracedLayer, sums: ProductSums, mask: Tensor) -> Tensor:
        optimum, _ = sums.solve(layer.module, mask, layer.takes_offset)
        gram, _ = sums.products(layer.takes_offset)
        weight = torch.empty_like(layer.module.weight.detach()).copy_(optimum)
        return layer_scores(weight, gram, curvatures[layer.name], inputs.block)

    return scores


def _solvable_layers(inputs: CriterionInputs) -> list[TracedLayer]:
    """The layers of the prunable weights that least squares solves."""
    images = next((images for images, _ in inputs.batches), None)
    if images is None:
        raise ValueError("The criterion obs needs calibration images, but got none.")
    traced = traced_layers(inputs.model, images[:2])
    return [
        layer
        for layer in traced
        if layer.weight_name in inputs.weights and layer.module.weight[0].numel() <= MAX_INPUTS
    ]


def removal_losses(weight: Tensor, inverse: Tensor, block: int = BLOCK) -> Tensor:
    """The losses (U, d) at which the columns of each unit are removed, one after another.

    `weight` (U, n, d) holds the rows of the units, which lose their columns together, and `inverse`
    (U, d, d) is A for each, and is changed in place. A column with the least sum over the rows of
    w_j^2 / A_jj is removed first, and the others change to make up for it; of equal columns the
    first goes first. Of m remaining columns m / `block` are removed at a time, at least one; their
    losses are those of a removal one by one in this order. A loss is a little above that of the
    column before, at least, so the lowest losses are always the first ones in the order.
    """
    weight = weight.clone()
    units, rows, columns = weight.shape
    losses = weight.new_zeros(units, columns)
    names = torch.arange(columns).expand(units, -1)
    present = torch.ones(units, columns, dtype=torch.bool)
    highest = weight.new_zeros(units, 1)
    remaining = columns
    while remaining:
        if remaining <= SHRINK * names.shape[1]:
            kept = present.nonzero(as_tuple=True)[1].reshape(units, remaining)
            names = names.gather(1, kept)
            weight = weight.gather(2, kept[:, None].expand(-1, rows, -1))
            unit = torch.arange(units)[:, None, None]
            inverse = inverse[unit, kept[:, :, None], kept[:, None]]
            present = torch.ones_like(names, dtype=torch.bool)
        single = weight.square().sum(1) / inverse.diagonal(dim1=1, dim2=2)
        count = max(1, remaining // block)
        order = single.masked_fill_(~present, math.inf).argsort(dim=1, stable=True)
        removed = order[:, :count]
        # With L L' = A of the removed columns: W L'^-1 squared are their losses, one by one.
        across = inverse.gather(1, removed[:, :, None].expand(-1, -1, names.shape[1]))
        square = across.gather(2, removed[:, None].expand(-1, count, -1))
        factor = torch.linalg.cholesky(square)
        across = torch.linalg.solve_triangular(factor, across, upper=False)
        values = weight.gather(2, removed[:, None].expand(-1, rows, -1)).transpose(1, 2)
        values = torch.linalg.solve_triangular(factor, values, upper=False)
        loss = _rising(values.square().sum(2), highest)
        losses.scatter_(1, names.gather(1, removed), loss)
        highest = loss[:, -1:]
        weight.baddbmm_(values.transpose(1, 2), across, alpha=-1)
        inverse.baddbmm_(across.transpose(1, 2), across, alpha=-1)
        present.scatter_(1, removed, False)
        remaining -= count
    return losses


@torch.no_grad()
def layer_scores(weight: Tensor, gram: Tensor, curvature: Tensor, block: int = 1) -> Tensor:
    """The scores of a weight (O, I, *K) in its memory format; `curvature` is (O,).

    `gram` (g, d, d) is that of its inputs. `block` output channels of a group are pruned together;
    in depthwise layers each has its own inputs, and the scores of a block are only summed. The
    scores are not a number where the weight is not finite.
    """
    factors = (curvature / 2).sqrt().expand(len(weight))[:, None]
    rows = weight.cpu().double().reshape(len(weight), -1) * factors
    if not bool(torch.isfinite(rows).all()):
        return torch.full_like(weight, math.nan)
    together = 1 if is_depthwise(weight.shape, len(gram)) else block
    losses = row_losses(rows.reshape(len(gram), -1, rows.shape[1]), gram, together)
    return torch.empty_like(weight).copy_(losses.reshape(weight.shape))


def _rising(losses: Tensor, before: Tensor) -> Tensor:
    """Losses (U, k) in the order of removal, each raised a little above the one before it.

    `before` (U, 1) are those of the removals before. Where all are 0 they stay 0.
    """
    growth = torch.full((losses.shape[1],), 1 + STEP, dtype=losses.dtype).cumprod(0)
    return torch.cat([before, losses / growth], 1).cummax(1).values[:, 1:] * growth


def row_losses(weight: Tensor, gram: Tensor, rows: int = 1, ridge: float = RIDGE) -> Tensor:
    """The losses (g, o, d) of all weights (g, o, d) of a layer with the Gram matrices (g, d, d).

    `rows` consecutive output channels of a group make a unit, the last one of a group may have
    fewer; its loss is shared equally among its weights. The damping is `ridge` times the mean
    diagonal, as in `least_squares`. All tensors are float64.
    """
    groups, outputs, inputs = weight.shape
    scale = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    # Without any input, nothing is lost.
    damped = gram / torch.where(scale > 0, scale, 1.0)
    damped.diagonal(dim1=1, dim2=2).add_(ridge)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    per_group = math.ceil(outputs / rows)
    padded = weight.new_zeros(groups, per_group * rows, inputs)
    padded[:, :outputs] = weight
    units = padded.reshape(groups * per_group, rows, inputs)
    group = torch.arange(groups).repeat_interleave(per_group)
    width = ranked_inputs(len(units), inputs)
    losses = _losses_in_parts(units, inverse, group, width)
    if width < inputs:
        sample = torch.linspace(0, len(units) - 1, min(RANKED_OUTPUTS, len(units))).long()
        together = _losses_in_parts(units[sample], inverse, group[sample], inputs)
        losses = _rescaled(losses, losses[sample], together)
    sizes = torch.full((per_group, 1), float(rows), dtype=weight.dtype)
    sizes[-1] = outputs - (per_group - 1) * rows
    shared = losses.reshape(groups, per_group, inputs) / sizes * scale
    return shared.repeat_interleave(rows, 1)[:, :outputs]


def _losses_in_parts(units: Tensor, inverse: Tensor, group: Tensor, width: int) -> Tensor:
    """The losses (U, d) of units (U, n, d); `width` columns are removed beside all others.

    `inverse` is (g, d, d), and `group` (U,) the group of each unit.
    """
    losses = units.new_empty(len(units), units.shape[2])
    for columns in torch.arange(units.shape[2]).split(width):
        for part in torch.arange(len(units)).split(max(1, MAX_NUMBERS // len(columns) ** 2)):
            matrices = inverse[group[part][:, None, None], columns[:, None], columns]
            values = units[part[:, None], :, columns].transpose(1, 2)
            losses[part[:, None], columns] = removal_losses(values, matrices)
    return losses


def _rescaled(losses: Tensor, in_parts: Tensor, together: Tensor) -> Tensor:
    """Losses (U, d) of columns removed in parts, as large as if all were removed together.

    In parts too little is lost, above all by the last columns. The k-th lowest loss of each unit is
    multiplied by the ratio of the k-th losses of a sample of units that were removed both ways.
    """
    sums = [sample.sort(1).values.sum(0) for sample in (together, in_parts)]
    ratio = torch.where(sums[1] > 0, sums[0] / sums[1], 1.0)
    ordered, order = losses.sort(dim=1, stable=True)
    return losses.scatter(1, order, _rising(ordered * ratio, ordered.new_zeros(len(losses), 1)))


def output_curvatures(inputs: CriterionInputs, layers: Sequence[TracedLayer]) -> Tensors:
    """The curvature (O,) of the cross-entropy in each output channel of the layers, by name.

    It is the diagonal of the Gauss-Newton matrix, estimated with one random direction for each
    image as in `gradients.obd`, summed over the positions of the map and averaged over the images:
    the gradients of different positions count as independent, as in Grosse and Martens 2016,
    https://arxiv.org/abs/1602.01407. One backward pass for each batch.
    """
    sums: dict[nn.Module, Tensor] = {}

    def watch(module: nn.Module, _: object, output: Tensor) -> None:
        channel = 1 if isinstance(module, nn.Conv2d) else -1

        def add(gradient: Tensor) -> None:
            rows = gradient.movedim(channel, -1).flatten(0, -2)
            sums[module] = rows.square().sum(0).cpu().double() + sums.get(module, 0.0)

        # Registered before an activation in place can change the tensor.
        output.register_hook(add)

    hooks = [layer.module.register_forward_hook(watch) for layer in layers]
    images = 0
    with temporary_hooks(hooks), torch.enable_grad():
        for batch, _ in inputs.batches if layers else ():
            images += len(batch)
            logits = inputs.model(batch)
            direction = random_directions(logits.detach(), inputs.generator)
            weights = [layer.module.weight for layer in layers]
            torch.autograd.grad((logits * direction).sum(), weights, materialize_grads=True)
    unused = torch.zeros(1, dtype=torch.float64)
    return {layer.name: sums.get(layer.module, unused) / max(images, 1) for layer in layers}


@torch.no_grad()
def gram_matrices(
    inputs: CriterionInputs, layers: Sequence[TracedLayer]
) -> dict[TracedLayer, Tensor]:
    """The Gram matrices (g, d, d) of the inputs of layers, in one pass over the images.

    They are means over samples, centered where a constant can be added to the outputs. Raises
    `StageError` where one is not finite.
    """
    sums = {layer.module: ProductSums.zeros(*_sizes(layer), 0) for layer in layers}
    seed = int(torch.randint(2**62, (), generator=inputs.generator))
    generators = {layer.module: torch.Generator().manual_seed(seed) for layer in layers}

    def add(module: Layer, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        x, y = regression_samples(module, arguments[0], output, generators[module])
        sums[module].add(x, y[:, :, :0])

    hooks = [layer.module.register_forward_hook(add) for layer in layers]
    with temporary_hooks(hooks):
        for batch, _ in inputs.batches:
            inputs.model(batch)
    grams = {layer: sums[layer.module].products(layer.takes_offset)[0] for layer in layers}
    for layer, gram in grams.items():
        if not bool(torch.isfinite(gram).all()):
            reason = f"the inputs of {layer.weight_name} are not finite; {LOWER_RATE}"
            raise criterion_error("obs", reason)
    return grams


def _sizes(layer: TracedLayer) -> tuple[int, int]:
    """The groups g and the inputs d of a layer."""
    groups = layer.module.groups if isinstance(layer.module, nn.Conv2d) else 1
    return groups, layer.module.weight[0].numel()


def _parts(layers: Sequence[TracedLayer]) -> Iterator[list[TracedLayer]]:
    """The layers in parts of at most `MAX_NUMBERS` in their Gram matrices, or of one layer."""
    part: list[TracedLayer] = []
    numbers = 0
    for layer in layers:
        groups, inputs = _sizes(layer)
        size = groups * inputs**2
        if part and numbers + size > MAX_NUMBERS:
            yield part
            part, numbers = [], 0
        part.append(layer)
        numbers += size
    if part:
        yield part
