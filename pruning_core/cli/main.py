"""The command line: `python -m pruning_core`."""

from __future__ import annotations

import argparse
import sqlite3
import textwrap
from typing import NoReturn

from pruning_core.cli.arguments import folder
from pruning_core.cli.connections import add_connection_options, connect
from pruning_core.cli.output import (
    BAD_INPUT,
    FAILED,
    INTERRUPTED,
    OK,
    READABLE,
    queue_failure,
    say,
)
from pruning_core.common.errors import SpecError, brief
from pruning_core.common.paths import Cache, CacheError, cache_at
from pruning_core.common.terminal import printable_output
from pruning_core.methods.commands import COMMANDS, Command
from pruning_core.methods.registry import load
from pruning_core.settings.messages import for_command_line
from pruning_core.storage.jobs import Queue
from pruning_core.worker.start import WorkerError


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
            help=command.help,
            description=command.help,
            allow_abbrev=False,
            formatter_class=HelpFormatter,
        )
        text = "folder of results, queue and downloads (default: the project's cache)"
        subparser.add_argument("--cache-dir", type=folder, metavar="DIR", help=text)
        if command.needs_space:
            add_connection_options(subparser)
        load(command.options)(subparser)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    with printable_output():
        return _run(arguments)


def _run(arguments: list[str] | None) -> int:
    options = parser().parse_args(arguments)
    for name, value in vars(options).items():
        if value == []:  # Python before 3.13 reads --name=-- as an empty list
            return say(BAD_INPUT, f"--{name.replace('_', '-')}: '--' is not a value.")
    cache = cache_at(options.cache_dir)
    command = COMMANDS[options.command]
    try:
        _prepare(cache, command)
        queue = Queue(cache.queue)
        connect(options, cache)
        return int(load(command.implementation)(options, cache, queue))
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
        advice = f" {READABLE}" if isinstance(error, PermissionError) else ""
        return say(FAILED, f"{path} cannot be used ({reason}).{advice} Finished results are kept.")
    except KeyboardInterrupt:
        return say(INTERRUPTED, "Interrupted.")


def _prepare(cache: Cache, command: Command) -> None:
    """Make the folders of the cache. Where that fails, its results can still be read."""
    if not command.makes_cache:
        cache.check()
        return
    try:
        cache.prepare()
        cache.set_home()
    except CacheError as error:
        if command.needs_space or not cache.queue.is_file():
            raise
        say(OK, f"Note: {error}")
