"""Faults planted one at a time, to see that the suite notices: a sign, an index, a missing mean, a dropped control.

    python tests/planted_faults.py                     # all of them, a table in Markdown
    python tests/planted_faults.py sign_of_adam        # one of them

Every fault is one line of the package, changed in a copy of the working tree. Only the test files that are named with
it are run, so that what they miss the whole suite may still catch; what they catch it catches too.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
COPIED = ("rgflow", "configs", "launch", "tests", "examples", "docs", "pyproject.toml", "README.md", "CONTRIBUTING.md",
          "CHANGELOG.md")  # fmt: skip


class Fault(NamedTuple):
    """A line of a file, what it becomes, and the test files (under tests/) that should notice."""

    name: str
    file: str
    old: str
    new: str
    tests: str


FAULTS = (
    # The engine.
    Fault(
        "step_is_not_in_the_key",
        "rgflow/engine/keys.py",
        "return jax.random.fold_in(key, step)",
        "return jax.random.fold_in(key, 0 * step)",
        "engine/test_batch.py engine/test_loop.py",
    ),
    Fault(
        "seed_is_not_in_the_key",
        "rgflow/engine/keys.py",
        'threefry2x32"), point), seed)',
        'threefry2x32"), point), 0 * seed)',
        "engine/test_batch.py engine/test_loop.py",
    ),
    Fault(
        "dead_run_is_recorded",
        "rgflow/engine/batch.py",
        "jnp.where(alive, x.astype(jnp.float32), jnp.nan)",
        "x.astype(jnp.float32)",
        "engine/test_batch.py engine/test_loop.py",
    ),
    Fault(
        "mean_is_a_sum",
        "rgflow/engine/batch.py",
        "lambda total: total / carry.info_count",
        "lambda total: total",
        "engine/test_batch.py engine/test_loop.py",
    ),
    Fault(
        "checksum_is_not_compared",
        "rgflow/engine/checkpoint.py",
        "words * weight[None]",
        "0 * words * weight[None]",
        "engine/test_checkpoint.py",
    ),
    Fault(
        "damaged_record_is_read",
        "rgflow/engine/records.py",
        "if DIED_AT not in file.files or claimed > path.stat().st_size or file.zip.testzip() is not None:",
        "if DIED_AT not in file.files or claimed > path.stat().st_size:",
        "engine/test_records.py",
    ),
    Fault(
        "rows_of_processes_are_swapped",
        "rgflow/engine/records.py",
        "[rows] = values",
        "[rows] = values[::-1]",
        "engine/test_records.py",
    ),
    # Probes.
    Fault(
        "entropy_of_the_wrong_sign",
        "rgflow/probes/spectrum.py",
        "return total * jnp.exp(-jnp.sum(moments, axis=-1) / total)",
        "return total * jnp.exp(jnp.sum(moments, axis=-1) / total)",
        "unit/test_spectrum.py",
    ),
    Fault(
        "energies_are_not_squared",
        "rgflow/probes/spectrum.py",
        "jnp.where(defined, _entropy_rank(relative**2), jnp.nan)",
        "jnp.where(defined, _entropy_rank(relative), jnp.nan)",
        "unit/test_spectrum.py",
    ),
    Fault(
        "mean_is_left_in",
        "rgflow/probes/spectrum.py",
        "once - jnp.sum(shares * once, axis=-2, keepdims=True)",
        "rows - 0 * jnp.sum(shares * once, axis=-2, keepdims=True)",
        "unit/test_spectrum.py",
    ),
    Fault(
        "alignment_without_its_square",
        "rgflow/probes/kernel.py",
        "jnp.minimum(jnp.sum(overlap**2, axis=(-2, -1)), 1.0)",
        "jnp.minimum(jnp.sum(jnp.abs(overlap), axis=(-2, -1)), 1.0)",
        "unit/test_kernel.py",
    ),
    Fault(
        "couplings_are_not_symmetric",
        "rgflow/probes/pseudo_likelihood.py",
        "(values + values.T) / 2",
        "values",
        "physics/test_pseudo_likelihood.py",
    ),
    # Exact references and samplers.
    Fault(
        "exponent_of_the_magnetization",
        "rgflow/exact/ising.py",
        "(-math.expm1(-4 * _log_sinh(K))) ** 0.125",
        "(-math.expm1(-4 * _log_sinh(K))) ** 0.25",
        "physics/test_ising_exact.py",
    ),
    Fault(
        "length_twice_as_long",
        "rgflow/samplers/markov.py",
        "1 - ROUNDING else -1 / math.log(modulus)",
        "1 - ROUNDING else -2 / math.log(modulus)",
        "unit/test_markov.py physics/test_markov_physics.py",
    ),
    Fault(
        "iid_of_the_wrong_axis",
        "rgflow/samplers/markov.py",
        "chain.stationary[None, :].repeat(num_states, axis=0)",
        "chain.stationary[:, None].repeat(num_states, axis=1)",
        "unit/test_markov.py physics/test_markov_physics.py",
    ),
    Fault(
        "on_site_term_counted_twice",
        "rgflow/samplers/fields.py",
        "-(bond + on_site[:, None] + on_site[None, :]) / 2",
        "-(bond + 2 * on_site[:, None] + on_site[None, :]) / 2",
        "physics/test_fields.py",
    ),
    Fault(
        "bond_in_the_wrong_direction",
        "rgflow/samplers/clusters.py",
        "beside(sites[:, 0], -1), beside(sites[0], -2)",
        "beside(sites[:, 0], -2), beside(sites[0], -1)",
        "physics/test_ising_samplers.py",
    ),
    # Judging.
    Fault(
        "bound_on_the_wrong_side",
        "rgflow/judging/decisions.py",
        "below, above = interval.high < bound, interval.low > bound",
        "below, above = interval.low < bound, interval.high > bound",
        "unit/test_judging.py",
    ),
    Fault(
        "failed_control_is_ignored",
        "rgflow/judging/decisions.py",
        'return "supported" if holds and all(controls.values()) else "undecided"',
        'return "supported" if holds else "undecided"',
        "unit/test_intervals.py unit/test_judging.py",
    ),
    Fault(
        "normal_in_place_of_student",
        "rgflow/judging/intervals.py",
        "half = float(special.stdtrit(live.size - 1, (1 + level) / 2) * live",
        "half = float(special.ndtri((1 + level) / 2) * live",
        "unit/test_intervals.py",
    ),
    Fault(
        "holm_without_its_factor",
        "rgflow/judging/readings.py",
        "np.arange(order.size, 0, -1)",
        "np.ones(order.size)",
        "unit/test_rank_flow_robustness.py",
    ),
    # Rooms.
    Fault(
        "sign_of_adam",
        "rgflow/rank_flow/dynamics.py",
        "lambda p, d: p - rate * (d + decay * p)",
        "lambda p, d: p + rate * (d + decay * p)",
        "physics/test_rank_flow_training.py",
    ),
    Fault(
        "unscored_positions_count",
        "rgflow/rank_flow/dynamics.py",
        "valid = jnp.arange(capacity) < jnp.sum(data.mask)",
        "valid = jnp.arange(capacity) >= 0",
        "unit/test_rank_flow_task.py unit/test_rank_flow_dynamics.py",
    ),
    Fault(
        "untrained_control_is_dropped",
        "rgflow/rank_flow/drift.py",
        "by_unit(trained[top] - untrained[top], live)",
        "by_unit(trained[top], live)",
        "unit/test_rank_flow_verdict.py unit/test_rank_flow_robustness.py",
    ),
    Fault(
        "any_part_supports",
        "rgflow/judging/components.py",
        "p_for = np.max(",
        "p_for = np.min(",
        "unit/test_components.py unit/test_rank_flow_verdict.py",
    ),
    Fault(
        "jacobian_of_the_rescaling",
        "rgflow/kernel_rg/gibbs.py",
        "gain = (readout_size - sizes[layer]) * t - ",
        "gain = -",
        "physics/test_kernel_rg_samplers.py",
    ),
    Fault(
        "negative_phase_is_the_data",
        "rgflow/variational_rg/learning.py",
        "jax.tree.map(jnp.subtract, _statistics(machine, batch), _statistics(machine, fantasy))",
        "_statistics(machine, batch)",
        "physics/test_variational_rg_sampling.py unit/test_variational_rg_learning.py",
    ),
    Fault(
        "penalty_of_the_wrong_sign",
        "rgflow/variational_rg/learning.py",
        "gradient.weights - l1 * jnp.sign(machine.weights)",
        "gradient.weights + l1 * jnp.sign(machine.weights)",
        "unit/test_variational_rg_learning.py",
    ),
    Fault(
        "projection_control_always_passes",
        "rgflow/fixed_points/controls.py",
        'somewhere", largest > COUPLING_MARGIN)',
        'somewhere", True)',
        "unit/test_fixed_points_claims.py",
    ),
    # Report and figures.
    Fault(
        "friendliest_place_answers",
        "rgflow/report/summary.py",
        "if yes and no:",
        "if yes and no and False:",
        "unit/test_report_summary.py",
    ),
)
"""At most one fault per line; what is changed stands in its file exactly once."""


def plant(fault: Fault, tree: pathlib.Path) -> None:
    """Changes the line of a fault in a copy of the project."""
    path = tree / fault.file
    text = path.read_text()
    assert text.count(fault.old) == 1, (
        f"{fault.name}: {fault.old!r} stands {text.count(fault.old)} times in {fault.file}"
    )
    path.write_text(text.replace(fault.old, fault.new))


def caught_by(fault: Fault) -> tuple[str, float]:
    """Returns the test that fails first with a fault ('' for none) and the seconds until then."""
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder)
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, tree / name)
        plant(fault, tree)
        began = time.monotonic()
        words = [
            "-m",
            "pytest",
            "-q",
            "-x",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            *(f"tests/{one}" for one in fault.tests.split()),
        ]
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        done = subprocess.run([sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True)
        first = next((line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), "")
        if done.returncode not in (0, 1):
            raise RuntimeError(f"{fault.name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return first.split(" - ")[0].partition(" ")[2], time.monotonic() - began


def main() -> None:
    """Plants the chosen faults and prints what noticed them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="faults to plant; all without any")
    names = parser.parse_args().names
    chosen = [fault for fault in FAULTS if not names or fault.name in names]
    print("| fault | where | caught by | seconds |\n|---|---|---|--:|", flush=True)
    found = 0
    for fault in chosen:
        test, seconds = caught_by(fault)
        found += bool(test)
        cells = (
            fault.name.replace("_", " "),
            f"`{fault.file}`",
            f"`{test}`" if test else "**nothing**",
            f"{seconds:.0f}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{found} of {len(chosen)} faults were caught.")


if __name__ == "__main__":
    main()
