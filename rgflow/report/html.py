"""One self-contained page: verdicts, figures, runs, config, versions; it loads nothing from elsewhere."""

import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import xarray as xr
from markupsafe import Markup

from rgflow.protocol import Verdict
from rgflow.report import tables
from rgflow.report.figures import Drawn

TEMPLATE = "report.html.jinja"
NARROW_POINTS = 500
"""Figures narrower than this have one panel and are shown smaller."""


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


def claims(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Groups verdicts by claim: ``S1-i [window, length 1]`` and ``S1-i [window, length 7]`` go together."""
    grouped: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        grouped.setdefault(verdict.claim.split(" [")[0], []).append(verdict)
    heads = {claim: next((v for v in group if v.status != "not_run"), group[0]) for claim, group in grouped.items()}
    return [
        {
            "claim": claim,
            "statement": heads[claim].statement,
            "expected": heads[claim].expected,
            "verdicts": group,
        }
        for claim, group in grouped.items()
    ]


def place(verdict: Verdict) -> str:
    """Returns where in the sweep a verdict was read: the bracketed part of its claim, or 'all runs'."""
    match = re.search(r" \[(.*)\]$", verdict.claim)
    return match.group(1) if match else "all runs"


def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("rgflow.report", "")
    settings: dict[str, Any] = {
        "trim_blocks": True,
        "lstrip_blocks": True,
        "undefined": jinja2.StrictUndefined,
    }
    environment = jinja2.Environment(loader=loader, autoescape=True, **settings)
    environment.filters |= {
        "number": tables.number_text,
        "status": tables.status_text,
        "failed": tables.failed_controls,
        "place": place,
    }
    return environment


def render(
    title: str,
    experiment_doc: str | None,
    verdicts: Sequence[Verdict],
    drawn: Sequence[Drawn],
    run: Mapping[str, Any],
    dataset: xr.Dataset,
    workdir: pathlib.Path,
) -> str:
    """Returns the page as HTML text.

    ``experiment_doc`` is the room's docstring; its first paragraph after the title introduces the page.
    ``run`` is the content of run.json and ``dataset`` the merged results, whose attribute ``config`` holds
    the config as JSON. An empty list of verdicts is shown as "no run is finished".
    """
    about = [text for text in paragraphs(experiment_doc) if text != title]
    shown = [{"drawn": d, "svg": inline_svg(d.svg.decode(), d.name, d.alt)} for d in drawn]
    return _environment().get_template(TEMPLATE).render(
        title=title,
        introduction=about[0] if about else "",
        details="\n\n".join(about[1:]),
        unfinished=tables.unfinished(run, dataset),
        claims=claims(verdicts),
        figures=shown,
        points=tables.run_summary(dataset),
        config=flat(json.loads(dataset.attrs.get("config", "{}"))),
        versions=run.get("versions", {}),
        run=run,
        workdir=str(workdir),
    )  # fmt: skip
