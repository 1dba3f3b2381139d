"""Several sweeps in one page: the same claims, configs and figures side by side."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rgflow.protocol import Verdict
from rgflow.report import html, summary


class Sweep(NamedTuple):
    """What a report left of a sweep: folder, run.json, config, verdicts, figures with their texts, title of the room.

    ``pictures`` holds (texts, SVG) of every figure; ``unfinished`` is one sentence or ''.
    """

    path: str
    run: Mapping[str, Any]
    config: Mapping[str, Any]
    verdicts: Sequence[Verdict]
    pictures: Sequence[html.Picture]
    title: str
    unfinished: str

    @property
    def room(self) -> str:
        """The name of the experiment."""
        return self.run["experiment"]


class Row(NamedTuple):
    """A claim at a place, with its verdict in every sweep; None where a sweep does not have it."""

    place: str
    cells: tuple[Verdict | None, ...]

    @property
    def differs(self) -> bool:
        """Tells whether sweeps that judged it disagree."""
        return len({v.status for v in self.cells if v and v.status != "not_run"}) > 1


class Compared(NamedTuple):
    """A claim over all sweeps; ``claims`` is None where a sweep has no such claim."""

    name: str
    anchor: str
    statement: str
    claims: tuple[summary.Judged | None, ...]
    rows: tuple[Row, ...]

    @property
    def disagreements(self) -> int:
        """In how many places sweeps disagree."""
        return sum(row.differs for row in self.rows)

    @property
    def shared(self) -> int:
        """How many places at least two sweeps judged."""
        return sum(sum(v is not None and v.status != "not_run" for v in row.cells) > 1 for row in self.rows)


def compared(sweeps: Sequence[Sweep]) -> list[Compared]:
    """Returns every claim of any sweep, once, in the order in which they come up."""
    by_sweep = [{claim.name: claim for claim in summary.by_claim(s.verdicts)} for s in sweeps]
    found = []
    for name in dict.fromkeys(name for claims in by_sweep for name in claims):
        here = [claims.get(name) for claims in by_sweep]
        verdicts = [{summary.place(v): v for v in claim.verdicts} if claim else {} for claim in here]
        places = dict.fromkeys(place for one in verdicts for place in one)
        first = next(claim for claim in here if claim)
        rows = tuple(Row(place, tuple(one.get(place) for one in verdicts)) for place in places)
        found.append(Compared(name, first.anchor, first.statement, tuple(here), rows))
    return found


def differences(sweeps: Sequence[Sweep]) -> dict[str, list[str]]:
    """Returns the config keys whose values are not the same everywhere, with the value of each sweep."""
    configs = [html.flat(s.config) for s in sweeps]
    names = sorted({name for config in configs for name in config})
    rows = {name: [config.get(name, "(absent)") for config in configs] for name in names}
    return {name: values for name, values in rows.items() if len(set(values)) > 1}


def side_by_side(sweeps: Sequence[Sweep], letters: Sequence[str]) -> list[tuple[str, list[dict[str, Any] | None]]]:
    """Returns every figure by name with its picture in each sweep."""
    drawn = [
        {texts["name"]: html.picture(texts, svg, f"{mark}-") for texts, svg in s.pictures}
        for s, mark in zip(sweeps, letters, strict=True)
    ]
    return [(name, [one.get(name) for one in drawn]) for name in dict.fromkeys(n for one in drawn for n in one)]


def letter(number: int) -> str:
    """Returns the letter that stands for a sweep: A, B, ... Z, A1, B1, ..."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def render(sweeps: Sequence[Sweep]) -> str:
    """Returns the page that compares sweeps as HTML text; sweeps of different rooms have no claim in common."""
    letters = [letter(k) for k in range(len(sweeps))]
    rooms = []
    for room in dict.fromkeys(s.room for s in sweeps):
        here = [k for k, s in enumerate(sweeps) if s.room == room]
        own, marks = [sweeps[k] for k in here], [letters[k] for k in here]
        rooms.append({
            "name": room,
            "title": own[0].title,
            "letters": marks,
            "claims": compared(own),
            "differences": differences(own),
            "figures": side_by_side(own, marks),
        })  # fmt: skip
    page = html.environment().get_template("compare.html.jinja")
    return page.render(title="Sweeps compared", sweeps=sweeps, letters=letters, rooms=rooms)
