"""The claims ledger: what the sweeps of all rooms say about the literature on renormalization and deep learning."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rgflow.judging.text import ABSENT
from rgflow.protocol import Claim
from rgflow.report import html, summary
from rgflow.report.compare import Sweep

QUESTION, CHECK = "our question to", "our check of"
"""How the source of a claim begins that is not the literature's: a question of ours, a check of our own tools."""

COLUMNS = (
    "claim", "whose", "answer", "supported", "contradicted", "mixed", "undecided", "not run", "counted", "effects",
)  # fmt: skip

Tables = Mapping[str, Sequence[Claim]]
"""The claims of every room."""


class Room(NamedTuple):
    """A room in the ledger: its title, its papers in words, and its sweep with claims; without one, the command."""

    name: str
    title: str
    papers: str
    sweep: Sweep | None
    claims: tuple[summary.Judged, ...]
    sources: Mapping[str, str]
    command: str

    def whose(self, claim: str) -> str:
        """Returns whose a claim is, '-' for one that the room does not know."""
        return self.sources.get(claim, ABSENT)


def papers(doc: str) -> str:
    """Returns the reference keys of a room's docstring with what they stand for."""
    found = next((p for p in html.paragraphs(doc) if p.startswith("Reference keys:")), "")
    return " ".join(found.removeprefix("Reference keys:").split())


def rank(claim: Claim) -> int:
    """Returns the place of a claim: the literature's first, then our questions to it, then checks of our own."""
    return 2 if claim.source.startswith(CHECK) else int(claim.source.startswith(QUESTION))


def rooms(sweeps: Mapping[str, Sweep], tables: Tables, docs: Mapping[str, str]) -> list[Room]:
    """Returns every room in the order of ``tables``, their claims by room; ``docs`` are the rooms' docstrings."""
    found = []
    for name, table in tables.items():
        order = [claim.name for claim in sorted(table, key=rank)]
        sweep = sweeps.get(name)
        judged = summary.by_claim(sweep.verdicts) if sweep else []
        judged.sort(key=lambda claim: order.index(claim.name) if claim.name in order else len(order))
        whose = {claim.name: claim.source for claim in table}
        title = docs[name].strip().splitlines()[0]
        command = f"python -m launch.sweep --config=configs/{name}.py"
        found.append(Room(name, title, papers(docs[name]), sweep, tuple(judged), whose, command))
    return found


def effects_text(claim: summary.Judged) -> str:
    """Returns the smallest and the largest effect of a claim, or its only one."""
    if claim.extremes is None:
        return ABSENT
    texts = dict.fromkeys(summary.effect_text(v) for v in claim.extremes)
    return " to ".join(texts)


def render(sweeps: Mapping[str, Sweep], tables: Tables, docs: Mapping[str, str]) -> str:
    """Returns the results page over all rooms as HTML text; one figure of each room stands in it."""
    found = rooms(sweeps, tables, docs)
    shown: dict[str, Any] = {}
    for room in found:
        if room.sweep and room.sweep.pictures:
            texts, svg = room.sweep.pictures[0]
            shown[room.name] = html.picture(texts, svg, f"{room.name}-")
    page = html.environment().get_template("ledger.html.jinja")
    return page.render(title="What holds of deep learning as renormalization", rooms=found, figures=shown)


def markdown_row(cells: Sequence[str]) -> str:
    """Returns one row of a GitHub table."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def markdown(sweeps: Mapping[str, Sweep], tables: Tables, docs: Mapping[str, str]) -> str:
    """Returns the ledger as Markdown: a section with a table for each room."""
    lines = [
        "Counts are of places of the sweep (networks, couplings, sizes). Where a claim has many readings, a place",
        "counts by its typical one. The answer is the row as a whole, never its friendliest place.",
        "",
    ]
    for room in rooms(sweeps, tables, docs):
        lines += [f"## {room.title}", "", f"Papers: {room.papers}", ""]
        if room.sweep is None:
            lines += [f"Not run here: `{room.command}`", ""]
            continue
        lines += [room.sweep.unfinished, ""] if room.sweep.unfinished else []
        rows = [list(COLUMNS), ["---"] * len(COLUMNS)]
        for claim in room.claims:
            counts = [str(claim.distribution.get(status, 0)) for status in summary.STATUSES]
            what = f"**{claim.name}** {claim.statement}"
            said = summary.answer(claim.distribution, claim.of)
            rows.append([what, room.whose(claim.name), said, *counts, claim.of, effects_text(claim)])
        lines += [markdown_row(row) for row in rows] + [""]
    return "\n".join(lines)
