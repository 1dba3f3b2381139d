"""What is known of a point before it runs: theory, exact law, infinite width, the minimum of the energy (float64).

All of it comes from one problem, which is checked and diagonalised once.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from rgflow.kernel_rg.map_limit import map_limit
from rgflow.kernel_rg.oracle import exact_hidden_kernels, exact_predictor, exact_training_energy, scale_posterior
from rgflow.kernel_rg.problem import Problem, energy_at, make_problem, predictor_at
from rgflow.kernel_rg.relu import heuristic_kernels
from rgflow.kernel_rg.saddle import Saddle, find_saddle
from rgflow.kernel_rg.task import Dataset, Kernels, input_kernels
from rgflow.kernel_rg.theory import hidden_kernels
from rgflow.types import Config

THEORIES = ("saddle", "exact", "wide", "map")
DIMS = {
    "theory_scale": ("theory",),
    "theory_energy": ("theory",),
    "theory_mean": ("theory", "test"),
    "theory_variance": ("theory", "test"),
    "theory_kernel_projection": ("theory", "layer"),
    "theory_kernel_trace": ("theory", "layer"),
    "test_targets": ("test",),
}


class Prediction(NamedTuple):
    """What one theory says: Q, training energy, mean and variance at test points, layer kernels (L, P, P) or None."""

    scale: float
    energy: float
    mean: Float[np.ndarray, " tests"]
    variance: Float[np.ndarray, " tests"]
    kernels: Float[np.ndarray, "L P P"] | None


class References(NamedTuple):
    """The variables of the dataset that are known before the run, and the theories' kernels for the probe."""

    variables: dict[str, Any]
    kernels: Float[np.ndarray, "theories L P P"]


def references(config: Config, dataset: Dataset) -> References:
    """Returns everything that theory says of a point. Raises ValueError for bad input, naming the argument."""
    inputs = input_kernels(dataset.inputs, dataset.test_inputs, config.sigma2)
    # Kernels of the layers 1..L of the infinitely wide network, without their factor sigma2^l.
    wide = heuristic_kernels(inputs, config.depth) if config.activation == "relu" else config.depth * [inputs]
    kernels = wide[-1]
    problem = make_problem(
        kernels.kernel, dataset.targets, config.width, config.depth, config.sigma2, config.temperature
    )
    saddle = find_saddle(problem)
    powers = config.sigma2 ** np.arange(1.0, config.depth + 1)
    linear = config.activation == "linear"
    hidden = hidden_kernels(problem, saddle) if linear else None
    found = {
        "saddle": _at_scale(problem, kernels, float(saddle.scale), hidden),
        "wide": _at_scale(problem, kernels, powers[-1], powers[:, None, None] * [k.kernel for k in wide]),
    }
    if linear:
        found["exact"] = _exact(problem, kernels)
    if linear and config.sampler == "trained" and config.temperature > 0:
        end = map_limit(problem, kernels.cross, config.num_inputs)
        found["map"] = Prediction(end.scale, end.energy, end.mean, np.zeros_like(end.mean), None)
    return References(_variables(config, found, dataset, problem, saddle), _kernels(config, found))


def _at_scale(problem: Problem, kernels: Kernels, scale: float, hidden: np.ndarray | None) -> Prediction:
    """Returns what the Gaussian process of one Q says."""
    mean, variance = predictor_at(problem, kernels.cross, kernels.diag, scale)
    return Prediction(scale, float(energy_at(problem, scale)), mean, variance, hidden)


def _exact(problem: Problem, kernels: Kernels) -> Prediction:
    posterior = scale_posterior(problem)
    return Prediction(
        posterior.moment(1),
        exact_training_energy(problem, posterior),
        *exact_predictor(problem, posterior, kernels.cross, kernels.diag),
        exact_hidden_kernels(problem, posterior),
    )


def _kernels(config: Config, found: dict[str, Prediction]) -> np.ndarray:
    """Returns the layer kernels of every theory, NaN where it has none, in arrays of the padded size."""
    depth, size = config.padded.depth, config.padded.num_train
    kernels = np.full((len(THEORIES), depth, size, size), np.nan, np.float32)
    for place, name in enumerate(THEORIES):
        if name in found and found[name].kernels is not None:
            kernels[place] = 0.0
            kernels[place, : config.depth, : config.num_train, : config.num_train] = found[name].kernels
    return kernels


def _variables(
    config: Config, found: dict[str, Prediction], dataset: Dataset, problem: Problem, saddle: Saddle
) -> dict[str, Any]:
    tests, labels, layers = len(dataset.test_inputs), dataset.targets, config.padded.depth
    absent = Prediction(np.nan, np.nan, np.full(tests, np.nan), np.full(tests, np.nan), None)
    by_theory = [found.get(name, absent) for name in THEORIES]
    projection, trace = (np.full((len(THEORIES), layers), np.nan) for _ in range(2))
    for place, prediction in enumerate(by_theory):
        if prediction.kernels is not None:
            overlap = np.einsum("i,lij,j->l", labels, prediction.kernels, labels)
            projection[place, : config.depth] = overlap / (labels @ labels) ** 2
            trace[place, : config.depth] = np.trace(prediction.kernels, axis1=1, axis2=2) / len(labels)
    return {
        "theory_scale": np.array([p.scale for p in by_theory]),
        "theory_energy": np.array([p.energy for p in by_theory]),
        "theory_mean": np.array([p.mean for p in by_theory]),
        "theory_variance": np.array([p.variance for p in by_theory]),
        "theory_kernel_projection": projection,
        "theory_kernel_trace": trace,
        "test_targets": dataset.test_targets,
        "zero_energy": float(labels @ labels) / 2,
        "label_norm": problem.label_norm,
        "rank": float(problem.rank),
        "load": problem.rank / config.width,
        "coexistence": float(saddle.coexistence),
    }
