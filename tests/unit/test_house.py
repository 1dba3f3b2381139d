"""The house rules: imports point one way, files stay small, public functions say what they do."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted(p for folder in ("rgflow", "launch", "configs", "examples") for p in (ROOT / folder).rglob("*.py"))
FOUNDATION = {"types", "protocol"}
TOOLS = {"samplers", "exact", "nets", "probes"}
ROOMS = {"rank_flow", "fixed_points", "variational_rg", "kernel_rg"}


def head(path):
    """The part of rgflow that a file belongs to, or '' outside it."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return (parts[1] if len(parts) > 1 else "") if parts[0] == "rgflow" else ""


def allowed(part):
    """The parts of rgflow that a part may import, itself included."""
    if part in FOUNDATION:
        return FOUNDATION
    if part in TOOLS:
        return FOUNDATION | TOOLS
    if part in ROOMS:
        return FOUNDATION | TOOLS | {part}
    if part == "registry":
        return FOUNDATION | ROOMS | {"registry"}
    if part == "engine":
        return FOUNDATION | {"engine"}
    return FOUNDATION | TOOLS | ROOMS | {"report"}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide their direction"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_keeps_the_rules(path):
    tree = ast.parse(path.read_text())
    part = head(path)
    for name, line in imported(tree):
        target = name.split(".")[1] if name.startswith("rgflow.") else ""
        if part and part != "__init__" and target:
            assert target in allowed(part), f"line {line}: {part} imports {name}"
        if name.split(".")[0] == "orbax":
            assert path.name == "checkpoint.py", f"line {line}"
        if name.startswith("flax.linen") or name == "flax.linen":
            assert part == "nets", f"line {line}"
        if part:
            assert name.split(".")[0] not in ("launch", "configs"), f"line {line}"
    assert len(path.read_text().splitlines()) <= 300
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_the_test_of_arrows_can_fail():
    assert "rank_flow" not in allowed("probes")
    assert "kernel_rg" not in allowed("rank_flow")
    assert "rank_flow" not in allowed("engine")
    assert "engine" not in allowed("report")


def test_library_sets_no_global_configuration():
    for path in (p for p in FILES if head(p)):
        assert "jax.config.update" not in path.read_text(), path
