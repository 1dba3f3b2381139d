"""Tables of config keys: values from the presets, meanings from the comments beside the keys in ``configs/``."""

import ast
import importlib
import io
import pathlib
import re
import tokenize
from collections.abc import Iterator
from typing import Any

import ml_collections

from configs import common

ROOT = pathlib.Path(__file__).parents[2]
SWEPT = "*"
"""First letter of the comment of a key that the sweep sets for every point."""

ANNOUNCED = "this and all keys marked *"
"""How the comment of the first such key begins, or goes on, where it says what the mark means."""


def comments(source: str) -> dict[int, str]:
    """Returns the comment that ends each line of a source, by line, introductions of the lines below left out."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    return {line: text for line, text in found.items() if not text.endswith(":")}


def _path(node: ast.expr) -> str:
    """Returns the dotted path of ``config.a.b`` or ``sweep.a``, without ``config``; '' for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not names or not isinstance(node, ast.Name) or node.id not in ("config", "sweep"):
        return ""
    return ".".join([*([] if node.id == "config" else [node.id]), *reversed(names)])


def _keys(path: str, value: ast.expr, first: int) -> Iterator[tuple[str, int, int]]:
    """Yields (path, first line, last line) of a key, and of the keys of a section."""
    yield path, first, value.end_lineno or first
    if isinstance(value, ast.Call):
        for keyword in value.keywords:
            if keyword.arg:
                yield from _keys(f"{path}.{keyword.arg}", keyword.value, keyword.lineno)


def meanings(source: str) -> dict[str, str]:
    """Returns the comment of every key that has one in the source of a config."""
    said, found = comments(source), {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and (path := _path(node.targets[0])):
            for key, first, last in _keys(path, node.value, node.lineno):
                section = isinstance(node.value, ast.Call) and key == path
                # The comment of a section stands in its first line; that of a long value may stand in its last.
                lines = [first] if section else [*range(first, last + 1), last + 1]
                text = next((said[line] for line in lines if line in said and (line <= last)), "")
                found.setdefault(key, text)
    return found


def leaves(config: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted path, value) of every key."""
    for name in config:
        if isinstance(config[name], ml_collections.ConfigDict):
            yield from leaves(config[name], f"{above}{name}.")
        else:
            yield f"{above}{name}", config[name]


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, tuple) else ", ".join(map(repr, value)) or "()"
    text = text if len(text) <= 60 else f"{text[:56].rpartition(',')[0]}, ..."
    return f"`{text}`".replace("|", "\\|")


def cell(text: str) -> str:
    r"""Returns plain text as a cell of a table: Markdown leaves its pipes, dollars, powers and indices as they are."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("$", "\\$").replace("_", "\\_")


def table(room: str) -> str:
    """Returns the table of the keys of a room: value in the presets where they differ, and meaning."""
    module = importlib.import_module(f"configs.{room}")
    presets = {name: dict(leaves(module.get_config(name))) for name in common.PRESETS}
    said = meanings((ROOT / "configs" / f"{room}.py").read_text())
    shared = dict(leaves(common.get_config(room)))
    rows = ["| key | default | smoke | paper | meaning |", "|---|---|---|---|---|"]
    for key in dict.fromkeys(name for values in presets.values() for name in values):
        if key in shared:
            continue
        # Members of a section named by what they hold share its comment, such as the potentials.
        text = said.get(key, "") or said.get(key.rpartition(".")[0], "")
        per_point = text.startswith(SWEPT) or ANNOUNCED in text
        values = {name: _shown(v[key]) if key in v else "" for name, v in presets.items()}
        same = {name: "" if values[name] == values["default"] else values[name] for name in ("smoke", "paper")}
        mark = " (set per point)" if per_point else ""
        meaning = cell(re.sub(rf"{re.escape(ANNOUNCED)}[^:]*:?", "", text).removeprefix(SWEPT).strip(" ;")) + mark
        rows.append(f"| `{key}` | {values['default']} | {same['smoke']} | {same['paper']} | {meaning} |")
    return "\n".join(rows)


def shared_table() -> str:
    """Returns the table of the keys that every room has."""
    said = meanings((ROOT / "configs" / "common.py").read_text())
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for key, value in leaves(common.get_config("rank_flow")):
        if key != "experiment":
            rows.append(f"| `{key}` | {_shown(value)} | {cell(said.get(key, ''))} |")
    return "\n".join(rows)
