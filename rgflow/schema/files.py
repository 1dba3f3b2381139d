"""Files of a workdir, opened without following a link, and read only if they hold what they must."""

import itertools
import json
import os
import pathlib
import stat
from typing import Any, BinaryIO
from xml.etree import ElementTree

from rgflow.schema.kinds import PLAIN, Schema, wrong

MOST_BYTES, DEEPEST = 2**30, 40
"""Most that a text file may hold, and the deepest nesting of what it says."""

WRITTEN_ANEW = "remove it; python -m launch.report --workdir=DIR writes it anew from the records"
REMEDIES = {
    "run.json": "without it nobody knows whose the records are: restore it, or give another folder",
    "config.json": "restore it, or start the sweep's own command again, which writes it",
    "events.jsonl": "remove the line: only the times in the report come from it",
    "results.nc": WRITTEN_ANEW,
    "verdicts.json": WRITTEN_ANEW,
    "figures": WRITTEN_ANEW,
}
"""What to do about a file, or about any file of a folder, that cannot be read."""


class Unreadable(Exception):
    """Something in a workdir cannot be read or trusted; the text is one line with the file and what to do."""

    def __init__(self, path: pathlib.Path, why: str, remedy: str = "") -> None:
        """``why`` says what is wrong; what to do follows from the name of the file unless ``remedy`` says it."""
        known = REMEDIES.get(path.name) or REMEDIES.get(path.parent.name) or "remove it or restore it"
        super().__init__(" ".join(f"{str(path)!r}: {why}; {remedy or known}".split()))


def refuse_links(folder: pathlib.Path) -> None:
    """Raises Unreadable for the first thing in a workdir that is neither a plain file nor a folder, such as a link.

    What would be read, written or deleted through a link lies elsewhere.
    """
    inner = [folder]
    while inner:
        try:
            entries = list(os.scandir(inner.pop()))
        except FileNotFoundError:  # a checkpoint that was replaced in this moment
            continue
        except OSError as error:
            raise Unreadable(pathlib.Path(error.filename), f"cannot be read ({error.strerror})") from error
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner.append(pathlib.Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                kind = "a link" if entry.is_symlink() else "neither a file nor a folder"
                remedy = (
                    "a workdir holds plain files and folders alone: remove it, or put what it stands for in its place"
                )
                raise Unreadable(pathlib.Path(entry.path), kind, remedy)


def opened(path: pathlib.Path) -> BinaryIO:
    """Returns a plain file, opened to be read; raises Unreadable for a link, a folder, a pipe, or a lack of rights."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise Unreadable(path, "is a link, and none is followed" if path.is_symlink() else why) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Unreadable(path, "is no plain file", "remove it, or put the file in its place")
    return os.fdopen(descriptor, "rb")


def read_text(path: pathlib.Path) -> str:
    """Returns the text of a file; raises Unreadable for what is no UTF-8."""
    with opened(path) as file:
        if os.fstat(file.fileno()).st_size > MOST_BYTES:
            raise Unreadable(path, f"holds more than {MOST_BYTES >> 30} GiB")
        content = file.read()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable(path, f"line {line} is no text in UTF-8") from error


def _is_deep(data: Any) -> bool:
    inner, depth = [data], 0
    while inner and depth <= DEEPEST:
        lists = [one.values() if isinstance(one, dict) else one for one in inner if isinstance(one, dict | list)]
        inner = list(itertools.chain.from_iterable(lists))
        depth += 1
    return bool(inner)


def _parsed(path: pathlib.Path, text: str, schema: Schema, where: str = "") -> Any:
    """Returns what a text in JSON says; ``where`` comes before a complaint."""
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise Unreadable(path, f"{where}nested deeper than {DEEPEST} levels") from error
    except ValueError as error:
        why = f"no JSON ({error})" if text.strip() else "empty"
        raise Unreadable(path, f"{where}damaged: {why}") from error
    if _is_deep(data):
        raise Unreadable(path, f"{where}nested deeper than {DEEPEST} levels")
    if why := wrong(data, schema):
        raise Unreadable(path, where + why)
    return data


def read_json(path: pathlib.Path, schema: Schema = PLAIN) -> Any:
    """Returns the content of a JSON file that holds what ``schema`` says; raises Unreadable for any other."""
    return _parsed(path, read_text(path), schema)


def read_lines(path: pathlib.Path, schema: Schema) -> list[Any]:
    """Returns the objects of a log, one in each line; none without a file. Half a last line is left out."""
    if not os.path.lexists(path):
        return []
    lines = read_text(path).split("\n")[:-1]
    return [_parsed(path, line, schema, f"line {k + 1}: ") for k, line in enumerate(lines)]


def read_svg(path: pathlib.Path) -> bytes:
    """Returns a drawing; raises Unreadable for what is no SVG. It may hold scripts: show it as an image alone."""
    text = read_text(path)
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise Unreadable(path, f"damaged: no SVG ({error})") from error
    if root.tag != "{http://www.w3.org/2000/svg}svg":
        raise Unreadable(path, "no SVG")
    return text.encode("utf-8")
