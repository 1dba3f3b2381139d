"""Parts of the pages about the rooms, taken from the docstrings of their packages."""

import importlib
import importlib.util
import inspect
import re

import page_docstrings

NAME = re.compile(r"^[A-Za-z_][\w.]*$")
PARTS = {"notation": "Notation: ", "papers": "Reference keys: ", "omitted": "Not reproduced"}
"""How the paragraph of a room's docstring begins that holds each part."""


def paragraphs(room: str) -> list[str]:
    """Returns the paragraphs of the docstring of a room."""
    return inspect.cleandoc(importlib.import_module(f"rgflow.{room}").__doc__ or "").split("\n\n")


def part(name: str, room: str) -> str:
    """Returns one part of a room's docstring: notation, papers or what is not reproduced."""
    found = [text for text in paragraphs(room) if text.startswith(PARTS[name])]
    if len(found) != 1:
        raise ValueError(f"rgflow/{room}/__init__.py: must have one paragraph that begins {PARTS[name]!r}")
    return page_docstrings.as_markdown(found[0])


def full_name(name: str, room: str) -> str:
    """Returns the dotted name of a module or function as rooms abbreviate it, or '' where there is none."""
    for start in (f"rgflow.{room}.", "rgflow.", "rgflow.samplers."):
        where, _, member = (start + name).rpartition(".")
        try:
            if importlib.util.find_spec(start + name):
                return start + name
        except ModuleNotFoundError:
            pass
        try:
            if hasattr(importlib.import_module(where), member) and not where.endswith(room):
                return start + name
        except ModuleNotFoundError:
            continue
    return ""


def linked(cell: str, room: str) -> str:
    """Returns the cell of a table that names functions, each a link to the reference where it can be found."""
    shown, module = [], ""
    for name in re.split(r",\s*", cell.strip()):
        where = full_name(name, room) if NAME.match(name) else ""
        if not where and module and NAME.match(name):
            where = full_name(f"{module}.{name}", room)
        module = name.rpartition(".")[0] if "." in name else module
        shown.append(f"[`{name}`][{where}]" if where else f"`{name}`")
    return ", ".join(shown)


def equations(room: str) -> str:
    """Returns the table from quantities to the functions that compute them, with links to the reference."""
    (table,) = [text for text in paragraphs(room) if text.startswith("|")]
    rows = page_docstrings.as_markdown(table).splitlines()
    found = [rows[0], rows[1]]
    for row in rows[2:]:
        quantity, functions = (cell.strip() for cell in row.strip().strip("|").split("|"))
        found.append(f"| {quantity} | {linked(functions, room)} |")
    return "\n".join(found)
