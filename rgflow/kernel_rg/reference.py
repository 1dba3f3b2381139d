"""What is known of a point before it runs: theory, exact law, infinite width, the minimum of the energy (float64)."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from rgflow.kernel_rg.data import Dataset, Kernels, input_kernels
from rgflow.kernel_rg.gaussian import energy_at, predictor_at
from rgflow.kernel_rg.hidden import hidden_kernels
from rgflow.kernel_rg.map_limit import map_limit
from rgflow.kernel_rg.oracle import (
    exact_hidden_kernels,
    exact_predictor,
    exact_scale_posterior,
    exact_training_energy,
)
from rgflow.kernel_rg.order_parameter import find_saddle
from rgflow.kernel_rg.problem import Problem, check_problem
from rgflow.kernel_rg.relu import heuristic_kernels
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


def _at_scale(problem: Problem, kernels: Kernels, scale: float, hidden: np.ndarray | None) -> Prediction:
    """The network as a Gaussian process of one Q."""
    mean, variance = predictor_at(problem, kernels.cross, kernels.diag, scale)
    return Prediction(scale, float(energy_at(problem, scale)), mean, variance, hidden)


def _linear(config: Config, kernels: Kernels, targets: np.ndarray, problem: Problem) -> dict[str, Prediction]:
    arguments = (targets, config.width, config.depth, config.sigma2, config.temperature)
    saddle = float(np.exp(find_saddle(problem).log_scale))
    exact = Prediction(
        exact_scale_posterior(kernels.kernel, *arguments).moment(1),
        exact_training_energy(kernels.kernel, *arguments),
        *exact_predictor(kernels.kernel, kernels.cross, kernels.diag, *arguments),
        exact_hidden_kernels(kernels.kernel, *arguments),
    )
    powers = config.sigma2 ** np.arange(1.0, config.depth + 1)
    found = {
        "saddle": _at_scale(problem, kernels, saddle, hidden_kernels(kernels.kernel, *arguments)),
        "exact": exact,
        "wide": _at_scale(problem, kernels, powers[-1], powers[:, None, None] * kernels.kernel),
    }
    if config.sampler == "trained" and config.temperature > 0:
        end = map_limit(problem, kernels.cross, config.num_inputs)
        found["map"] = Prediction(end.scale, end.energy, end.mean, np.zeros_like(end.mean), None)
    return found


def _relu(config: Config, hat: Kernels, kernel: np.ndarray, problem: Problem) -> dict[str, Prediction]:
    """The heuristic on the recursion's kernels, and the infinite width, whose layer kernels are that recursion."""
    none = (np.zeros((0, len(kernel))), np.zeros(0))
    powers = config.sigma2 ** np.arange(1.0, config.depth + 1)
    hidden = [
        p * heuristic_kernels(kernel, *none, depth)[0]
        for depth, p in zip(range(1, config.depth + 1), powers, strict=True)
    ]
    saddle = float(np.exp(find_saddle(problem).log_scale))
    return {
        "saddle": _at_scale(problem, hat, saddle, None),
        "wide": _at_scale(problem, hat, powers[-1], np.array(hidden)),
    }


def references(config: Config, dataset: Dataset) -> References:
    """Returns everything that theory says of a point. Raises ValueError for bad input, naming the argument."""
    kernels = input_kernels(dataset.inputs, dataset.test_inputs, config.sigma2)
    effective = kernels
    if config.activation == "relu":
        hat, cross, diag = heuristic_kernels(kernels.kernel, kernels.cross, kernels.diag, config.depth)
        effective = Kernels(hat, cross, diag, kernels.test_kernel)
    sizes = (config.width, config.depth, config.sigma2, config.temperature)
    problem = check_problem(effective.kernel, dataset.targets, *sizes)
    if config.activation == "relu":
        found = _relu(config, effective, kernels.kernel, problem)
    else:
        found = _linear(config, kernels, dataset.targets, problem)
    return References(_variables(config, found, dataset, problem), _kernels(config, found))


def _kernels(config: Config, found: dict[str, Prediction]) -> np.ndarray:
    """The layer kernels of every theory, NaN where it has none, in arrays of the padded size."""
    depth, size = config.padded.depth, config.padded.num_train
    kernels = np.full((len(THEORIES), depth, size, size), np.nan, np.float32)
    for place, name in enumerate(THEORIES):
        if name in found and found[name].kernels is not None:
            kernels[place] = 0.0
            kernels[place, : config.depth, : config.num_train, : config.num_train] = found[name].kernels
    return kernels


def _variables(config: Config, found: dict[str, Prediction], dataset: Dataset, problem: Problem) -> dict[str, Any]:
    tests, labels, layers = len(dataset.test_inputs), dataset.targets, config.padded.depth
    absent = Prediction(np.nan, np.nan, np.full(tests, np.nan), np.full(tests, np.nan), None)
    by_theory = [found.get(name, absent) for name in THEORIES]
    projection, trace = (np.full((len(THEORIES), layers), np.nan) for _ in range(2))
    for place, prediction in enumerate(by_theory):
        if prediction.kernels is not None:
            overlap = np.einsum("i,lij,j->l", labels, prediction.kernels, labels)
            projection[place, : config.depth] = overlap / (labels @ labels) ** 2
            trace[place, : config.depth] = np.trace(prediction.kernels, axis1=1, axis2=2) / len(labels)
    modes = problem.eigenvalues > 0
    label_norm = np.sum(problem.projections[modes] ** 2 / problem.eigenvalues[modes]) / problem.rank
    return {
        "theory_scale": np.array([p.scale for p in by_theory]),
        "theory_energy": np.array([p.energy for p in by_theory]),
        "theory_mean": np.array([p.mean for p in by_theory]),
        "theory_variance": np.array([p.variance for p in by_theory]),
        "theory_kernel_projection": projection,
        "theory_kernel_trace": trace,
        "test_targets": dataset.test_targets,
        "zero_energy": float(labels @ labels) / 2,
        "label_norm": label_norm,
        "rank": float(problem.rank),
        "load": problem.rank / config.width,
        "coexistence": float(find_saddle(problem).coexistence),
    }
