"""Rooms are found by name and imported late; commands start without what only reports need."""

import subprocess
import sys

import ml_collections
import pytest

from rgflow import registry

ROOMS = ("fixed_points", "kernel_rg", "rank_flow", "variational_rg")


def test_unknown_room_is_refused_with_the_list_of_rooms():
    with pytest.raises(ValueError, match="experiment = 'nothing': must be one of") as caught:
        registry.make(ml_collections.ConfigDict({"experiment": "nothing"}))
    # Other tests may have added experiments of their own.
    assert all(name in str(caught.value) for name in ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_every_room_makes_its_own_experiments(name):
    package = __import__(registry.package(name), fromlist=["make"])
    assert callable(package.make)
    assert package.__doc__
    assert registry.package(name) == f"rgflow.{name}"


def test_package_of_an_experiment_that_is_no_room(monkeypatch):
    def make(config):
        raise NotImplementedError

    monkeypatch.setitem(registry.EXPERIMENTS, "toy", make)
    assert registry.package("toy") == __name__


def test_a_sweep_starts_without_plots_tables_and_rooms():
    heavy = ("matplotlib", "pandas", "xarray", "scipy.stats", "optax", "rgflow.report", "rgflow.kernel_rg")
    program = f"import sys, launch.sweep; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


OUTSIDE = '''"""A walk that stands still."""

from rgflow.protocol import Experiment


def make(config):
    """Returns it."""
    nothing = lambda *arguments: {}
    return Experiment("walk", {}, nothing, nothing, nothing, (0, config.steps), {})
'''


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ranks", "No module named 'ranks'"),
        ("examples.nowhere", "No module named 'examples.nowhere'"),
        ("json", "json/__init__.py has none"),
        (".relative", "relative"),
        ("", "Empty module name"),
    ],
)
def test_module_that_is_no_experiment_is_refused_in_one_line(name, why):
    with pytest.raises(ValueError, match="must be one of fixed_points, kernel_rg, ") as caught:
        registry.make(ml_collections.ConfigDict({"experiment": name}))
    text = str(caught.value)
    assert text.startswith(f"experiment = {name!r}: ")
    assert "or a module with a function make" in text
    assert why in text
    assert "\n" not in text


def test_module_outside_the_package_makes_its_own_experiments(tmp_path, monkeypatch):
    """Found in a folder that is searched after all others, once it is named; a room's name stays the room's."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "outside_walk.py").write_text(OUTSIDE)
    (tmp_path / "rank_flow.py").write_text('raise SystemExit("the room was hidden")\n')
    config = ml_collections.ConfigDict({"experiment": "outside_walk", "steps": 3})
    with pytest.raises(ValueError, match="No module named 'outside_walk'"):
        registry.make(config)
    registry.search_in("")
    for _ in range(2):
        registry.search_in(str(tmp_path))
    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[-1] == str(tmp_path)
    assert registry.make(config).schedule == (0, 3)
    assert registry.package("outside_walk") == "outside_walk"
    assert registry.EXPERIMENTS["rank_flow"].package == "rgflow.rank_flow"
