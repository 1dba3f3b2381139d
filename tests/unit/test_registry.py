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
