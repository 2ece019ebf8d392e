"""What each term means: the source of tooltips, of the HTML report and of the Guide's table.

Every column of the tables and of the CSV files has an entry; a test checks that.
"""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.methods.granularity import UNIT_NOUNS

PERCENT, POINTS, BYTES, RATIO = "%", "percentage points", "bytes", "ratio"
EPOCHS, SECONDS, MILLISECONDS, MICROSECONDS, PIXELS = "epochs", "s", "ms", "µs", "pixels"


@dataclass(frozen=True)
class Term:
    """A term with its definition, one sentence.

    `unit` is that of tables, empty where the term has none; CSV files hold fractions in place of
    percent and points. `columns` are the columns of CSV files that hold it.
    """

    term: str
    definition: str
    unit: str = ""
    columns: tuple[str, ...] = ()


MODELS = (
    Term("Run", "The label of the run.", columns=("run",)),
    Term(
        "Strategy",
        "How the model was pruned: one-shot, iterative, structured, one-shot with training-free "
        "correction, or not at all.",
        columns=("strategy",),
    ),
    Term(
        "Seed",
        "The random seed; all models of one seed start from the same baseline.",
        columns=("seed", "seeds"),
    ),
    Term(
        "Step",
        "The number of the pruning step or of the training-free correction; 0 for a single step.",
        columns=("iteration",),
    ),
    Term(
        "Processor",
        "The processor or GPU that computed a model, with its instruction set, and the version of "
        "PyTorch; the same settings give other bits on another instruction set or version.",
        columns=("processor", "torch"),
    ),
    Term("Notes", "Remarks on how the model or the file was made.", columns=("notes",)),
    Term(
        "One-shot, equal training budget",
        "One pruning step to the target sparsity of the iterative run, with as many fine-tuning "
        "epochs as the whole iterative run, on one learning-rate schedule.",
    ),
    Term(
        "One-shot, equal learning-rate schedule",
        "One pruning step to the target sparsity of the iterative run, with its epochs and its "
        "learning rates, step by step.",
    ),
    Term(
        "Fine-tuned dense control",
        "The baseline, fine-tuned like the one-shot models but not pruned; it shows the effect of "
        "the additional epochs.",
    ),
    Term(
        "Training-free correction",
        "One-shot pruning with 0 epochs, followed by BN recalibration, bias correction and weight "
        "reconstruction (least squares) on calibration images; each method starts from the result "
        "of the method before it.",
    ),
    Term(
        "int8 models",
        "A model with int8 weights: a sparse (bitmask) file, or an ONNX file with int8 "
        "activations; size and accuracy are those of the file.",
        columns=("quantized_from",),
    ),
)
SPARSITY = (
    Term(
        "Target sparsity",
        f"The share of the pruning units ({', '.join(UNIT_NOUNS[:-1])} or {UNIT_NOUNS[-1]}) that "
        "the sparsity schedule sets to zero; for structured pruning, the pruning ratio.",
        PERCENT,
        ("sparsity_asked",),
    ),
    Term(
        "Sparsity (prunable)",
        "The share of zeros among the prunable weights, counted in the finished model.",
        PERCENT,
        ("sparsity_prunable",),
    ),
    Term(
        "Sparsity (conv+linear)",
        "The share of zeros among the weights of all convolution and linear layers, excluded "
        "layers included.",
        PERCENT,
        ("sparsity_weights",),
    ),
    Term(
        "Sparsity (all parameters)",
        "The share of zeros among all parameters, biases and batch norm included.",
        PERCENT,
        ("sparsity_model",),
    ),
    Term(
        "Non-zero parameters",
        "The number of parameters of the finished model that are not zero, and the number of all "
        "parameters; removed channels count as zeros.",
        columns=("nonzero", "parameters"),
    ),
    Term(
        "Regrown weights",
        "Weights that this step regrows after an earlier step removed them.",
        columns=("regrown",),
    ),
    Term(
        "Mask overlap (Jaccard)",
        "The number of weights that both models keep, divided by the number that at least one "
        "keeps.",
        PERCENT,
    ),
)
ACCURACY = (
    Term(
        "Accuracy",
        "The share of test images that are classified correctly; test accuracy is never used for "
        "model selection.",
        PERCENT,
        ("accuracy", "test_images"),
    ),
    Term(
        "95 % CI",
        "Wilson's score interval of the accuracy (1927); it covers the sampling of the test "
        "images, but not the variation between training runs.",
        PERCENT,
        ("accuracy_low", "accuracy_high"),
    ),
    Term(
        "Mean ± SD",
        "The mean accuracy over all seeds of this model, and the standard deviation in percentage "
        "points.",
        PERCENT,
        ("accuracy_mean", "accuracy_sd"),
    ),
    Term(
        "Accuracy drop",
        "The accuracy of the baseline of the same seed minus that of the model, or the accuracy of "
        "the model minus that of its exported file; a negative drop is a gain.",
        POINTS,
        ("accuracy_drop",),
    ),
    Term(
        "Validation accuracy",
        "The share of validation images that the model classifies correctly; these images select "
        "the best model.",
        PERCENT,
        ("validation_accuracy",),
    ),
    Term(
        "Validation drop",
        "The validation accuracy of the baseline minus that of the model.",
        POINTS,
        ("validation_drop",),
    ),
    Term(
        "Difference (points)",
        "The test accuracy of the model minus that of the reference, which is the fine-tuned dense "
        "control of the same run and seed unless another model is chosen.",
        POINTS,
    ),
    Term(
        "Difference (size)",
        "The size of the sparse file of the model minus that of the reference.",
    ),
    Term(
        "Best model",
        "The sparsest model that meets the goal, where the drop of accuracy is an upper bound that "
        "holds with 95 % confidence for all models together on the validation images, not the drop "
        "that was observed; without a limit of the drop, the model with the smallest bound.",
    ),
    Term(
        "McNemar test with Holm correction",
        "A model is called better only if a paired test with Holm's correction (1979) over the "
        "pairs asked about gives p < 0.05: with one seed McNemar's exact test (1947) on the same "
        "test images, which compares two trained models, and with several seeds Student's paired t "
        "test over the seeds, which compares two ways of pruning.",
    ),
    Term(
        "Sensitivity",
        "The drop of validation accuracy when a single layer, or a single dependency group of "
        "channels, is pruned to this sparsity without training.",
        POINTS,
        ("layer", "size", "size_unit", "units", "sparsity", "removed", "validation_images"),
    ),
    Term(
        "Sensitivity after least squares",
        "The same with the remaining weights of the layer corrected by least squares, on training "
        "images.",
        POINTS,
        ("corrected_accuracy", "corrected_drop"),
    ),
    Term(
        "Loss",
        "The mean cross-entropy on the validation images; the allocation by a budget adds up the "
        "increases of the layers.",
        columns=("loss", "corrected_loss"),
    ),
)
SIZE = (
    Term("Format", "The format of the exported file.", columns=("format", "file")),
    Term("Size", "The size of the exported file on disk.", BYTES, ("bytes", "file_bytes")),
    Term(
        "Dense file",
        "The size on disk of the file with every weight, zeros included; the file was written and "
        "read back.",
        BYTES,
        ("dense_bytes",),
    ),
    Term(
        "Sparse file",
        "The size on disk of the compressed file with a bitmask and the non-zero weights (int8 "
        "models: of the int8 file); the file was written, read back and compared bit for bit.",
        BYTES,
        ("sparse_bytes",),
    ),
    Term(
        "Compression",
        "The size of the baseline's dense file divided by the size of this model's file.",
        RATIO,
        ("compression_ratio",),
    ),
    Term(
        "Order-0 entropy",
        "The entropy of the mask, with the density of each tensor, plus the entropy of each byte "
        "position of the non-zero values; it is a reference and no lower bound, because "
        "compression can use patterns within a layer and differences between layers.",
        BYTES,
        ("order0_entropy_bytes",),
    ),
    Term(
        "Output difference",
        "The largest difference of any output between the exported file and the model.",
        columns=("output_difference",),
    ),
)
COST = (
    Term(
        "MACs",
        "Multiply-accumulate operations for one image, those between the tokens of attention "
        "included; masks do not reduce them.",
        columns=("macs", "model_macs"),
    ),
    Term(
        "Epochs",
        "Fine-tuning epochs from the baseline to the model, over all pruning steps and final "
        "fine-tuning; the row of the baseline has the epochs of its own training, and half an "
        "epoch is half of the batches.",
        EPOCHS,
        ("epochs",),
    ),
    Term(
        "Time",
        "The time of these epochs; for training-free correction, the time of all methods up to "
        "this one.",
        SECONDS,
        ("seconds",),
    ),
)
LATENCY = (
    Term("Model", "The model whose latency is measured.", columns=("model", "key")),
    Term(
        "Runtime",
        "The library and the file format that run the model.",
        columns=("runtime", "runtime_title"),
    ),
    Term(
        "Role",
        "The dense model, a candidate that is compared with it, the control (the dense model "
        "timed against itself, which shows the noise of this machine), or a reference (the dense "
        "model in another library).",
        columns=("role",),
    ),
    Term("Batch size", "The number of images in one call.", columns=("batch_size",)),
    Term("Threads", "The number of processor threads that one call may use.", columns=("threads",)),
    Term("Image size", "The width and height of an image.", PIXELS, ("image_size",)),
    Term(
        "Latency",
        "The time of one call: the 10th, 50th and 90th percentile over all calls.",
        MILLISECONDS,
        ("p10_ms", "p50_ms", "p90_ms"),
    ),
    Term(
        "Throughput",
        "Images per second at the median latency.",
        "images/s",
        ("images_per_second",),
    ),
    Term(
        "Rounds",
        "The number of rounds; in each round, all models or kernels run one after another.",
        columns=("rounds",),
    ),
    Term(
        "Speed-up",
        "The latency of the dense model divided by the latency of this model in the same runtime: "
        "the median over the rounds, with its 95 % CI; for sparse kernels, the time of the fastest "
        "dense product divided by the time of the sparse product.",
        RATIO,
        ("speedup", "speedup_low", "speedup_high"),
    ),
    Term(
        "Speed-up over the first runtime",
        "The latency of the dense model in the first runtime divided by the latency of this model "
        "in its own runtime.",
        RATIO,
        (
            "speedup_over_first",
            "speedup_over_first_low",
            "speedup_over_first_high",
            "first_runtime",
        ),
    ),
    Term(
        "Speed-up over the fastest dense runtime",
        "The latency of the dense model in the fastest dense runtime divided by the latency of "
        "this model, where all dense runtimes were timed in the same rounds.",
        RATIO,
        (
            "speedup_over_fastest",
            "speedup_over_fastest_low",
            "speedup_over_fastest_high",
            "fastest_runtime",
        ),
    ),
    Term(
        "Conclusion",
        "Faster, slower, no difference, or inconclusive on a noisy machine, by the 95 % CI of the "
        "speed-up.",
        columns=(
            *("conclusion", "conclusion_text", "conclusion_over_first"),
            *("conclusion_over_fastest", "conclusion_over_fastest_text"),
        ),
    ),
    Term(
        "Break-even sparsity",
        "The sparsity above which a sparse matrix product is at least as fast as the dense product "
        "on this machine.",
        PERCENT,
    ),
    Term(
        "Sparse kernel",
        "The kernel that multiplies a sparse weight (output channels, input channels) by "
        "activations (input channels, positions), and the fastest dense kernel for this product.",
        columns=(
            *("kernel", "kernel_title", "dense_kernel"),
            *("output_channels", "input_channels", "positions"),
        ),
    ),
    Term(
        "Kernel time",
        "The median time of one product with the dense and with the sparse kernel.",
        MICROSECONDS,
        ("dense_us", "sparse_us"),
    ),
)
GLOSSARY = (*MODELS, *SPARSITY, *ACCURACY, *SIZE, *COST, *LATENCY)
# Columns of tables that show a figure under another name than its term.
ALIASES = {"Correction": "Training-free correction"}


def definitions() -> dict[str, str]:
    """The definition of each term and of each column of the tables, with its unit."""
    texts = {term.term: _with_unit(term) for term in GLOSSARY}
    return texts | {column: texts[term] for column, term in ALIASES.items()}


def glossary_rows() -> list[dict[str, str]]:
    """The glossary as rows of a table with the columns Term and Definition."""
    return [{"Term": term.term, "Definition": _with_unit(term)} for term in GLOSSARY]


def _with_unit(term: Term) -> str:
    return f"{term.definition} Unit: {term.unit}." if term.unit else term.definition
