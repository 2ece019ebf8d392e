"""The matrix of a comparison: target sparsity by run, with differences from a reference."""

from __future__ import annotations

import html
from collections.abc import Hashable

import streamlit as st

from pages.components.address import Address, Parameter
from pages.components.chart import cached
from pages.components.markdown import plain
from pruning_core.common.formatting import format_percent
from pruning_core.results.difference_matrix import (
    ALL,
    Cell,
    Matrix,
    MatrixRow,
    matrix,
    targets,
    usual_target,
)
from pruning_core.results.differences import DENSE, references
from pruning_core.results.pairs import BETWEEN_RUNS, pair_table
from pruning_core.results.rows import Row

REFERENCE, TESTED = "reference", "tested"
USUAL = ""  # the text of the usual target sparsity in an address
PARAMETERS = (Parameter(REFERENCE), Parameter(TESTED))
STYLE = """
<style>
.matrix {overflow-x: auto;}
.matrix table {border-collapse: collapse; font-variant-numeric: tabular-nums;}
.matrix th, .matrix td {text-align: left; padding: 0.3rem 0.9rem 0.3rem 0; vertical-align: top;
    border-bottom: 1px solid color-mix(in srgb, currentColor 18%, transparent);}
.matrix th {font-weight: 600; min-width: 8rem;}
.matrix td div + div {font-size: 0.82rem; white-space: nowrap; opacity: 0.85;}
.matrix tr.tested th::after {content: " \\2022"; color: #0072B2;}
</style>
"""


def limit_choices(rows: list[Row], address: Address) -> None:
    """Reject what the link names and these models lack; call before the address is written."""
    address.limit(REFERENCE, references(rows), DENSE, "reference")
    address.limit(TESTED, _tested_names(rows), USUAL, "target sparsity")


def _tested_names(rows: list[Row]) -> dict[str, str]:
    """The target sparsities that can be tested, by their texts in the address."""
    usual = usual_target(rows)
    if usual is None:
        return {}
    names = {USUAL: f"{format_percent(usual)} (highest shared)"}
    names |= {f"{t:g}": format_percent(t) for t in targets(rows) if t != usual}
    return {**names, ALL: "all rows"}


def pick_reference(rows: list[Row], address: Address) -> str:
    """The select box of the reference. Returns a key of `references`."""
    names = references(rows)
    titles = {key: name[0].upper() + name[1:] for key, name in names.items()}
    help_text = "The differences on this page are from this model."
    return str(address.select_box(REFERENCE, "Reference", titles, help_text, 360))


def _pick_tested(rows: list[Row], address: Address) -> float | str | None:
    """The select box of the target sparsity whose models are tested."""
    names = _tested_names(rows)
    if not names:
        return None
    chosen = address.select_box(
        TESTED,
        "Test at target sparsity",
        names,
        "The models at this sparsity are tested against the reference. The p-values are corrected "
        "for the number of these tests only.",
        260,
    )
    if chosen in (USUAL, ALL):
        return ALL if chosen else usual_target(rows)
    return float(chosen)


def draw_matrix(rows: list[Row], reference: str, address: Address, identity: Hashable) -> Matrix:
    """The section: the matrix, and, folded, its tests and those of all pairs one by one.

    `identity` tells the models from others. Returns the matrix.
    """
    st.header("Differences")
    tested = _pick_tested(rows, address)
    key = identity, reference, tested
    table = cached("matrix", key, lambda: matrix(rows, reference, tested))
    st.html(STYLE + matrix_html(table))
    st.caption(plain(table.caption))
    if tests := table.tests:
        with st.expander("Significance tests"):
            st.dataframe(tests, hide_index=True, key="tests")
    pairs = cached("pairs", identity, lambda: pair_table(rows))
    if not pairs.empty:
        with st.expander(f"All pairwise comparisons ({len(pairs)})"):
            st.dataframe(pairs, hide_index=True, key="pairs")
            between = f"{BETWEEN_RUNS} " if len(table.runs) > 1 else ""
            st.caption(
                f"{between}The p-values are corrected with Holm's method over all rows with the "
                "same pairing: over images, or over seeds. Each interval is of its pair alone."
            )
    return table


def matrix_html(table: Matrix) -> str:
    """The matrix as a table in HTML; the rows that are tested have a mark."""
    heads = table.runs if len(table.runs) > 1 else ("Accuracy",)
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in ("Model", *heads))
    body = "".join(map(_row_html, table.rows))
    table_html = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="matrix">{table_html}</div>'


def _row_html(row: MatrixRow) -> str:
    cells = "".join(f"<td>{_cell_html(cell)}</td>" for cell in row.cells)
    kind = ' class="tested"' if row.tested else ""
    return f'<tr{kind}><th scope="row">{html.escape(row.name)}</th>{cells}</tr>'


def _cell_html(cell: Cell | None) -> str:
    if cell is None:
        return "\u2013"
    texts = (cell.accuracy_text, cell.difference_text)
    return "".join(f"<div>{html.escape(text)}</div>" for text in texts)
