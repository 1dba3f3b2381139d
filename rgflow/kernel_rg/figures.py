"""Figures of the kernel-rg room, each from the studies of a sweep that it needs; first, do the chains sample at all?"""

from collections.abc import Mapping, Sequence

import numpy as np

from rgflow.judging.claim import known
from rgflow.judging.convergence import Estimate
from rgflow.judging.decisions import interval_of
from rgflow.judging.text import number_text
from rgflow.kernel_rg import figures_swept
from rgflow.kernel_rg.claims import differences
from rgflow.kernel_rg.figures_swept import QUANTITIES, THEORIES, about, about_runs, columns_of, series
from rgflow.kernel_rg.observables import (
    CLOSE,
    FALSE_ALARM_SIGMA,
    LEAST_ESS,
    WORST_R_HAT,
    Pooled,
    kept_steps,
    linearised,
    mean_and_error,
    mean_distance,
)
from rgflow.kernel_rg.select import chains, of_study, place
from rgflow.plots.deviations import NO_ESTIMATE, Deviations, Mark
from rgflow.plots.figure import Figure
from rgflow.plots.panel import Guide, Panel, Series, fitting
from rgflow.protocol import Results, Verdict


def line_of(point: Pooled) -> str:
    """Returns the line that a point stands in: its study, or the values that make a case, in two lines."""
    if point.values["study"] not in ("cases", "hmc"):
        return f"study '{point.values['study']}'"
    sampler = "HMC" if point.values["sampler"] == "hmc" else "Gibbs"
    sizes = "N {width:g}, N0 {num_inputs:g}, P {num_train:g}, L {depth:g},\n".format(**point.values)
    return sizes + "sigma2 {sigma2:g}, T {temperature:g} ({0})".format(sampler, **point.values)


KINDS = {
    "scale": "scale $Q$",
    "energy": "training energy",
    "variance": "predictive variance",
    "error": "generalization error",
    "kernel_projection": r"kernel projection $Y^\top K_l Y / |Y|^4$",
}


def agreement(results: Results) -> list[Figure]:
    """Returns how far chains are from the exact law, in standard errors, and whether they have converged."""
    points = [p for _, members in chains(results) for p in members]
    drawn: dict[str, dict[str, list[Mark]]] = {"deviation": {}, "r_hat": {}, "ess": {}}
    for found in differences(points, "exact"):
        p, sampled = found.point, found.point.measured[found.name]
        numbers = {"place": place(p), "sampled": sampled.mean, "error": sampled.error,
                   "exact": p.theory["exact"][found.name]}  # fmt: skip
        values = found.deviation, sampled.r_hat, sampled.ess if sampled.ess > 0 else np.nan
        kind = KINDS[found.name.rstrip("_0123456789")]
        for marks, value in zip(drawn.values(), values, strict=True):
            marks.setdefault(line_of(p), []).append(Mark(kind, found.name, value, numbers))
    bound = "bound of convergence"
    deviations = Deviations(
        "", drawn["deviation"], "(sampled - exact) / standard error", limits=(-8.0, 8.0), within=FALSE_ALARM_SIGMA,
        shaded=f"within {FALSE_ALARM_SIGMA:g} standard errors",
    )  # fmt: skip
    return [Figure(
        name="agreement", share_x=False,
        caption="Chains of linear networks against the exact law at finite width: every number that is compared, in "
        "standard errors of the chains; the layers of a network follow from top to bottom. Right: split R-hat and "
        f"effective sample size of the same numbers, which must be at most {WORST_R_HAT} and at least {LEAST_ESS:g}. "
        f"{deviations.beyond.strip()}{about_runs(points)}",
        falsified_by={
            "S4-sampler": "marks outside the shaded band; marks right of the bound of R-hat or left of that of the "
            "sample size decide nothing"
        },
        panels=[
            deviations,
            Deviations("", drawn["r_hat"], r"split $\hat{R}$", [Guide(bound, x=WORST_R_HAT)]),
            Deviations("", drawn["ess"], "effective sample size", [Guide(bound, x=LEAST_ESS)], scale="log"),
        ],
    )] if points else []  # fmt: skip


def kernels(name: str, columns: Mapping[str, Pooled], relative: bool) -> list[Figure]:
    """Returns every hidden layer of some networks: projection of its kernel on the labels above, distances below."""
    rows: dict[str, list[list[Series]]] = {"projection": [], "distance": []}
    for p in columns.values():
        numbers = list(range(1, int(p.values["depth"]) + 1))
        layers = [str(number) for number in numbers]
        rows["projection"].append(series([p] * len(layers), layers, "kernel_projection_{}", relative))
        last = p.records["kernel_distance"].sel(step=int(p.values["steps"]), layer=numbers)
        rows["distance"].append([
            Series(theory, f"{kind}, distance", layers, last.sel(theory=theory).transpose("run", "layer").values)
            for theory, kind in THEORIES.items()
        ])  # fmt: skip
    labels = {
        "projection": "projection / that of\ninfinite width" if relative else r"projection $Y^\top K_l Y / |Y|^4$",
        "distance": "distance of kernel\n" + r"$|\bar{K}_l - K_l^\mathrm{theory}| / |K_l^\mathrm{theory}|$",
    }
    panels = [
        Panel(title if what == "projection" else "", found, name=f"{what}, {place(p)}",
              y=labels[what] if found is row[0] else "", **fitting([s for one in row for s in one]))
        for what, row in rows.items()
        for (title, p), found in zip(columns.items(), row, strict=True)
    ]  # fmt: skip
    unit = ", in units of that of infinite width" if relative else ""
    return [Figure(
        name=name, x="hidden layer $l$", columns=len(columns), share_x="col", share_y="row", panels=panels, group="",
        colours={},
        caption=f"Kernels of the hidden layers (1 = next to the input) of linear networks. Above: projection on the "
        f"labels{unit}. Below: distance (Frobenius norm) of each chain's mean kernel from theories, mean over chains "
        "with Student's 95 % interval. A single chain is noisy: its distance from the exact law is that noise, and no "
        f"theory can be nearer. {about([*columns.values()])}",
        falsified_by={
            "S4-linear": "layers as far from the saddle point as from infinite width",
            "S4-sampler": "sampled projections off those of the exact law by more than their bars allow",
        },
    )] if columns else []  # fmt: skip


def kernel_figures(results: Results) -> list[Figure]:
    """Returns the layer kernels of the cases and of the deepest networks, as far as these studies were run."""
    name = "$N$ {width:g}, $L$ {depth:g}\n$P$ {num_train:g}, $N_0$ {num_inputs:g}\n$\\sigma^2$ {sigma2:g}"
    cases = {name.format(**p.values): p for p in of_study(results, "cases")}
    deep = columns_of(sorted(of_study(results, "depth"), key=lambda p: p.values["depth"]), "sigma2")
    deepest = {rf"$\sigma^2 = {value:g}$": found[-1] for value, found in deep.items()}
    return [*kernels("kernels_cases", cases, False), *kernels("kernels_depth", deepest, True)]


def at_tests(point: Pooled, quantity: str) -> list[Estimate]:
    """Returns the sampled "mean" or "variance" of the output at every test point."""
    runs = point.records.sel(step=kept_steps(point.values))
    prediction, square = (runs[n].values.astype(np.float64) for n in ("prediction", "prediction_square"))
    if quantity == "mean":
        return [mean_and_error(prediction[..., k], False) for k in range(prediction.shape[-1])]
    truth = runs["test_targets"].values[0]
    parts = [slice(k, k + 1) for k in range(len(truth))]
    return [mean_and_error(linearised(prediction[..., k], square[..., k], truth[k])["variance"], False) for k in parts]


RELU = {
    "mean": '"Off by": root mean square difference in units of the size of the heuristic\'s mean.',
    "variance": '"Off by": variance of the heuristic over the sampled one less 1, both means over test points.',
}


def relu_figure(quantity: str, results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns the sampled mean or variance at every test point against the heuristic and against infinite width."""
    points, panels, claim = of_study(results, "relu"), [], f"S4-ReLU {quantity}"
    bounds = [Guide(f"within {CLOSE:.0%} of the sampled", slope=1 / (1 + s)) for s in (CLOSE, -CLOSE)]
    for p in points:
        sampled = [interval_of(one, p.runs) for one in at_tests(p, quantity)]
        theory = {t: p.records[f"theory_{quantity}"].sel(theory=t).values[0] for t in ("wide", "saddle")}
        kinds = {"wide": "infinite width, predicted", "saddle": "heuristic"}
        off = number_text(*known(verdicts, claim, place(p))[:3])
        title = "$N$ {width:g}, $L$ {depth:g}, $\\sigma^2$ {sigma2:g}, labels x {label_scale:g}".format(**p.values)
        panels.append(Panel(
            f"{title}\nheuristic off by {off}", [Series(t, kinds[t], x, intervals=sampled) for t, x in theory.items()],
            [Guide("equal"), *(bounds if quantity == "variance" else [])], name=f"{place(p)}, heuristic off by {off}",
        ))  # fmt: skip
    return [Figure(
        name=f"relu_{quantity}", x=f"predicted {quantity} of the output", y=f"sampled {quantity}", panels=panels,
        group="", colours={}, share_x=False, share_y=False,
        caption=f"ReLU networks, {quantity} of the output at the test points: sampled against the heuristic, which is "
        "no theory: it puts the kernel of the infinitely wide ReLU network into the theory of linear networks. "
        f"{RELU[quantity]} {about(points)}",
        falsified_by={
            claim: f"marks of the heuristic off the diagonal by more than {CLOSE:.0%} over all test points of a panel, "
            "or no nearer to it than those of infinite width"
        },
    )] if panels else []  # fmt: skip


def trained_figure(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns the quantities of ensembles of trained networks beside those of the equilibrium and the minimum."""
    points = [p for p in of_study(results, "trained") if p.values["activation"] == "linear"]
    columns = columns_of(points, "temperature")
    words = {
        "distance": ("distance of the mean output", "distance of mean\noutput (rel.)"),
        "excess": ("excess of the variance over that of the equilibrium", "excess of variance\nover equilibrium"),
        **{name: QUANTITIES[name] for name in ("variance", "scale", "energy")},
    }
    rows: dict[str, dict[float, list[Series]]] = {name: {} for name in words}
    for warm, found in columns.items():
        x = ["{width:g}\nx {label_scale:g}".format(**p.values) for p in found]
        judged = {claim: [known(verdicts, f"S4-{claim}", place(p)) for p in found]
                  for claim in ("trained mean", "trained variance", "MAP")}  # fmt: skip
        rows["distance"][warm] = [
            Series("exact", "exact at finite width, distance", x, intervals=judged["trained mean"]),
            Series("wide", "infinite width, distance", x, intervals=[mean_distance(p, "wide") for p in found]),
            Series("map", "minimum of the energy, distance", x, intervals=judged["MAP"]),
        ]
        rows["excess"][warm] = [Series("sampled", "gradient descent", x, intervals=judged["trained variance"])]
        for name in ("variance", "scale", "energy"):
            rows[name][warm] = series(found, x, name, theories={**THEORIES, "map": "minimum of the energy"})
    bounds = [Guide(f"bound of {CLOSE:.0%}", y=sign * CLOSE) for sign in (1, -1)]
    guides, panels = {"distance": bounds[:1], "excess": bounds}, []
    for name, row in rows.items():
        fitted = {} if name in guides else fitting([s for found in row.values() for s in found])
        for warm, found in row.items():
            title = f"weight decay, $T = {warm:g}$" if warm > 0 else "no weight decay, $T = 0$"
            panels.append(Panel(
                title if name == "distance" else "", found, guides.get(name, []), f"{words[name][0]}, T = {warm:g}",
                y=words[name][1] if warm == min(columns) else "", height=1.6, empty=NO_ESTIMATE, **fitted,
            ))  # fmt: skip
    return [Figure(
        name="trained", x="width $N$, scale of the labels (x)", columns=len(columns), share_x="col", share_y="row",
        panels=panels, group="", colours={},
        caption="Linear networks trained by gradient descent from weights of the prior, with and without weight decay "
        "T/sigma^2, beside the equilibrium of the same data at temperature T and the minimum of the energy with decay. "
        "First row: root mean square distance of the mean output from that of each theory, in units of the theory's "
        "own size (none where the minimum is the zero output). Second row: relative excess of the variance, without "
        "weight decay read from Q. Arrows at the lower edge: below a thousandth of the largest number. "
        + about(points),
        falsified_by={
            "S4-trained mean": f"distances from the exact law above {CLOSE:.0%}",
            "S4-trained variance": f"an excess of the variance beyond {CLOSE:.0%}",
            "S4-MAP": f"with weight decay, distances from the minimum above {CLOSE:.0%}, or a variance that is left",
        },
    )] if points else []  # fmt: skip


def figures(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns every figure that the studies of a sweep allow; none of an empty one."""
    return [
        *agreement(results),
        *figures_swept.figures(results, verdicts),
        *kernel_figures(results),
        *(figure for quantity in RELU for figure in relu_figure(quantity, results, verdicts)),
        *trained_figure(results, verdicts),
    ]
