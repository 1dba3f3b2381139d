"""Decimation of transfer operators on their grid: independent of block moments and of the fits that it checks."""

import math
from typing import NamedTuple

import numpy as np


class Parameters(NamedTuple):
    """Coefficients of -ln A(x, y); the first three multiply (x^2k + y^2k) / 2, the others the terms they name."""

    quadratic: float
    quartic: float
    sextic: float
    coupling: float  # -xy
    cubic_coupling: float  # -(x^3 y + x y^3)
    square_coupling: float  # -x^2 y^2
    constant: float


def decimate(operator):
    """The operator of the chain after every second site is summed out, over its largest value."""
    # A product rounds its two triangles differently. Even and odd part are products of their own.
    product, odd = (part @ part for part in (operator.values, operator.odd))
    largest = product.max()
    return operator._replace(values=(product + product.T) / 2 / largest, odd=(odd + odd.T) / 2 / largest)


def ground_state(operator):
    """The positive eigenfunction of the largest eigenvalue; its square is the law of one site of the infinite chain."""
    state = np.abs(np.linalg.eigh(operator.values)[1][:, -1])
    # Products of positive numbers restore the relative precision of the tails, which the eigensolver does not give.
    for _ in range(3):
        state = operator.values @ state
        state /= math.sqrt(state @ state * operator.spacing)
    return state


def characteristic_parameters(operator):
    """The parameters of -ln A by least squares with weight A. For spins only the coupling and the constant are not 0.

    Decimation also generates all higher terms, so that after a step the values depend a little on this choice of terms.
    """
    grid, weight = operator.grid, operator.values
    if len(grid) == 2:
        like, unlike = np.log(weight[0])
        return Parameters(0.0, 0.0, 0.0, float(like - unlike) / 2, 0.0, 0.0, float(-like - unlike) / 2)
    x, y = (side[weight > 0] for side in np.broadcast_arrays(grid[:, None], grid[None, :]))
    weight = weight[weight > 0]
    even = [(x**power + y**power) / 2 for power in (2, 4, 6)]
    columns = [*even, -x * y, -(x**3 * y + x * y**3), -((x * y) ** 2), np.ones_like(x)]
    # The weight enters as its square root; columns of length one keep the powers of a wide grid well conditioned.
    design = np.stack(columns, axis=1) * np.sqrt(weight)[:, None]
    scale = np.linalg.norm(design, axis=0)
    solution = np.linalg.lstsq(design / scale[None, :], -np.log(weight) * np.sqrt(weight), rcond=None)[0]
    return Parameters(*(solution / scale).tolist())
