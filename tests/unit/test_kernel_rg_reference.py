"""What theory says of a point before it runs: computed from one problem, and the same as by the public functions."""

import numpy as np
import pytest

from configs import kernel_rg as configs
from rgflow.engine import grid
from rgflow.kernel_rg import reference, relu, task, theory


def drawn(**values):
    config = configs.get_config("smoke")
    config.sweep.study = ("width",)
    config = grid.point_config(config, {**configs.get_sweep(config)[0].values, **values})
    return config, task.draw_data(config)


@pytest.mark.parametrize(
    "values", [{}, {"sampler": "trained", "temperature": 0.05}, {"sampler": "hmc", "activation": "relu"}]
)
def test_one_reference_takes_one_diagonalisation(values, monkeypatch):
    config, data = drawn(**values)
    calls, eigh = [], np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda *arguments: calls.append(arguments) or eigh(*arguments))
    monkeypatch.setattr(np.linalg, "eigvalsh", lambda *arguments: calls.append(arguments))
    reference.references(config, data)
    assert len(calls) == 1


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_references_are_what_the_public_functions_say(activation):
    config, data = drawn(sampler="hmc", activation=activation, depth=2)
    known = reference.references(config, data).variables
    kernels = task.input_kernels(data.inputs, data.test_inputs, config.sigma2)
    if activation == "relu":
        kernels = relu.heuristic_kernels(kernels, config.depth)[-1]
    network = (data.targets, config.width, config.depth, config.sigma2, config.temperature)
    mean, variance = theory.predictor(*kernels, *network)
    np.testing.assert_array_equal(known["theory_mean"][0], mean)
    np.testing.assert_array_equal(known["theory_variance"][0], variance)
    scale = theory.order_parameter(kernels.kernel, *network) ** config.depth
    assert known["theory_scale"][0] == pytest.approx(scale, rel=1e-14)
    if activation == "linear":
        assert known["theory_scale"][1] == theory.exact_scale_posterior(kernels.kernel, *network).moment(1)
