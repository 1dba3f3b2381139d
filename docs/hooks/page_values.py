"""The generated parts of pages: what one would otherwise copy by hand from the code, the README or CITATION.cff."""

import functools
import importlib
import inspect
import pathlib
import posixpath
import re
import types
from collections.abc import Callable, Mapping

import page_claims
import page_configs
import page_rooms
import yaml
from absl import flags

from rgflow import registry

ROOT = pathlib.Path(__file__).parents[2]
MARKER = re.compile(r"^<!-- generated: (\w+)(?: (.*?))? -->$", re.M)
IGNORED_FLAGS = ("absl.flags",)


def section(title: str, page: pathlib.PurePosixPath) -> str:
    """Returns a section of the README without its title."""
    text = (ROOT / "README.md").read_text()
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    if not found:
        raise ValueError(f"the README has no section {title!r}")
    return _linked_from(found.group(1), page)


def _linked_from(text: str, page: pathlib.PurePosixPath) -> str:
    """Returns a part of the README whose links work from a page and whose commands are parsed, not run."""
    back = posixpath.relpath(".", page.parent)
    body = re.sub(r"\]\(docs/([^)]*)\)", lambda m: f"]({posixpath.join(back, m.group(1))})", text)
    return re.sub(r"^```sh$", "```{.sh .parsed}", body, flags=re.M).strip()


def file(path: str, _: pathlib.PurePosixPath) -> str:
    """Returns a file of the repository as a block of Python."""
    source = ROOT / path
    if not source.is_file():
        raise ValueError(f"there is no file {path}")
    return f'```{{.python .file title="{path}"}}\n{source.read_text().rstrip()}\n```'


def keys(room: str, _: pathlib.PurePosixPath) -> str:
    """Returns the table of the config keys of a room."""
    return page_configs.table(room)


def shared_keys(_: str, __: pathlib.PurePosixPath) -> str:
    """Returns the table of the config keys of every room."""
    return page_configs.shared_table()


def command(name: str, _: pathlib.PurePosixPath) -> str:
    """Returns what a command is for and the table of its flags."""
    module = importlib.import_module(f"launch.{name}")
    values = flags.FlagValues()
    module.define_flags(values)
    rows = ["| flag | default | meaning |", "|---|---|---|"]
    for flag in sorted(values.get_flags_for_module(module) + _shared_flags(values, module), key=lambda f: f.name):
        shown = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
        default = "" if flag.default is None else f"`{flag.default_as_str}`".replace("'", "")
        rows.append(f"| `{shown}` | {default} | {_escaped(_with_choices(flag))} |")
    about = "\n\n".join(_as_prose(part) for part in inspect.cleandoc(module.__doc__ or "").split("\n\n"))
    return about + ("\n\n" + "\n".join(rows) if len(rows) > 2 else "\n\nThis command has no flags of its own.")


def _as_prose(paragraph: str) -> str:
    """Returns a paragraph of a docstring; commands, alone on their lines or inside a sentence, are code."""
    lines = paragraph.splitlines()
    if all(line.startswith((" ", "python -m")) for line in lines):
        return "\n".join(f"    {line.strip()}" for line in lines)
    text = paragraph.replace("<", "&lt;")
    return re.sub(r"(python -m launch\.\w+(?: (?:--\S+|\[--[^\]]*\]))*)", r"`\1`", text)


def _shared_flags(values: flags.FlagValues, module: types.ModuleType) -> list[flags.Flag]:
    """Returns the flags that other modules of the launcher define for a command."""
    others = (name for name in values.flags_by_module_dict() if name not in (*IGNORED_FLAGS, module.__name__))
    own = {flag.name for flag in values.get_flags_for_module(module)}
    return [flag for name in others for flag in values.get_flags_for_module(name) if flag.name not in own]


def _with_choices(flag: flags.Flag) -> str:
    # absl writes the choices of a flag in front of its help.
    return str(flag.help)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;")


@functools.cache
def records(room: str, _: pathlib.PurePosixPath) -> str:
    """Returns the tables of the dimensions and coordinates of a room, read from the experiments of its smoke sweep."""
    module = importlib.import_module(f"configs.{room}")
    points = module.get_sweep(module.get_config("smoke"))
    dims: dict[str, tuple[str, ...]] = {}
    coords: dict[str, tuple] = {}
    for point in points:
        own = module.get_config("smoke")
        own.update_from_flattened_dict(dict(point.values))
        experiment = registry.make(own)
        dims |= {name: tuple(own_dims) for name, own_dims in experiment.dims.items() if own_dims}
        coords |= {name: tuple(labels) for name, labels in experiment.coords.items() if name not in coords}
    by_dims: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(dims):
        by_dims.setdefault(dims[name], []).append(name)
    rows = ["| dimensions besides `run` and, for records, `step` | variables |", "|---|---|"]
    for own_dims, names in sorted(by_dims.items()):
        rows.append(f"| {', '.join(own_dims)} | {', '.join(f'`{name}`' for name in names)} |")
    rows += ["", "| coordinate | values (in the smoke sweep) |", "|---|---|"]
    rows += [f"| `{name}` | {_few(labels)} |" for name, labels in coords.items()]
    rows.append(f"| of a run | `seed`, {', '.join(f'`{name}`' for name in sorted(points[0].values))} |")
    return "\n".join(rows)


def _few(labels: tuple) -> str:
    shown = [str(label) for label in labels]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:3], "...", shown[-1]])


def citation(_: str, __: pathlib.PurePosixPath) -> str:
    """Returns CITATION.cff in words and as BibTeX."""
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    names = [a.get("name") or f"{a['family-names']}, {a['given-names']}" for a in cff["authors"]]
    fields = {
        "title": f"{{{cff['title']}}}",
        "author": " and ".join(f"{{{name}}}" for name in names),
        "version": str(cff["version"]),
        "note": f"Licence {cff['license']}",
    }
    body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"{cff['message']}\n\n```bibtex\n@software{{rgflow,\n{body}\n}}\n```"


def included(path: str, page: pathlib.PurePosixPath) -> str:
    """Returns a Markdown file beside the page as a part of one of its sections: headings are one level deeper."""
    source = ROOT / "docs" / page.parent / path
    if not source.is_file():
        raise ValueError(f"there is no file {path}")
    return re.sub(r"^#", "##", source.read_text(), flags=re.M).strip()


def claims(room: str, _: pathlib.PurePosixPath) -> str:
    """Returns the table of the claims of a room."""
    return page_claims.table(room)


def equations(room: str, _: pathlib.PurePosixPath) -> str:
    """Returns the table from the quantities of a room to its functions."""
    return page_rooms.equations(room)


def notation(room: str, _: pathlib.PurePosixPath) -> str:
    """Returns the notation of a room."""
    return page_rooms.part("notation", room)


def papers(room: str, _: pathlib.PurePosixPath) -> str:
    """Returns the sources of a room."""
    return page_rooms.part("papers", room)


def omitted(room: str, _: pathlib.PurePosixPath) -> str:
    """Returns what a room does not reproduce, and why."""
    return page_rooms.part("omitted", room)


def opening(_: str, page: pathlib.PurePosixPath) -> str:
    """Returns the first screen of the README: what this is, and two commands."""
    text = (ROOT / "README.md").read_text().partition("\n## ")[0]
    return _linked_from(text.partition("\n")[2], page)


GENERATORS: Mapping[str, Callable[[str, pathlib.PurePosixPath], str]] = {
    made.__name__: made
    for made in (
        *(opening, section, file, included, citation),
        *(keys, shared_keys, command, records),
        *(claims, equations, notation, papers, omitted),
    )
}


def filled(markdown: str, page: pathlib.PurePosixPath) -> str:
    """Returns a page with its generated parts; raises ValueError for a part that cannot be made."""

    def one(match: re.Match[str]) -> str:
        name, argument = match.group(1), match.group(2) or ""
        if name not in GENERATORS:
            raise ValueError(f"generated: {name!r}: must be one of {', '.join(GENERATORS)}")
        return GENERATORS[name](argument, page)

    return MARKER.sub(one, markdown)
