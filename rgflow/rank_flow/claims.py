"""The claims of HR2026 and HR2026b and our questions to them: a row for each, and where in a sweep each is judged.

The main reading takes the rows of single positions, uncentred, and the effective rank (a flat network has no stream per
position: its rows are pooled). :mod:`rgflow.rank_flow.readings` judges all other readings, and the verdict on a claim
is all of them together. A failed control keeps a claim from being supported. Intervals are Student's (Welch's for
differences), 95 %, over runs. Verdicts in the main reading are not adjusted for each other; those over all readings and
over all settings are.
"""

from collections.abc import Callable, Iterator
from functools import partial

from rgflow.judging.claim import Finding, lacking
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


def every_reading(results: Results) -> list[readings.Reading]:
    """Returns every reading of S1-i, S1-ii and S1-iii."""
    return readings.readings(results.once(cells_of))


def every_setting(results: Results) -> list[readings.Reading]:
    """Returns S1-i, S1-ii and S1-iii in the main reading at every setting."""
    return readings.judged(readings.tests_of_settings(results.once(by_setting)))


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


def in_all(name: str, judge: Callable[..., Iterator[Finding]]) -> Callable[[Results], Iterator[Finding]]:
    """Returns the judge of a claim in the main reading, in all readings, at each other setting, and at all settings."""

    def judged(results: Results) -> Iterator[Finding]:
        yield from judge(results.once(cells_of))
        yield from readings.summed(name, results.once(every_reading))
        for setting, cells in results.once(by_setting).items():
            if setting != readings.OWN:
                yield from judge(cells, setting)
        yield from readings.summed(name, results.once(every_setting), "settings")

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
SELECTIVE = f"S(trained) - S(untrained) below {collapse.SELECTIVITY_BOUND} and R(long) above {collapse.LONG_RATIO}"

CLAIMS = (
    Claim("S1-i", "HR2026", "Training makes the effective rank of the residual stream fall with depth.",
          "ln R(trained) - ln R(untrained) below 0, R below 1, falling in at least 90 % of the runs", STUDY,
          in_all("S1-i", RANK_FALLS)),
    Claim("S1-ii", "HR2026", "The collapse is selective: present at short, absent at long correlation length.",
          SELECTIVE, STUDY, in_all("S1-ii", between_ends)),
    Claim("S1-iii", "HR2026", "Training concentrates the kernel drift of the stream on one or two transitions.",
          "C_2 - max(2/L, untrained C_2) above 0", STUDY, in_all("S1-iii", DRIFT_CONCENTRATES)),
    Claim("S1-data", ASKED, "The rank falls because of the order of the data: further than on data without it.",
          "ln R(trained) - ln R(untrained) on the chain less the same under the control below 0",
          "the runs of the study 'controls' beside those of 'claims'", owed_to_order,
          flags="--config.sweep.study=claims,controls"),
    Claim("S1-modes", ASKED,
          "Training makes the stack damp pushes along fast modes of the chain more than along slow ones.", TAU, STUDY,
          modes_in_order, beside=("later_blocks",)),
    Claim("S1-blocks", ASKED, "Training makes the rank of the stream grow with the number of slow modes of the chain.",
          "slope of ln rank against ln(G - 1), trained less untrained, above 0",
          "the runs of the study 'blocks', at two numbers of groups", blocks.on_block_chains,
          flags="--config.sweep.study=blocks"),
    Claim("S1b-loss", "HR2026b", attention.TEXTS["lower"][0], attention.TEXTS["lower"][1], ATTENTION,
          beside_attention(attention.losses), flags=WITH_ATTENTION),
    Claim("S1b-rank", "HR2026b", attention.TEXTS["rank"][0], attention.TEXTS["rank"][1], ATTENTION,
          beside_attention(attention.ranks), flags=WITH_ATTENTION),
    Claim("S1b-decay", "HR2026b", attention.TEXTS["decay"][0], attention.TEXTS["decay"][1], ATTENTION,
          beside_attention(attention.decays), flags=WITH_ATTENTION),
)  # fmt: skip
