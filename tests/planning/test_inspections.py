"""Inspections: what is known of the data set while its files are still being listed."""

from __future__ import annotations

from dataclasses import replace

from pruning_core.planning.estimate import estimate
from pruning_core.planning.inspections import list_files, model_facts, pruning_notes
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Stage
from tests.helpers.inspections import Facts

SPEC = replace(QUICKSTART, data=replace(QUICKSTART.data, name="images", path="photos"))


class Listed(Facts):
    """A store in which the listing finishes after `fingerprint` has returned its stage."""

    def fingerprint(self, path: str) -> Stage:  # type: ignore[override]
        return list_files(path, 1)


def test_a_listing_that_has_just_finished_is_no_inspection() -> None:
    store = Listed(QUICKSTART)
    listing = list_files(SPEC.data.path, 1)
    store.results[listing.key] = {"fingerprint": "files"}
    assert plan(SPEC, store).stages == (listing,)
    assert model_facts(SPEC, store) is None
    assert pruning_notes(SPEC, store) == []
    assert estimate(SPEC, plan(SPEC, store), store, 2) is None
