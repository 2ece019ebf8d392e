"""All registries of the catalogue: each entry is complete, and its implementation fits its kind."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES, STRUCTURED_SCOPES
from pruning_core.methods.commands import COMMANDS, Command
from pruning_core.methods.corrections import CORRECTIONS
from pruning_core.methods.criteria import CRITERIA
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.methods.registry import Method, Registry, load
from pruning_core.methods.strategies import STRATEGIES
from pruning_core.planning.stage_kinds import STAGE_KINDS
from tests.helpers.registries import registries


def entries() -> list[Any]:
    return [
        pytest.param(registry, method, id=f"{name}-{method.name}")
        for name, registry in registries().items()
        for method in registry.values()
    ]


# The number of arguments with which the engine calls an implementation of each kind.
ARGUMENTS = {
    "pruning criterion": 1,
    "sparsity allocation": 3,
    "optimizer": 2,
    "recovery method": 1,
    "training-free correction": 1,
    "channel importance": 1,
    "structured pruning scope": None,
    "device": 1,
    "data set": 4,
    "data augmentation": 2,
    "resize method": 2,
    "file format": 0,
    "runtime": 0,
    "budget": 1,
    "sparse kernel": 2,
    "dense kernel": 2,
    "stage kind": 1,
    "command": 3,
}


@pytest.mark.parametrize(("registry", "method"), entries())
def test_an_implementation_resolves_and_takes_the_arguments_of_its_kind(
    registry: Registry[Any], method: Method
) -> None:
    if not method.implementation:
        return
    function = registry.load(method.name)
    assert callable(function)
    count = ARGUMENTS[registry.kind]
    if count is not None:
        inspect.signature(function).bind(*range(count))


def test_each_kind_with_implementations_has_a_protocol() -> None:
    kinds = {
        registry.kind
        for registry in registries().values()
        if any(method.implementation for method in registry.values())
    }
    assert kinds == set(ARGUMENTS)


@pytest.mark.parametrize("scope", STRUCTURED_SCOPES)
def test_structured_scopes_have_one_signature(scope: str) -> None:
    signatures = [inspect.signature(STRUCTURED_SCOPES.load(name)) for name in STRUCTURED_SCOPES]
    parameters = [list(signature.parameters) for signature in signatures]
    assert list(inspect.signature(STRUCTURED_SCOPES.load(scope)).parameters) == parameters[0]


@pytest.mark.parametrize(("registry", "method"), entries())
def test_an_entry_has_a_title_a_help_and_a_source(registry: Registry[Any], method: Method) -> None:
    assert registry[method.name] is method
    assert method.title.strip() == method.title != ""
    assert method.help.endswith(".")
    assert method.help[0].isupper() or not method.help[0].isalpha() or "." in method.help[:12]
    assert len(method.help) <= 200
    assert bool(method.url) >= bool(method.paper)
    assert not method.url or method.url.startswith("https://")


@pytest.mark.parametrize("name", registries())
def test_no_title_is_used_twice_in_a_registry(name: str) -> None:
    titles = list(registries()[name].titles.values())
    assert len(set(titles)) == len(titles)


def test_kinds_of_registries_are_distinct() -> None:
    kinds = [registry.kind for registry in registries().values()]
    assert len(set(kinds)) == len(kinds)


def test_a_name_is_unique_in_a_registry() -> None:
    with pytest.raises(ValueError, match="Two entries of the kind thing are called a"):
        Registry("thing", (Method("a", "A"), Method("a", "B")))


def test_a_criterion_names_a_function_that_finds_unsupported_models() -> None:
    for criterion in CRITERIA.values():
        if criterion.unsupported:
            function = load(criterion.unsupported)
            assert inspect.signature(function).bind("model").args == ("model",)


def test_a_criterion_that_compensates_names_a_correction_and_scores_layers_again() -> None:
    for criterion in CRITERIA.values():
        if criterion.compensation:
            assert CORRECTIONS[criterion.compensation].implementation
        if criterion.rescoring:
            assert criterion.compensation
            assert inspect.signature(load(criterion.rescoring)).bind("inputs").args == ("inputs",)


@pytest.mark.parametrize("command", COMMANDS.values())
def test_a_command_names_a_function_that_adds_its_options(command: Command) -> None:
    assert inspect.signature(load(command.options)).bind("parser").args == ("parser",)


def test_costs_belong_to_methods_that_use_images() -> None:
    for criterion in CRITERIA.values():
        assert (criterion.cost > 0) == ("calibration images" in criterion.needs)
    for importance in CHANNEL_IMPORTANCES.values():
        assert (importance.cost > 0) == importance.uses_images
    none, *corrections = CORRECTIONS.values()
    assert not none.cost
    assert not none.implementation
    assert all(correction.cost > 0 for correction in corrections)


def test_strategies_differ_in_color_and_symbol() -> None:
    drawn = [strategy for strategy in STRATEGIES.values() if strategy.size]
    assert len({strategy.color for strategy in drawn}) == len(drawn)
    assert len({strategy.symbol for strategy in drawn}) == len(drawn)


def test_a_strategy_and_the_kind_of_its_stages_agree() -> None:
    for strategy in STRATEGIES.values():
        assert bool(strategy.stage_kind) == (not strategy.file_format)
        if strategy.stage_kind:
            kind = STAGE_KINDS[strategy.stage_kind]
            assert kind.removes_channels == strategy.removes_channels
        assert set(strategy.tested_against) <= set(STRATEGIES)


def test_a_file_that_can_be_downloaded_says_what_opens_it() -> None:
    for file_format in FILE_FORMATS.values():
        assert bool(file_format.opens_in) == file_format.download
