"""The kinds of stage. Adding a kind is one entry here and one function that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pruning_core.methods.registry import Method, Registry
from pruning_core.planning import inspection_types, measurement_types, model_types

ENGINE = "pruning_core.engine"


@dataclass(frozen=True, kw_only=True)
class StageKind(Method):
    """A kind of stage. The implementation takes a `Context` and returns a result.

    `settings` and `result` are the classes of what the stage takes and returns.

    `version` is part of the key of a stage: a change of the results or files raises it, a change
    of the words of notes does not. An `inspection` is quick and trains nothing, so it may run
    beside other stages; a `timed` stage measures time, so it runs alone. `derived` stages start
    from a finished model and stay in the cache as long as the model. `estimated` stages take most
    of the time of a run. The notes of `noted` stages concern all models of a run and are shown
    with its results. A stage that `prunes` runs a pruning step and the training after it;
    `removes_channels` is true where it removes channels.
    """

    settings: type[Any]
    result: type[Any]
    version: int = 1
    inspection: bool = False
    timed: bool = False
    derived: bool = False
    estimated: bool = False
    noted: bool = False
    prunes: bool = False
    removes_channels: bool = False


DATA_INSPECTION, MODEL_INSPECTION = "inspect_dataset", "inspect_model"
STAGE_KINDS = Registry(
    "stage kind",
    (
        StageKind(
            "list_files",
            "List files",
            "Lists a user's images, to see whether they may have changed.",
            implementation=f"{ENGINE}.analysis.stages:list_files",
            settings=inspection_types.ListFilesSettings,
            result=inspection_types.ListFilesResult,
            inspection=True,
        ),
        StageKind(
            DATA_INSPECTION,
            "Inspect dataset",
            "Counts images and classes, finds broken images, and computes the digest.",
            implementation=f"{ENGINE}.analysis.stages:inspect_dataset",
            settings=inspection_types.InspectDatasetSettings,
            result=inspection_types.InspectDatasetResult,
            version=5,
            inspection=True,
            noted=True,
        ),
        StageKind(
            "example_images",
            "Prepare example images",
            "Shows training images after the resize, as model input.",
            implementation=f"{ENGINE}.analysis.stages:example_images",
            settings=inspection_types.ExampleImagesSettings,
            result=inspection_types.ExampleImagesResult,
            inspection=True,
        ),
        StageKind(
            MODEL_INSPECTION,
            "Inspect model",
            "Builds the model, lists its layers and measures its training speed.",
            implementation=f"{ENGINE}.analysis.stages:inspect_model",
            settings=inspection_types.InspectModelSettings,
            result=inspection_types.InspectModelResult,
            version=7,
            inspection=True,
            noted=True,
        ),
        StageKind(
            "dataset",
            "Decode dataset",
            "Decodes and scales the images into arrays.",
            implementation=f"{ENGINE}.analysis.stages:decode_dataset",
            settings=inspection_types.DatasetSettings,
            result=inspection_types.DatasetResult,
            version=3,
            noted=True,
        ),
        StageKind(
            "baseline",
            "Train the baseline",
            "Trains the dense model of a seed.",
            implementation=f"{ENGINE}.stages:baseline",
            settings=model_types.BaselineSettings,
            result=model_types.BaselineResult,
            version=9,
            estimated=True,
            noted=True,
        ),
        StageKind(
            "pruned",
            "Prune and fine-tune",
            "Runs one pruning step and the training after it.",
            implementation=f"{ENGINE}.stages:pruned",
            settings=model_types.PrunedSettings,
            result=model_types.PrunedResult,
            version=7,
            estimated=True,
            prunes=True,
        ),
        StageKind(
            "correction",
            "Training-free correction",
            "Corrects a pruned model without training.",
            implementation=f"{ENGINE}.correction.stage:correction",
            settings=model_types.CorrectionSettings,
            result=model_types.CorrectionResult,
            version=2,
            estimated=True,
        ),
        StageKind(
            "sensitivity",
            "Sensitivity analysis of a layer",
            "Measures the accuracy with one layer or dependency group pruned.",
            implementation=f"{ENGINE}.analysis.stages:sensitivity",
            settings=measurement_types.SensitivitySettings,
            result=measurement_types.SensitivityResult,
            version=5,
            estimated=True,
        ),
        StageKind(
            "mask_overlap",
            "Mask overlap",
            "Compares the masks of two models.",
            implementation=f"{ENGINE}.analysis.stages:mask_overlap",
            settings=measurement_types.MaskOverlapSettings,
            result=measurement_types.MaskOverlapResult,
            version=2,
            inspection=True,
        ),
        StageKind(
            "predict",
            "Predict",
            "Predicts one image with two models.",
            implementation=f"{ENGINE}.analysis.predictions:predict",
            settings=measurement_types.PredictSettings,
            result=measurement_types.PredictResult,
            version=2,
            inspection=True,
        ),
        StageKind(
            "prediction_changes",
            "Compare predictions",
            "Finds the test images that only one of two models classifies correctly.",
            implementation=f"{ENGINE}.analysis.prediction_changes:prediction_changes",
            settings=measurement_types.PredictionChangesSettings,
            result=measurement_types.PredictionChangesResult,
            inspection=True,
        ),
        StageKind(
            "export",
            "Export model",
            "Writes a file of a model, reads it back, and measures its accuracy.",
            implementation=f"{ENGINE}.export.stage:export",
            settings=measurement_types.ExportSettings,
            result=measurement_types.ExportResult,
            version=11,
            derived=True,
        ),
        StageKind(
            "bundle",
            "Build reproducibility bundle",
            "Packs a model with everything that is needed to verify it.",
            implementation=f"{ENGINE}.export.bundle.stage:bundle",
            settings=measurement_types.BundleSettings,
            result=measurement_types.BundleResult,
            version=9,
        ),
        StageKind(
            "latency",
            "Measure latency",
            "Measures the interleaved latency of several models.",
            implementation=f"{ENGINE}.latency.stage:latency",
            settings=measurement_types.LatencySettings,
            result=measurement_types.LatencyResult,
            version=10,
            timed=True,
            derived=True,
        ),
        StageKind(
            "sparse_speedup",
            "Benchmark sparse kernels",
            "Measures sparse and dense matrix products of the layers of a model.",
            implementation=f"{ENGINE}.latency.sparse_speedup:sparse_speedup",
            settings=measurement_types.SparseSpeedupSettings,
            result=measurement_types.SparseSpeedupResult,
            version=4,
            timed=True,
            derived=True,
        ),
        StageKind(
            "structured",
            "Structured pruning and fine-tuning",
            "Removes channels, and trains afterwards.",
            implementation=f"{ENGINE}.structured.stage:structured",
            settings=model_types.StructuredSettings,
            result=model_types.StructuredResult,
            version=5,
            estimated=True,
            prunes=True,
            removes_channels=True,
        ),
        StageKind(
            "inspect_groups",
            "Inspect dependency groups",
            "Finds the dependency groups, and what structured pruning would leave of them.",
            implementation=f"{ENGINE}.structured.stage:inspect_groups",
            settings=inspection_types.InspectGroupsSettings,
            result=inspection_types.InspectGroupsResult,
            version=4,
            inspection=True,
        ),
    ),
)
INSPECTIONS = tuple(name for name, kind in STAGE_KINDS.items() if kind.inspection)
COMPUTATIONS = tuple(name for name, kind in STAGE_KINDS.items() if not kind.inspection)
ESTIMATED_KINDS = tuple(name for name, kind in STAGE_KINDS.items() if kind.estimated)
