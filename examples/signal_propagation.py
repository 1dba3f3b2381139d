"""Order and chaos in deep random networks: python -m launch.sweep --config=examples/signal_propagation.py[:smoke]

A step is one more layer, h' = W tanh(h) + b with W ~ N(0, sigma_w^2 / N), b ~ N(0, sigma_b^2): depth is the RG time. At
infinite width the length q = |h|^2 / N comes to rest, and near inputs part by chi_1 = sigma_w^2 <tanh'(h)^2> per layer:
order where chi_1 < 1, chaos above (Poole et al., arXiv:1606.05340; Schoenholz et al., arXiv:1611.01232).
"""

import jax
import jax.numpy as jnp
import numpy as np

from configs import common
from rgflow.judging.claim import Finding
from rgflow.judging.decisions import control, equivalent
from rgflow.judging.intervals import t_interval
from rgflow.judging.points import average, split_points
from rgflow.plots.figure import Figure, about_runs
from rgflow.plots.panel import Guide, Panel, Series
from rgflow.protocol import Claim, Experiment, Point, Stream


def mean_field(sigma_w, sigma_b, depth, q=1.0, e=1.0):
    """Returns q, the separation e = 1 - c of orthogonal inputs, and chi_1, after ``depth`` layers of infinite width."""
    nodes = np.linspace(-8, 8, 81)[:, None]  # for Gaussian averages the trapezoid rule is right to six digits
    weights = np.exp(-(nodes**2) / 2)
    for _ in range(depth):
        u = np.sqrt(q) * nodes
        v = (1 - e) * u + np.sqrt(e * (2 - e)) * u.T
        q = sigma_w**2 * np.average(np.tanh(u) ** 2, weights=weights) + sigma_b**2
        e = sigma_w**2 / (2 * q) * np.average((np.tanh(u) - np.tanh(v)) ** 2, weights=weights * weights.T)
    return {"exact_q": q, "exact_end": e, "exact_chi": sigma_w**2 * np.average(np.cosh(u) ** -4.0, weights=weights)}


def make(config):
    """Returns the experiment of one network and three inputs: some x, a neighbour of x, and one orthogonal to x."""
    hypers = {"sigma_w": config.sigma_w, "sigma_b": config.sigma_b}
    wide = mean_field(**hypers, depth=config.depth)

    def init(key, hypers):
        x, y = jax.random.normal(jax.random.fold_in(key, Stream.INIT), (2, config.width))
        return jnp.stack([x, x + 1e-3 * y, y])

    def step(key, h, hypers):
        noise = jax.random.normal(jax.random.fold_in(key, Stream.NOISE), (config.width + 1, config.width))
        return hypers["sigma_w"] * jnp.tanh(h) @ noise[1:] / np.sqrt(config.width) + hypers["sigma_b"] * noise[:1], {}

    def probe(key, h, hypers):
        x, near, far = h / jnp.linalg.norm(h, axis=1, keepdims=True)  # |x - y|^2 / 2 is 1 - c, exact at c = 1
        return {"q": jnp.mean(h[0] ** 2), "near": jnp.sum((x - near) ** 2) / 2, "far": jnp.sum((x - far) ** 2) / 2}

    return Experiment(config.width, hypers, init, step, probe, (*range(config.depth + 1),), {}, reference=wide)


def compared(results):
    """Yields (point, margin, rate per run less theory, control) for all widths but the narrowest, the control."""
    narrow = {}
    for point in sorted(split_points(results.dataset), key=lambda point: point.values["width"]):
        margin, near = point.values["width"] ** -0.5, point.live["near"].values[:, 10:21]
        rate = np.log(near[:, -1] / near[:, 0]) / 10 - np.log(point.last("exact_chi"))
        if narrow.setdefault(point.values["sigma_w"], rate) is rate:
            continue  # it must miss the rate
        missed = abs(average(narrow[point.values["sigma_w"]]))
        yield point, margin, rate, {"narrow_misses": control(missed, f"above {margin:.3f}", missed > margin)}


def finding(point, margin, values, controls):
    """Returns whether the mean over runs lies within the margin around 0."""
    place = f"sigma_w={point.values['sigma_w']}, N={point.values['width']}"
    interval = t_interval(values)
    status = equivalent(interval, margin, controls)
    return Finding(place, interval, status, (point.runs, point.dead), controls)


def rates(results):
    """Yields the findings on the rate at which near inputs part."""
    for point, margin, rate, controls in compared(results):
        yield finding(point, margin, rate, controls)


def ends(results):
    """Yields the findings on where orthogonal inputs end."""
    for point, margin, _, controls in compared(results):
        yield finding(point, margin, point.last("far") - point.last("exact_end"), controls)


RULE = "difference within 1 / sqrt(N), and the narrowest network misses the rate"
CLAIMS = (
    Claim("rate", "Schoenholz2016", "The rate is that of mean-field theory.", RULE, "two widths", rates),
    Claim("end", "Poole2016", "The end is that of mean-field theory.", RULE, "two widths", ends),
)


def figures(results, verdicts):
    """Returns the figure of the separation of two inputs against depth, at the largest sigma_w."""
    points = list(split_points(results.dataset, sigma_w=max(results.config.sweep.sigma_w)))
    exact = Guide("mean-field value at the last layer", y=float(points[0].last("exact_end")[0]))
    series = [
        Series(p.values["width"], "measured", p.live["step"].values, p.live["far"].transpose("run", "step").values)
        for p in points
    ]
    return [Figure(
        name="separation", x="depth (layers)", y="$1 - c$ of orthogonal inputs", scale="log", group="N = {}",
        caption=f"How inputs that start orthogonal part or merge with depth. {about_runs(results.dataset)}",
        falsified_by={"end": "points of the widest network that end off the mean-field value"},
        panels=[Panel("", series, [exact])],
    )]  # fmt: skip


def get_config(preset="default"):
    """Returns the config of a preset: smoke, default or paper."""
    widths = {"smoke": (5, 16), "default": (5, 100, 400), "paper": (5, 300, 1000)}[common.check_preset(preset)]
    config = common.get_config("examples.signal_propagation")
    config.update({"depth": 40, "width": 400, "sigma_w": 1.0, "sigma_b": 0.3, "seeds": 64})
    config.sweep = common.section(width=widths, sigma_w=(0.8, 1.2, 1.4, 1.6, 2.0, 2.5))
    return config


def get_sweep(config):
    """Returns every width at every sigma_w."""
    return [Point(values, config.seeds) for values in common.crossed(config.sweep, "width", "sigma_w")]
