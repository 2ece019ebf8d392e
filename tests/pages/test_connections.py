"""Several machines on Home: the form, the sentences and the nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from pruning_core.common.paths import Cache
from pruning_core.results.cluster import NODE_COLUMNS
from pruning_core.storage import connections
from pruning_core.storage.cluster_record import ClusterRecord, NodeRow
from pruning_core.storage.connections import CLUSTER, SHARED_STORE, Connections
from pruning_core.storage.jobs import Queue
from tests.helpers.pages import open_page, texts
from tests.helpers.queues import submit

pytestmark = pytest.mark.usefixtures("no_worker")

NODE = NodeRow("abcdef" * 5, "host", 4, 1, "A processor (AVX2)", ready=True)


@pytest.fixture(autouse=True)
def with_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "find_spec", lambda name: True)


def save(test: AppTest, cluster: str, store: str) -> AppTest:
    """Fill in the form and press its button."""
    field = {text.label: text for text in test.text_input}
    field["Ray cluster"].set_value(cluster)
    field["Shared store"].set_value(store)
    return next(button for button in test.button if button.label == "Save").click().run()


def test_the_form_connects_and_disconnects(cache: Cache) -> None:
    home = open_page("app.py")
    assert "This machine computes all stages" in texts(home)
    home = save(home, "ray://head:10001", "~/shared")
    stored = Connections(cache.queue)
    assert stored.get(CLUSTER).address == "ray://head:10001"
    assert stored.get(SHARED_STORE).address.startswith("/")
    assert "Connecting to the cluster" in texts(home)
    home = save(home, "", "")
    assert (stored.get(CLUSTER).address, stored.get(SHARED_STORE).address) == ("", "")
    assert "This machine computes all stages" in texts(home)


def test_a_wrong_address_and_a_missing_package_are_said_and_change_nothing(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = save(open_page("app.py"), "my cluster", "/shared")
    assert "is no address of a Ray cluster" in texts(home)
    monkeypatch.setattr(connections, "find_spec", lambda name: None)
    home = save(home, "ray://head:10001", "/shared")
    assert "pip install" in texts(home)
    assert Connections(cache.queue).get(SHARED_STORE).address == ""


def test_nodes_are_shown_with_what_they_run_and_errors_as_warnings(
    cache: Cache, queue: Queue
) -> None:
    Connections(cache.queue).connect(CLUSTER, "head:6379")
    refused = replace(NODE, name="f" * 30, ready=False, refusal="It has torch 1.0.")
    ClusterRecord(cache.queue).write([NODE, refused])
    submit(queue)
    row = queue.claim("token", 2)
    assert row is not None
    queue.beat(row.key, "token", 1, {"node": NODE.title, "message": "Epoch 2 of 5"})
    home = open_page("app.py")
    assert "1 of 2 nodes ready, 4 cores." in texts(home).replace("\\", "")
    table = next(frame.value for frame in home.dataframe if "Node" in frame.value.columns)
    assert tuple(table.columns) == NODE_COLUMNS
    assert table["State"].tolist() == ["ready", "It has torch 1.0."]
    assert table["Runs"].tolist()[0].endswith("(epoch 2 of 5)")
    assert table["Runs"].tolist()[1] == ""
    Connections(cache.queue).report(CLUSTER, "head:6379", "The cluster cannot be reached.")
    warnings = [element.value.replace("\\", "") for element in open_page("app.py").warning]
    assert warnings == ["The cluster cannot be reached."]
