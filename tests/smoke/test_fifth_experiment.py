"""The experiment of one file outside the package: small, public, run by the real command, right against other means."""

import ast
import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys

import datasets
import ml_collections
import numpy as np
import pytest
import sweeps
import warm
import xarray as xr
from scipy import integrate, stats

from examples import signal_propagation as example
from launch import sweep
from rgflow import registry
from rgflow.engine import grid
from rgflow.judging import claim
from rgflow.protocol import Point, Results

ROOT = pathlib.Path(__file__).parents[2]
FILE = ROOT / "examples" / "signal_propagation.py"
PUBLIC = {
    "configs.common",
    *(f"rgflow.judging.{module}" for module in ("claim", "decisions", "intervals", "points")),
    *(f"rgflow.plots.{module}" for module in ("figure", "panel")),
    "rgflow.protocol",
}
SMALL = ("--config=examples/signal_propagation.py:smoke", "--config.sweep.sigma_w=0.8,2.0", "--config.depth=24")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished sweep at smoke size, with what it printed."""
    workdir = tmp_path_factory.mktemp("fifth") / "run"
    return workdir, sweeps.run(*SMALL, "--config.seeds=2", f"--workdir={workdir}")


def test_file_is_short_and_imports_only_what_is_public():
    text = FILE.read_text()
    assert len(text.splitlines()) <= 120
    modules = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not any(alias.name.startswith("_") for alias in node.names)
            if node.module in PUBLIC:
                modules.add(node.module)
            else:
                modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert {name for name in modules if name.split(".")[0] in ("rgflow", "configs", "launch")} <= PUBLIC
    assert {name.split(".")[0] for name in modules} <= {"jax", "numpy", "configs", "rgflow"}


def test_sweep_runs_records_and_judges(finished):
    workdir, output = finished
    verdicts = json.loads((workdir / "verdicts.json").read_text())
    # The narrowest width is the control and not judged; 16 units at two sigma_w are, each by two claims.
    assert {v["claim"].split(" [")[0] for v in verdicts} == {"rate", "end"}
    assert len(verdicts) == 4
    assert all("narrow_misses" in v["controls"] for v in verdicts)
    assert {v["statement"] for v in verdicts} == {claim.statement for claim in example.CLAIMS}
    assert (workdir / "report.html").is_file()
    assert (workdir / "figures" / "separation.svg").is_file()
    with (workdir / "tables" / "separation.csv").open() as file:
        assert {row["group"] for row in csv.DictReader(file)} >= {"N = 5", "N = 16"}
    assert "done in" in output
    with xr.open_dataset(workdir / "results.nc") as results:
        assert results.attrs["experiment"] == "examples.signal_propagation"
        assert results.sizes["run"] == 8
        assert np.isfinite(results["near"]).all()


def test_sweep_resumes_and_grows_without_running_anything_again(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (workdir / "chunks").iterdir()}
    output = sweeps.run(*SMALL, "--config.seeds=3", f"--workdir={workdir}", "--resume=must")
    assert output.count("4 runs are finished") == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with xr.open_dataset(workdir / "results.nc") as grown, xr.open_dataset(finished[0] / "results.nc") as old:
        assert grown.sizes["run"] == 12
        np.testing.assert_array_equal(grown["near"][:8], old["near"])


def test_folder_to_import_from_is_where_the_config_file_has_its_experiment_beside_it():
    config = example.get_config("smoke")
    assert sweep.folder.import_folder(config, f"{FILE}:smoke") == str(ROOT)
    config.experiment = "mine"
    assert sweep.folder.import_folder(config, "/data/mine.py:smoke") == "/data"
    config.experiment = "rank_flow"
    assert sweep.folder.import_folder(config, "/data/rank_flow.py") == ""


def test_example_runs_from_any_folder(tmp_path, monkeypatch):
    """Neither the present folder nor PYTHONPATH leads to it; only making the experiments is tried."""
    monkeypatch.chdir(tmp_path)
    script = (
        "import sys; sys.path = [p for p in sys.path if p not in ('', sys.argv[1])]\n"
        "import importlib.util, pathlib, types\n"
        "for name in ('launch', 'configs', 'rgflow'):\n"
        "    spec = importlib.util.spec_from_file_location(name, f'{sys.argv[1]}/{name}/__init__.py')\n"
        "    sys.modules[name] = module = importlib.util.module_from_spec(spec)\n"
        "    spec.loader.exec_module(module)\n"
        "from launch import command_line, sweep\n"
        "sys.argv = ['sweep', f'--config={sys.argv[1]}/examples/signal_propagation.py:smoke', '--resume=must']\n"
        "command_line.run(sweep.main, '', sweep.define_flags, config=True)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    words = [sys.executable, "-P", "-c", script, str(ROOT)]
    shown = subprocess.run(words, env=environment, capture_output=True, text=True)
    # It got as far as the folder of the run, which is not there.
    assert shown.returncode == 2
    assert "holds no run" in shown.stderr, shown.stderr


ELSEWHERE = """
from examples import signal_propagation as base

make, get_sweep, CLAIMS, figures = base.make, base.get_sweep, base.CLAIMS, base.figures


def get_config(preset=""):
    config = base.get_config(preset)
    config.experiment = "my_own_experiment"
    return config
"""


def test_file_anywhere_is_found_by_sweep_and_by_the_report_that_names_it(tmp_path):
    """The config's own folder is searched; a report started from another folder imports it only where it is named."""
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine" / "my_own_experiment.py"
    file.write_text(ELSEWHERE)
    workdir = tmp_path / "run"
    sweeps.run(f"--config={file}:smoke", *SMALL[1:], "--config.sweep.width=5,", f"--workdir={workdir}")
    run = json.loads((workdir / "run.json").read_text())
    assert run["experiment"] == "my_own_experiment"
    assert str(tmp_path / "mine") not in json.dumps({**run, "command": ""})

    def report(*words):
        (workdir / "report.html").unlink()
        return sweeps.ended(warm.Process(["-m", "launch.report", f"--workdir={workdir}", *words], cwd=tmp_path))

    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.name != "report.html"}
    shown = report()
    assert "The code of 'my_own_experiment' is not part of rgflow and was not named" in shown
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "needs two widths" in (workdir / "report.html").read_text()

    (workdir / "verdicts.json").unlink()
    shown = report(f"--config={file}:smoke")
    assert str(workdir / "report.html") in shown and "was not named" not in shown
    # One width alone has nothing to be compared with.
    verdicts = json.loads((workdir / "verdicts.json").read_text())
    assert {(v["claim"], v["status"], v["expected"]) for v in verdicts} == {
        ("rate", "not_run", "needs two widths"),
        ("end", "not_run", "needs two widths"),
    }


def test_default_folder_has_the_last_part_of_the_name():
    config = example.get_config("smoke")
    name = sweep.folder.named(None, config, "examples/signal_propagation.py:smoke").name
    assert name.startswith("signal_propagation-smoke-")


@pytest.mark.parametrize("preset", ["smoke", "default", "paper"])
def test_every_preset_makes_experiments(preset):
    config = example.get_config(preset)
    points = sweep.sweep_points(config, str(FILE))
    plan = sweep.checked_plan(config, points[:1])
    assert plan.experiment(grid.Run(points[0].values, 0)).schedule[-1] == config.depth
    assert plan.experiment(grid.Run(points[0].values, 0)).schedule[0] == 0
    assert {"width", "sigma_w"} <= set(points[0].values)


def test_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="preset = 'huge': must be one of"):
        example.get_config("huge")


@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(0.8, 0.3), (1.4, 0.3), (2.5, 0.3), (1.0, 0.1)])
def test_mean_field_rests_where_another_quadrature_does(sigma_w, sigma_b):
    """Adaptive quadrature in place of the trapezoid rule; Gauss-Hermite with 101 nodes would be off by 3e-4."""
    gauss = lambda f: integrate.quad(lambda z: stats.norm.pdf(z) * f(z), -12, 12, epsabs=1e-13, epsrel=1e-12)[0]  # noqa: E731
    found = example.mean_field(sigma_w, sigma_b, 400)
    q = found["exact_q"]
    np.testing.assert_allclose(sigma_w**2 * gauss(lambda z: np.tanh(np.sqrt(q) * z) ** 2) + sigma_b**2, q, rtol=1e-6)
    chi = sigma_w**2 * gauss(lambda z: np.cosh(np.sqrt(q) * z) ** -4.0)
    np.testing.assert_allclose(found["exact_chi"], chi, rtol=1e-6)


def test_mean_field_is_critical_at_the_published_points():
    """sigma_b = 0: chi_1 = sigma_w^2 at q = 0, so sigma_w = 1 is critical; sigma_b^2 = 0.05: sigma_w^2 = 1.76.

    Close to the first, at sigma_w = 1, q^2 = sigma_b^2 / 2 and chi_1 = 1 - 2 q to leading order.
    """
    assert example.mean_field(0.9, 0.0, 300)["exact_chi"] == pytest.approx(0.81, rel=1e-6)
    assert example.mean_field(1.0, 0.01, 600)["exact_chi"] == pytest.approx(1 - 2**0.5 * 0.01, abs=1e-3)
    assert example.mean_field(1.76**0.5, 0.05**0.5, 300)["exact_chi"] == pytest.approx(1.0, abs=3e-3)


def test_separation_of_the_infinite_network_is_that_of_monte_carlo():
    """Layer after layer in its own words, q and c from 1e6 Gaussian pairs; errors of both are about 1e-3."""
    generator = np.random.default_rng(0)
    sigma_w, sigma_b, depth, q, c = 2.0, 0.3, 12, 1.0, 0.0
    for _ in range(depth):
        x, y = generator.normal(size=(2, 1_000_000))
        a, b = np.tanh(np.sqrt(q) * x), np.tanh(np.sqrt(q) * (c * x + np.sqrt(1 - c * c) * y))
        q, product = sigma_w**2 * (a**2).mean() + sigma_b**2, sigma_w**2 * (a * b).mean() + sigma_b**2
        c = product / q
    found = example.mean_field(sigma_w, sigma_b, depth)
    assert found["exact_q"] == pytest.approx(q, rel=4e-3)
    assert found["exact_end"] == pytest.approx(1 - c, abs=4e-3)


@pytest.mark.parametrize(("sigma_w", "ordered"), [(0.8, True), (1.2, True), (1.6, False), (2.5, False)])
def test_side_of_one_agrees_with_the_phase(sigma_w, ordered):
    found = example.mean_field(sigma_w, 0.3, 400)
    assert (found["exact_chi"] < 1) == ordered
    assert (found["exact_end"] < 1e-9) == ordered


def dataset(rates, widths=(5, 400), seeds=16, end=0.3):
    """Runs whose near inputs part at given rates, by width, around mean-field values of 0.7 and 0.3."""
    generator = np.random.default_rng(1)
    growth = np.repeat([rates[width] for width in widths], seeds) + 0.005 * generator.normal(size=len(widths) * seeds)
    config = example.get_config("smoke")
    config.depth = 24
    measured = {"near": 1e-6 * np.exp(growth[:, None] * np.arange(25)), "far": end}
    points = [Point({"width": width, "sigma_w": 1.0}, seeds) for width in widths]
    return datasets.results(config, points, measured, {"exact_chi": 0.7, "exact_end": 0.3, "exact_q": 1.0})


@pytest.mark.parametrize(
    ("rates", "end", "expected"),
    [
        ({5: -0.7, 400: np.log(0.7)}, 0.3, {"rate": "supported", "end": "supported"}),
        ({5: -0.7, 400: np.log(0.7) + 0.2}, 0.3, {"rate": "contradicted", "end": "supported"}),
        ({5: -0.7, 400: np.log(0.7)}, 0.5, {"rate": "supported", "end": "contradicted"}),
        # A control that does not miss: nothing is decided.
        ({5: np.log(0.7), 400: np.log(0.7)}, 0.3, {"rate": "undecided", "end": "undecided"}),
    ],
)
def test_verdicts_follow_the_numbers(rates, end, expected):
    found = claim.judge(example.CLAIMS, Results(dataset(rates, end=end), ml_collections.ConfigDict()))
    assert {v.claim.split(" [")[0]: v.status for v in found} == expected
    assert all("N=400" in v.claim for v in found)


def test_registry_makes_it_by_its_dotted_name():
    experiment = registry.make(example.get_config("smoke"))
    assert experiment.schedule[-1] == 40
    assert registry.package("examples.signal_propagation") == "examples.signal_propagation"


# Slow: half a minute on two cores.
@pytest.mark.slow
def test_default_preset_supports_the_claims_away_from_chance(tmp_path):
    """All 24 verdicts were supported; two of 24 may be open by chance, and none may be contradicted."""
    sweeps.run("--config=examples/signal_propagation.py", f"--workdir={tmp_path / 'run'}", optimised=True)
    statuses = [v["status"] for v in json.loads((tmp_path / "run" / "verdicts.json").read_text())]
    assert len(statuses) == 24
    assert "contradicted" not in statuses
    assert statuses.count("supported") >= 22
