r"""Wires the kernel-rg room: config -> Experiment. Every check of the config happens here, before anything compiles.

Runs of a point are independent chains (``sampler`` gibbs or hmc) or trainings (``trained``) on one data set, which is
part of the point. The dataset that a sweep leaves behind, results.nc, has these variables.

Dimensions: ``run``, ``step`` (sweeps, trajectories or training steps), ``test`` (test points), ``layer`` (1..L; NaN
above the depth of a run) and ``theory``: ``saddle`` (the theory of li2021; for ReLU the heuristic), ``exact`` (the
finite-width law; NaN for ReLU), ``wide`` (the Gaussian process of infinite width) and ``map`` (the minimum of the
regularised energy, for ``trained`` with weight decay; NaN elsewhere).

Records, dims (run, step, ...). Of a chain: means over the sweeps since the record before (NaN at step 0), to be read at
step > ``burn_in`` and averaged over step and run. Of a training: values at this step. Where groups of runs record at
different steps the others are NaN.

| variable             | dims          | meaning                                                                       |
|----------------------|---------------|-------------------------------------------------------------------------------|
| scale                |               | $Q = \prod_l u_l$ (linear nets; NaN for ReLU)                                 |
| energy               |               | $|f - Y|^2/2$, a sum over the training points                                 |
| prediction           | test          | f at the test points                                                          |
| prediction_square    | test          | $f^2$: variance = mean of it - (mean of prediction)^2                         |
| kernel_projection    | layer         | $Y^T K_l Y / |Y|^4$                                                           |
| kernel_trace         | layer         | $\mathrm{tr} K_l / P$                                                         |
| kernel_distance      | theory, layer | $|\bar K_l - K_l^{theory}| / |K_l^{theory}|$ (Frobenius); $\bar K_l$ is the   |
|                      |               | mean over all sweeps since burn_in, of a training its present kernel          |
| acceptance           |               | of rescaling moves (gibbs) or trajectories (hmc), NaN for trained             |
| step_size            |               | of the leapfrog steps (hmc), else NaN                                         |

Known before the run, dims (run, ...):

| variable                 | dims          | meaning                                                                   |
|--------------------------|---------------|---------------------------------------------------------------------------|
| theory_scale             | theory        | Q (for ReLU that of the heuristic)                                        |
| theory_energy            | theory        | training energy                                                           |
| theory_mean              | theory, test  | mean output at the test points                                            |
| theory_variance          | theory, test  | its variance                                                              |
| theory_kernel_projection | theory, layer | as the record of that name                                                |
| theory_kernel_trace      | theory, layer | as the record of that name                                                |
| test_targets             | test          | labels of the test points, without noise                                  |
| zero_energy              |               | $|Y|^2/2$, the training energy of zero output                             |
| label_norm               |               | $r_0 = Y^T K_0^+ Y/\rho$                                                  |
| rank, load               |               | $\rho$ = rank of $K_0$, $\alpha = \rho/N$                                 |
| coexistence              |               | 1 where the saddle equation has two minima, else 0                        |

Coordinates of a run: ``seed`` (the chain) and every key that the sweep sets: ``study``, ``sampler``, ``activation``,
``data``, ``data_seed``, ``width`` N, ``depth`` L, ``num_train`` P, ``num_inputs`` N0, ``sigma2``, ``temperature`` T,
``label_noise``, ``label_scale``, ``steps``, ``burn_in``, ``records`` and ``padded.*`` (array sizes, no physics).
:mod:`rgflow.kernel_rg.observables` pools the runs of a point to numbers with standard errors, split R-hat and effective
sample size.
"""

import functools
import importlib.util
from typing import Any

import numpy as np

from rgflow import checks
from rgflow.kernel_rg import dynamics, probe
from rgflow.kernel_rg.gibbs import LEAST_RATIO, LEAST_TEMPERATURE
from rgflow.kernel_rg.network import ACTIVATIONS, SAMPLERS, Static
from rgflow.kernel_rg.reference import DIMS, THEORIES, References, references
from rgflow.kernel_rg.task import DATA, DIGIT_IMAGES, DIGIT_PIXELS, Dataset, draw_data, padded
from rgflow.protocol import Experiment, Late, log_spaced_schedule
from rgflow.types import Config

LEAST = {
    "width": 1,
    "depth": 1,
    "num_train": 1,
    "num_inputs": 1,
    "num_test": 1,
    "num_templates": 1,
    "data_pool": 0,
    "steps": 1,
    "records": 1,
    "burn_in": 1,
    "leapfrog_steps": 1,
}
"""Least allowed values of the whole numbers."""

LEAST_RECORDS = 8
"""Records of a chain below which its two halves say nothing about convergence."""

PADDED = ("width", "depth", "num_train", "num_inputs")


def validate(config: Config) -> None:
    """Raises ValueError, one line naming key, value and what is allowed, for a config that makes no sense."""
    checks.one_of("sampler", config.sampler, SAMPLERS)
    checks.one_of("activation", config.activation, ACTIVATIONS)
    checks.one_of("data", config.data, DATA)
    for name, least in LEAST.items():
        checks.whole(name, config[name], least)
    checks.seed("data_seed", config.data_seed)
    for name in ("sigma2", "learning_rate", "label_scale"):
        checks.between(name, config[name], 0, np.inf, ends=False)
    if not 0 <= config.label_noise < np.inf:
        raise ValueError(f"label_noise = {config.label_noise}: must be a finite number of at least 0")
    checks.between("template_noise", config.template_noise, 0, 1)
    if config.data == "digits":
        _check_digits(config)
    for name in PADDED:
        if config.padded[name] < config[name]:
            raise ValueError(f"padded.{name} = {config.padded[name]}: must be at least {name} = {config[name]}")
    if config.padded.depth < 2:
        raise ValueError(f"padded.depth = {config.padded.depth}: must be at least 2, also for one layer")
    if config.sampler == "gibbs" and config.activation != "linear":
        raise ValueError(f"sampler = 'gibbs': must be hmc or trained for activation = {config.activation!r}")
    _check_temperature(config)
    schedule(config)


def _check_digits(config: Config) -> None:
    if config.num_inputs != DIGIT_PIXELS:
        raise ValueError(f"num_inputs = {config.num_inputs}: must be {DIGIT_PIXELS} for data = 'digits'")
    if importlib.util.find_spec("sklearn") is None:
        raise ValueError("data = 'digits': needs scikit-learn: pip install -e '.[examples]'")
    pool = max(config.data_pool, config.num_train)
    if pool + config.num_test > DIGIT_IMAGES:
        raise ValueError(
            f"data_pool = {pool}: must be at most {DIGIT_IMAGES - config.num_test} images beside the test points"
        )


def _check_temperature(config: Config) -> None:
    least = 0.0 if config.sampler == "trained" else LEAST_TEMPERATURE
    if not least <= config.temperature < np.inf:
        why = "" if config.sampler == "trained" else ", what float32 sampling can resolve"
        raise ValueError(f"temperature = {config.temperature}: must be a finite number of at least {least}{why}")


def schedule(config: Config) -> tuple[int, ...]:
    """Returns the steps at which a run records: log-spaced for a training, evenly after burn-in for a chain.

    Raises ValueError where the steps after burn-in are not a multiple of the number of records.
    """
    if config.sampler == "trained":
        return log_spaced_schedule(config.steps, config.records)
    kept = config.steps - config.burn_in
    if config.records < LEAST_RECORDS:
        raise ValueError(f"records = {config.records}: must be at least {LEAST_RECORDS} for a chain")
    if kept <= 0 or kept % config.records:
        raise ValueError(
            f"steps = {config.steps}: must be burn_in = {config.burn_in} and a multiple of records = {config.records}"
        )
    return (0, *range(config.burn_in, config.steps + 1, kept // config.records))


def make_static(config: Config) -> Static:
    """Returns what fixes the shapes and the program; keys that a run ignores are set to their null value."""
    leapfrog_steps = config.leapfrog_steps if config.sampler == "hmc" else 0
    sizes = {name: config.padded[name] for name in PADDED}
    return Static(config.sampler, config.activation, num_test=config.num_test, leapfrog_steps=leapfrog_steps, **sizes)


def traced_inputs(config: Config, data: Dataset, known: References) -> dict[str, Any]:
    """Returns the hypers of a run: its data in arrays of the padded sizes, the theories' kernels, numbers.

    Raises ValueError where the temperature is too far below the kernel for regressions in float32.
    """
    largest = float(np.linalg.eigvalsh(config.sigma2 / config.num_inputs * data.inputs @ data.inputs.T)[-1])
    least = LEAST_RATIO * largest * float(np.nanmax(known.variables["theory_scale"][:2]))
    if config.sampler == "gibbs" and config.temperature < least:
        raise ValueError(
            f"temperature = {config.temperature}: must be at least {least:.2g} here, {LEAST_RATIO} of the largest "
            "eigenvalue of Q K_0, for float32 sampling"
        )
    sizes = config.padded
    tangent = (config.depth + 1) * config.sigma2 ** (config.depth - 1) * largest
    interval = 1 if config.sampler == "trained" else (config.steps - config.burn_in) // config.records
    return {
        "inputs": padded(data.inputs, sizes.num_train, sizes.num_inputs),
        "targets": padded(data.targets, sizes.num_train),
        "test_inputs": padded(data.test_inputs, config.num_test, sizes.num_inputs),
        "theory_kernels": known.kernels,
        "rate_unit": np.float64(1 / tangent),
        "interval": np.int32(interval),
        "burn_in": np.int32(config.burn_in),
        **{name: np.float64(config[name]) for name in ("sigma2", "temperature", "learning_rate", *PADDED)},
    }


def make(config: Config) -> Experiment:
    """Returns the experiment of one run; raises ValueError for a config that makes no sense."""
    validate(config)
    static = make_static(config)

    @functools.cache
    def computed() -> tuple[Dataset, References]:
        data = draw_data(config)
        return data, references(config, data)

    bind = functools.partial
    return Experiment(
        static=static,
        hypers=Late(lambda: traced_inputs(config, *computed())),
        init=bind(dynamics.init, static),
        step=bind(dynamics.step, static),
        probe=bind(probe.probe, static),
        schedule=schedule(config),
        dims={**probe.DIMS, **DIMS},
        coords={"theory": THEORIES, "layer": range(1, static.depth + 1), "test": range(static.num_test)},
        reference=Late(lambda: computed()[1].variables),
    )
