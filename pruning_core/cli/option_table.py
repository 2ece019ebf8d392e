"""The options of `compare`: each names the settings it overrides.

A new option is one entry in `OPTIONS`; the parser, the help and the messages follow from it.
"""

from __future__ import annotations

from pruning_core.cli.option_kinds import (
    Option,
    absolute,
    integers,
    normalization,
    number,
    numbers,
    weights,
    whole,
)
from pruning_core.cli.prune_options import entries
from pruning_core.cli.structured_options import STRUCTURED_OPTIONS
from pruning_core.settings import spec as specs
from pruning_core.settings.sensitivity import SCAN_UNITS

__all__ = ["OPTIONS", "Option", "absolute", "normalization", "weights"]

NAMED = tuple(name for name in specs.DATASETS if name != "images")

OPTIONS = (
    Option("--dataset", ("data.name",), str, "a data set by name", choices=NAMED),
    Option("--data", ("data.path",), absolute, "your own images: a folder or a .zip", "PATH"),
    Option("--image-size", ("data.image_size",), whole, "pixels a side, 28 to 224", "N"),
    Option("--train-size", ("data.train_size",), whole, "training images; 0 takes all", "N"),
    Option("--test-size", ("data.test_size",), whole, "test images; 0 takes all", "N"),
    Option(
        "--normalize",
        ("data.mean", "data.std"),
        normalization,
        "mean and deviation of the colours: two numbers or six (default: ImageNet's)",
        "MEAN,STD",
    ),
    Option("--augment", ("data.augment",), str, "changes to images", choices=specs.AUGMENTATIONS),
    Option("--model", ("model.name",), str, "a torchvision classification model", "NAME"),
    Option("--width", ("model.width",), number, "width multiplier, where there is one", "F"),
    Option("--stem-stride", ("model.stem_stride",), whole, "1 for images under 64 pixels", "1|2"),
    Option("--weights", ("model.weights",), weights, "none, pretrained or a file", "PATH"),
    Option("--batch-size", ("baseline.batch_size", "finetune.batch_size"), whole, "images", "N"),
    Option(
        "--baseline-epochs", ("baseline_epochs",), whole, "0 takes the weights as they are", "N"
    ),
    Option("--baseline-lr", ("baseline.lr",), number, "peak learning rate of the baseline", "F"),
    Option(
        "--baseline-optimizer",
        ("baseline.optimizer",),
        str,
        "for the baseline; takes its usual rate where --baseline-lr is not given",
        choices=specs.OPTIMIZERS,
    ),
    Option(
        "--baseline-lr-schedule",
        ("baseline.lr_schedule",),
        str,
        "learning-rate curve of the baseline",
        choices=specs.LR_SCHEDULES,
    ),
    Option("--baseline-weight-decay", ("baseline.weight_decay",), number, "of the baseline", "F"),
    Option(
        "--momentum",
        ("baseline.momentum", "finetune.momentum"),
        number,
        "of SGD; Adam's beta 1",
        "F",
    ),
    Option(
        "--clip-norm",
        ("baseline.clip_norm", "finetune.clip_norm"),
        number,
        "longest gradient of a tensor in a step; 0: not clipped",
        "F",
    ),
    Option("--lr", ("finetune.lr",), number, "peak learning rate of fine-tuning", "F"),
    Option(
        "--optimizer",
        ("finetune.optimizer",),
        str,
        "for fine-tuning; takes its usual rate where --lr is not given",
        choices=specs.OPTIMIZERS,
    ),
    Option(
        "--lr-schedule",
        ("finetune.lr_schedule",),
        str,
        "learning-rate curve of fine-tuning",
        choices=specs.LR_SCHEDULES,
    ),
    Option("--lr-span", ("lr_span",), str, "what one curve covers", choices=specs.LR_SPANS),
    Option(
        "--warm-up", ("finetune.warm_up",), number, "share of the curve with a rising rate", "F"
    ),
    Option("--weight-decay", ("finetune.weight_decay",), number, "of fine-tuning", "F"),
    Option("--label-smoothing", ("finetune.label_smoothing",), number, "of fine-tuning", "F"),
    Option("--baseline-warm-up", ("baseline.warm_up",), number, "the same for the baseline", "F"),
    Option("--baseline-smoothing", ("baseline.label_smoothing",), number, "the same there", "F"),
    Option("--recovery", ("recovery.method",), str, "after a cut", choices=specs.RECOVERIES),
    Option("--rewind-epoch", ("recovery.rewind_epoch",), whole, "of the baseline; 0: start", "N"),
    Option("--distill-weight", ("recovery.distill_weight",), number, "of the teacher, 0 to 1", "F"),
    Option(
        "--distill-temperature",
        ("recovery.distill_temperature",),
        number,
        "divides the outputs of teacher and student",
        "F",
    ),
    Option(
        "--ladder-images",
        ("ladder.images",),
        whole,
        "training images that the ladder looks at; see --ladder",
        "N",
    ),
    Option("--amounts", ("one_shot.amounts",), numbers, "one-shot sparsities", "0.3,0.5"),
    Option("--target", ("iterative.target",), number, "iterative target sparsity", "F"),
    Option("--iterations", ("iterative.iterations",), whole, "iterative steps", "N"),
    Option(
        "--epochs",
        ("one_shot.epochs", "iterative.epochs", "structured.epochs"),
        number,
        "fine-tuning epochs after each cut, such as 0.5 or 2",
        "F",
    ),
    Option("--one-shot-epochs", ("one_shot.epochs",), number, "the same for one-shot alone", "F"),
    Option(
        "--schedule",
        ("iterative.schedule",),
        str,
        "how sparsity grows",
        choices=specs.SCHEDULES,
    ),
    Option(
        "--targets",
        ("iterative.targets",),
        numbers,
        "sparsity after each iterative step; brings --schedule list, --iterations and --target",
        "0.5,0.8",
    ),
    Option(
        "--tail",
        ("iterative.tail",),
        number,
        "epochs after the last iterative step, the rate falling to 0",
        "F",
    ),
    Option("--criterion", ("prune.criterion",), str, "what goes first", choices=specs.CRITERIA),
    Option(
        "--score-images",
        ("prune.score_images",),
        whole,
        "training images that a criterion looks at, at most",
        "N",
    ),
    Option("--scope", ("prune.scope",), str, "how amounts spread", choices=specs.SCOPES),
    Option(
        "--keep-floor",
        ("prune.keep_floor",),
        number,
        "kept of every layer (global, lamp, erk)",
        "F",
    ),
    Option("--layers", ("prune.layers",), str, "which are pruned", choices=specs.LAYER_CHOICES),
    Option(
        "--scan-sparsities",
        ("scan.sparsities",),
        numbers,
        "sparsities of the sensitivity scan",
        "0.5,0.9",
    ),
    Option("--scan-images", ("scan.images",), whole, "validation images of the scan", "N"),
    Option(
        "--scan-unit",
        ("scan.unit",),
        str,
        "what a scan cuts alone: each layer, or each coupled group of channels",
        choices=tuple(SCAN_UNITS),
    ),
    Option(
        "--spare",
        ("prune.spare",),
        entries,
        "kinds (depthwise, stem, classifier, linear, conv, attention) or patterns over "
        "parameter names that are not pruned",
        "stem,blocks.0.*",
    ),
    Option(
        "--by-hand",
        ("prune.by_hand",),
        entries,
        "share of each layer, for --scope hand; an amount scales the whole table",
        "features.*=0.9",
    ),
    Option(
        "--granularity",
        ("prune.granularity",),
        str,
        "what goes as one piece; 2:4 and 4:8 are one cut of 50 %% and need --no-iterative",
        choices=specs.GRANULARITIES,
    ),
    Option("--norm", ("prune.norm",), str, "of a filter's magnitudes: n to 16, or inf", "1|2|inf"),
    Option(
        "--dim",
        ("prune.dim",),
        whole,
        "filters of outputs (0), of inputs (1), of rows or columns of kernels (2, 3)",
        "0|1|2|3",
    ),
    Option("--seed", ("seeds",), integers, "one seed or several", "0,1,2"),
    Option(
        "--bn-images",
        ("baseline.bn_images", "finetune.bn_images"),
        whole,
        "batch norm is estimated anew on, after each epoch; 0: not",
        "N",
    ),
    Option("--precision", ("precision",), str, "of training", choices=specs.PRECISIONS),
    Option("--device", ("device",), str, "where to train", choices=specs.DEVICES),
    *STRUCTURED_OPTIONS,
)
