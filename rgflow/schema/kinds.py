"""What each file of a workdir must hold, as tables, and the comparison of plain data with them."""

import datetime
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

FORMAT = 1
"""Version of the files of a workdir; another number in run.json is refused."""

TIME = "%Y-%m-%dT%H:%M:%S%z"
WRITES = ("python", "-m", "launch.sweep")
"""How the command in run.json begins."""


class Kind(NamedTuple):
    """A kind of value: how a complaint calls it, and whether a value is of it."""

    name: str
    holds: Callable[[Any], bool]


def _is_time(value: Any) -> bool:
    try:
        return bool(datetime.datetime.strptime(value, TIME))
    except (ValueError, TypeError):
        return False


def _is_sweep(value: Any) -> bool:
    try:
        return _is_text(value) and tuple(shlex.split(value)[: len(WRITES)]) == WRITES
    except ValueError:  # a quotation without an end
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e308


def _is_text(value: Any) -> bool:
    # Neither what steers a terminal nor half of a character, which no file can hold.
    return isinstance(value, str) and not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_text(name) and _is_plain(one) for name, one in value.items())
    return all(map(_is_plain, value)) if isinstance(value, list) else not isinstance(value, str) or _is_text(value)


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None


PLAIN = Kind("plain data without control characters", _is_plain)
TEXT = Kind("a text without control characters", _is_text)
NAME = Kind("a name of letters, digits and underscores", _matches(r"\w{1,100}"))
MODULE = Kind("the name of an experiment", _matches(r"\w+(\.\w+)*"))
FILE = Kind("the name of a file, without a folder", _matches(r"(?!\.)[^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}"))
COUNT = Kind("a whole number, at least 0", lambda value: type(value) is int and 0 <= value < 2**63)
SEED = Kind("a whole number from 0 to 2^32 - 1", lambda value: type(value) is int and 0 <= value < 2**32)
NUMBER = Kind("a finite number", _is_number)
MAYBE = Kind("a finite number or null", lambda value: value is None or _is_number(value))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
SCALAR = Kind("a number, a text, true, false or null", lambda value: not isinstance(value, Mapping | list))
STATUS = Kind("a status", lambda value: value in ("supported", "contradicted", "mixed", "undecided", "not_run"))

Schema = Kind | dict | list
"""A kind; ``[schema]`` for a list; ``{"field": schema, "optional?": schema}``; or ``{str: schema}`` for any names."""

CONFIG: Schema = {"experiment": MODULE, str: PLAIN}
RUN: Schema = {
    "format": Kind(f"{FORMAT}, the only one that this version of rgflow reads", lambda value: value == FORMAT),
    "experiment": MODULE,
    "command": Kind(f"a command that begins with {' '.join(WRITES)}", _is_sweep),
    "digest": TEXT,
    "science": {str: PLAIN},
    "groups": [{str: PLAIN}],
    "versions": {str: TEXT},
    "device": TEXT,
    "git_commit": TEXT,
    "checksum": TEXT,
}
EVENT: Schema = {
    "time": Kind("a time such as 2026-01-31T10:00:00+0000", _is_time),
    "event": TEXT, "group?": TEXT, "device?": TEXT, "signal?": TEXT, "step?": COUNT, "seconds?": NUMBER,
}  # fmt: skip
LOCK: Schema = {"host": TEXT, "process": COUNT, "started": TEXT, "beat": COUNT}
VERDICTS: Schema = [{
    "claim": TEXT, "statement": TEXT, "status": STATUS, "measured": MAYBE, "low": MAYBE, "high": MAYBE,
    "expected": TEXT, "n_runs": COUNT, "n_dead": COUNT,
    "controls": {str: {"value": MAYBE, "requirement": TEXT, "passed": FLAG}},
    "components": [{
        "name": TEXT, "measured": MAYBE, "low": MAYBE, "high": MAYBE, "level": MAYBE, "runs": COUNT,
        "p_for": MAYBE, "p_against": MAYBE,
    }],
    "rows": [{
        "name": TEXT, "status": TEXT, "measured": MAYBE, "low": MAYBE, "high": MAYBE, "runs": COUNT,
    }],
}]  # fmt: skip
FIGURES: Schema = [{"name": FILE, "caption": TEXT, "alt": TEXT, "claims": [TEXT], "falsified_by": TEXT}]


def wrong(value: Any, schema: Schema, where: str = "") -> str:
    """Returns the first thing in which plain data departs from a schema, in words; '' for none.

    >>> wrong({"runs": [{"seed": -1}]}, {"runs": [{"seed": SEED}]})
    'runs[0].seed = -1: must be a whole number from 0 to 2^32 - 1'
    """
    said = f"{where} = {str(repr(value))[:60]}: must be" if where else f"holds {str(repr(value))[:60]}: it must be"
    if isinstance(schema, Kind):
        return "" if schema.holds(value) else f"{said} {schema.name}"
    if isinstance(schema, list):
        if not isinstance(value, list):
            return f"{said} a list"
        return next(filter(None, (wrong(one, schema[0], f"{where}[{k}]") for k, one in enumerate(value))), "")
    if not isinstance(value, Mapping):
        return f"{said} an object with named fields"
    for name in schema:
        if name is not str and name.rstrip("?") not in value and not name.endswith("?"):
            return f"the field {f'{where}.{name}'.lstrip('.')} is missing, as in a file of another version"
    for name, one in value.items():
        inner = schema.get(name, schema.get(f"{name}?", schema.get(str, PLAIN)))
        if why := wrong(one, inner, f"{where}.{name}".lstrip(".")) if _is_text(name) else f"bad name {name!r}":
            return why
    return ""
