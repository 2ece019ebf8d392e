"""The options of `compare` for channels that are really removed."""

from __future__ import annotations

from pruning_core.cli.option_kinds import Option, number, numbers, whole
from pruning_core.settings.structured import IMPORTANCES, STRUCTURED_SCOPES, STRUCTURED_TARGETS

STRUCTURED_OPTIONS = (
    Option(
        "--structured",
        ("structured.amounts",),
        numbers,
        "remove channels for good until these shares are gone; an empty text removes none",
        "0.3,0.5",
    ),
    Option(
        "--structured-of",
        ("structured.of",),
        str,
        "what the shares of --structured are of",
        choices=STRUCTURED_TARGETS,
    ),
    Option(
        "--importance",
        ("structured.importance",),
        str,
        "by what channels are chosen",
        choices=IMPORTANCES,
    ),
    Option(
        "--structured-scope",
        ("structured.scope",),
        str,
        "the same share of each layer, or one threshold for all",
        choices=STRUCTURED_SCOPES,
    ),
    Option("--round-to", ("structured.round_to",), whole, "channels left: multiples of it", "N"),
    Option("--max-ratio", ("structured.max_ratio",), number, "of a layer's channels go", "F"),
    Option(
        "--structured-steps",
        ("structured.steps",),
        whole,
        "cuts on the way to each share, with training after each",
        "N",
    ),
    Option(
        "--structured-epochs",
        ("structured.epochs",),
        number,
        "fine-tuning epochs after each cut of channels",
        "F",
    ),
    Option(
        "--structured-tail",
        ("structured.tail",),
        number,
        "epochs after the last cut of channels, the rate falling from its peak to 0",
        "F",
    ),
)
