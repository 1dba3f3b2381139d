"""Check this machine: python -m launch.doctor

Prints versions and devices, refuses jax versions that are known to compute wrong numbers, repeats the computations that
those versions get wrong, and takes a toy experiment through the engine, to the disk and back to a verdict. Exit codes:
0 healthy, 1 not healthy.
"""

import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import xarray as xr
from absl import flags
from rich.console import Console
from rich.table import Table

from launch import command_line, environment
from rgflow.engine import grid, loop, prepare, progress, records
from rgflow.engine.plan import Plan
from rgflow.judging import claim
from rgflow.judging.intervals import t_interval
from rgflow.probes.spectrum import effective_rank, singular_values
from rgflow.protocol import Claim, Experiment, Results, Stream
from rgflow.types import Hypers, Info, Key

CANARY_ROWS = {np.float32: (16_385, 32_769), np.float64: (16_385, 32_769)}


@dataclasses.dataclass(frozen=True)
class Check:
    """One finding: what was checked, whether it passed, and what was seen."""

    name: str
    passed: bool
    seen: str


def define_flags(values: flags.FlagValues) -> None:
    """This command has no flags of its own."""


def check_version() -> Check:
    """Returns whether the installed jax is none of the versions that compute wrong numbers."""
    bad = environment.bad_version()
    return Check("jax version", bad is None, bad or "not on the list of bad ones")


def canary_error(dtype: type, rows: int) -> float:
    """Returns the largest relative error of a jitted vmapped mat-vec and reduction whose exact value is i^2."""
    i = np.arange(rows)
    x = np.stack([i, np.zeros(rows), np.zeros(rows)], axis=1).astype(dtype)
    matrix = jnp.eye(3, dtype=dtype)
    squares = jax.jit(jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2)))(x)
    return float(np.max(np.abs(np.asarray(squares, np.float64) - i**2) / np.maximum(i**2, 1)))


def check_canary() -> Check:
    """Returns whether jax computes correctly what version 0.10.2 computes wrongly, in float32 and float64."""
    errors = {}
    for dtype, sizes in CANARY_ROWS.items():
        with jax.enable_x64(True):
            errors |= {f"{np.dtype(dtype).name} x {rows}": canary_error(dtype, rows) for rows in sizes}
    worst = max(errors, key=lambda name: errors[name])
    text = f"largest relative error {errors[worst]:.1e} ({worst} rows)"
    return Check("canary: jitted mat-vec and sum", errors[worst] < 1e-6, text)


def check_spectrum() -> Check:
    """Returns whether the effective rank of an ill-conditioned float32 matrix is that of float64 LAPACK."""
    generator = np.random.default_rng(0)
    u, v = (np.linalg.qr(generator.normal(size=(n, 64)))[0] for n in (2048, 64))
    x = ((u * np.geomspace(1, 1e-6, 64)) @ v.T).astype(np.float32)
    ours = float(jax.jit(lambda x: effective_rank(singular_values(x)))(x))
    s = np.linalg.svd(x.astype(np.float64), compute_uv=False)
    reference = float(np.exp(-np.sum(s / s.sum() * np.log(s / s.sum()))))
    error = abs(ours / reference - 1)
    return Check("effective rank, condition number 1e6", error < 1e-4, f"relative error {error:.1e}")


def _walk() -> Experiment:
    """A toy experiment with a known answer: the sum of 100 normal draws of each run."""

    def step(key: Key, state: jax.Array, hypers: Hypers) -> tuple[jax.Array, Info]:
        return state + hypers["scale"] * jax.random.normal(jax.random.fold_in(key, Stream.NOISE)), {"position": state}

    return Experiment(
        static="walk",
        hypers={"scale": np.float32(1.0)},
        init=lambda key, hypers: jnp.zeros(()),
        step=step,
        probe=lambda key, state, hypers: {"position_squared": state**2},
        schedule=(0, 100),
        dims={},
    )


def check_engine() -> Check:
    """Returns whether the toy experiment has the right variance and batches of 1 and of 4 runs agree."""
    runs = tuple(grid.Run({}, seed) for seed in range(256))
    ends = []
    for run_batch in (1, 4):
        prepared = prepare.prepare(grid.Group("walk", runs, run_batch), [_walk()] * len(runs), root_seed=0)
        carry = prepared.program.initialise(prepared.key, prepared.hypers)
        carry, _ = prepared.program.advance(0, 100, True, prepared.key, prepared.hypers, carry)
        ends.append(np.asarray(carry.state)[:256])
    variance = float(np.var(ends[0]))
    # The variance of 256 normals of variance 100 has standard deviation 100 sqrt(2 / 256); four of them are allowed.
    right = abs(variance - 100) < 4 * 100 * np.sqrt(2 / 256)
    agree = bool(np.allclose(ends[0], ends[1], rtol=1e-5, atol=1e-5))
    text = f"variance {variance:.0f} (exact 100), batches {'agree' if agree else 'DISAGREE'}"
    return Check("engine self-test", right and agree, text)


def _mean_square(results: Results) -> Iterator[claim.Finding]:
    """Yields whether the mean squared position of the walks is the number of steps, 100."""
    interval = t_interval(results.dataset["position_squared"].sel(step=100).values)
    status = "supported" if interval.low < 100 < interval.high else "contradicted"
    yield claim.Finding("", interval, status, (results.dataset.sizes["run"], 0), {})


def check_disk() -> Check:
    """Returns whether records and checkpoints reach a disk, come back as results.nc, and are judged."""
    runs = tuple(grid.Run({}, seed) for seed in range(256))
    config = ml_collections.ConfigDict({"engine": {"chunk_steps": 50, "checkpoint_seconds": 0.0}})
    plan = Plan(config, lambda config: _walk(), (grid.Group("walk", runs, 64),))
    prepared = prepare.prepare(plan.groups[0], plan.experiments(plan.groups[0]), root_seed=0)
    claims = (Claim("walk", "", "The variance is the number of steps.", "100", "runs", _mean_square),)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        quiet = progress.Progress(prepared.cost, quiet=True)
        loop.run_group(prepared, folder, config.engine, {}, quiet, progress.EventLog(None), loop.StopRequest())
        merged = records.merge(folder, plan, {})
        records.write_results(folder / "results.nc", merged)
        with xr.open_dataset(folder / "results.nc", engine="h5netcdf") as found:
            same = found.load().equals(merged)
    (verdict,) = claim.judge(claims, Results(merged, config))
    text = f"{len(merged.step)} records {'come back' if same else 'CHANGED'}, verdict {verdict.status}"
    return Check("record, merge, verdict", same and verdict.status == "supported", text)


CHECKS: tuple[Callable[[], Check], ...] = (check_version, check_canary, check_spectrum, check_engine, check_disk)


def main(argv: list[str]) -> int:
    """Runs every check, prints a table and returns the exit code."""
    command_line.parse(argv, define_flags)
    environment.configure(runs=environment.cores())
    began = time.monotonic()
    checks = [check() for check in CHECKS]
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions().items())
    console = Console()
    console.print(f"{versions}\n{environment.device_text()}", highlight=False)
    table = Table("check", "", "seen")
    for check in checks:
        table.add_row(check.name, "[green]ok[/]" if check.passed else "[bold red]FAILED[/]", check.seen)
    console.print(table)
    healthy = all(check.passed for check in checks)
    word = "healthy" if healthy else "NOT healthy: do not trust results of this installation"
    console.print(f"{word} ({time.monotonic() - began:.1f} s)")
    return command_line.DONE if healthy else command_line.FAILED


if __name__ == "__main__":
    command_line.run(main, __doc__, define_flags)
