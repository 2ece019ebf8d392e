"""Several machines: the cluster and the shared store of the cache, and the nodes of the cluster."""

from __future__ import annotations

import sqlite3

import streamlit as st

from pages.components.guide_link import guide_link
from pages.components.lab import Lab
from pages.components.markdown import plain
from pages.components.page_queue import draw_write_error
from pruning_core.results.cluster import cluster_sentence, node_rows, store_sentence
from pruning_core.storage.cluster_record import ClusterRecord
from pruning_core.storage.connections import (
    CLUSTER,
    SHARED_STORE,
    Connections,
    cluster_problem,
    full_address,
)

POLL_SECONDS = 2.0


def draw_connections(lab: Lab) -> None:
    """What the cache is connected to, and a form to change it."""
    st.header("Several machines")
    connections = Connections(lab.cache.queue)
    if not any(connections.get(name).address for name in (CLUSTER, SHARED_STORE)):
        st.caption(
            "This machine computes all stages and keeps the results. A Ray cluster can train "
            "models at the same time, and a shared store gives you the results of colleagues."
        )
    else:
        st.fragment(run_every=POLL_SECONDS)(_draw_state)(lab)
    with st.expander("Connect"):
        _draw_form(connections)
        guide_link("several_machines")


def _draw_state(lab: Lab) -> None:
    """The connections in sentences, and a row for each node."""
    connections = Connections(lab.cache.queue)
    cluster, store = connections.get(CLUSTER), connections.get(SHARED_STORE)
    nodes = ClusterRecord(lab.cache.queue).nodes() if cluster.address else []
    for connection, sentence in (
        (cluster, cluster_sentence(cluster, nodes)),
        (store, store_sentence(store)),
    ):
        (st.warning if connection.error else st.write)(plain(sentence))
    if nodes:
        rows = node_rows(nodes, lab.queue.running_rows())
        st.dataframe(rows, hide_index=True, key="nodes")


def _draw_form(connections: Connections) -> None:
    with st.form("connections", border=False):
        cluster = st.text_input(
            "Ray cluster",
            connections.get(CLUSTER).address,
            placeholder="ray://host:10001",
            help="Address of the cluster that trains the models. Type local for Ray on this "
            "machine, and nothing to use no cluster.",
        ).strip()
        problem = st.container()
        store = st.text_input(
            "Shared store",
            connections.get(SHARED_STORE).address,
            placeholder="s3://bucket/folder",
            help="Folder or URL through which several caches share finished stages. Type nothing "
            "to use no shared store.",
        ).strip()
        saved = st.form_submit_button("Save", help="The worker connects within some seconds.")
    if not saved:
        return
    if text := cluster_problem(cluster):
        problem.error(plain(text))
        return
    try:
        connections.connect(CLUSTER, cluster)
        connections.connect(SHARED_STORE, full_address(store) if store else "")
    except sqlite3.Error as error:
        draw_write_error(error, connections.path)
        return
    st.rerun()
