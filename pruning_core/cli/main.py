"""The command line: `python -m pruning_core`."""

from __future__ import annotations

import argparse
import sqlite3
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from pruning_core.cli.arguments import folder
from pruning_core.cli.benchmark import add_benchmark_options, benchmark
from pruning_core.cli.cache import add_cache_options, maintain_cache
from pruning_core.cli.compare import add_compare_options, compare
from pruning_core.cli.export import add_export_options, export
from pruning_core.cli.jobs import add_jobs_options, add_show_options, cancel, list_jobs, show
from pruning_core.cli.latency import add_latency_options, latency
from pruning_core.cli.output import BAD_INPUT, FAILED, INTERRUPTED, OK, queue_failure, say
from pruning_core.cli.search import add_search_options, search
from pruning_core.cli.selection import add_job
from pruning_core.cli.sensitivity import add_sensitivity_options, sensitivity
from pruning_core.cli.worker import add_worker_options, worker
from pruning_core.common.errors import SpecError, brief
from pruning_core.common.paths import Cache, CacheError, cache_at
from pruning_core.methods.commands import COMMANDS as HELP
from pruning_core.settings.messages import for_command_line
from pruning_core.storage.jobs import Queue
from pruning_core.worker.start import WorkerError


@dataclass(frozen=True)
class Command:
    """A command: `run` returns the exit code, `add_options` gives a parser its options.

    A command that needs no space also works on a full or read-only disk. Its help stands in
    `methods.commands`, which the Guide reads too.
    """

    run: Callable[[argparse.Namespace, Cache, Queue], int]
    add_options: Callable[[argparse.ArgumentParser], None]
    needs_space: bool = True


COMMANDS: dict[str, Command] = {
    "compare": Command(compare, add_compare_options),
    "sensitivity": Command(sensitivity, add_sensitivity_options),
    "search": Command(search, add_search_options),
    "export": Command(export, add_export_options),
    "latency": Command(latency, add_latency_options),
    "benchmark": Command(benchmark, add_benchmark_options),
    "jobs": Command(list_jobs, add_jobs_options, needs_space=False),
    "show": Command(show, add_show_options, needs_space=False),
    "cancel": Command(cancel, add_job, needs_space=False),
    "cache": Command(maintain_cache, add_cache_options, needs_space=False),
    "worker": Command(worker, add_worker_options),
}


class HelpFormatter(argparse.HelpFormatter):
    """Breaks no line at a hyphen, so that option names stay whole."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """Reports a wrong option in one sentence, and takes no abbreviated options."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and exit."""
        text = message.removeprefix("argument ")
        if text.endswith("expected one argument"):
            text += ", written --name=VALUE where it begins with a dash"
        self.exit(BAD_INPUT, brief(f"{text}; see {self.prog} --help.") + "\n")


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    text = "Compare pruning strategies for neural networks."
    top = Parser(prog="python -m pruning_core", description=text, allow_abbrev=False)
    commands = top.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=HELP[name].help,
            description=HELP[name].help,
            allow_abbrev=False,
            formatter_class=HelpFormatter,
        )
        text = "folder of results, queue and downloads (default: the project's cache)"
        subparser.add_argument("--cache-dir", type=folder, metavar="DIR", help=text)
        command.add_options(subparser)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    options = parser().parse_args(arguments)
    for name, value in vars(options).items():
        if value == []:  # Python before 3.13 reads --name=-- as an empty list
            return say(BAD_INPUT, f"--{name.replace('_', '-')}: '--' is not a value.")
    cache = cache_at(options.cache_dir)
    command = COMMANDS[options.command]
    try:
        _prepare(cache, command)
        return command.run(options, cache, Queue(cache.queue))
    except SpecError as error:
        return say(BAD_INPUT, for_command_line(error))
    except CacheError as error:
        return say(BAD_INPUT, f"--cache-dir: {error}")
    except sqlite3.Error as error:
        return say(FAILED, queue_failure(cache, error))
    except WorkerError as error:
        return say(FAILED, str(error))
    except BrokenPipeError:
        raise
    except OSError as error:
        path, reason = error.filename or cache.root, error.strerror or error
        return say(FAILED, f"{path} cannot be used ({reason}). Finished results are kept.")
    except KeyboardInterrupt:
        return say(INTERRUPTED, "Interrupted.")


def _prepare(cache: Cache, command: Command) -> None:
    """Make the folders of the cache. Where that fails, its results can still be read."""
    try:
        cache.prepare()
    except CacheError as error:
        if command.needs_space or not cache.queue.is_file():
            raise
        say(OK, f"Note: {error}")
