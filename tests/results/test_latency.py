"""Latency measurements as a table."""

from __future__ import annotations

from typing import Any

from pruning_core.planning.stage import Missing
from pruning_core.planning.timing import latency_stages
from pruning_core.results.latency import latency_frame


class EmptyStore:
    def exists(self, key: str) -> bool:
        return False

    def read(self, key: str) -> dict[str, Any]:
        raise Missing(key)


def test_without_measurements_the_table_has_no_rows() -> None:
    frame = latency_frame(latency_stages(["a" * 64, "b" * 64]), EmptyStore())
    assert frame.empty
    assert {"model", "p50_ms", "speedup"} <= set(frame.columns)
