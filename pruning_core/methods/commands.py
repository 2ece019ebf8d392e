"""Commands of the command line, `python -m pruning_core COMMAND`."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.methods.registry import Method, Registry

CLI = "pruning_core.cli"


@dataclass(frozen=True)
class Command(Method):
    """A command. The implementation takes (arguments, cache, queue) and returns the exit code.

    `options` names the function that gives a parser the options of the command. A command that
    needs no space also works on a full or read-only disk. One that makes no cache refuses a folder
    that is none, and does not mark it as one.
    """

    options: str = ""
    needs_space: bool = True
    makes_cache: bool = True


COMMANDS = Registry(
    "command",
    (
        Command(
            "compare",
            "Compare",
            "Compare one-shot, iterative and structured pruning.",
            implementation=f"{CLI}.compare:compare",
            options=f"{CLI}.compare:add_compare_options",
        ),
        Command(
            "sensitivity",
            "Sensitivity analysis",
            "Prune one layer at a time and measure the accuracy drop without training.",
            implementation=f"{CLI}.sensitivity:sensitivity",
            options=f"{CLI}.sensitivity:add_sensitivity_options",
        ),
        Command(
            "search",
            "Preset search",
            "Search for the most accurate pruning strategy, or for the fastest model.",
            implementation=f"{CLI}.search:search",
            options=f"{CLI}.search:add_search_options",
        ),
        Command(
            "export",
            "Export",
            "Export a finished model to files and measure each file.",
            implementation=f"{CLI}.export:export",
            options=f"{CLI}.export:add_export_options",
        ),
        Command(
            "latency",
            "Latency",
            "Measure latency of a finished model and its dense baseline.",
            implementation=f"{CLI}.latency:latency",
            options=f"{CLI}.latency:add_latency_options",
        ),
        Command(
            "benchmark",
            "Benchmark",
            "Benchmark this machine.",
            implementation=f"{CLI}.benchmark:benchmark",
            options=f"{CLI}.benchmark:add_benchmark_options",
        ),
        Command(
            "jobs",
            "Jobs",
            "List, search, edit and retry jobs.",
            implementation=f"{CLI}.jobs:jobs",
            options=f"{CLI}.jobs:add_jobs_options",
            needs_space=False,
        ),
        Command(
            "show",
            "Show",
            "Show the stages, tables and findings of a job.",
            implementation=f"{CLI}.jobs:show",
            options=f"{CLI}.jobs:add_show_options",
            needs_space=False,
        ),
        Command(
            "cancel",
            "Cancel",
            "Cancel jobs. Finished stages are kept.",
            implementation=f"{CLI}.jobs:cancel",
            options=f"{CLI}.selection:add_several",
            needs_space=False,
        ),
        Command(
            "cache",
            "Cache",
            "Inspect, verify or clean the cache.",
            implementation=f"{CLI}.cache:maintain_cache",
            options=f"{CLI}.cache:add_cache_options",
            needs_space=False,
            makes_cache=False,
        ),
        Command(
            "cluster",
            "Cluster",
            "Show the nodes of the cluster and what each of them runs.",
            implementation=f"{CLI}.cluster:cluster",
            options=f"{CLI}.cluster:add_cluster_options",
        ),
        Command(
            "worker",
            "Worker",
            "Run queued stages.",
            implementation=f"{CLI}.worker:worker",
            options=f"{CLI}.worker:add_worker_options",
        ),
    ),
)
