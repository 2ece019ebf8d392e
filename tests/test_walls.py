"""The walls of the house: who may import what, where paths are built, what may be copied."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from pruning_core.common.paths import PROJECT
from tests.helpers.project import ROOT
from tests.helpers.registries import registries

CORE = ROOT / "pruning_core"
HEAVY = {"torch", "torchvision", "torch_pruning", "safetensors"}
# Packages import only from packages before them; `worker` and `cli` come last, then the pages.
ORDER = (
    "common",
    "methods",
    "settings",
    "planning",
    "storage",
    "results",
    "reports",
    "engine",
    "worker",
    "cli",
    "pages",
)
MAX_FLOORS = 8
MAX_ENTRIES = 13
# The one module that loads a registry's implementation outside the engine.
DOOR = CORE / "worker" / "execute.py"
# Modules that a downloaded bundle contains as they are.
COPIED = (
    "engine/export/sparse_loader.py",
    "engine/structured/widths.py",
    "engine/export/bundle/verify.py",
)
CACHE_NAMES = (
    "queue.sqlite",
    "stages",
    "downloads",
    "building",
    "damaged",
    "uploads",
    "benchmark.json",
    "checkpoints",
    "logs",
    "worker.log",
)


def sources() -> list[Path]:
    """All source files of the product."""
    return sorted([ROOT / "app.py", *(ROOT / "pages").rglob("*.py"), *CORE.rglob("*.py")])


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> frozenset[str]:
    """The dotted names that a file imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def package(path: Path) -> str:
    """The package of a file; `pages` for app.py, and "" for the top of pruning_core."""
    parts = path.relative_to(ROOT).parts
    if parts[0] != "pruning_core":
        return "pages"
    return parts[1] if len(parts) > 2 else ""


def package_imports(path: Path) -> set[str]:
    """The other packages from which a file imports."""
    packages = {
        parts[1]
        for name in imported(path)
        if (parts := name.split("."))[0] == "pruning_core" and len(parts) > 1
    }
    if "pages" in roots(path):
        packages.add("pages")
    return (packages & set(ORDER)) - {package(path)}


def outside_engine() -> list[Path]:
    return [path for path in sources() if package(path) != "engine"]


def test_only_pages_import_streamlit() -> None:
    assert not [p for p in sources() if package(p) != "pages" and "streamlit" in roots(p)]


def test_only_the_engine_imports_torch() -> None:
    assert not [p for p in outside_engine() if roots(p) & HEAVY]


def test_no_module_outside_the_engine_imports_it() -> None:
    """`worker/execute.py` loads stages by the registry; public names are loaded at first use."""
    assert not [
        path
        for path in outside_engine()
        if any(name.startswith("pruning_core.engine") for name in imported(path))
    ]


def test_only_the_catalogue_and_public_names_name_the_engine() -> None:
    """And the command `benchmark`, which starts the engine's benchmark as a process."""
    allowed = {CORE / "__init__.py", CORE / "planning" / "stage_kinds.py"}
    allowed |= {CORE / "cli" / "benchmark.py"}
    naming = [
        path
        for path in outside_engine()
        if package(path) != "methods"
        and any(
            isinstance(node, ast.Constant) and str(node.value).startswith("pruning_core.engine")
            for node in ast.walk(tree(path))
        )
    ]
    assert set(naming) <= allowed


def test_modules_outside_the_engine_load_no_torch() -> None:
    names = [module_name(path) for path in outside_engine() if package(path) != "pages"]
    modules = [name for name in names if not name.endswith("__main__")]
    code = f"import sys\nfor m in {modules!r}: __import__(m)\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_modules_import_without_circles() -> None:
    modules = {module_name(path): imported(path) for path in sources()}
    edges = {
        name: {other for other in names if other in modules and other != name}
        for name, names in modules.items()
    }
    while leaves := {name for name, names in edges.items() if not names}:
        edges = {name: names - leaves for name, names in edges.items() if name not in leaves}
    assert not edges


@pytest.mark.parametrize("name", ORDER)
def test_a_package_imports_only_packages_before_it(name: str) -> None:
    earlier = set(ORDER[: ORDER.index(name)])
    wrong = {
        str(path.relative_to(ROOT)): others
        for path in sources()
        if package(path) == name and (others := package_imports(path) - earlier)
    }
    assert not wrong


def test_pages_and_worker_do_not_import_the_command_line() -> None:
    others = [path for path in sources() if package(path) not in ("cli", "")]
    assert not [path for path in others if "cli" in package_imports(path)]


def test_every_package_has_a_place_in_the_order() -> None:
    assert {package(path) for path in sources()} - {""} == set(ORDER)


def floors() -> dict[str, int]:
    """The floor of each package: 1 more than the highest floor from which it imports."""
    numbers: dict[str, int] = {}
    for name in ORDER:
        others = set[str]().union(*(package_imports(p) for p in sources() if package(p) == name))
        numbers[name] = 1 + max((numbers[other] for other in others), default=0)
    return numbers


def test_packages_have_few_floors() -> None:
    assert max(floors().values()) <= MAX_FLOORS


def test_the_top_of_the_core_has_few_entries() -> None:
    entries = [path for path in CORE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MAX_ENTRIES


def test_the_project_is_the_folder_of_the_app() -> None:
    assert (PROJECT / "app.py").exists()
    assert PROJECT == ROOT


def test_paths_of_the_cache_are_built_in_one_file() -> None:
    """No other file joins a path with the name of a file or folder of the cache."""
    joining = {
        str(path.relative_to(ROOT)): names
        for path in sources()
        if path != CORE / "common" / "paths.py" and (names := set(joined_names(path)))
    }
    assert not {
        path: names & set(CACHE_NAMES)
        for path, names in joining.items()
        if names & set(CACHE_NAMES)
    }


def joined_names(path: Path) -> Iterator[str]:
    """The texts that a file joins to paths: `folder / "name"` and `folder.joinpath("name")`."""
    for node in ast.walk(tree(path)):
        operands: list[ast.expr] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            operands = [node.right]
        if isinstance(node, ast.Call) and called_method(node) == "joinpath":
            operands = node.args
        for operand in operands:
            if isinstance(operand, ast.Constant) and isinstance(operand.value, str):
                yield from Path(operand.value).parts


def called_method(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else ""


def test_the_names_of_the_cache_are_those_of_its_paths() -> None:
    assert set(joined_names(CORE / "common" / "paths.py")) == {*CACHE_NAMES, "cache"}


@pytest.mark.parametrize("name", COPIED)
def test_a_module_that_is_copied_imports_nothing_of_the_project(name: str) -> None:
    assert not roots(CORE / name) & {"pruning_core", "pages", "tests", "app"}


def test_implementations_are_loaded_by_the_engine_and_the_worker_only() -> None:
    names = set(registries())
    loading = {str(p.relative_to(ROOT)) for p in sources() if loads_implementation(p, names)}
    outside = {name for name in loading if not name.startswith("pruning_core/engine/")}
    assert outside == {str(DOOR.relative_to(ROOT))}
    assert len(loading) > 1


def loads_implementation(path: Path, registry_names: set[str]) -> bool:
    """Whether a file calls `REGISTRY.load`, or imports `load` of the registry's module."""
    if path == CORE / "methods" / "registry.py":
        return False
    loads = [
        node.func.value
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "load"
    ]
    named = {
        value.id if isinstance(value, ast.Name) else value.attr
        for value in loads
        if isinstance(value, ast.Name | ast.Attribute)
    }
    return bool(named & (registry_names | {"registry"})) or (
        "pruning_core.methods.registry.load" in imported(path)
    )


@pytest.mark.parametrize(
    "path",
    [path for path in CORE.rglob("__init__.py") if path.parent != CORE],
    ids=lambda path: module_name(path),
)
def test_an_init_file_holds_a_docstring_only(path: Path) -> None:
    (docstring,) = tree(path).body
    assert isinstance(docstring, ast.Expr)
    assert ast.get_docstring(tree(path))
