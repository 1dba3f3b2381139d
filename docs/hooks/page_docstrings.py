"""Docstrings as Markdown: doctests become code blocks, roles become links, and pipes in formulas do not end cells."""

import re
from typing import Any

import griffe

MATH = re.compile(r"(?<![\\$`])\$(?!\s)((?:\\.|[^\\$`])+?)(?<!\s)\$")
ROLE = re.compile(r":(?:func|mod|class|data|attr|meth):`~?([\w.]+)`")
EXAMPLE = re.compile(r"^(\s*)Example:\s*$", re.M)
COMMAND = re.compile(r"^(?! {4})(.*?)(?<!`)(python -m \w+\.[^\n`]*)$", re.M)
DOCTEST = re.compile(r"(?:^|(?<=\n\n))(>>> .*?)(?=\n[ \t]*\n|\Z)", re.S)


def without_pipes(tex: str) -> str:
    r"""Returns a formula with \vert and \Vert for | and \|, which would end the cell of a table."""
    return tex.replace(r"\|", r"\Vert{}").replace("|", r"\vert{}")


def target(name: str, module: str, members: frozenset[str]) -> str:
    """Returns the full name of what a role points at, or '' where it cannot be told."""
    if name.startswith("rgflow."):
        return name
    return f"{module}.{name}" if name in members else ""


def as_markdown(text: str, module: str = "", members: frozenset[str] = frozenset()) -> str:
    """Returns a docstring as Markdown that renders; ``members`` are the public names of its module."""

    def link(match: re.Match[str]) -> str:
        name = match.group(1)
        where = target(name, module, members)
        shown = f"`{name.rpartition('.')[2] if name.startswith('rgflow.') else name}`"
        return f"[{shown}][{where}]" if where else shown

    text = MATH.sub(lambda m: f"${without_pipes(m.group(1))}$", text)
    text = ROLE.sub(link, text)
    text = COMMAND.sub(r"\1`\2`", text)
    text = EXAMPLE.sub(r"\1Examples:", text)
    return DOCTEST.sub(r"```pycon\n\1\n```", text)


def _shown(name: str, member: Any) -> bool:
    return not name.startswith("_") and not member.is_alias and bool(member.docstring)


class MarkdownDocstrings(griffe.Extension):
    """Applies :func:`as_markdown` to every docstring that griffe reads."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rewrites the docstrings of a package once all of it is known."""
        self._rewrite(pkg)

    def _rewrite(self, obj: Any) -> None:
        module = obj if obj.is_module else obj.module
        if obj.docstring:
            # What has no docstring is not on the page.
            members = frozenset(name for name, member in module.members.items() if _shown(name, member))
            obj.docstring.value = as_markdown(obj.docstring.value, module.path, members)
        for member in obj.members.values():
            if not member.is_alias:
                self._rewrite(member)
