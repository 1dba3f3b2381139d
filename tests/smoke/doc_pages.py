"""The pages of the documentation as a reader sees them, their blocks of code, and what commands may stand in them."""

import functools
import pathlib
import re
import shlex
import sys
import tomllib
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "hooks"))

import page_values

from launch import bench, command_line, doctor, report, sweep

PARTS = ("claims_table.md", "benchmarks_table.md")
"""Files that are parts of pages: ``launch.report --all`` makes the first, ``launch.bench`` the second."""

PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if path.name not in PARTS)

BLOCK = re.compile(r"^(```+)[ \t]*(.*?)\n(.*?)^\1[ \t]*$", re.M | re.S)
COMMANDS = {"sweep": sweep, "report": report, "doctor": doctor, "bench": bench}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


class Block(NamedTuple):
    """One block of code: its language, its class (run, parsed, file or generated), and its text."""

    language: str
    kind: str
    text: str


@functools.cache
def text_of(page: str) -> str:
    """Returns a page with its generated parts."""
    return page_values.filled((DOCS / page).read_text(), pathlib.PurePosixPath(page))


def block(info: str, text: str) -> Block:
    """Returns a block; raises ValueError for one that is neither run nor checked in a way known here."""
    found = re.fullmatch(r"(\w+)|\{\s*\.(\w+)((?:\s+\.\w+)*)(?:\s+title=\".*\")?\s*\}", info)
    language, classes = (found.group(1) or found.group(2), found.group(3) or "") if found else ("", "")
    kind = classes.replace(".", " ").strip() or "run"
    if (language, kind) not in {
        ("python", "run"),
        ("sh", "run"),
        ("sh", "parsed"),
        ("python", "file"),
        ("bibtex", "run"),
    }:
        raise ValueError(f"```{info}: a block must be python, sh, {{.sh .parsed}}, or made by the hooks")
    return Block(language, kind, text)


def blocks(page: str) -> list[Block]:
    """Returns the blocks of a page in order."""
    text = text_of(page)
    assert text.count("\n```") == 2 * len(BLOCK.findall(text)), f"{page}: a fence is indented or not closed"
    return [block(info, body) for _, info, body in BLOCK.findall(text)]


def commands(text: str) -> list[list[str]]:
    """Returns the words of every command of a shell block."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            found.append(words[:end])
            words = words[end + 1 :]
    return found


def launched(words: list[str]) -> tuple[str, list[str]]:
    """Returns the name of the launch command and its arguments; raises ValueError for other commands."""
    if len(words) < 3 or words[1] != "-m" or not words[2].startswith("launch."):
        raise ValueError(f"{shlex.join(words)}: not a command of rgflow")
    name = words[2].removeprefix("launch.")
    if name not in COMMANDS:
        raise ValueError(f"{words[2]}: no such command")
    return name, words[3:]


def parse(name: str, arguments: list[str]) -> None:
    """Parses the flags of a launch command as the command does, and makes the points of a sweep."""
    module = COMMANDS[name]
    values = command_line.parse([name, *arguments], module.define_flags, config=name == "sweep")
    if name == "sweep":
        assert sweep.sweep_points(values.config, command_line.config_file(values).partition(":")[0])


def check_other(words: list[str]) -> None:
    """Checks a command that no test can run; raises ValueError for one that is not known here."""
    text = shlex.join(words)
    program = pathlib.Path(words[0]).name
    if program.startswith("python") and words[1:2] == ["-m"] and words[2].startswith("launch."):
        return parse(*launched(words))
    if program.startswith("python") and words[1:2] == ["-m"]:
        module = words[2]
        known = module in ("venv", "pytest") or (ROOT / f"{module.replace('.', '/')}.py").is_file()
        if not known:
            raise ValueError(f"{text}: no such module")
    elif program == "pip" and words[1] == "install":
        target = words[-1]
        extra = re.fullmatch(r"\.(?:\[(\w+)\])?", target)
        if not extra or (extra.group(1) and extra.group(1) not in EXTRAS):
            raise ValueError(f"{text}: not an extra of this package")
    elif program == "sbatch":
        script = next(k for k, word in enumerate(words) if k and not word.startswith("-"))
        assert (ROOT / words[script]).is_file(), text
        if words[script + 1].startswith("--"):
            parse("sweep", words[script + 1 :])
    elif program == "tpu_pod.sh":
        assert (ROOT / words[0]).is_file(), text
        parse("sweep", words[3:])
    elif program != "mkdocs":
        raise ValueError(f"{text}: neither run nor checked")
    return None
