"""Figures of what has an exact answer: machines that can be enumerated, and the chains that make the data."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rgflow.judging.claim import known
from rgflow.judging.points import Point
from rgflow.plots import style
from rgflow.plots.figure import Figure
from rgflow.plots.forest import Branch, Forest
from rgflow.plots.panel import Guide, Panel, Part, Series
from rgflow.protocol import Results, Verdict
from rgflow.variational_rg.claims_lattice import FAMILIES, SIGMAS, YARDSTICK_BOUND, critical_exponents, place
from rgflow.variational_rg.claims_mapping import ROUNDING, Learner, Mapped, deviations, learners, mapped
from rgflow.variational_rg.select import chains, lost, small

STEP_COLOURS = (style.INK, style.ORANGE, style.GREEN, style.PURPLE, style.SKY)


def algorithm(point: Point) -> str:
    """Returns how a point was trained: exact, CD-k or PCD."""
    name, sweeps = str(point.values["algorithm"]), int(point.values["sweeps"])
    if name == "exact":
        return "exact gradient"
    return f"CD-{sweeps}" if name == "cd" else "PCD" + (f"-{sweeps}" if sweeps > 1 else "")


def numbers(results: Results) -> list[tuple[Learner, list[Mapped], list[float]]]:
    """Returns every run with the numbers of all its machines and the deviations of its first and last one."""
    found = results.once(learners)
    worst = results.once(deviations)
    return [(one, [mapped(machine, one.hamiltonian) for machine in one.machines], worst[k])
            for k, one in enumerate(found)]  # fmt: skip


Numbers = Sequence[tuple[Learner, list[Mapped], list[float]]]


def _ends(found: Numbers, kind: str, number: Callable[[Mapped, list[float]], float]) -> list[Series]:
    """Returns one number of every trained machine against its relative entropy."""
    series = []
    for name in dict.fromkeys(algorithm(one.point) for one, *_ in found):
        mine = sorted((machines[-1].relative_entropy, number(machines[-1], worst))
                      for one, machines, worst in found if algorithm(one.point) == name)  # fmt: skip
        series.append(Series(name, kind, [x for x, _ in mine], np.array([[y for _, y in mine]])))
    return series


def _paths(found: Numbers, what: str) -> list[Series]:
    """Returns one number of every machine against its relative entropy, a line for each run."""
    paths = [(algorithm(one.point), machines) for one, machines, _ in found]
    return [
        Series(name, "path", [m.relative_entropy for m in machines], np.array([[getattr(m, what) for m in machines]]),
               silent=True)
        for name, machines in paths
    ]  # fmt: skip


def _panels(found: Numbers, hidden: int) -> list[Panel]:
    """Returns trace condition, gap and identities of the machines with so many hidden units."""
    title = f"{hidden} hidden units"
    untrained = [
        Series(algorithm(one.point), "path", [machines[0].relative_entropy], np.array([worst[:1]]), silent=True)
        for one, machines, worst in found
    ]
    trace = [*_paths(found, "trace_deviation"), *_ends(found, "end", lambda m, _: m.trace_deviation)]
    gap = [*_paths(found, "free_energy_gap"), *_ends(found, "end", lambda m, _: m.free_energy_gap)]
    return [
        Panel(f"{title}: trace condition", trace, scale="log", y=r"standard deviation of $\mathrm{Tr}_h\, e^T$"),
        Panel(f"{title}: gap", [*gap, *_ends(found, "shifted", lambda *_: 0.0)], [Guide("no gap", y=0.0)],
              y=r"free-energy gap $\Delta F$ (nats)"),
        Panel(f"{title}: identities", [*untrained, *_ends(found, "end", lambda _, worst: worst[-1])],
              [Guide("bound of S3-a", y=ROUNDING)], y="largest deviation (nats)", scale="log"),
    ]  # fmt: skip


def mapping(results: Results) -> Iterator[Figure]:
    """Yields trace condition, free-energy gap and identities of every enumerated machine."""
    found = numbers(results)
    sizes = sorted({int(one.point.values["small.hidden"]) for one, *_ in found})
    of = lambda hidden: [row for row in found if row[0].point.values["small.hidden"] == hidden]  # noqa: E731
    panels = [panel for hidden in sizes for panel in _panels(of(hidden), hidden)]
    if not panels:
        return
    sides = sorted({int(one.point.values["size"]) for one, *_ in found})
    count = sum(len(one.machines) for one, *_ in found)
    yield Figure(
        name="trace_condition", x=r"relative entropy $D(P \| p_\lambda)$ (nats)", x_scale="log", share_y=False,
        panels=panels,
        called={"path": "in training", "end": "trained", "shifted": "energy shifted by a constant"},
        caption=f"Machines small enough to enumerate, on the periodic {' and '.join(f'{n} x {n}' for n in sides)} "
        f"lattice: {count} machines of {len(found)} runs, from the untrained one (right) to the trained one (large "
        "mark). Left: how much the trace over hidden units varies from state to state, once a constant in the energy "
        "has made its mean under the data 1; an exact RG step has 0. Middle: the free-energy gap as trained; open "
        "marks are the same machines with that constant added, which makes the gap 0 and leaves the relative entropy "
        f"as it was. Right: largest deviation of four identities.{lost(results.once(small))}",
        falsified_by={
            "S3-b": "any open mark with a relative entropy above 0, for a vanishing gap would mean an exact step",
            "S3-a": "a mark on the right above the bound",
        },
    )  # fmt: skip


def lattice(results: Results, verdicts: Sequence[Verdict]) -> Iterator[Figure]:
    """Yields the energies of the chains against Kaufman's, and the exponents of the Monte Carlo RG."""
    statuses = {verdict.claim: verdict.status for verdict in verdicts if verdict.measured is not None}
    branches = [
        Branch(f"$L$ = {one.size}, $K$ = {one.coupling:.4g}", statuses[f"S3-lattice [{place(one)}]"],
               known(verdicts, "S3-lattice", place(one)))
        for one in results.once(chains) if f"S3-lattice [{place(one)}]" in statuses
    ]  # fmt: skip
    exponents = results.once(critical_exponents)
    panels: list[Part] = [Forest("S3-lattice: energy", branches, (), "$u$ / Kaufman's - 1")] if branches else []
    steps = {level: f"step {level + 1} of blocking" for level in sorted({each.level for each in exponents})}
    for family, symbol, bound in (("even", "$y_t$", YARDSTICK_BOUND), ("odd", "$y_h$", 0.0)):
        exact = FAMILIES[family]
        guides = [Guide("bound of S3-yardstick", y=exact, within=bound)] if bound else []
        series = [Series(steps[each.level], "measured", range(1, len(each.intervals) + 1), intervals=each.intervals)
                  for each in exponents if each.family == family]  # fmt: skip
        title = f"{symbol}, {family} operators"
        panels += [Panel(title, series, [Guide("exact", y=exact), *guides], x="operators")] if series else []
    if not panels:
        return
    dead = sum(one.dead for one in results.once(chains))
    yield Figure(
        name="lattice", panels=panels, x_scale="whole", share_x=False, share_y=False,
        called={"measured": "Monte Carlo RG"},
        colours={**style.STATUS_COLOURS, **dict(zip(steps.values(), STEP_COLOURS, strict=False))},
        caption="The chains that make the data. Left: energy per site against Kaufman's exact value for the periodic "
        "lattice, with the interval of the verdict. Right: exponents of the Monte Carlo RG (2 x 2 majority rule) of "
        "the critical lattice, by number of operators and step of blocking, with 95 % bootstrap intervals over "
        "records." + (f" Dead runs left out: {dead}." if dead else ""),
        falsified_by={
            "S3-lattice": "an interval whose middle is farther from 0 than its whole length, which is "
            f"{SIGMAS:g} standard errors",
            "S3-yardstick": "y_t of the second step with three operators outside the grey band",
        },
    )  # fmt: skip
