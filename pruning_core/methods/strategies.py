"""Strategies: the series of a comparison, with their color and symbol on charts."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.methods.registry import Method, Registry


@dataclass(frozen=True)
class Strategy(Method):
    """A series of a comparison.

    On charts it has a `color` (Okabe and Ito 2008), a Plotly `symbol`, the `glyph` of that symbol
    in text, and the `size` of its markers and the `width` of its line in pixels. Sizes differ,
    and the larger symbols are open, so that models with equal values show inside one another.
    `file_format` is the format of the files whose accuracy a quantized series shows. Models of a
    `pruned` series have weights removed.
    """

    color: str = "#808080"
    symbol: str = "circle"
    glyph: str = ""
    size: float = 0
    width: float = 0
    file_format: str = ""
    pruned: bool = True


BASELINE = "baseline"
ONE_SHOT = "one_shot"
EQUAL_BUDGET = "one_shot_equal_budget"
ITERATIVE = "iterative"
CORRECTION = "correction"
STRUCTURED = "structured"
INT8_SPARSE, INT8_ONNX = "int8_sparse", "int8_onnx"
STRATEGIES = Registry(
    "strategy",
    (
        Strategy(BASELINE, "baseline", "The dense model.", pruned=False),
        Strategy(
            EQUAL_BUDGET,
            "one-shot, equal budget",
            "One-shot pruning with the fine-tuning epochs of the iterative run.",
            color="#009E73",
            symbol="diamond",
            glyph="◇",
            size=16,
        ),
        Strategy(
            ITERATIVE,
            "iterative",
            "Several pruning steps with fine-tuning after each.",
            "Han et al. 2015",
            "https://arxiv.org/abs/1506.02626",
            color="#D55E00",
            symbol="square",
            glyph="□",
            size=11,
            width=4,
        ),
        Strategy(
            STRUCTURED,
            "structured",
            "Channels are removed from the network.",
            "Fang et al. 2023",
            "https://arxiv.org/abs/2301.12900",
            color="#CC79A7",
            symbol="triangle-up",
            glyph="△",
            size=13,
            width=2,
        ),
        Strategy(
            ONE_SHOT,
            "one-shot",
            "One pruning step from the dense model, then fine-tuning. At 0 % it is the fine-tuned "
            "dense control.",
            color="#0072B2",
            symbol="circle",
            glyph="●",
            size=7,
            width=2,
        ),
        Strategy(CORRECTION, "training-free", "One-shot pruning with training-free correction."),
        Strategy(
            INT8_SPARSE,
            "int8 sparse",
            "The model as a sparse int8 file.",
            color="#56B4E9",
            symbol="x",
            glyph="×",
            size=9,
            file_format="bitmask_int8",
            pruned=False,
        ),
        Strategy(
            INT8_ONNX,
            "int8 ONNX",
            "The model as an ONNX int8 file.",
            color="#E69F00",
            symbol="cross",
            glyph="+",
            size=9,
            file_format="onnx_int8",
            pruned=False,
        ),
    ),
)
QUANTIZED = tuple(name for name, strategy in STRATEGIES.items() if strategy.file_format)
CONTROL_TITLE = "fine-tuned dense control"
