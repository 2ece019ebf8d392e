"""The dry run of structured pruning: what would remain, before anything is trained."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.components.lab import Lab
from pages.components.markdown import inline
from pruning_core.common.formatting import format_bytes, format_macs, format_percent
from pruning_core.planning.inspection_types import InspectGroupsResult
from pruning_core.planning.inspections import data_facts, inspect_data
from pruning_core.planning.stage import Stage, known
from pruning_core.planning.structured import inspect_groups
from pruning_core.planning.structured_notes import groups_note
from pruning_core.settings.spec import Spec


def stages(lab: Lab, spec: Spec) -> list[Stage]:
    """The inspection of the dependency groups; none without structured pruning or data."""
    data = data_facts(inspect_data(spec, lab.store), lab.store)
    if not spec.structured.enabled or data is None:
        return []
    return [inspect_groups(spec, len(data.classes))]


def show(lab: Lab, spec: Spec) -> None:
    """What would remain at each ratio, the dependency groups, and the layers without one."""
    for stage in stages(lab, spec):
        if result := known(lab.store, stage.key, InspectGroupsResult):
            st.caption("Dry run: what remains at each pruning ratio. No model is trained for it.")
            rows = [_ratio_row(row, result.dense) for row in result.kept]
            st.dataframe(rows, hide_index=True)
            for note in result.notes:
                st.caption(inline(note))
            _draw_groups(result)


def _ratio_row(row: dict[str, Any], dense: dict[str, float]) -> dict[str, str]:
    def with_share(name: str, amount: str) -> str:
        return f"{amount} ({format_percent(row[name] / dense[name], 1)})"

    return {
        "Pruning ratio": format_percent(row["amount"]),
        "Channels": with_share("channels", f"{row['channels']:,}"),
        "Parameters": with_share("parameters", f"{row['parameters']:,}"),
        "MACs": with_share("macs", format_macs(row["macs"])),
        "Dense file": with_share("bytes", format_bytes(row["bytes"])),
    }


def _draw_groups(result: InspectGroupsResult) -> None:
    prunable = [group for group in result.groups if not group["reason"]]
    st.caption(groups_note(result))
    ratios = [format_percent(row["amount"]) for row in result.kept]
    st.dataframe([_group_row(group, ratios) for group in prunable], hide_index=True, key="groups")
    rows = [
        {"Unprunable layer": row["layer"], "Reason": row["reason"]} for row in result.unprunable
    ]
    st.dataframe(rows, hide_index=True, key="unprunable")


def _group_row(group: dict[str, Any], ratios: list[str]) -> dict[str, Any]:
    remaining = {f"At {ratio}": n for ratio, n in zip(ratios, group["kept"], strict=True)}
    layers = ", ".join(group["layers"])
    # The long column comes last, so that the numbers are visible.
    return {"Channels": group["channels"], **remaining, "Coupled layers": layers}
