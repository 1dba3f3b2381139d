"""The claims of HR2026 and HR2026b and our questions to them: a row for each, and where in a sweep each is judged.

The main reading takes the rows of single positions, uncentred, and the effective rank (a flat network has no stream per
position: its rows are pooled). The verdict on a place is that of the typical reading, beside which
:mod:`rgflow.rank_flow.readings` lays all others. How far training came blocks no verdict: it is a row and a covariate.
The rules are components with guarded intervals (:mod:`rgflow.judging.components`), one smallest effect of interest for
all of them: a factor of 0.9.
"""

from collections.abc import Callable, Iterator
from functools import partial

from rgflow.judging.claim import Finding, lacking
from rgflow.judging.components import MARGIN
from rgflow.judging.decisions import information
from rgflow.judging.intervals import Interval
from rgflow.judging.readings import overall
from rgflow.protocol import Claim, Results
from rgflow.rank_flow import attention, blocks, collapse, drift, modes, readings
from rgflow.rank_flow.select import Cells, by_mixing_and_length, claim_runs, control_runs

Judge = Callable[..., Finding]


def cells_of(results: Results) -> Cells:
    """Returns the runs that the claims are judged on, by mixing and correlation length."""
    return by_mixing_and_length(claim_runs(results.dataset, results.config))


def by_setting(results: Results) -> dict[str, Cells]:
    """Returns the runs of every setting by mixing and correlation length; nothing where no setting was varied."""
    return readings.cells_by_setting(results.dataset, results.config)


def every_place(results: Results) -> list[readings.Place]:
    """Returns every reading of S1-i, S1-ii and S1-iii, at every place."""
    return readings.places(results.once(cells_of))


def at_lengths(judge: Judge, cells: Cells, setting: str = "") -> Iterator[Finding]:
    """Yields a finding for each mixing and correlation length; ``setting`` names what departs from the config."""
    for mixing, at in cells.items():
        for length, runs in at.items():
            yield judge(runs, mixing, f"length {length:g}", setting)


def between_ends(cells: Cells, setting: str = "") -> Iterator[Finding]:
    """Yields a finding for each mixing, between its shortest and its longest correlation length."""
    for mixing, at in cells.items():
        lengths = list(at)
        if len(lengths) > 1:
            yield collapse.collapse_is_selective(at[lengths[0]], at[lengths[-1]], mixing, setting)
        else:
            place = ", ".join(filter(None, (mixing, setting)))
            short = "The collapse is selective."
            yield lacking(place, "needs two correlation lengths")._replace(statement=short)


def over_settings(found: dict[str, list[Finding]]) -> Iterator[Finding]:
    """Yields for every mixing (and length) what all settings together say of a claim, in the main reading."""
    by_place: dict[str, list[tuple[str, Finding]]] = {}
    for setting, findings in found.items():
        for finding in findings:
            by_place.setdefault(finding.place.replace(f", {setting}", ""), []).append((setting, finding))
    for place, mine in by_place.items():
        statuses = [finding.status for _, finding in mine]
        named = {
            status: information(
                statuses.count(status), f"settings: {', '.join(s for s, f in mine if f.status == status)}"
            )
            for status in dict.fromkeys(statuses)
        }
        runs = min(finding.counts[0] for _, finding in mine), sum(finding.counts[1] for _, finding in mine)
        nothing = Interval(float("nan"), float("nan"), float("nan"), runs[0])
        rule = f"the same at every one of {len(mine)} settings"
        yield Finding(f"all settings, {place}", nothing, overall(statuses), runs, named, expected=rule)


def in_all(name: str, judge: Callable[..., Iterator[Finding]]) -> Callable[[Results], Iterator[Finding]]:
    """Returns the judge of a claim: in the main reading, over all readings of a place, and at every other setting."""

    def judged(results: Results) -> Iterator[Finding]:
        own = list(judge(results.once(cells_of)))
        yield from own
        for place in (p for p in results.once(every_place) if p.claim == name):
            yield readings.over_readings(place)
        settings = results.once(by_setting)
        found = {s: list(judge(cells, s if s != readings.OWN else "")) for s, cells in settings.items()}
        for setting, findings in found.items():
            yield from findings if setting != readings.OWN else ()
        yield from over_settings(found)

    return judged


def owed_to_order(results: Results) -> Iterator[Finding]:
    """Yields the findings on S1-data for each control without order, mixing and correlation length."""
    cells = results.once(cells_of)
    for name, runs in control_runs(results.dataset, results.config).items():
        for mixing, at in by_mixing_and_length(runs).items() if name in collapse.ORDERLESS else ():
            for length, without in at.items():
                if length in cells.get(mixing, {}):
                    place = (mixing, f"length {length:g}")
                    yield collapse.owed_to_order(cells[mixing][length], without, name, *place)


def modes_in_order(results: Results) -> Iterator[Finding]:
    """Yields the findings on S1-modes, as configured and at each other setting."""
    yield from at_lengths(modes.forgotten_in_order, results.once(cells_of))
    for setting, cells in results.once(by_setting).items():
        if setting != readings.OWN:
            yield from at_lengths(modes.forgotten_in_order, cells, setting)


def beside_attention(judge: Callable[..., Iterator[Finding]]) -> Callable[[Results], Iterator[Finding]]:
    """Returns the judge of a claim of HR2026b, which needs transformers at two correlation lengths."""

    def judged(results: Results) -> Iterator[Finding]:
        cells = results.once(cells_of)
        if len(cells.get("attention", {})) > 1:
            yield from judge(cells, results.config)

    return judged


RANK_FALLS = partial(at_lengths, collapse.rank_falls)
DRIFT_CONCENTRATES = partial(at_lengths, drift.drift_concentrates)
ASKED = "our question to HR2026"
STUDY = "the runs of the study 'claims'"
ATTENTION = "sweep.mixing=attention beside an MLP, at two correlation lengths"
WITH_ATTENTION = "--config.sweep.mixing=tokenwise,window,attention"
TAU = "Kendall tau of a mode's damping with its place, slowest first, trained less untrained, above 0"
M = f"{MARGIN:.3g}"
FALLS = f"c = ln R(trained) - ln R(untrained) below -{M}, and ln R(trained) below -{M}"
SELECTIVE = f"c(short) below -{M}, c(long) above -{M}, c(short) - c(long) below {collapse.SELECTIVITY_BOUND}"
CONCENTRATES = f"C_2(trained) - C_2(untrained) above {drift.GAIN}, and C_2(trained) above {drift.MAJORITY}"

CLAIMS = (
    Claim("S1-i", "HR2026", "Training makes the effective rank of the residual stream fall with depth.",
          FALLS, STUDY, in_all("S1-i", RANK_FALLS)),
    Claim("S1-ii", "HR2026", "The collapse is selective: present at short, absent at long correlation length.",
          SELECTIVE, STUDY, in_all("S1-ii", between_ends)),
    Claim("S1-iii", "HR2026", "Training concentrates the kernel drift of the stream on one or two transitions.",
          CONCENTRATES, STUDY, in_all("S1-iii", DRIFT_CONCENTRATES)),
    Claim("S1-data", ASKED, "The rank falls because of the order of the data: further than on data without it.",
          f"c on the chain less c under the control below -{M}",
          "the runs of the study 'controls' beside those of 'claims'", owed_to_order,
          flags="--config.sweep.study=claims,controls"),
    Claim("S1-modes", ASKED,
          "Training makes the stack damp pushes along fast modes of the chain more than along slow ones.", TAU, STUDY,
          modes_in_order, beside=("later_blocks",)),
    Claim("S1-blocks", ASKED, "Training makes the rank of the stream grow with the number of slow modes of the chain.",
          "slope of ln rank against ln(G - 1), trained less untrained, above 0",
          "the runs of the study 'blocks', at two numbers of groups", blocks.on_block_chains,
          flags="--config.sweep.study=blocks"),
    *(
        Claim(f"S1b-{name}", "HR2026b", attention.TEXTS[text][0], attention.TEXTS[text][1], ATTENTION,
              beside_attention(judge), flags=WITH_ATTENTION)
        for name, text, judge in (
            ("loss", "lower", attention.losses), ("same", "stream", attention.streams),
            ("damping", "damping", attention.dampings), ("rank", "rank", attention.ranks),
            ("decay", "decay", attention.decays), ("trend", "trend", attention.trends),
        )
    ),
)  # fmt: skip
