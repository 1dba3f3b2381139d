"""Boltzmann machines of the tests: the same law in other units, and machines drawn at random."""

import numpy as np

from rgflow.variational_rg.machine import Machine


def convert(machine, units):
    """The machine with the same law in other units, $s = 2v - 1$: energies differ by a constant alone."""
    w, c, b = machine.weights, machine.visible_bias, machine.hidden_bias
    if units == machine.units:
        return machine
    if units == "binary":
        return Machine(4 * w, 2 * c - 2 * w.sum(1), 2 * b - 2 * w.sum(0), units)
    return Machine(w / 4, c / 2 + w.sum(1) / 4, b / 2 + w.sum(0) / 4, units)


def random_machine(visible, hidden, units="spin", scale=0.5, seed=0):
    """A machine in float64 whose law does not depend on the units."""
    generator = np.random.default_rng(seed)
    weights = scale * generator.normal(size=(visible, hidden))
    biases = [0.3 * generator.normal(size=size) for size in (visible, hidden)]
    return convert(Machine(weights, *biases), units)
