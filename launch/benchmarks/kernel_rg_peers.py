"""The peer of suite kernel_rg: numpyro's NUTS on all weights of the same posterior, its warm-up left out of the time.

One chain on each core, which is what ``chain_method="parallel"`` does, but compiled once and not again at every run.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from launch.benchmarks import kernel_rg
from launch.benchmarks.cases import Outcome

ACCEPTANCE = 0.65
"""Target of the step size; see the measurements in :mod:`~launch.benchmarks.kernel_rg`."""

WARM_UP = {False: 300, True: 50}
"""Steps that tune step size and mass matrix, by --tiny; they are not timed."""

STRETCH = 8
"""Draws whose mean counts as one for the effective sample size; they are close to independent."""


def model(problem: kernel_rg.Problem) -> None:
    """The network, its prior and its likelihood in numpyro's words."""
    import numpyro  # pyright: ignore[reportMissingImports]
    from numpyro import distributions as dist  # pyright: ignore[reportMissingImports]

    prior = dist.Normal(0.0, np.sqrt(problem.sigma2))
    tests, inputs = len(problem.test_inputs), np.concatenate([problem.inputs, problem.test_inputs])
    first: Any = numpyro.sample("first", prior.expand((problem.width, inputs.shape[1])).to_event(2))
    x = jnp.asarray(inputs, jnp.float32) @ first.T / np.sqrt(inputs.shape[1])
    for layer in range(1, problem.depth):
        weights: Any = numpyro.sample(f"hidden_{layer}", prior.expand((problem.width, problem.width)).to_event(2))
        x = x @ weights.T / np.sqrt(problem.width)
    readout: Any = numpyro.sample("readout", prior.expand((problem.width,)).to_event(1))
    output = x @ readout / np.sqrt(problem.width)
    numpyro.deterministic("prediction", output[-tests:])
    likelihood = dist.Normal(output[:-tests], np.sqrt(problem.temperature)).to_event(1)
    numpyro.sample("targets", likelihood, obs=jnp.asarray(problem.targets, jnp.float32))


def in_parallel() -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Returns a chain method like ``parallel``: one chain on every device.

    Every run hands over a new function that does the same; the first is kept, or each would be compiled again.
    """
    kept: list[Callable[[Any], Any]] = []

    def method(chain: Callable[[Any], Any]) -> Callable[[Any], Any]:
        if not kept:
            kept.append(jax.pmap(chain))
        return kept[0]

    return method


def sampler(problem: kernel_rg.Problem, draws: int, warm_up: int) -> Callable[[], np.ndarray]:
    """Returns a function that draws on and returns predictions [chain, draw, test]; its warm-up is done here."""
    from numpyro import infer  # pyright: ignore[reportMissingImports]

    method: Any = in_parallel()
    mcmc = infer.MCMC(
        infer.NUTS(functools.partial(model, problem), target_accept_prob=ACCEPTANCE),
        num_warmup=warm_up,
        num_samples=draws,
        num_chains=jax.local_device_count(),
        chain_method=method,
        progress_bar=False,
    )
    left_out = tuple(f"~z.{name}" for name in ("first", "readout", *(f"hidden_{k}" for k in range(1, problem.depth))))
    mcmc.run(jax.random.key(1), extra_fields=left_out)

    def more() -> np.ndarray:
        state: Any = mcmc.last_state
        mcmc.post_warmup_state = state
        mcmc.run(state.rng_key, extra_fields=left_out)
        return np.asarray(mcmc.get_samples(group_by_chain=True)["prediction"])

    return more


def make(case: int, draws: int, effective: float, tiny: bool) -> Callable[[], Outcome]:
    """Prepares NUTS; a unit of work is ``effective`` effective samples, the answer the error of generalization."""
    problem = kernel_rg.problem_of(case, tiny)
    more = sampler(problem, draws, WARM_UP[tiny])

    def repeat() -> Outcome:
        drawn = more()
        stretches = drawn.reshape(len(drawn), -1, STRETCH, drawn.shape[-1])
        size = kernel_rg.effective_samples(stretches.mean(axis=2), (stretches**2).mean(axis=2))
        return Outcome(size / effective, kernel_rg.error_of(problem, drawn.mean((0, 1)), (drawn**2).mean((0, 1))))

    return repeat
