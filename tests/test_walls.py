"""The walls of the house: who may import what, where paths are built, what may be copied."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from pruning_core import _HOMES
from pruning_core.common.paths import PROJECT, Cache
from pruning_core.engine.export.bundle import stage as bundle_stage
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.storage.bundle import BUNDLE_FORMATS
from tests.helpers.project import ROOT
from tests.helpers.registries import registries
from tests.helpers.source_code import strings, tree

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
ENGINE = "pruning_core.engine"
# Public names of pruning_core whose first use imports the engine.
ENGINE_NAMES = {name for name, home in _HOMES.items() if home.startswith(ENGINE)}
# Calls that import or run a module which no import statement names.
IMPORTING = {"import_module", "__import__", "spec_from_file_location", "run_module", "run_path"}
IMPORTING |= {"resolve_name", "exec_module", "load_module", "exec"}
# A registry loads implementations, the package its public names at first use, and the Guide shows
# the registries of every module of the catalogue.
IMPORTING_FILES = {
    "pruning_core/__init__.py",
    "pruning_core/methods/registry.py",
    "pages/components/guide_tables.py",
}
# What `.load` is called on outside the engine: the choices of the pages, which load settings, the
# registry through which the worker enters the engine, the costs of a budget, which need no torch,
# and the functions of the commands.
LOADS = {
    "pages/components/settings_file.py": {"choices"},
    "pruning_core/results/budget_allocation.py": {"BUDGETS"},
    "pruning_core/worker/execute.py": {"DEVICES", "STAGE_KINDS"},
    "pruning_core/cli/main.py": {"load"},
}
# Modules whose `load` reads a file.
READERS = {"json", "tomllib"}
CACHE_NAMES = {
    *("queue.sqlite", "stages", "downloads", "building", "damaged", "uploads"),
    *("benchmark.json", "gpu_benchmark.json"),
    *("checkpoints", "home_folder", "logs", "worker.log", "cache", ".pruning-lab-cache"),
}
# Files that say a name of the cache without building a path of it: the command `cache`, a table of
# the queue, and the temporary caches of the benchmark, which are folders of their own.
CACHE_WORDS = {
    "pruning_core/methods/commands.py": {"cache"},
    "pruning_core/results/simulation.py": {"stages"},
    "pruning_core/storage/database.py": {"stages"},
    "pruning_core/engine/benchmark/__main__.py": {"cache"},
    "pruning_core/engine/benchmark/accuracy.py": {"cache"},
    "pruning_core/engine/benchmark/runs.py": {"cache"},
}
# Literals that share names with a registry and are no second list of it, with what they hold.
SHARED_NAMES = {
    ("pages/components/guide_text.py", "COMMANDS"): "topics of the Guide",
    ("pages/components/guide_text.py", "STAGE_KINDS"): "topics of the Guide",
    ("pruning_core/cli/search.py", "STRATEGIES"): "sections of a spec",
    ("pruning_core/cli/search.py", "STAGE_KINDS"): "sections of a spec",
    ("pruning_core/engine/analysis/inspect_model.py", "PRECISIONS"): "what `auto` chooses from",
    ("pruning_core/engine/benchmark/comparison.py", "STRATEGIES"): "models of the plain script",
    ("pruning_core/engine/export/bundle/stage.py", "BACKENDS"): "packages of Python",
    ("pruning_core/engine/export/bundle/stage.py", "FILE_FORMATS"): "packages of Python",
    ("pruning_core/engine/export/bundle/stage.py", "RUNTIMES"): "packages of Python",
    ("pruning_core/reports/csv_export.py", "STRUCTURED_TARGETS"): "columns of the results",
    ("pruning_core/results/rows.py", "STRUCTURED_TARGETS"): "columns of the results",
}
PATHS = CORE / "common" / "paths.py"


def sources() -> list[Path]:
    """All source files of the product."""
    return sorted([ROOT / "app.py", *(ROOT / "pages").rglob("*.py"), *CORE.rglob("*.py")])


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def imported(path: Path) -> frozenset[str]:
    """The dotted names that a file imports, at its top or inside functions.

    A public name of pruning_core counts as an import of the module that it loads.
    """
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    homes = {home for name, home in _HOMES.items() if f"pruning_core.{name}" in names}
    return frozenset(names | homes)


@cache
def identifiers(path: Path) -> frozenset[str]:
    """The names, attributes and imported names in a file."""
    names = set()
    for node in ast.walk(tree(path)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                names.add(name)
            case ast.alias(name=name):
                names |= {name, name.split(".")[-1]}
    return frozenset(names)


@cache
def texts(path: Path) -> frozenset[str]:
    return frozenset(text for _, text in strings(path))


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
        relative(path)
        for path in outside_engine()
        if any(name.startswith(ENGINE) for name in imported(path))
        or identifiers(path) & ENGINE_NAMES
    ]


def test_no_source_imports_everything_of_a_module() -> None:
    """A star would hide which names are imported."""
    assert not [relative(path) for path in sources() if "*" in identifiers(path)]


def test_only_the_catalogue_and_public_names_name_the_engine() -> None:
    """And the command `benchmark`, which starts the engine's benchmark as a process."""
    allowed = {CORE / "__init__.py", CORE / "planning" / "stage_kinds.py"}
    allowed |= {CORE / "cli" / "benchmark.py"}
    naming = {
        path
        for path in outside_engine()
        if package(path) != "methods"
        and (any(text.startswith(ENGINE) for text in texts(path)) or texts(path) & ENGINE_NAMES)
    }
    assert naming == allowed


def test_few_files_import_by_a_name_that_is_computed() -> None:
    """Such an import passes by the tests of the import statements."""
    assert {relative(path) for path in sources() if imports_by_name(path)} == IMPORTING_FILES


def imports_by_name(path: Path) -> bool:
    """Whether a file names what imports a module: in its code, or in a string for `getattr`."""
    # The module `importlib` itself gives access to all of it.
    whole = {"importlib", "runpy"} & identifiers(path)
    return bool(whole or IMPORTING & (identifiers(path) | texts(path)))


def test_no_source_imports_the_tests() -> None:
    assert not [relative(p) for p in sources() if roots(p) & {"tests", "conftest"}]


def test_modules_outside_the_engine_load_neither_torch_nor_the_engine() -> None:
    """Pages themselves run when they are imported; their components are imported here.

    Matplotlib, which only files need, is not loaded either.
    """
    names = [module_name(path) for path in outside_engine() if path.parent.name != "pages"]
    modules = [name for name in names if name != "app" and not name.endswith("__main__")]
    assert "pages.components.shell" in modules
    code = (
        f"import sys\nfor m in {modules!r}: __import__(m)\n"
        f"loaded = {{'torch', 'matplotlib', {ENGINE!r}}} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
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


def test_names_of_the_cache_are_written_in_one_file() -> None:
    """No other file can join a path of the cache, whatever function it calls for that."""
    naming = {relative(p): names for p in sources() if p != PATHS and (names := cache_names(p))}
    assert naming == CACHE_WORDS


def cache_names(path: Path) -> set[str]:
    """The names of files and folders of the cache that are a whole part of a text in a file."""
    parts = {part for text in texts(path) for part in re.split(r"[/\\]", text)}
    return CACHE_NAMES & parts


def test_the_names_of_the_cache_are_those_of_its_paths() -> None:
    root = Path("/root")
    made = Cache(root)
    properties = [name for name, value in vars(Cache).items() if isinstance(value, property)]
    paths = [*(getattr(made, name) for name in properties), made.checkpoint("x"), made.log("x")]
    paths += [made.upload("x", "x"), made.stage("x")]
    parts = {part for path in paths for part in path.relative_to(root).parts}
    assert parts - {"x", "x.ckpt", "x.log"} == CACHE_NAMES - {"cache"}
    assert cache_names(PATHS) == CACHE_NAMES


@pytest.fixture(scope="module")
def copied() -> Mapping[str, set[str]]:
    """The modules that the bundle stage copies, and the packages that a bundle requires then."""
    contents = {path.read_bytes(): relative(path) for path in sources()}
    modules = defaultdict[str, set[str]](set)
    with pytest.MonkeyPatch.context() as patch:
        # Packages need not be installed to say what is copied.
        patch.setattr(bundle_stage, "version", lambda name: "1")
        for file_format in (FILE_FORMATS[name] for name in BUNDLE_FORMATS):
            for name, content in bundle_stage._programs(file_format).items():
                if name.endswith(".py"):
                    modules[contents[content]] |= {"numpy", *file_format.needs}
    return modules


def test_a_module_that_is_copied_imports_nothing_of_the_project(
    copied: Mapping[str, set[str]],
) -> None:
    """Only the standard library, the required packages, and modules copied beside it."""
    beside = {Path(name).stem for name in copied}
    assert {"verify", "sparse_loader", "widths"} <= beside
    for name, packages in copied.items():
        allowed = {*sys.stdlib_module_names, *packages, *beside}
        assert roots(ROOT / name) <= allowed, name
        assert not imports_by_name(ROOT / name), name


def test_no_literal_outside_the_catalogue_repeats_names_of_a_registry() -> None:
    """A choice is described once: no tuple, list, set or dict holds two names of one registry."""
    stage_kinds = CORE / "planning" / "stage_kinds.py"
    repeated = {
        (str(path.relative_to(ROOT)), registry)
        for path in sources()
        if package(path) != "methods" and path != stage_kinds
        for registry in repeated_registries(path)
    }
    assert repeated == set(SHARED_NAMES)


def repeated_registries(path: Path) -> Iterator[str]:
    """The registries of which a literal of a file holds at least two names."""
    constants = imported_texts(path)
    for node in ast.walk(tree(path)):
        elements: list[ast.expr | None] = []
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            elements = [*node.elts]
        if isinstance(node, ast.Dict):
            elements = node.keys
        texts = {text_of(element, constants) for element in elements}
        if len(texts) > 1:
            yield from (name for name, names in choices().items() if len(texts & names) > 1)


@cache
def choices() -> dict[str, frozenset[str]]:
    """The names of the entries of each registry."""
    return {name: frozenset(map(str, registry)) for name, registry in registries().items()}


def imported_texts(path: Path) -> dict[str, str]:
    """The texts that a file imports from the catalogue, such as the name of a strategy."""
    names = [name.rpartition(".") for name in imported(path)]
    values = {
        name: getattr(sys.modules[module], name, None)
        for module, _, name in names
        if module.startswith("pruning_core.methods.")
    }
    return {name: value for name, value in values.items() if isinstance(value, str)}


def text_of(element: ast.expr | None, constants: dict[str, str]) -> str:
    """The text of an element: a string, or a constant of the catalogue; "" for any other."""
    if isinstance(element, ast.Name):
        return constants.get(element.id, "")
    return str(element.value) if isinstance(element, ast.Constant) else ""


def test_implementations_are_loaded_by_the_engine_and_the_worker_only() -> None:
    loading = {relative(p): names for p in outside_engine() if (names := loaded_from(p))}
    assert loading == LOADS
    for name, receivers in LOADS.items():
        if "choices" in receivers:
            assert "pages.components.choices" in imported(ROOT / name)
    engine = set[str]().union(*(loaded_from(p) for p in sources() if package(p) == "engine"))
    assert engine & set(registries())


def loaded_from(path: Path) -> set[str]:
    """What a file takes `.load` of, called at once or later; `load` itself where it imports it."""
    receivers = {
        ast.unparse(node.value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr == "load"
    }
    if "load" in texts(path) or any(name.endswith(".load") for name in imported(path)):
        receivers.add("load")
    return receivers - READERS


@pytest.mark.parametrize(
    "path",
    [path for path in CORE.rglob("__init__.py") if path.parent != CORE],
    ids=lambda path: module_name(path),
)
def test_an_init_file_holds_a_docstring_only(path: Path) -> None:
    (docstring,) = tree(path).body
    assert isinstance(docstring, ast.Expr)
    assert ast.get_docstring(tree(path))
