"""Commands of the command line, `python -m pruning_core COMMAND`."""

from __future__ import annotations

from pruning_core.methods.registry import Method, Registry

COMMANDS = Registry(
    "command",
    (
        Method("compare", "Compare", "Compare one-shot, iterative and structured pruning."),
        Method(
            "sensitivity",
            "Sensitivity analysis",
            "Prune one layer at a time and measure the accuracy drop without training.",
        ),
        Method("search", "Preset search", "Search for the most accurate pruning strategy."),
        Method("export", "Export", "Export a finished model to files and measure each file."),
        Method("latency", "Latency", "Measure latency of a finished model and its dense baseline."),
        Method("benchmark", "Benchmark", "Benchmark this machine."),
        Method("jobs", "Jobs", "List the jobs, the newest first."),
        Method("show", "Show", "Show the stages, tables and findings of a job."),
        Method("cancel", "Cancel", "Cancel a job. Finished stages are kept."),
        Method("cache", "Cache", "Inspect, verify or clean the cache."),
        Method("worker", "Worker", "Run queued stages."),
    ),
)
