"""The controls of what is removed: which layers, how much of each, and in which pieces."""

from __future__ import annotations

import streamlit as st

from pages.components.choices import to_widget
from pages.components.widgets import choice, key, text, value_of
from pruning_core.methods.granularity import NORMED, PATTERNS, pattern_share
from pruning_core.settings import spec as specs

DIM_TITLES = {
    0: "Outputs (dim 0)",
    1: "Inputs (dim 1)",
    2: "Rows of kernels (dim 2)",
    3: "Columns of kernels (dim 3)",
}


def selection_controls() -> None:
    """Which layers are spared, how the amount is spread over the others, and what goes whole."""
    text(
        "prune.spare",
        "More that is not pruned, with commas between: kinds (depthwise, stem, classifier, "
        "linear, conv, attention) or patterns over parameter names, such as features.0.*. An "
        "entry that matches nothing is refused.",
        placeholder="stem, classifier, features.0.*",
    )
    choice(
        "prune.scope",
        specs.SCOPES,
        "Each layer alike: every layer loses the same share. All layers together: one "
        "threshold for the whole network, with a floor for each layer. ERK: small layers keep "
        "more, by their dimensions (Evci 2020). LAMP: one threshold for scores that are "
        "weighed within each layer (Lee 2021). By hand: the shares below.",
    )
    text(
        "prune.by_hand",
        "Entries pattern=share with commas between; later ones win, and layers that none names "
        "keep all. An amount scales the whole table: at the total that the table itself removes "
        "the shares are as written, at half of it they are half, and an amount is refused where "
        "a share would exceed 100 %. So a chain can grow to the table.",
        placeholder="features.*=90 %, classifier.*=50 %",
        disabled=value_of("prune.scope") != "hand",
    )
    choice(
        "prune.granularity",
        specs.GRANULARITIES,
        "Amounts are shares of these pieces. Single weights: exact to the weight. Kernels: the "
        "slice between one input and one output channel. Filters: all weights of one output or "
        "input channel, zeroed by the mask. 2:4 and 4:8: half of every 4 or 8 neighbouring "
        "inputs, in one cut, so they go with the amounts 0 and 50 % and without iterative "
        "pruning; layers whose inputs do not divide stay dense and are listed. Choosing one sets "
        "these, and choosing other pieces puts back what they were.",
        on_change=_one_cut,
    )


def _one_cut() -> None:
    """A callback: a pattern is one cut of one amount, which it asks for by itself.

    What it put aside comes back with the other pieces, unless it was changed meanwhile.
    """
    before = st.session_state.setdefault("before a pattern", {})
    if (pattern := value_of("prune.granularity")) in PATTERNS:
        share = pattern_share(pattern)
        asked = {"one_shot.amounts": [0.0, share], "iterative.enabled": False}
        for name, value in {**asked, "prune.scope": "layer"}.items():
            before.setdefault(name, value_of(name))
            st.session_state[key(name)] = to_widget(name, value)
        return
    for name in list(before):
        st.session_state[key(name)] = before.pop(name)


def filter_controls() -> None:
    """How filters are made and compared."""
    off = value_of("prune.granularity") != "filter"
    left, right = st.columns(2)
    with left:
        choice(
            "prune.norm",
            ("1", "2", "inf"),
            "The n of the Ln norm that joins the magnitudes of a filter: 1, 2, inf, or type "
            "another number. Other criteria than magnitude are added up.",
            titles={},
            accept_new_options=True,
            disabled=off or value_of("prune.criterion") not in NORMED,
        )
    with right:
        choice(
            "prune.dim",
            tuple(DIM_TITLES),
            "Whether a filter is what makes one output channel, what reads one input channel, or "
            "one row or column of all kernels of a layer. Outputs need the classifier spared, "
            "inputs the depthwise layers, rows and columns all layers with a single one.",
            titles=DIM_TITLES,
            disabled=off,
        )
