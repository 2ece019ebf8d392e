"""The glossary defines every column of every table and CSV file."""

from __future__ import annotations

import pandas as pd

from pruning_core.methods.strategies import CORRECTION
from pruning_core.planning.measurement_types import SensitivitySettings
from pruning_core.planning.stage import Reader, Stage
from pruning_core.planning.stage_types import stored
from pruning_core.reports.csv_export import CSV_COLUMNS
from pruning_core.results import exported_files, latency, sparse_speedup
from pruning_core.results.correction import correction_table
from pruning_core.results.exported_files import files_table
from pruning_core.results.glossary import GLOSSARY, definitions, glossary_rows
from pruning_core.results.latency import latency_frame
from pruning_core.results.sensitivity import sensitivity_frame
from pruning_core.results.sparse_speedup import sparse_speedup_frame
from pruning_core.results.tables import results_table
from tests.helpers.frames import comparison, frame, point
from tests.helpers.latency import FixedResults


class Results:
    """A store that holds one result for all stages."""

    def __init__(self, result: dict) -> None:
        self.result = result

    def exists(self, key: str) -> bool:
        return True

    def read(self, key: str) -> dict:
        return self.result


SETTINGS = SensitivitySettings("stem.weight", [0.5], images=9, seed=0, device="cpu")
STAGE = Stage("sensitivity", "", stored(SETTINGS))


def test_every_column_of_the_tables_is_defined() -> None:
    rows = [*comparison(0, macs=1e6), *comparison(1, macs=1e6, run="b", run_id="run-2")]
    corrected = [point(CORRECTION, 0.5, iteration=i, run=f"{i}", run_id=f"{i}") for i in (0, 1)]
    corrected[1]["seed"] = 1
    files = files_table(pd.DataFrame(columns=exported_files.CSV_COLUMNS))
    tables = (results_table(frame(rows)), correction_table(frame(corrected)), files)
    columns = [column for table in tables for column in table]
    assert {"Run", "MACs", "Mean ± SD", "Correction", "Order-0 entropy"} <= set(columns)
    assert set(columns) <= set(definitions())


def csv_columns() -> set[str]:
    row = {"sparsity": 0.5, "removed": 1, "accuracy": 0.9, "low": 0.8, "high": 1, "images": 9}
    row |= {"loss": 0.3, "corrected_accuracy": 0.9, "corrected_loss": 0.3}
    measured: Reader = Results({"size": 9, "units": 9, "rows": [row]})
    empty: Reader = FixedResults([])
    timing = dict.fromkeys(latency.COLUMNS, "onnx")
    return {
        *CSV_COLUMNS,
        "run",
        *exported_files.CSV_COLUMNS,
        *sensitivity_frame([STAGE], measured),
        *sparse_speedup_frame(STAGE, empty),
        *latency_frame([STAGE], empty),
        *latency_frame([STAGE], FixedResults([timing])),
    }


def test_every_column_of_the_csv_files_is_defined_once() -> None:
    columns = csv_columns()
    assert {
        "quantized_from",
        "speedup_low",
        "units",
        "order0_entropy_bytes",
        "positions",
    } <= columns
    assert columns <= {column for term in GLOSSARY for column in term.columns}
    named = [column for term in GLOSSARY for column in term.columns]
    assert len(named) == len(set(named))
    assert set(sparse_speedup.COLUMNS.values()) <= columns


def test_definitions_are_single_sentences_and_terms_are_unique() -> None:
    assert len({term.term for term in GLOSSARY}) == len(GLOSSARY)
    for term in GLOSSARY:
        assert term.definition.endswith(".")
        assert ". " not in term.definition


def test_rows_name_the_unit() -> None:
    rows = {row["Term"]: row["Definition"] for row in glossary_rows()}
    assert len(rows) == len(GLOSSARY)
    assert rows["Sparsity (prunable)"] == (
        "The share of zeros among the prunable weights, counted in the finished model. Unit: %."
    )
    assert all(list(row) == ["Term", "Definition"] for row in glossary_rows())
