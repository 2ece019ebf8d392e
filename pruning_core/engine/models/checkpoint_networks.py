"""Finds the network in a checkpoint: the tensors whose names and shapes are those of a model.

Tools put a network under many names (`state_dict`, `module._orig_mod.`, `net.`), and no list of
them is kept here. Every tensor of a file has a dotted name, from the keys of the dicts around it
and its own; what stands before the names of the model's tensors is the network's entry.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count
from pruning_core.common.terminal import one_line
from pruning_core.engine.models.pickled_objects import PickledObject
from pruning_core.engine.models.pruned_tensors import MASKS, masks_beside, with_masks
from pruning_core.engine.models.stored_tensors import StoredTensor, endings, plain_tensor, shape_of
from pruning_core.engine.models.weight_files import HOW_TO_SAVE, Checkpoint

SHOWN = 5
TOP = "."
# Names by which tools call an averaged copy of the weights.
AVERAGED = re.compile(
    r"(?<![a-z])(ema|swa|avg)|(ema|swa|avg|_ma)(?![a-z])|(E(ma|MA)|S(wa|WA)|A(vg|VG))(?![a-z])"
    r"|[Aa]verag|[Ss]hadow|[Pp]olyak"
)
# A counter that `torch.optim.swa_utils.AveragedModel` keeps beside its network.
AVERAGED_COUNTER = "n_averaged"


@dataclass(frozen=True)
class Needed:
    """The tensors of the `model` by name, and what of a file may differ from them.

    `head` names the tensors whose shape depends on the number of classes. `renamed` gives the
    present form of a name of an older file. `optional` names may be missing. `adaptable` says
    whether a tensor of another shape can be adapted.
    """

    model: str
    tensors: Mapping[str, Tensor]
    head: Sequence[str]
    renamed: Callable[[str], str]
    optional: Callable[[str], bool]
    adaptable: Callable[[str, tuple[int, ...]], bool]


@dataclass
class Network:
    """A network in a file.

    `tensors` are by the model's names, `unexpected` are names in the file of tensors within the
    modules of the model that it lacks, and `wrappers` names within its names that were ignored.
    `head` is the name in the file of a classifier that has another name than that of the model.
    """

    entry: str
    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    wrappers: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    wrong_shapes: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    averaged: bool = False
    head: str = ""

    @property
    def name(self) -> str:
        """The entry as sentences show it and the setting `weights_entry` takes it."""
        return one_line(self.entry) or TOP

    @property
    def fits(self) -> bool:
        """Whether the model can take these tensors."""
        return not (self.missing or self.wrong_shapes or self.unexpected)


@dataclass(frozen=True)
class Choice:
    """The network that is loaded, others that fit as well, and what else the file holds."""

    network: Network
    others: list[Network]
    remainder: list[str]


def choose_network(checkpoint: Checkpoint, needed: Needed, entry: str = "") -> Choice:
    """The network in a checkpoint: the one that fits, or the one called `entry`.

    Of several that fit, one that is no averaged copy is taken where there is only one. Raises
    `SpecError` where no network fits, or where several do and none is named.
    """
    tensors, values = _flattened(checkpoint.content)
    networks = find_networks(tensors, needed)
    if not networks:
        raise _no_network(tensors, needed, checkpoint)
    fitting, file = [network for network in networks if network.fits], checkpoint.path.name
    if entry:
        chosen = _named(networks, fitting, entry, file)
    elif not fitting:
        raise _misfit(networks[0], needed, tensors, values, file)
    else:
        chosen = _best(fitting, file)
    others = [
        network
        for network in fitting
        if network is not chosen
        and len(network.adapted) <= len(chosen.adapted)
        and not MASKS.search(network.entry)
    ]
    kept = {key: x for key, x in chosen.tensors.items() if key not in chosen.adapted}
    chosen.tensors |= masks_beside(kept, tensors)
    return Choice(chosen, others, _remainder(tensors, [chosen, *others]))


def _flattened(content: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of nested dicts and lists by dotted name, and the types of single values."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, str] = {}
    pending: list[tuple[str, Any]] = [("", content)]
    visited = set()
    while pending:
        name, value = pending.pop()
        if isinstance(value, PickledObject):
            value = value.content
        if isinstance(value, Tensor):
            tensors.setdefault(name, value)
        elif isinstance(value, dict | list | tuple):
            # A container that the file repeats is read once, so that small files stay small.
            if id(value) in visited:
                continue
            visited.add(id(value))
            items = list(value.items() if isinstance(value, dict) else enumerate(value))
            pending += [
                (f"{name}.{_text(key)}" if name else _text(key), x) for key, x in reversed(items)
            ]
        else:
            values[name] = type(value).__name__
    return tensors, values


def _text(key: Any) -> str:
    """A key of a dict as a part of a name; Python 2 wrote names as bytes."""
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key)


def find_networks(tensors: dict[str, Tensor], needed: Needed) -> list[Network]:
    """The candidates in the tensors of a file, by dotted name; those with most names come first.

    Where no candidate fits, names are compared without their parts that no name of the model has,
    such as `module` in `features.module.0.weight`.
    """
    stored = with_masks(tensors)
    networks = _candidates(stored, tensors, needed, endings)
    if not any(network.fits for network in networks):
        words = {part for name in needed.tensors for part in name.split(".")}
        wrapped = _candidates(
            stored, tensors, needed, lambda name: _endings_without_wrappers(name, words)
        )
        if any(network.fits for network in wrapped):
            for network in wrapped:
                network.wrappers = _parts_within(network) - words
            return wrapped
    return networks


def _parts_within(network: Network) -> set[str]:
    """The parts of the names of a network's tensors after its entry."""
    start = len(network.entry) + 1 if network.entry else 0
    names = [tensor.name.removesuffix("_orig")[start:] for tensor in network.tensors.values()]
    return {part for name in names for part in name.split(".")}


def _endings_without_wrappers(name: str, words: set[str]) -> Iterator[tuple[str, str]]:
    """As `endings`; the endings are without the parts that are none of the `words`."""
    parts = name.split(".")
    for i, part in enumerate(parts):
        if part in words:
            yield ".".join(parts[:i]), ".".join(p for p in parts[i:] if p in words)


def _candidates(
    stored: dict[str, StoredTensor],
    tensors: dict[str, Tensor],
    needed: Needed,
    divide: Callable[[str], Iterator[tuple[str, str]]],
) -> list[Network]:
    networks: dict[str, Network] = {}
    for name, tensor in stored.items():
        for entry, ending in divide(name):
            key = ending if ending in needed.tensors else needed.renamed(ending)
            if key not in needed.tensors:
                continue
            network = networks.setdefault(entry, Network(entry))
            if key in network.tensors:
                network.unexpected.append(name)
            else:
                network.tensors[key] = tensor
    # A file may hold one layer of the model under each of many thousand names: only networks with
    # enough tensors are compared, and the one with most.
    required = sum(not needed.optional(key) and key not in needed.head for key in needed.tensors)
    ordered = sorted(networks.values(), key=lambda network: -len(network.tensors))
    ordered = [n for i, n in enumerate(ordered) if i == 0 or len(n.tensors) >= required]
    for network in ordered:
        _compare(network, stored, needed)
        network.averaged = _is_averaged(network.entry, tensors)
    return ordered


def _compare(network: Network, stored: dict[str, StoredTensor], needed: Needed) -> None:
    """Fill in what differs between a network and the model."""
    for key, tensor in network.tensors.items():
        shape, right = shape_of(tensor.value), tuple(needed.tensors[key].shape)
        if shape is None or shape == right or _is_counter(tensor.value, right):
            continue
        (network.adapted if needed.adaptable(key, shape) else network.wrong_shapes).append(key)
    # A classifier is replaced as a whole: where it is missing, or where all of it differs.
    other_head = [key for key in network.adapted if key in needed.head]
    if other_head and len(other_head) < len(needed.head):
        network.wrong_shapes += other_head
        network.adapted = [key for key in network.adapted if key not in other_head]
    network.missing = [
        key for key in needed.tensors if key not in network.tensors and not needed.optional(key)
    ]
    network.unexpected += _within(network, stored, needed)
    if not any(key in network.tensors for key in needed.head):
        _add_head(network, stored, needed)


def _add_head(network: Network, stored: dict[str, StoredTensor], needed: Needed) -> None:
    """Give a network without the model's classifier that of the file, or else a new one.

    Tools put a new classifier at another place (`fc.1`), or beside the network (`head.fc`). It is
    taken if the file has a single one whose shapes are right.
    """
    top = {key.split(".")[0] for key in needed.head}
    prefix = f"{network.entry}." if network.entry else ""
    inside = [
        name
        for name in network.unexpected
        if name.startswith(prefix) and name.removeprefix(prefix).split(".")[0] in top
    ]
    body = [key for key in network.missing if key.split(".")[0] not in top]
    if body or len(inside) < len(network.unexpected):
        network.adapted += needed.head
        network.missing = [key for key in network.missing if key not in needed.head]
        return
    network.unexpected = []
    heads = _heads(network, stored, needed, inside)
    if len(heads) == 1 and all(key in needed.head for key in network.missing):
        network.head = heads[0]
        for key in needed.head:
            network.tensors[key] = stored[f"{network.head}.{key.rpartition('.')[2]}"]
    else:
        network.adapted += network.missing
    network.missing = []


def _heads(
    network: Network, stored: dict[str, StoredTensor], needed: Needed, inside: list[str]
) -> list[str]:
    """The entries in a file of single layers with the shapes of the model's classifier.

    `inside` names the tensors at the classifier's place in the network; others count only where
    there are none. A classifier of several layers is none.
    """
    shapes = {key.rpartition(".")[2]: tuple(needed.tensors[key].shape) for key in needed.head}
    if len(shapes) != len(needed.head):
        return []  # the model has several classifiers
    used = {tensor.name for tensor in network.tensors.values()}
    names = inside or [name for name, tensor in stored.items() if tensor.name not in used]
    modules: dict[str, dict[str, tuple[int, ...] | None]] = {}
    outer: Counter[str] = Counter()
    for name in names:
        entry, _, end = name.rpartition(".")
        modules.setdefault(entry, {})[end] = shape_of(stored[name].value)
        outer[entry.rpartition(".")[0]] += 1
    alone = {entry for entry in modules if outer[entry.rpartition(".")[0]] == len(shapes)}
    prefix = f"{network.entry}."
    return [
        entry
        for entry, layer in modules.items()
        if layer == shapes
        and (len(inside) in (0, len(shapes)))
        and (entry in alone or prefix.startswith(entry.rpartition(".")[0]))
    ]


def _is_counter(value: Tensor, right: tuple[int, ...]) -> bool:
    """Whether one number is stored in another shape than that of a scalar, as some tools do."""
    return right == () and value.numel() == 1


def _within(network: Network, stored: dict[str, StoredTensor], needed: Needed) -> list[str]:
    """The tensors in the modules of the model that belong to none of its names.

    A network with more layers than the model is another network, although all names match.
    """
    modules = {key.split(".")[0] for key in needed.tensors}
    prefix = f"{network.entry}." if network.entry else ""
    used = {tensor.name for tensor in network.tensors.values()}
    listed_before = set(network.unexpected)
    return [
        name
        for name, tensor in stored.items()
        if name.startswith(prefix)
        and name.removeprefix(prefix).split(".")[0] in modules
        and tensor.name not in used
        and name not in listed_before
        and not _is_count(name, tensor.value)
    ]


def _is_count(name: str, value: Tensor) -> bool:
    """Whether a tensor in a module is one number that tools write, such as `total_ops`."""
    shape = shape_of(value)
    return shape in ((), (1,)) and name.rpartition(".")[2] not in ("weight", "bias")


def _is_averaged(entry: str, tensors: dict[str, Tensor]) -> bool:
    parent = entry.rpartition(".")[0]
    counter = f"{parent}.{AVERAGED_COUNTER}" if parent else AVERAGED_COUNTER
    return bool(AVERAGED.search(entry)) or (bool(entry) and counter in tensors)


def _best(fitting: list[Network], file: str) -> Network:
    """The network to take where none is named."""
    exact = [network for network in fitting if not network.adapted] or fitting
    distinct: list[Network] = []
    for network in exact:
        if not any(_equal(network, other) for other in distinct):
            distinct.append(network)
    distinct = [network for network in distinct if not MASKS.search(network.entry)] or distinct
    weights = [network for network in distinct if not network.averaged] or distinct
    if len(weights) > 1:
        names = ", ".join(f"'{network.name}'" for network in weights[:SHOWN])
        raise SpecError(
            "model.weights_entry",
            f"{file} holds {len(weights)} networks that fit: {names}. Name the one to load.",
        )
    return weights[0]


def _equal(first: Network, second: Network) -> bool:
    """Whether two networks have the same values in all tensors that both have."""
    for key, tensor in first.tensors.items():
        other = second.tensors.get(key)
        if other is None or tensor.value is other.value:
            continue
        if shape_of(tensor.value) != shape_of(other.value) or not _same(tensor.value, other.value):
            return False
    return True


def _same(first: Tensor, second: Tensor) -> bool:
    try:
        return bool((plain_tensor(first) == plain_tensor(second)).all())
    except (RuntimeError, ValueError, NotImplementedError):
        return False


def _named(networks: list[Network], fitting: list[Network], entry: str, file: str) -> Network:
    """The network that the user named: by its whole entry, or by a part that only it has."""
    exact = [network for network in networks if network.name == entry]
    matching = exact or [n for n in fitting if f".{entry}." in f".{n.name}."]
    if len(matching) == 1 and matching[0].fits:
        return matching[0]
    names = ", ".join(f"'{network.name}'" for network in fitting[:SHOWN])
    fit = f"Networks that fit: {names}" if names else "No network in the file fits the model"
    problem = "names several networks" if len(matching) > 1 else "names no network that fits"
    raise SpecError("model.weights_entry", f"'{entry}' {problem} in {file}. {fit}.")


def _no_network(tensors: dict[str, Tensor], needed: Needed, checkpoint: Checkpoint) -> SpecError:
    """The error for a file without any tensor of a name that the model has."""
    file, skipped = checkpoint.path.name, listed(checkpoint.skipped)
    if not tensors and skipped:
        reason = f"holds Python objects ({skipped}), which could run any code when loaded"
        return SpecError("model.weights", f"{file} {reason}. {HOW_TO_SAVE}")
    if not tensors:
        return SpecError("model.weights", f"{file} holds no named weights. {HOW_TO_SAVE}")
    return SpecError(
        "model.weights",
        "{file} holds no weights with the names of torchvision's {model}. Its tensors are called "
        "{stored}, those of the model {names}. Choose the model of the file, or load the weights "
        "into torchvision's model and save its state_dict().",
        file=file,
        model=needed.model,
        stored=listed(list(tensors)),
        names=listed(list(needed.tensors)),
    )


def _misfit(
    network: Network,
    needed: Needed,
    tensors: dict[str, Tensor],
    values: dict[str, str],
    file: str,
) -> SpecError:
    """The error that says how the most similar network differs from the model.

    `tensors` and `values` are what the file holds, as `_flattened` returns it.
    """
    unexpected = network.unexpected
    if network.missing:
        # One of the tensors that were not used may be the missing one under another name.
        used = {tensor.name for tensor in network.tensors.values()}
        unexpected = [name for name in tensors if name not in used]
    wrong = [_wrong_shape(key, network, needed) for key in network.wrong_shapes]
    prefix = f"{network.entry}." if network.entry else ""
    missing = [
        f"{key}, which is no tensor but of type {values[prefix + key]} in the file"
        if prefix + key in values
        else key
        for key in network.missing
    ]
    problems = (
        ("missing", missing),
        ("unexpected", unexpected),
        ("of another shape", wrong),
    )
    parts = [f"{len(keys)} {kind} ({listed(keys)})" for kind, keys in problems if keys]
    return SpecError(
        "model.weights",
        "the weights in {file}{entry} do not fit {model}: {problems}.",
        file=file,
        entry=f" under '{network.name}'" if network.entry else "",
        model=needed.model,
        problems="; ".join(parts),
    )


def _remainder(tensors: dict[str, Tensor], networks: list[Network]) -> list[str]:
    """What a file holds beside these networks: each tensor, or all below one name with a count."""
    used = {
        name
        for network in networks
        for tensor in network.tensors.values()
        for name in (tensor.name, tensor.mask_name)
    }
    inner = {entry for name in used for entry, _ in endings(name)}
    groups: dict[str, list[str]] = {}
    for name in tensors:
        if name not in used:
            outer = next((entry for entry, _ in endings(name) if entry not in inner), name)
            groups.setdefault(outer, []).append(name)
    return [
        names[0] if len(names) == 1 else f"{outer} ({format_count(len(names), 'tensor')})"
        for outer, names in groups.items()
    ]


def _wrong_shape(key: str, network: Network, needed: Needed) -> str:
    stored = size_text(tuple(network.tensors[key].value.shape))
    return f"{key} is {stored}, the model needs {size_text(tuple(needed.tensors[key].shape))}"


def size_text(shape: tuple[int, ...]) -> str:
    """A shape in a sentence."""
    return " x ".join(map(str, shape)) or "one number"


def listed(items: Sequence[str]) -> str:
    """The first items, and the number of the others."""
    rest = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(map(one_line, items[:SHOWN])) + rest
