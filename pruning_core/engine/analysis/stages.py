"""The stages that train nothing: inspections, decoding, sensitivity analysis, mask overlap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from pruning_core.common.files import fingerprint
from pruning_core.common.formatting import format_count
from pruning_core.engine.analysis import inspect_model as inspection
from pruning_core.engine.analysis import layer_statistics
from pruning_core.engine.analysis.group_sensitivity import GroupPruner, make_scorer
from pruning_core.engine.analysis.sensitivity import DEFAULTS, accuracy_curve, layer_curve
from pruning_core.engine.correction.corrections import LayerCorrection
from pruning_core.engine.criteria.calibration import (
    images_for_correction,
    inputs_for_sensitivity,
)
from pruning_core.engine.data import decoding
from pruning_core.engine.data import inspection as data_inspection
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks.pruning_step import initial_masks
from pruning_core.engine.models import devices
from pruning_core.engine.models.layers import convolution_groups, weights
from pruning_core.engine.models.macs import weight_uses
from pruning_core.engine.models.modes import evaluation_mode
from pruning_core.engine.models.traced_layers import traced_layers
from pruning_core.engine.stage_inputs import (
    MODEL_FILE,
    baseline_settings,
    load_model,
    splits_of_baseline,
)
from pruning_core.engine.training.evaluate import Evaluation, evaluate
from pruning_core.methods.corrections import MAX_INPUTS
from pruning_core.methods.criteria import CRITERIA
from pruning_core.methods.granularity import units
from pruning_core.methods.sensitivity_units import GROUP
from pruning_core.planning.inspection_types import (
    DatasetResult,
    DatasetSettings,
    ExampleImagesResult,
    ExampleImagesSettings,
    InspectDatasetResult,
    InspectDatasetSettings,
    InspectModelResult,
    InspectModelSettings,
    ListFilesResult,
    ListFilesSettings,
)
from pruning_core.planning.measurement_types import (
    MaskOverlapResult,
    MaskOverlapSettings,
    SensitivityResult,
    SensitivitySettings,
)
from pruning_core.planning.model_types import BaselineSettings
from pruning_core.planning.stage_types import stored
from pruning_core.results.layers import layer_statistics as read_layers
from pruning_core.storage.stage_context import Context


def list_files(context: Context[ListFilesSettings]) -> ListFilesResult:
    """What stands for the files of a user's images."""
    return ListFilesResult(fingerprint(context.settings.path))


def inspect_dataset(context: Context[InspectDatasetSettings]) -> InspectDatasetResult:
    """Classes, counts, broken images and the digest of a data set's content."""
    return data_inspection.inspect_dataset(
        context.settings, context.row.hints, context.cache.downloads, context.progress.say
    )


def example_images(context: Context[ExampleImagesSettings]) -> ExampleImagesResult:
    """Training images as the model sees them, as files of the stage."""
    return data_inspection.example_images(
        context.settings,
        context.row.hints,
        context.folder,
        context.cache.downloads,
        context.progress.say,
    )


def inspect_model(context: Context[InspectModelSettings]) -> InspectModelResult:
    """The layers of a model, notes on its weights, and its training speed on this machine."""
    devices.prepare(threads=1)
    return inspection.inspect_model(
        context.settings, context.row.hints["weights"], context.cache.downloads
    )


def decode_dataset(context: Context[DatasetSettings]) -> DatasetResult:
    """The images of a data set as uint8 arrays in the folder of the stage."""
    hints = context.row.hints
    try:
        return decoding.decode_dataset(
            context.settings,
            hints,
            context.folder,
            context.cache.downloads,
            context.progress.say,
        )
    except decoding.ImagesChanged:
        # The next plan must not rely on an inspection that does not describe the images.
        context.store.remove(hints["inspection"])
        raise


def sensitivity(context: Context[SensitivitySettings]) -> SensitivityResult:
    """Accuracy of the baseline with one layer or one dependency group pruned, without training."""
    settings, store = context.settings, context.store
    base = baseline_settings(store, context.row.parent)
    devices.prepare(threads=1)
    model = devices.place(load_model(store, context.row.parent, base), settings.device)
    splits = splits_of_baseline(store, context.row.parent, base)
    images = splits.validation.sample(settings.images, settings.seed)
    chance = images.largest_share()

    def evaluate_model(model: nn.Module) -> Evaluation:
        return evaluate(model, images, base.data, settings.device)

    baseline = _Baseline(model, chance, evaluate_model, context, splits, base)
    by_group = settings.unit == GROUP
    return _group_sensitivity(baseline) if by_group else _layer_sensitivity(baseline)


@dataclass(frozen=True)
class _Baseline:
    """The model to analyze, its evaluation, and what a criterion needs; `base` its settings."""

    model: nn.Module
    chance: float
    evaluate: Callable[[nn.Module], Evaluation]
    context: Context[SensitivitySettings]
    splits: Splits
    base: BaselineSettings


def _layer_sensitivity(baseline: _Baseline) -> SensitivityResult:
    settings, model = baseline.context.settings, baseline.model
    name = settings.layer
    weight = weights(model, "all")[name]
    evidence = inputs_for_sensitivity(
        {name: weight}, model, baseline.context, baseline.splits, baseline.base
    )
    scores = CRITERIA.load(settings.criterion or "")(evidence)[name]
    pruning = {**DEFAULTS, **stored(settings)}
    groups = convolution_groups(model)[name]
    correction, notes = _layer_correction(baseline)
    rows = layer_curve(
        name,
        weight,
        scores,
        settings.sparsities,
        baseline.chance,
        partial(baseline.evaluate, model),
        pruning,
        initial_masks(baseline.context.store, baseline.context.row.parent).get(name),
        groups,
        correction,
    )
    count = units(weight.shape, pruning, groups)
    all_weights = weights(model, "all")
    uses = weight_uses(model, baseline.base.data["image_size"])
    layer_macs = {name: uses.get(name, 0) * value.numel() for name, value in all_weights.items()}
    return SensitivityResult(
        weight.numel(),
        count,
        rows,
        macs=layer_macs[name],
        model_macs=sum(layer_macs.values()),
        notes=notes,
    )


def _layer_correction(baseline: _Baseline) -> tuple[LayerCorrection | None, list[str]]:
    """Least squares for the layer of the stage, if asked for, and notes where it cannot be had."""
    settings, model, data = baseline.context.settings, baseline.model, baseline.base.data
    if settings.correction_images is None:
        return None, []
    images = images_for_correction(settings, baseline.splits, data, settings.correction_images)
    traced = traced_layers(model, next(iter(images))[0][:2])
    layer = next((one for one in traced if one.weight_name == settings.layer), None)
    if layer is None:
        return None, ["Least squares was not measured: the layer is computed inside another one."]
    if (inputs := layer.module.weight[0].numel()) > MAX_INPUTS:
        many = format_count(inputs, "input")
        return None, [f"Least squares was not measured: the layer has {many}."]
    with evaluation_mode(model):
        return LayerCorrection(model, layer, images, settings.seed), []


def _group_sensitivity(baseline: _Baseline) -> SensitivityResult:
    settings, size = baseline.context.settings, baseline.base.data["image_size"]
    scorer = make_scorer(baseline.model, settings, baseline.splits, baseline.base)
    pruner = GroupPruner(baseline.model, settings.layer, size, scorer)
    rows = accuracy_curve(
        pruner.prune,
        settings.sparsities,
        baseline.chance,
        lambda: baseline.evaluate(pruner.pruned),
    )
    width = pruner.ranked.width
    return SensitivityResult(width, width, rows, of="channels")


def mask_overlap(context: Context[MaskOverlapSettings]) -> MaskOverlapResult:
    """The overlap of the masks of two finished models, layer by layer."""
    keys = context.settings.first, context.settings.second
    first, second = (sparse_file.load(context.store.file(key, MODEL_FILE)) for key in keys)
    names = {layer["name"] for layer in read_layers(context.store, keys[0])}
    layers = {name: value for name, value in first.items() if name in names}
    rows = layer_statistics.mask_overlap(layers, second)
    if resized := sum(second[n].shape != layers[n].shape for n in layers.keys() & second.keys()):
        left_out = "1 layer is" if resized == 1 else f"{resized} layers are"
        return MaskOverlapResult(rows, [f"{left_out} left out, because channels were removed."])
    return MaskOverlapResult(rows)
