"""One self-contained page: verdicts by claim, figures, runs, timing, config; it loads nothing from elsewhere."""

import base64
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import xarray as xr

from rgflow.judging import text
from rgflow.judging.decisions import is_information
from rgflow.protocol import Claim, Verdict
from rgflow.report import summary, tables, timing

NARROW_POINTS = 500
"""Figures narrower than this have one panel and are shown smaller."""

FEW_POINTS = 12
"""Up to this the table of runs is shown without being asked for."""

Picture = tuple[Mapping[str, Any], bytes]
"""The texts of a figure, as in figures.json, and its drawing as SVG."""

NO_COMMANDS = {"resume": "", "grow": ""}
SIGNS = {"supported": "\u2713", "contradicted": "\u2717", "undecided": "?", "not_run": "\u2013", "mixed": "\u00b1"}
"""The shape of each status beside its word and colour."""


def picture(texts: Mapping[str, Any], svg: bytes, prefix: str = "") -> dict[str, Any]:
    """Returns the texts of a figure (as in figures.json), its drawing, and a ``key`` that no other of the page has.

    The drawing is shown as an image: in an image no script runs, nothing is loaded, and ids and styles stay its own.
    """
    view = re.search(rb'viewBox="\S+ \S+ ([\d.]+)', svg)
    look = "narrow" if view and float(view.group(1)) < NARROW_POINTS else "wide"
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode('ascii')}"
    return {**texts, "key": prefix + texts["name"], "source": source, "look": look}


def paragraphs(text: str | None) -> list[str]:
    """Returns the paragraphs of a docstring, without the marks of literals."""
    blocks = re.split(r"\n\s*\n", (text or "").strip())
    return [block.replace("``", "") for block in blocks if block.strip()]


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Returns nested data as dotted names and short texts, in the order of the names."""
    found: dict[str, str] = {}
    for name, value in sorted(data.items()):
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return found


def environment() -> jinja2.Environment:
    """Returns the templates of all pages with their filters."""
    loader = jinja2.PackageLoader("rgflow.report", "templates")
    blocks: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True}
    found = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, **blocks)
    found.filters |= {
        "number": text.number_text,
        "status": summary.status_text,
        "sign": SIGNS.__getitem__,
        "failed": tables.failed_controls,
        "controls": tables.true_controls,
        "numbers": lambda v: {name: one for name, one in v.controls.items() if is_information(one)},
        "effect": summary.effect_text,
        "span": lambda one: text.number_text(one["measured"], one["low"], one["high"]),
        "place": summary.place,
        "answer": summary.answer,
        "readings": lambda v: summary.counts_text(summary.readings(v)) if summary.readings(v) else "",
        "without": lambda text, start: text.removeprefix(start).strip(),
    }
    return found


def marks(pictures: Sequence[Picture], claims: Sequence[summary.Judged]) -> dict[str, list[tuple[str, str]]]:
    """Returns for every figure its claims with their anchors, as far as the page has these claims."""
    anchors = {claim.name: claim.anchor for claim in claims}
    return {f["name"]: [(name, anchors[name]) for name in f["claims"] if name in anchors] for f, _ in pictures}


def render(
    title: str,
    experiment_doc: str | None,
    verdicts: Sequence[Verdict],
    pictures: Sequence[Picture],
    run: Mapping[str, Any],
    dataset: xr.Dataset,
    workdir: pathlib.Path,
    table: Sequence[Claim] = (),
    commands: Mapping[str, str] = NO_COMMANDS,
) -> str:
    """Returns the page as HTML text.

    ``experiment_doc`` is the room's docstring; its first paragraph after the title introduces the page. ``table`` are
    the claims of the room, which say what a sweep needs that lacks the runs of one; ``commands`` are those that resume
    a sweep and let it grow. ``run`` is the content of run.json and ``dataset`` the merged results, whose attribute
    ``config`` holds the config as JSON. An empty list of verdicts is shown as "no run is finished". Times are read from
    the workdir's events.jsonl.
    """
    about = [text for text in paragraphs(experiment_doc) if text != title]
    judged = summary.by_claim(verdicts)
    claims = [claim for claim in judged if claim.status != "not_run"]
    by_name = {claim.name: claim for claim in table}
    config = flat(json.loads(dataset.attrs.get("config", "{}")))
    events = timing.read_events(workdir / "events.jsonl")
    figures = [picture(*one) for one in pictures]
    points, groups = tables.run_summary(dataset), timing.groups(run, events)
    return environment().get_template("report.html.jinja").render(
        title=title,
        introduction=about[0] if about else "",
        details="\n\n".join(about[1:]),
        unfinished=tables.unfinished(run, dataset),
        claims=claims,
        absent=[claim for claim in judged if claim.status == "not_run"],
        flags={claim.name: claim.flags for claim in table if claim.flags},
        beside={c.name: [s for n in getattr(by_name.get(c.name), "beside", ()) if (s := c.beside(n))] for c in judged},
        command=f"python -m launch.sweep --config=configs/{run['experiment']}.py",
        unfold=len(verdicts) <= summary.MANY_VERDICTS,
        figures=figures,
        shown={c.name: [(k, f["name"]) for k, f in enumerate(figures, 1) if c.name in f["claims"]] for c in judged},
        marks=marks(pictures, judged),
        points=points,
        few=FEW_POINTS,
        dead=tables.dead_runs(points),
        total=dataset.sizes["run"],
        groups=groups,
        compiled=any(g.compiling is not None for g in groups),
        sessions=timing.sessions(events),
        least=timing.LEAST_SECONDS,
        commands=commands,
        sweep_keys=timing.sweep_keys(config),
        config=config,
        versions=run.get("versions", {}),
        run=run,
        workdir=str(workdir),
    )  # fmt: skip
