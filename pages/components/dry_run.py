"""Channels really removed on the Tune page: the controls, and the dry run before anything runs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.components.facts import inline
from pages.components.shell import Lab
from pruning_core.common.formatting import format_bytes, format_count, format_macs, format_percent
from pruning_core.planning.inspections import inspect_data
from pruning_core.planning.stage import Stage, known
from pruning_core.planning.structured import inspect_groups
from pruning_core.settings.spec import Spec


def stages(lab: Lab, spec: Spec) -> list[Stage]:
    """The inspection that tells what the cuts would do; none where it cannot be asked yet."""
    data = known(lab.store, inspect_data(spec).key)
    if not spec.structured.enabled or data is None:
        return []
    return [inspect_groups(spec, len(data["classes"]))]


def show(lab: Lab, spec: Spec) -> None:
    """What the asked cuts would leave, the coupled groups, and what cannot be cut."""
    for stage in stages(lab, spec):
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
