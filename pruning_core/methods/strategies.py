"""Strategies: the series of a comparison, with their color and symbol on charts."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.methods.registry import Method, Registry


@dataclass(frozen=True)
class Strategy(Method):
    """A series of a comparison.

    On charts it has a `color` (Okabe and Ito 2008), a Plotly `symbol`, the `glyph` of that symbol
    in text, and the `size` of its markers and the `width` of its line in pixels. Sizes differ,
    and the larger symbols are open, so that models with equal values show inside one another:
    only a `filled` symbol is not. `file_format` is the format of the files whose accuracy a
    quantized series shows.

    Models of a `pruned` series have weights removed: by masks and training if it is `masked`, with
    whole channels if it `removes_channels`; its targets are then pruning ratios, no sparsities. A
    series that `has_steps` has several pruning steps. `stage_kind` is the kind of the stages that
    compute its models.

    Models are compared with those of the strategies `tested_against`, at equal target sparsity;
    `place` is the place of the strategy among the findings.
    """

    color: str = "#808080"
    symbol: str = "circle"
    glyph: str = ""
    size: float = 0
    width: float = 0
    filled: bool = False
    file_format: str = ""
    pruned: bool = True
    masked: bool = False
    removes_channels: bool = False
    has_steps: bool = False
    stage_kind: str = ""
    tested_against: tuple[str, ...] = ()
    place: int = 0

    @property
    def one_chain(self) -> bool:
        """Whether all models of a seed are the steps of one chain.

        Structured pruning has a chain of steps for each of its ratios.
        """
        return self.has_steps and not self.removes_channels


BASELINE = "baseline"
ONE_SHOT = "one_shot"
EQUAL_BUDGET = "one_shot_equal_budget"
EQUAL_SCHEDULE = "one_shot_equal_schedule"
ITERATIVE = "iterative"
CORRECTION = "correction"
STRUCTURED = "structured"
INT8_SPARSE, INT8_ONNX = "int8_sparse", "int8_onnx"
STRATEGIES = Registry(
    "strategy",
    (
        Strategy(BASELINE, "baseline", "The dense model.", pruned=False, stage_kind="baseline"),
        Strategy(
            EQUAL_BUDGET,
            "one-shot, equal budget",
            "One-shot pruning with the fine-tuning epochs of the iterative run, on one "
            "learning-rate schedule.",
            color="#009E73",
            symbol="diamond",
            glyph="◇",
            size=16,
            masked=True,
            stage_kind="pruned",
            tested_against=(ONE_SHOT,),
            place=4,
        ),
        Strategy(
            EQUAL_SCHEDULE,
            "one-shot, equal LR schedule",
            "One-shot pruning with the fine-tuning epochs and the learning rates of the iterative "
            "run, step by step.",
            color="#8C6D31",
            symbol="hexagon",
            glyph="⬡",
            size=15,
            masked=True,
            stage_kind="pruned",
            tested_against=(EQUAL_BUDGET,),
            place=3,
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
            masked=True,
            has_steps=True,
            stage_kind="pruned",
            tested_against=(EQUAL_SCHEDULE, EQUAL_BUDGET, ONE_SHOT),
            place=1,
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
            removes_channels=True,
            has_steps=True,
            stage_kind="structured",
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
            filled=True,
            masked=True,
            stage_kind="pruned",
            place=2,
        ),
        Strategy(
            CORRECTION,
            "training-free",
            "One-shot pruning with training-free correction.",
            stage_kind="correction",
            tested_against=(ONE_SHOT,),
            place=5,
        ),
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
# One-shot strategies with the epochs of the iterative run.
BUDGET_CONTROLS = (EQUAL_BUDGET, EQUAL_SCHEDULE)
QUANTIZED = tuple(name for name, strategy in STRATEGIES.items() if strategy.file_format)
# In the order of the findings. Models of masked series are compared with the dense control.
MASKED = tuple(
    strategy.name
    for strategy in sorted(STRATEGIES.values(), key=lambda strategy: strategy.place)
    if strategy.masked
)
# A pruning ratio of channels is no sparsity of a mask, so these meet no masked model.
RATIO_PRUNED = tuple(name for name, strategy in STRATEGIES.items() if strategy.removes_channels)
# Pairs of strategies whose models are tested against each other at equal target sparsity.
EQUAL_SPARSITY = tuple(
    (strategy.name, other)
    for strategy in sorted(STRATEGIES.values(), key=lambda strategy: strategy.place)
    for other in strategy.tested_against
)
CONTROL_TITLE = "fine-tuned dense control"
