"""The package as a user installs it: as a wheel, in an empty folder, with few rights, with the oldest dependencies."""

import os
import subprocess
import sys
import tomllib

import lower_bounds
import pytest
import warm
from packaging.requirements import Requirement

ROOT = warm.HERE.parent
FEW = ("--config.sweep.mixing=tokenwise", "--config.sweep.correlation_length=1.062")


def test_every_dependency_has_a_lower_bound_that_the_script_installs():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = {Requirement(pin).name: Requirement(pin) for pin in lower_bounds.pins()}
    for dependency in map(Requirement, dependencies):
        (version,) = (one.version for one in pinned[dependency.name].specifier)
        assert dependency.specifier.contains(version), dependency
    assert "tensorboardX" in pinned


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_lower_bound_runs(tmp_path):
    """Ten minutes: it installs an environment, and four rooms compile."""
    words = [sys.executable, str(ROOT / "tests" / "lower_bounds.py"), str(tmp_path)]
    done = subprocess.run(words, env=warm.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "every lower bound runs" in done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The folder that holds the package as its wheel unpacks it."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "installed", *folder.glob("*.whl")], check=True)
    return folder / "installed"


def started(wheel, folder, *words):
    """Runs a command of the wheel in a folder, by a user who may write there and nowhere else."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    home.chmod(0o555)
    variables = warm.environment(PYTHONPATH=str(wheel), HOME=str(home))
    variables = {
        name: value for name, value in variables.items() if name not in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME")
    }
    rights = warm.drop_override if os.getuid() == 0 else None
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, preexec_fn=rights)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_wheel_runs_from_an_empty_folder_for_a_user_whose_cache_cannot_be_written(wheel, tmp_path):
    """Minutes: a wheel is built, and its commands start cold."""
    refused = started(wheel, tmp_path, "launch.sweep", "--config=configs/rank_flow.py")
    assert refused.returncode == 2
    assert f"--config=rank_flow is the installed {wheel}/configs/rank_flow.py" in refused.stderr
    done = started(wheel, tmp_path, "launch.sweep", "--config=rank_flow:smoke", *FEW)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "cache" in line or "Warning" in line or "not kept" in line]
    assert line.startswith(f"compiled programs are not kept for the next start: cannot write to {tmp_path}/home")
    (workdir,) = (tmp_path / "checkpoints").glob("rank_flow-smoke-*")
    assert (workdir / "report.html").exists()
    again = started(wheel, tmp_path, "launch.sweep", "--config=rank_flow:smoke", *FEW)
    assert "2 runs are finished" in again.stdout
    healthy = started(wheel, tmp_path, "launch.doctor")
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
