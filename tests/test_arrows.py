"""The way of the data is one direction: which room may import which, and no circles. Read from the source."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "visionlab"

# The rooms that a room may use beside itself and the small files on top (errors, console, seeds, files, renamed).
# Commands, which stand on top, may use every room.
USES = {
    "models": "",
    "losses": "",
    "metrics": "",
    "drawing": "",
    "io": "",
    "config": "models losses metrics samples",
    "samples": "config io data drawing",
    "data": "config io drawing models losses metrics",
    "datasets": "config io data drawing models losses metrics",
    "heads": "io data drawing models losses metrics",
    "modules": "config io data heads drawing models losses metrics",
    "training": "config io data datasets heads modules drawing inference models losses metrics samples",
    "inference": "config io data heads modules drawing models losses metrics",
    "reports": "config io heads drawing metrics",
}
# These know nothing of ours but the errors.
PURE = ("models", "losses", "metrics")
TOP = ("console", "seeds", "files", "renamed", "version")

# What still goes the wrong way. This list may only become shorter.
KNOWN = {
    "visionlab.training.evaluation -> visionlab.evaluate",
    "visionlab.training.preparation -> visionlab.train",
}
KNOWN_CIRCLES: set[str] = set()


def _modules() -> dict[str, Path]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = ["visionlab", *path.relative_to(SOURCE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _imports(module: str) -> Iterator[tuple[str, bool]]:
    """Yield each module of ours that a module imports or names in a table, and whether it is imported when it runs."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in full]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("visionlab."):
            names = [node.value if node.value in MODULES else node.value.rpartition(".")[0]]
        for name in names:
            if name in MODULES and name != module:
                yield name, not isinstance(node, ast.Constant)


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def _against() -> set[str]:
    found = set()
    for module in MODULES:
        here = _room(module)
        if here not in USES:
            continue
        allowed = {here, "errors", "", *USES[here].split(), *(TOP if here not in PURE else ())}
        found |= {f"{module} -> {name}" for name, _ in _imports(module) if _room(name) not in allowed}
    return found


def test_every_room_has_its_arrows() -> None:
    rooms = {path.parent.relative_to(SOURCE).parts[0] for path in MODULES.values() if path.parent != SOURCE}
    assert rooms == set(USES)


def test_no_room_imports_against_the_arrows() -> None:
    found = _against()
    assert found - KNOWN == set(), "these imports go against the way of the data"
    assert KNOWN - found == set(), "these are mended: take them off the list"


def test_no_circles() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        graph[module] = {name for name, running in _imports(module) if running}
    # What nothing that is left imports goes first; what remains stands in circles or leads to one.
    while leaves := {module for module in graph if not graph[module] & graph.keys()}:
        for module in leaves:
            del graph[module]
    while roots := {module for module in graph if not any(module in graph[other] for other in graph)}:
        for module in roots:
            del graph[module]
    assert set(graph) == KNOWN_CIRCLES
