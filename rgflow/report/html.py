"""One self-contained page: verdicts by claim, figures, runs, timing, config; it loads nothing from elsewhere."""

import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import xarray as xr
from markupsafe import Markup

from rgflow.judging import text
from rgflow.judging.decisions import is_information
from rgflow.plots.figure import Figure
from rgflow.protocol import Claim, Verdict
from rgflow.report import summary, tables, timing

NARROW_POINTS = 500
"""Figures narrower than this have one panel and are shown smaller."""

FEW_POINTS = 12
"""Up to this the table of runs is shown without being asked for."""

NO_COMMANDS = {"resume": "", "grow": ""}
SIGNS = {"supported": "\u2713", "contradicted": "\u2717", "undecided": "?", "not_run": "\u2013", "mixed": "\u00b1"}
"""The shape of each status beside its word and colour."""


def inline_svg(svg: str, name: str, alt: str) -> Markup:
    """Returns an SVG file as an element of a page: labelled, without prolog, ids prefixed by ``name``.

    Inline figures share one namespace of ids: two figures with equal ids would take each other's clip paths.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", body)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    body = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{name}-\1"', body)
    # A style inside an inline figure would hold for the whole page.
    body = body.replace('<style type="text/css">*{', '<style type="text/css">svg *{')
    # Sizes come from the page's style: the figure shrinks with the page and its viewBox keeps its shape.
    body = re.sub(r'(<svg\b[^>]*?)\s+width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg\b[^>]*?)\s+height="[^"]*"', r"\1", body, count=1)
    view = re.search(r'viewBox="\S+ \S+ (\S+)', body)
    look = "narrow" if view and float(view.group(1)) < NARROW_POINTS else "wide"
    label = Markup('<svg class="{}" role="img" aria-label="{}"').format(look, alt)
    # A plain sum of the two would escape the drawing.
    return Markup(str(label) + body.removeprefix("<svg"))


def picture(texts: Mapping[str, Any], svg: str, prefix: str = "") -> dict[str, Any]:
    """Returns the texts of a figure (as in figures.json), its drawing, and a ``key`` that no other of the page has."""
    key = prefix + texts["name"]
    return {**texts, "key": key, "svg": inline_svg(svg, key, texts["alt"])}


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
        "place": summary.place,
        "answer": summary.answer,
        "readings": lambda v: summary.counts_text(summary.readings(v)) if summary.readings(v) else "",
        "without": lambda text, start: text.removeprefix(start).strip(),
    }
    return found


def marks(figures: Sequence[Any], claims: Sequence[summary.Judged]) -> dict[str, list[tuple[str, str]]]:
    """Returns for every figure its claims with their anchors, as far as the page has these claims."""
    anchors = {claim.name: claim.anchor for claim in claims}
    return {f.name: [(name, anchors[name]) for name in f.texts["claims"] if name in anchors] for f in figures}


def render(
    title: str,
    experiment_doc: str | None,
    verdicts: Sequence[Verdict],
    drawn: Sequence[Figure],
    run: Mapping[str, Any],
    dataset: xr.Dataset,
    workdir: pathlib.Path,
    table: Sequence[Claim] = (),
    commands: Mapping[str, str] = NO_COMMANDS,
) -> str:
    """Returns the page as HTML text.

    ``experiment_doc`` is the room's docstring; its first paragraph after the title introduces the page. ``table`` are
    the claims of the room, which say what a sweep needs that lacks the runs of one; ``commands`` are those that resume
    a sweep and let it grow.
    ``run`` is the content of run.json and ``dataset`` the merged results, whose attribute ``config`` holds
    the config as JSON. An empty list of verdicts is shown as "no run is finished". Times are read from the
    workdir's events.jsonl.
    """
    about = [text for text in paragraphs(experiment_doc) if text != title]
    judged = summary.by_claim(verdicts)
    claims = [claim for claim in judged if claim.status != "not_run"]
    by_name = {claim.name: claim for claim in table}
    config = flat(json.loads(dataset.attrs.get("config", "{}")))
    events = timing.read_events(workdir / "events.jsonl")
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
        figures=[picture(d.texts, d.svg.decode()) for d in drawn],
        shown={c.name: [(k + 1, d.name) for k, d in enumerate(drawn) if c.name in d.texts["claims"]] for c in judged},
        marks=marks(drawn, judged),
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
