"""The house rules: imports point one way and run in no circle, files stay small, public functions say what they do."""

import ast
import pathlib

import pytest

from rgflow import registry

ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted(p for folder in ("rgflow", "launch", "configs", "examples") for p in (ROOT / folder).rglob("*.py"))
GROUND = {"types", "protocol", "checks", "schema"}
TOOLS = {"samplers", "exact", "nets", "probes"}
SHARED = {"judging", "plots"}
ROOMS = {name for name, maker in registry.EXPERIMENTS.items() if isinstance(maker, registry.Room)}
ROOM_FILES = {"__init__", "experiment", "task", "theory", "dynamics", "probe", "select", "claims", "figures"}
ALLOWED = {
    **dict.fromkeys(GROUND, GROUND),
    **dict.fromkeys(TOOLS, GROUND | TOOLS),
    **dict.fromkeys(SHARED, GROUND | TOOLS | SHARED),
    **dict.fromkeys(ROOMS, GROUND | TOOLS | SHARED),
    "registry": GROUND | SHARED | ROOMS,
    "engine": GROUND,
    "report": GROUND | TOOLS | SHARED | {"registry"},
}
"""The parts of rgflow, and what each may import besides itself."""


def name_of(path, root=ROOT):
    """The dotted name of a module."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def head(name):
    """The part of rgflow that a module belongs to: '' outside it and for the package itself."""
    parts = name.split(".")
    return parts[1] if parts[0] == "rgflow" and len(parts) > 1 else ""


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide their direction"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def wrong_imports(name, tree):
    """The imports of a module that point the wrong way, and its part itself where the house does not know it."""
    part = head(name)
    if not part:
        return []
    if part not in ALLOWED:
        return [f"{part} is no part of the house"]
    found = []
    for target, line in imported(tree):
        if target.split(".")[0] in ("launch", "configs") or (
            head(target) and head(target) not in ALLOWED[part] | {part, "__version__"}
        ):
            found.append(f"line {line}: {part} imports {target}")
    return found


def circles(trees):
    """The modules that import each other in a circle, from a mapping of names to their trees."""
    arrows = {}
    for name, tree in trees.items():
        arrows[name] = set()
        for target, _ in imported(tree):
            # "from a import b" is an arrow to the module a.b where there is one, else to a.
            known = target if target in trees else target.rpartition(".")[0]
            if known in trees and known != name:
                arrows[name].add(known)
    left = dict(arrows)
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    # What is left imports a circle; taken from the other side, only circles and what lies between them remain.
    while free := [name for name in left if not any(name in targets for n, targets in left.items() if n != name)]:
        for name in free:
            del left[name]
    return sorted(left)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_keeps_the_rules(path):
    tree, part = ast.parse(path.read_text()), head(name_of(path))
    assert not wrong_imports(name_of(path), tree)
    for name, line in imported(tree):
        if name.split(".")[0] == "orbax":
            assert path.name == "checkpoint.py", f"line {line}"
        if name.startswith("flax.linen") or name == "flax.linen":
            assert part == "nets", f"line {line}"
    assert len(path.read_text().splitlines()) <= 300
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
    for empty in ("Ref: standard", "Raises: nothing", "Raises nothing"):
        assert empty not in path.read_text()


def test_no_modules_import_each_other_in_a_circle():
    assert not circles({name_of(path): ast.parse(path.read_text()) for path in FILES})


def test_every_room_has_the_same_files():
    for room in ROOMS:
        files = {path.stem for path in (ROOT / "rgflow" / room).glob("*.py")}
        assert files >= ROOM_FILES, f"{room}: no {', '.join(sorted(ROOM_FILES - files))}"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("rgflow.probes.new", "from rgflow.rank_flow import task"),
        ("rgflow.rank_flow.new", "from rgflow.kernel_rg import theory"),
        ("rgflow.rank_flow.new", "from rgflow.report import tables"),
        ("rgflow.judging.new", "import rgflow.rank_flow.task"),
        ("rgflow.plots.new", "from rgflow.report import html"),
        ("rgflow.report.new", "from rgflow.rank_flow.claims import CLAIMS"),
        ("rgflow.report.new", "from rgflow.engine import grid"),
        ("rgflow.engine.new", "from rgflow.probes import spectrum"),
        ("rgflow.protocol", "from rgflow.judging import claim"),
        ("rgflow.samplers.new", "import launch.sweep"),
        ("rgflow.basement.new", "import rgflow.types"),
    ],
)
def test_a_wrong_arrow_and_an_unknown_part_are_found(name, code):
    assert wrong_imports(name, ast.parse(code))


def test_a_circle_is_found():
    code = {
        "a.one": "from a import two",
        "a.two": "from a.three import x",
        "a.three": "import a.one",
        "a.four": "import a.one",
    }
    trees = {name: ast.parse(text) for name, text in code.items()}
    assert circles(trees) == ["a.one", "a.three", "a.two"]
    assert not circles({name: trees[name] for name in ("a.one", "a.two", "a.four")})


def test_library_sets_no_global_configuration():
    for path in (p for p in FILES if head(name_of(p))):
        assert "jax.config.update" not in path.read_text(), path
