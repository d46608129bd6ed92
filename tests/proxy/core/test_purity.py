"""Machines stay machines: no I/O, no clock, no randomness of their own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import seawall.core

CORE = Path(seawall.core.__file__).parent
# Arithmetic, parsing, hashing and structs; nothing of these looks at the world.
PURE = {"calendar", "functools", "hashlib", "hmac", "msgspec", "re", "urllib.parse"}
ALLOWED = {"bisect", "collections", "dataclasses", "enum", "itertools", "math", "typing", "seawall"} | PURE
ALLOWED_OF_OURS = ("seawall.core", "seawall.faults", "seawall.types", "seawall.wire")
FILES = sorted(CORE.glob("*.py"))


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not _is_type_checking(child):
            yield from _at_run_time(child)


def _imports(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in _at_run_time(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            names |= {f"{module}.{alias.name}" for alias in node.names} if module == "seawall" else {module}
    return names


def test_there_are_machines_to_look_at() -> None:
    assert {"breaker.py", "budget.py", "limit.py", "retry.py"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_core_never_awaits_and_imports_neither_clock_nor_randomness_nor_io(path: Path) -> None:
    tree = ast.parse(path.read_text())
    awaits = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor)]
    assert not awaits
    for name in _imports(tree):
        assert name in ALLOWED or name.partition(".")[0] in ALLOWED, name
        assert not name.startswith("seawall") or name.startswith(ALLOWED_OF_OURS), name


def test_the_walk_sees_a_forbidden_import_but_not_one_for_types_only() -> None:
    tree = ast.parse("def f():\n    import time\nif TYPE_CHECKING:\n    from seawall.clock import Rng\n")
    assert _imports(tree) == {"time"}
