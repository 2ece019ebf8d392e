"""The three rules of the house: who imports what, one way, and one place for paths."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests.helpers.project import ROOT

CORE = ROOT / "pruning_core"
HEAVY = {"torch", "torchvision", "torch_pruning", "safetensors"}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def sources() -> list[Path]:
    return [ROOT / "app.py", *(ROOT / "pages").rglob("*.py"), *CORE.rglob("*.py")]


def test_only_pages_import_streamlit() -> None:
    using = [
        p for p in CORE.rglob("*.py") if any(n.split(".")[0] == "streamlit" for n in imported(p))
    ]
    assert not using


def test_only_the_engine_imports_torch() -> None:
    outside = [p for p in sources() if CORE / "engine" not in p.parents]
    assert not [p for p in outside if roots(p) & HEAVY]


def test_only_executing_a_stage_and_public_names_lead_to_the_engine() -> None:
    outside = [p for p in sources() if CORE / "engine" not in p.parents]
    doors = {
        p.name for p in outside if any(n.startswith("pruning_core.engine") for n in imported(p))
    }
    assert doors == {"execute.py"}


def test_pages_do_not_load_torch() -> None:
    outside = [path for path in CORE.rglob("*.py") if CORE / "engine" not in path.parents]
    names = [path.relative_to(ROOT).with_suffix("").parts for path in outside]
    modules = [".".join(parts) for parts in names if parts[-1] != "__main__"]
    code = f"import sys\nfor m in {modules!r}: __import__(m)\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_imports_make_no_circle() -> None:
    graph = {}
    for path in sources():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = imported(path)
    known = set(graph)
    edges = {name: {n for n in names if n in known and n != name} for name, names in graph.items()}
    while leaves := {name for name, names in edges.items() if not names}:
        edges = {name: names - leaves for name, names in edges.items() if name not in leaves}
    assert not edges


def test_paths_under_the_cache_are_built_in_one_place() -> None:
    words = ("queue.sqlite", '"checkpoints"', '"downloads"', '"stages"', '"building"', '"logs"')
    others = [path for path in sources() if path.name != "paths.py"]
    assert not [p for p in others if any(f"/ {w}" in p.read_text(encoding="utf-8") for w in words)]
