"""Channels really removed on the Tune page: the controls, and the dry run before anything runs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.components.facts import inline
from pages.components.shell import Lab
from pages.components.widgets import check, choice, number, slide, text, value_of, whole
from pruning_core.common.formatting import format_bytes, format_count, format_macs, format_percent
from pruning_core.methods.channel_importance import IMPORTANCE_CHOICES, TARGETS
from pruning_core.planning.inspections import inspect_data
from pruning_core.planning.stage import Stage, known
from pruning_core.planning.structured import inspection
from pruning_core.settings.spec import Spec
from pruning_core.settings.structured import IMPORTANCES, STRUCTURED_SCOPES, STRUCTURED_TARGETS

IMPORTANCE_TITLES = {name: found.title for name, found in IMPORTANCE_CHOICES.items()}
IMPORTANCE_HELP = (
    "Which channels go first; an importance scores a channel over all its coupled "
    + (
        "layers.\n\n"
        + "\n".join(
            f"- {found.title} looks at {found.looks_at}." for found in IMPORTANCE_CHOICES.values()
        )
    )
)


def structured_controls() -> None:
    """Whether, how much and by what channels are removed."""
    check(
        "structured.enabled",
        "Besides the masks above, which leave zeros in a dense model: take whole channels out, so "
        "that a smaller dense model is left, with fewer multiply-accumulates. Layers that share "
        "channels lose the same ones.",
    )
    off = not value_of("structured.enabled")
    text(
        "structured.amounts",
        "In percent, with commas between: 30, 50. Each is a chain of its own from the baseline.",
        disabled=off,
        placeholder="30, 50 %",
    )
    left, right = st.columns(2)
    with left:
        _shares(off)
        _steps(off)
    with right:
        choice(
            "structured.scope",
            STRUCTURED_SCOPES,
            "Each layer alike: of every coupled group the same share. All together: the lowest "
            "scores go, wherever they are.",
            disabled=off,
        )
        _limits(off)


def _shares(off: bool) -> None:
    """What the shares are of, and which channels go first."""
    choice(
        "structured.of",
        STRUCTURED_TARGETS,
        "What the shares are of. Half the channels is about three quarters of the parameters.",
        titles=TARGETS,
        disabled=off,
    )
    choice(
        "structured.importance",
        IMPORTANCES,
        IMPORTANCE_HELP,
        titles=IMPORTANCE_TITLES,
        disabled=off,
    )


def _steps(off: bool) -> None:
    slide(
        "structured.steps",
        1,
        20,
        help="Cuts on the way to each share, with training after each. Every cut removes the same "
        "share of what is left.",
        disabled=off,
    )
    told = "Fine-tuning after each cut; the ways to recover below are these too."
    slide("structured.epochs", 0.0, 50.0, help=told, step=0.5, format="%g", disabled=off)


def _limits(off: bool) -> None:
    whole(
        "structured.round_to",
        1,
        128,
        "The channels that are left in a layer are a multiple of this. 8 or 16 is what processors "
        "like; odd widths can make a smaller model slower.",
        disabled=off,
    )
    number(
        "structured.max_ratio",
        1.0,
        99.0,
        1.0,
        "Of a layer's channels at most so many percent go, so that no layer dies.",
        disabled=off,
    )
    slide(
        "structured.tail",
        0.0,
        20.0,
        help="Training after the last cut, its rate falling from the peak to 0.",
        step=0.5,
        format="%g",
        disabled=off,
    )


def dry_run(lab: Lab, spec: Spec) -> list[Stage]:
    """The inspection that tells what the cuts would do; none where it cannot be asked yet."""
    data = known(lab.store, inspect_data(spec).key)
    if not spec.structured.enabled or data is None:
        return []
    return [inspection(spec, len(data["classes"]))]


def show(lab: Lab, spec: Spec) -> None:
    """What the asked cuts would leave, the coupled groups, and what cannot be cut."""
    for stage in dry_run(lab, spec):
        if found := known(lab.store, stage.key):
            st.caption("What the cuts would leave, before any training:")
            st.dataframe([_left_row(row, found["dense"]) for row in found["left"]], hide_index=True)
            for note in found["notes"]:
                st.caption(inline(note))
            _groups(found)


def _left_row(row: dict[str, Any], dense: dict[str, float]) -> dict[str, str]:
    def told(name: str, amount: str) -> str:
        return f"{amount} ({format_percent(row[name] / dense[name], 1)})"

    return {
        "Asked": format_percent(row["amount"]),
        "Channels": told("channels", f"{row['channels']:,}"),
        "Parameters": told("parameters", f"{row['parameters']:,}"),
        "MACs": told("macs", format_macs(row["macs"])),
        "Dense file": told("bytes", format_bytes(row["bytes"])),
    }


def _groups(found: dict[str, Any]) -> None:
    cut = [group for group in found["groups"] if not group["reason"]]
    st.caption(
        f"{format_count(len(cut), 'coupled group')} of layers can lose channels; "
        f"{format_count(len(found['uncut']), 'layer')} cannot."
    )
    amounts = [format_percent(row["amount"]) for row in found["left"]]
    st.dataframe([_group_row(group, amounts) for group in cut], hide_index=True, key="groups")
    rows = [{"Cannot be cut": row["layer"], "Reason": row["reason"]} for row in found["uncut"]]
    st.dataframe(rows, hide_index=True, key="uncut")


def _group_row(group: dict[str, Any], amounts: list[str]) -> dict[str, Any]:
    left = {f"Left at {amount}": n for amount, n in zip(amounts, group["left"], strict=True)}
    layers = ", ".join(group["layers"])
    return {"Coupled layers": layers, "Channels": group["channels"], **left}
