"""Installs the lower bound of every dependency and runs with them: python tests/lower_bounds.py [FOLDER]

A bound of pyproject.toml that nobody runs is a guess. In an environment of its own, with the package as a user gets it
and from an empty folder: a small sweep of every room to its report, a resume from a checkpoint, and launch.doctor.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib
import venv

from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parents[1]
EXTRAS = ("tensorboard",)
"""Extras that a sweep imports; the others serve the tests, the site and the examples."""

SWEEPS = {
    "rank_flow": ("--tensorboard",),
    "kernel_rg": ("--config.sweep.study=hmc",),
    "variational_rg": ("--config.sweep.study=small",),
    "fixed_points": ("--config.sweep.study=tasks", "--config.sweep.tasks.data=ising"),
}
"""Studies that compile few programs and use what the room imports."""

OFTEN = ("--config.engine.chunk_steps=5", "--config.engine.checkpoint_seconds=0")


def lowest(requirement: str) -> str:
    """Returns the requirement with its lower bound as the only version.

    Example:
        >>> lowest("jax>=0.10.0,!=0.10.2")
        'jax==0.10.0'
    """
    parsed = Requirement(requirement)
    (bound,) = (one.version for one in parsed.specifier if one.operator == ">=")
    return f"{parsed.name}=={bound}"


def pins() -> list[str]:
    """Returns the lower bound of every dependency of a sweep."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [one for name in EXTRAS for one in project["optional-dependencies"][name]]
    return [lowest(requirement) for requirement in (*project["dependencies"], *extras)]


def main(folder: pathlib.Path) -> None:
    """Installs and runs; raises CalledProcessError at the first command that fails."""
    python, empty = folder / "venv" / "bin" / "python", folder / "empty"
    venv.create(folder / "venv", with_pip=True)
    empty.mkdir()
    # Programs compile faster so, and it is not their speed that is in question.
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}

    def run(*words: str) -> None:
        print("+", *words, flush=True)
        subprocess.run([python, "-m", *words], cwd=empty, env=environment, check=True)

    run("pip", "install", "--quiet", str(ROOT), *pins())
    run("launch.doctor")
    for room, flags in SWEEPS.items():
        run("launch.sweep", f"--config={room}:smoke", f"--workdir={room}", *flags, *OFTEN)
    last = max((empty / "rank_flow" / "chunks").glob("group_000-*"))
    last.unlink()
    run("launch.sweep", "--config=rank_flow:smoke", "--workdir=rank_flow", *OFTEN)
    assert last.exists()
    assert '"event": "resumed"' in (empty / "rank_flow" / "events.jsonl").read_text()
    print("every lower bound runs")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(pathlib.Path(sys.argv[1]).absolute())
    else:
        with tempfile.TemporaryDirectory() as name:
            main(pathlib.Path(name))
