r"""Suite kernel_rg: the posterior predictive of a deep linear network by theory and by Gibbs chains, and by NUTS.

Both posteriors are cases of the room (configs/kernel_rg.py): two hidden layers, 24 or 25 training points. All answers
are the error of generalization, to which mean and variance at every test point contribute.

* theory: theory.predictor_grid on 10 000 points (N, sigma2), against what NUTS needs for 100 effective samples, which
  know the predictive mean to a tenth of its spread. The saddle point makes up nearly all of the cost, about 25 us per
  point. One point alone (theory.predictor: checks, eigenvectors, one compiled call) costs about 0.8 ms.
* Gibbs: 32 chains by the engine, in the room's batches of 16 on each core, against one chain of NUTS per core.
  Effective samples are counted for both by the same batch means; a sweep is worth one, and so is a draw of NUTS.

What was measured for the peer. One chain on each core is best: 2, 4 and more side by side share a program of selections
and cost twice as much per draw. An acceptance of 0.65 instead of 0.8 gives 1.9 times the samples per second at T = 0.01
and 1.2 times at T = 0.3. numpyro compiles ``parallel`` anew at every run, which would take longer than the draws and is
spared here. Its warm-up is not timed.

What a Gibbs sweep of one chain costs (T = 0.3, N = 20, 16 chains on a core): 70 us of processor time, of which about 19
are normal numbers (26 by jax.random), three regressions 12, features and observables 2, rescaling 1; the rest is the
overhead of many small kernels, since 64 chains side by side take 52 to 64 us. At T = 0.3 NUTS needs short trajectories
only. The floor: a compiled loop of the normal numbers and the three regressions and nothing else, with no weights
written, features, rescaling or observables, takes 1 / 2.2 of a sweep, which is 14 times as fast as NUTS and not 20.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from launch import environment
from launch.benchmarks.cases import Case, Contender, Outcome, Peer

BATCHES = 4
"""Stretches of equal length that each chain's draws of a repetition are cut into; their means are what is compared."""


PRECISION = 100.0
"""Effective samples that count as one posterior predictive: its mean is then known to a tenth of its own spread."""

BURN_IN = 200
"""Sweeps of a chain before anything is counted or timed."""


class Problem(NamedTuple):
    """Data and sizes of one posterior."""

    inputs: np.ndarray
    targets: np.ndarray
    test_inputs: np.ndarray
    test_targets: np.ndarray
    width: int
    depth: int
    sigma2: float
    temperature: float


def point(case: int, tiny: bool) -> dict:
    """Returns the values that a case of the room sets; tiny networks for a test of the plumbing."""
    from configs import kernel_rg as room

    small = {"width": 6, "num_inputs": 8, "num_train": 5} if tiny else {}
    return {**room.CASES[case], **room.CASE_LABELS.get(case, {}), **small}


def config_of(case: int, tiny: bool) -> Any:
    """Returns the config of a case, in arrays of its own size."""
    from configs import kernel_rg as room
    from rgflow.engine import grid

    values = point(case, tiny)
    sizes = {f"padded.{name}": values[name] for name in ("width", "num_train", "num_inputs")}
    return grid.point_config(room.get_config(), {**values, **sizes})


def problem_of(case: int, tiny: bool) -> Problem:
    """Returns the data set and sizes of a case."""
    from rgflow.kernel_rg import task

    config = config_of(case, tiny)
    return Problem(*task.draw_data(config), config.width, config.depth, config.sigma2, config.temperature)


def effective_samples(means: np.ndarray, squares: np.ndarray) -> float:
    r"""Returns the effective samples of the predictive mean, the median over test points: $n\, \mathrm{var} f / s^2$.

    ``means`` and ``squares`` [chain, stretch, test] are means of f and f^2 over stretches of every chain, n of them in
    all, and $s^2$ is the variance of the n means about their common mean: the method of batch means, which needs
    stretches longer than what a chain remembers. Draws that shy away from each other count as more than their number.
    """
    variance = squares.mean((0, 1)) - means.mean((0, 1)) ** 2
    spread = means.reshape(-1, means.shape[-1]).var(axis=0, ddof=1)
    return float(np.median(means[..., 0].size * variance / spread))


def error_of(problem: Problem, mean: np.ndarray, square: np.ndarray) -> float:
    r"""Returns $\overline{\langle (f - y)^2 \rangle}$ over test points: bias and variance, so all of the predictive."""
    return float(np.mean(square - 2 * mean * problem.test_targets + problem.test_targets**2))


def make_theory(case: int, points: int, tiny: bool) -> Callable[[], Outcome]:
    """The theory at many widths and prior variances; the first of them is the network that NUTS samples."""
    from rgflow.kernel_rg import task, theory

    environment.configure(runs=1)
    problem = problem_of(case, tiny)
    kernels = task.input_kernels(problem.inputs, problem.test_inputs, 1.0)
    width = np.resize(np.arange(problem.width, problem.width + 100.0), points)
    sigma2 = problem.sigma2 * np.linspace(1.0, 2.0, points)

    def repeat() -> Outcome:
        mean, variance = theory.predictor_grid(
            kernels.kernel, kernels.cross, kernels.diag, problem.targets, width, problem.depth, sigma2,
            problem.temperature,
        )  # fmt: skip
        return Outcome(points, error_of(problem, mean[0], variance[0] + mean[0] ** 2))

    return repeat


def chains(case: int, runs: int, interval: int, tiny: bool) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """Returns a function that goes on by BATCHES records of ``interval`` sweeps: means of f and f^2 of each.

    The engine runs them as in a sweep: ``runs`` chains over all cores, as many side by side on each as the room has.
    """
    import jax

    from rgflow import registry
    from rgflow.engine import grid, mesh, prepare

    environment.configure(runs)
    config = config_of(case, tiny)
    config.burn_in, config.steps, config.records = BURN_IN, BURN_IN + interval * 100_000, 100_000
    batch = mesh.choose_run_batch(mesh.platform(), runs, jax.device_count(), config.engine.run_batch)
    group = grid.Group("chains", tuple(grid.Run({}, seed) for seed in range(runs)), batch)
    prepared = prepare.prepare(group, [registry.make(config)] * runs, config.root_seed)
    inputs, advance = (prepared.key, prepared.hypers), prepared.program.advance
    state: dict[str, Any] = {"step": BURN_IN}
    state["carry"], _ = advance(0, BURN_IN, True, *inputs, prepared.program.initialise(*inputs))

    def record() -> dict[str, np.ndarray]:
        start = state["step"]
        state["step"] += interval
        state["carry"], found = advance(start, state["step"], True, *inputs, state["carry"])
        return {name: np.asarray(found[name]) for name in ("prediction", "prediction_square")}

    def more() -> tuple[np.ndarray, np.ndarray]:
        records = [record() for _ in range(BATCHES)]
        means, squares = (np.stack([r[name] for r in records], axis=1) for name in records[0])
        return means, squares

    return more


def make_gibbs(case: int, runs: int, interval: int, tiny: bool) -> Callable[[], Outcome]:
    """Chains through the engine; a unit of work is an effective sample, the answer the error of generalization."""
    more, problem = chains(case, runs, interval, tiny), problem_of(case, tiny)

    def repeat() -> Outcome:
        means, squares = more()
        size = effective_samples(means, squares)
        return Outcome(size, error_of(problem, means.mean((0, 1)), squares.mean((0, 1))))

    return repeat


def cases(tiny: bool) -> list[Case]:
    """Returns the cases of this suite."""
    runs, interval, points, draws = (4, 8, 20, 64) if tiny else (32, 100, 10_000, 512)

    def nuts(case: int, effective: float) -> Contender:
        arguments = {"case": case, "effective": effective, "draws": draws, "tiny": tiny}
        devices = {"JAX_NUM_CPU_DEVICES": str(environment.cores())}
        return Contender("numpyro NUTS", "launch.benchmarks.kernel_rg_peers:make", arguments, ("numpyro",), devices)

    def case(name: str, unit: str, ours: Contender, peer: Peer, tolerance: float) -> Case:
        return Case("kernel_rg", name, unit, ours, (peer,), None if tiny else tolerance)

    theory = Contender("rgflow", f"{__name__}:make_theory", {"case": 3, "points": points, "tiny": tiny})
    found = [case("theory", "posterior predictive", theory, Peer(nuts(3, PRECISION), 1000.0), 0.1)]
    for number, temperature, tolerance in ((3, 0.01, 0.1), (4, 0.3, 0.2)):
        chains = {"case": number, "runs": runs, "interval": interval, "tiny": tiny}
        ours = Contender("rgflow", f"{__name__}:make_gibbs", chains)
        peer = Peer(nuts(number, 1.0), 20.0)
        found.append(case(f"Gibbs, T = {temperature}", "effective sample", ours, peer, tolerance))
    return found
