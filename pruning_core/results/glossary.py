"""What each number is, in one place for reports and tooltips."""

from __future__ import annotations

DEFINITIONS = (
    (
        "Sparsity asked",
        "The share of the prunable weights, or of their kernels or filters where these go whole, "
        "that the schedule wanted to be zero.",
    ),
    (
        "Sparsity of the prunable weights",
        "Zeros among the weights that the settings allow to be pruned, counted in the finished "
        "model.",
    ),
    (
        "Sparsity of all layer weights",
        "Zeros among the weights of all convolution and linear layers, the spared ones included.",
    ),
    (
        "Sparsity of the model",
        "Zeros among all parameters, biases and batch normalization included.",
    ),
    ("Accuracy", "The share of test images answered rightly. Test images choose nothing."),
    (
        "95 % interval",
        "Wilson's interval for the accuracy (1927). It covers the sampling of the test images "
        "only, not the luck of training.",
    ),
    (
        "Accuracy drop",
        "The accuracy of the baseline of the same seed minus that of the point, in points; a "
        "negative drop is a gain.",
    ),
    ("Dense file", "Bytes of a file with every weight, zeros included, as written and read back."),
    (
        "Sparse file",
        "Bytes of a compressed file with a bit mask and the remaining weights, as written, read "
        "back and compared bit for bit.",
    ),
    ("Compression ratio", "Bytes of the dense file divided by bytes of the sparse file."),
    ("Parameters not zero", "Counted in the finished model, without pruning hooks."),
    (
        "Epochs and seconds",
        "Spent in fine-tuning on the way from the baseline to the point, all steps of a chain "
        "together, a tail included. The baseline's row holds its own training. Half an epoch is "
        "half of its batches.",
    ),
    (
        "Dense control",
        "The baseline with the one-shot runs' fine-tuning and no cut: what the extra epochs "
        "alone bring.",
    ),
    (
        "One-shot, same epochs",
        "The iterative run's target in one cut, with the iterative run's total epochs: the fair "
        "comparison.",
    ),
    (
        "Without training",
        "One-shot's cut with 0 epochs, and what is won back on some training images without any: "
        "batch norm's statistics re-estimated, then each channel's bias and scale corrected, then "
        "the weights that are left solved for by least squares. Its seconds are those of the rungs "
        "up to this one.",
    ),
    (
        "Pruned, int8",
        "A point's remaining weights in 8 bits. Sparse: a file with a bit mask, whole numbers and "
        "a scale for each output channel. ONNX: a file for ONNX Runtime, which has the zeros too "
        "and computes in 8 bits. The size is that file's; accuracy was measured with it.",
    ),
    (
        "Better",
        "Said only where McNemar's exact test (1947) on the same test images, corrected by "
        "Holm's method (1979) over all pairs shown together, stays under 5 %. It compares two "
        "trained models, not two methods over all seeds.",
    ),
)
