"""What --help prints: the command's docstring, its flags in groups, and the keys of a config file; for 80 columns."""

import importlib
import pathlib
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import ml_collections
from absl import flags

WIDTH = 79
PLACEHOLDERS = {"workdir": "DIR", "out": "FILE", "config": "FILE", "coordinator": "HOST:PORT"}
KINDS = {"int": "N", "float": "X", "comma separated list of strings": "NAME,..."}
CONFIG_HELP = """\
  --config=FILE[:PRESET]
      the config file, or the name of a room, and one of its presets:
      smoke, default or paper
  --config.KEY=VALUE
      another value for a key of the config; give --config=FILE and --help
      to see the keys
"""
COMMENT = re.compile(r"^\s*config\.(?P<key>[\w.]+) = .*?#\s*(?P<comment>.*)$", re.MULTILINE)


class Key(NamedTuple):
    """A key of a config: its dotted name, type and value, and the comment beside it in the source."""

    name: str
    kind: str
    value: Any
    comment: str


def wrap(text: str, indent: str = "") -> str:
    """Returns a text broken into lines that fit the terminal."""
    return textwrap.fill(" ".join(text.split()), WIDTH, initial_indent=indent, subsequent_indent=indent)


def prose(doc: str) -> str:
    """Returns a docstring with its paragraphs wrapped; indented lines (examples) stay as they are."""
    blocks = re.split(r"\n\s*?\n", doc.strip("\n").rstrip())
    return "\n\n".join(listed(block) if block.startswith(" ") else wrap(block.replace("``", "")) for block in blocks)


def listed(block: str) -> str:
    """Returns indented lines as they are; when one is too long, every column gets a line of its own.

    Example:
        >>> print(listed("  command    what it does" + 60 * "." + "\\n             and on"))
          command
              what it does............................................................
              and on
    """
    lines = block.splitlines()
    if max(map(len, lines)) <= WIDTH:
        return block
    found = []
    for line in lines:
        parts = re.split(r"\s{2,}", line.strip())
        first = wrap(parts.pop(0), "  ") if line[:8].strip() else ""
        found += [text for text in (first, *(wrap(part, " " * 6) for part in parts)) if text]
    return "\n".join(found)


def flag_text(flag: flags.Flag) -> str:
    """Returns one flag: how it is written, what it does, and its default."""
    choices = getattr(flag.parser, "enum_values", None)
    value = "|".join(choices) if choices else PLACEHOLDERS.get(flag.name, KINDS.get(flag.flag_type(), "TEXT"))
    default = flag.default
    if isinstance(default, list):
        default = ",".join(default)
    told = "" if default in (None, False, "") else f" (default: {default})"
    # absl puts the choices before the help of an enumeration, where they are written already.
    said = re.sub(r"^<[^>]*>: ", "", flag.help or "")
    return f"  --{flag.name}{'' if flag.boolean else '=' + value}\n{wrap(f'{said}{told}', ' ' * 6)}"


def titled(values: flags.FlagValues, own: str) -> Iterator[tuple[str, list[flags.Flag]]]:
    """Yields the flags of a command in groups: its own first, then those that other modules define for it."""
    groups = values.flags_by_module_dict()
    for module in sorted(groups, key=lambda name: name not in (own, "__main__", sys.argv[0])):
        there = importlib.import_module(module) if module.startswith("launch.") and module != own else None
        yield ((there.__doc__ or "").splitlines()[0] if there else "Flags:"), groups[module]


def flags_text(define: Callable[[flags.FlagValues], None], own: str, config: bool) -> str:
    """Returns all flags of a command in their groups."""
    values = flags.FlagValues()
    define(values)
    parts = [
        f"{wrap(title)}\n" + "\n".join(flag_text(flag) for flag in sorted(found, key=lambda f: f.name))
        for title, found in titled(values, own)
    ]
    if config:
        parts[0] = parts[0].replace("\n", f"\n{CONFIG_HELP}", 1) if parts else f"Flags:\n{CONFIG_HELP}"
    return "\n\n".join(parts)


def comments(*sources: str) -> dict[str, str]:
    """Returns the comment beside every ``config.KEY = VALUE`` of some Python source.

    Example:
        >>> comments("config.width = 64  # of the stream\\nconfig.depth = 6")
        {'width': 'of the stream'}
    """
    return {found["key"]: found["comment"].strip() for text in sources for found in COMMENT.finditer(text)}


def config_keys(config: ml_collections.ConfigDict, config_file: str) -> list[Key]:
    """Returns every key of a config with its type, its value, and the comment beside it in the config file."""
    common = importlib.import_module("configs.common").__file__
    said = comments(*(pathlib.Path(path).read_text() for path in (common, config_file) if path))

    def walk(section: ml_collections.ConfigDict, prefix: str) -> Iterator[Key]:
        for name, value in section.items():
            if isinstance(value, ml_collections.ConfigDict):
                yield from walk(value, f"{prefix}{name}.")
            else:
                yield Key(prefix + name, type(value).__name__, value, said.get(prefix + name, ""))

    return list(walk(config, ""))


def keys_text(keys: list[Key], words: str) -> str:
    """Returns the keys of a config file as --help shows them; ``words`` is what --config was given."""
    lines = []
    for key in keys:
        value = ",".join(map(str, key.value)) if isinstance(key.value, (tuple, list)) else str(key.value)
        lines.append(wrap(f"--config.{key.name}={value}  ({key.kind})", "  ").replace("\n", "\n    "))
        lines += [wrap(key.comment, " " * 6)] if key.comment else []
    return f"Keys of {words}, with the values they have there:\n" + "\n".join(lines)
