"""The claims ledger: what the sweeps of all rooms say about the literature on renormalization and deep learning."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rgflow.judging import text
from rgflow.report import html, summary, tables
from rgflow.report.compare import Sweep

OWN_READING, OWN_QUESTION, OWN_CHECK = "our reading of", "our question to", "our check of the tools"

SOURCES: Mapping[str, Mapping[str, str]] = {
    "rank_flow": {
        **dict.fromkeys(("S1-i", "S1-ii", "S1-iii"), "HR2026"),
        **dict.fromkeys(("S1b-loss", "S1b-rank", "S1b-decay"), "HR2026b"),
        **dict.fromkeys(("S1-data", "S1-modes", "S1-blocks"), f"{OWN_QUESTION} HR2026"),
    },
    "fixed_points": {
        "S2": "ising2022, fields2026",
        "S2-flow": f"{OWN_READING} ising2022, fields2026",
        "S2-gauge": f"{OWN_QUESTION} ising2022, fields2026",
    },
    "variational_rg": {
        "S3-a": "mehta2014",
        "S3-b": "mehta2014",
        "S3-c": "mehta2014",
        "S3-d coupling": f"{OWN_READING} mehta2014",
        "S3-d length": f"{OWN_READING} mehta2014",
        "S3-model": f"{OWN_QUESTION} mehta2014",
        "S3-lattice": OWN_CHECK,
        "S3-yardstick": OWN_CHECK,
    },
    "kernel_rg": {
        "S4-linear": "li2021",
        "S4-width": "li2021",
        "S4-depth": "li2021",
        "S4-size": "li2021",
        "S4-ReLU variance": "li2021",
        "S4-ReLU mean": "li2021",
        "S4-trained mean": f"{OWN_QUESTION} li2021",
        "S4-trained variance": f"{OWN_QUESTION} li2021",
        "S4-MAP": f"{OWN_QUESTION} li2021",
        "S4-sampler": OWN_CHECK,
    },
}
"""Whose each claim of each room is; the keys of papers are those of the rooms' docstrings."""

COLUMNS = ("claim", "whose", "answer", "supported", "contradicted", "undecided", "not run", "counted", "effects")


class Room(NamedTuple):
    """A room in the ledger: its title, its papers in words, and its sweep with claims; without one, the command."""

    name: str
    title: str
    papers: str
    sweep: Sweep | None
    claims: tuple[summary.Claim, ...]
    command: str


def papers(doc: str) -> str:
    """Returns the reference keys of a room's docstring with what they stand for."""
    found = next((p for p in html.paragraphs(doc) if p.startswith("Reference keys:")), "")
    return " ".join(found.removeprefix("Reference keys:").split())


def rooms(sweeps: Mapping[str, Sweep], docs: Mapping[str, str]) -> list[Room]:
    """Returns every room in the order of :data:`SOURCES`; ``docs`` are their docstrings.

    What the literature claims stands before what we ask of it, and that before checks of our own.
    """
    found = []
    for name, sources in SOURCES.items():
        order = list(sources)
        sweep = sweeps.get(name)
        claims = summary.claims(sweep.verdicts) if sweep else []
        claims.sort(key=lambda claim: order.index(claim.name) if claim.name in order else len(order))
        title = docs[name].strip().splitlines()[0]
        command = f"python -m launch.sweep --config=configs/{name}.py"
        found.append(Room(name, title, papers(docs[name]), sweep, tuple(claims), command))
    return found


def whose(room: str, claim: str) -> str:
    """Returns whose a claim is, '-' for one that the ledger does not know."""
    return SOURCES.get(room, {}).get(claim, text.ABSENT)


def effects_text(claim: summary.Claim) -> str:
    """Returns the smallest and the largest effect of a claim, or its only one."""
    if claim.extremes is None:
        return text.ABSENT
    texts = dict.fromkeys(text.number_text(v.measured, v.low, v.high) for v in claim.extremes)
    return " to ".join(texts)


def render(sweeps: Mapping[str, Sweep], docs: Mapping[str, str]) -> str:
    """Returns the results page over all rooms as HTML text; one figure of each room stands in it."""
    found = rooms(sweeps, docs)
    shown: dict[str, Any] = {}
    for room in found:
        if room.sweep and room.sweep.pictures:
            texts, svg = room.sweep.pictures[0]
            shown[room.name] = html.picture(texts, svg, f"{room.name}-")
    return html.environment().get_template("ledger.html.jinja").render(
        title="What holds of deep learning as renormalization",
        rooms=found,
        figures=shown,
        whose=whose,
    )  # fmt: skip


def markdown(sweeps: Mapping[str, Sweep], docs: Mapping[str, str]) -> str:
    """Returns the ledger as Markdown: a section with a table for each room."""
    lines = [
        "Counts are of places of the sweep (networks, couplings, sizes), or of readings where every reading of a claim",
        "was judged at one error rate. The answer is the row as a whole, never its friendliest place.",
        "",
    ]
    for room in rooms(sweeps, docs):
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
            rows.append([what, whose(room.name, claim.name), said, *counts, claim.of, effects_text(claim)])
        lines += [tables.markdown_row(row) for row in rows] + [""]
    return "\n".join(lines)
