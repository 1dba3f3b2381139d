"""Transfer operators and decimation: reference digits, closed forms, and what must be refused. Nothing is drawn."""

import itertools
import math

import mpmath
import numpy as np
import pytest
from decimation import characteristic_parameters, decimate, ground_state

from rgflow.exact.potential import Potential, check_normalisable, potential_energy, support
from rgflow.exact.ring import correlation_length_1d, decimate_1d
from rgflow.exact.transfer import correlation_length, ising_operator, spectrum, transfer_operator

QUARTIC = Potential(0.2, 0.25)
CASES = [
    (0.8, QUARTIC),
    (-0.8, QUARTIC),
    (0.4, Potential(1.0)),
    (0.49, Potential(1.0)),
    (0.5, Potential(-0.5, -0.2, 0.1)),
    (1.0, Potential(-4.0, 0.5)),
    (0.0, Potential(0, 0.25)),
]


@pytest.mark.parametrize(
    ("K", "flow"),
    [
        (1.0, [0.66250137, 0.35006114, 0.11367207, 0.01281154, 0.00016412]),
        (0.5, [0.21689042, 0.04563623, 0.00207978, 4.33e-6]),
    ],
)
def test_ising_flow(K, flow):
    coupling, operator = K, ising_operator(K)
    for reference in flow:
        coupling, operator = decimate_1d(coupling), decimate(operator)
        assert coupling == pytest.approx(reference, abs=6e-9)
        fitted = characteristic_parameters(operator)
        assert fitted.coupling == pytest.approx(coupling, abs=1e-14)
        assert fitted._replace(coupling=0.0, constant=0.0) == (0.0,) * 7
        assert correlation_length(operator) == pytest.approx(-1 / math.log(math.tanh(coupling)), rel=1e-6)


@pytest.mark.parametrize("K", [1e-15, -1e-9, 1e-3, 0.4, 2.0, -10.0, 15.0, 17.0, 18.0, 20.0, 100.0, -350.0])
def test_length_keeps_its_digits_at_every_coupling(K):
    assert correlation_length(ising_operator(K)) == pytest.approx(correlation_length_1d(K), rel=1e-10)


@pytest.mark.parametrize("points", [48, 49])
@pytest.mark.parametrize("coupling", [2.0, -3.0])
def test_length_between_deep_wells(coupling, points):
    """Two wells so far apart that the leading eigenvalues agree to more digits than floats have: 60 digits decide."""
    operator = transfer_operator(coupling, Potential(-12.0, 0.5), points)
    length = correlation_length(operator)
    with mpmath.workdps(60):
        matrix = mpmath.matrix(operator.values.tolist())
        values = []
        for vector in (mpmath.ones(points, 1), mpmath.matrix(operator.grid.tolist())):
            for _ in range(60):
                image = matrix * vector
                size = mpmath.norm(image)
                before, vector = vector, image / size
            values.append(size / mpmath.norm(before))
        exact = -1 / mpmath.log(values[1] / values[0])
    assert length > 1e9
    assert length == pytest.approx(float(exact), rel=1e-8)


@pytest.mark.parametrize("quadratic", [1.0, 2.5])
@pytest.mark.parametrize("share", [1e-15, 1e-8, 1e-3, 0.3, -0.49])
def test_length_of_a_gaussian_chain(share, quadratic):
    K = share * quadratic
    root = (1 - math.sqrt(1 - 4 * share**2)) / (2 * abs(share)) if abs(share) > 1e-6 else abs(share)
    assert correlation_length(transfer_operator(K, Potential(quadratic), 201)) == pytest.approx(
        -1 / math.log(root), rel=1e-8
    )


@pytest.mark.parametrize("K", [1.0, -1.0, 0.05])
def test_ising_spectrum(K):
    cosh, sinh = math.cosh(K), math.sinh(K)
    np.testing.assert_allclose(spectrum(ising_operator(K)) * math.exp(abs(K)), [2 * cosh, 2 * sinh], rtol=1e-13)
    np.testing.assert_allclose(ground_state(ising_operator(K)) ** 2, [0.5, 0.5], rtol=1e-13)


def test_gaussian_flow_table():
    operator = transfer_operator(0.8, Potential(2.0))
    for reference in (0.4, 0.235294, 0.062257, 0.003906):
        fitted = characteristic_parameters(operator)
        assert fitted.coupling / (2 * fitted.quadratic) == pytest.approx(reference, abs=5e-7)
        operator = decimate(operator)


@pytest.mark.parametrize("kappa", [0.4, -0.3, 0.49, 0.1])
def test_gaussian_chain_is_the_transfer_operator(kappa):
    quadratic = 1.7
    operator = transfer_operator(kappa * quadratic, Potential(quadratic))
    coupling = kappa * quadratic
    for _ in range(3):
        assert correlation_length(operator) == pytest.approx(1 / math.acosh(1 / (2 * abs(kappa))), rel=1e-8)
        fitted = characteristic_parameters(operator)
        assert (fitted.coupling, 2 * fitted.quadratic) == pytest.approx((coupling, quadratic), abs=1e-8)
        assert fitted._replace(quadratic=0, coupling=0, constant=0) == pytest.approx((0,) * 7, abs=1e-8)
        coupling, quadratic = coupling**2 / quadratic, quadratic - 2 * coupling**2 / quadratic
        kappa, operator = kappa**2 / (1 - 2 * kappa**2), decimate(operator)
        assert kappa == pytest.approx(coupling / quadratic, rel=1e-13)


def decimation_flow(operator, levels):
    return list(itertools.accumulate(range(levels), lambda last, _: decimate(last), initial=operator))


def test_field_flow_tables():
    flow = decimation_flow(transfer_operator(0.8, QUARTIC, 401, 6.0), 5)
    fitted = [characteristic_parameters(operator) for operator in flow]
    for level, operator in enumerate(flow[:5]):
        assert correlation_length(operator) * 2**level == pytest.approx(1.617753, abs=6e-7)
    tables = {
        "coupling": [0.8, 0.37901, 0.10951, 9.26e-3, 7e-5],
        "square_coupling": [0.0, -0.01337, -0.00215],
        "quartic": [0.25, 0.2563, 0.2638, 0.2648],
        "quadratic": [0.1, -0.2805, -0.3695, -0.3754],
    }
    for name, table in tables.items():
        digits = {"coupling": 5e-6, "square_coupling": 5e-6}.get(name, 5e-5)
        assert [getattr(row, name) for row in fitted[: len(table)]] == pytest.approx(table, abs=digits)
    assert fitted[0] == pytest.approx((0.1, 0.25, 0, 0.8, 0, 0, fitted[0].constant), abs=1e-11)
    assert fitted[1].sextic < -1e-4 and fitted[1].cubic_coupling < -1e-3


@pytest.mark.parametrize(("coupling", "potential"), CASES)
def test_grid_is_fine_and_wide_enough(coupling, potential):
    def ratio(points, half_width=None):
        values = spectrum(transfer_operator(coupling, potential, points, half_width))
        return values[1] / values[0]

    usual = ratio(201)
    assert usual == pytest.approx(ratio(401), abs=1e-8)
    # Twice as wide with the same spacing.
    assert usual == pytest.approx(ratio(401, 2 * support(coupling, potential)), abs=1e-8)
    if coupling:
        assert abs(usual) > 0.01


@pytest.mark.parametrize(("coupling", "potential"), CASES)
def test_decimation_ends_at_the_product_of_ground_states(coupling, potential):
    operator = transfer_operator(coupling, potential, 201)
    flow = decimation_flow(operator, 12)
    state = ground_state(operator) / ground_state(operator).max()
    fixed = operator._replace(values=np.outer(state, state), odd=np.zeros_like(operator.odd))
    np.testing.assert_allclose(flow[-1].values, fixed.values, atol=1e-9)
    np.testing.assert_allclose(decimate(fixed).values, fixed.values, atol=1e-12)
    assert correlation_length(fixed) == 0
    assert characteristic_parameters(fixed)[3:6] == pytest.approx((0, 0, 0), abs=1e-9)
    if coupling:
        assert np.abs(flow[0].values - fixed.values).max() > 0.01


def fixed_potential(operator):
    """The potential on site where decimation ends, 0 at its minimum."""
    potential = -2 * np.log(ground_state(operator))
    return potential - potential.min()


def test_ground_state_and_fixed_potential():
    operator = transfer_operator(0.8, QUARTIC)
    state, largest = ground_state(operator), spectrum(operator)[0]
    np.testing.assert_allclose(operator.values @ state * operator.spacing, largest * state, rtol=1e-10)
    assert state.min() > 0
    assert np.sum(state**2) * operator.spacing == pytest.approx(1, abs=1e-13)
    # Not Gaussian: as steep as the chain's own potential outside, and a double well from neighbours who agree.
    fixed = fixed_potential(operator)
    np.testing.assert_allclose(fixed, fixed[::-1], atol=1e-9)
    assert fixed[200] > fixed.min() + 0.1 and fixed.min() == 0
    far = operator.grid > 2.5
    slope = np.gradient(fixed - potential_energy(QUARTIC, operator.grid), operator.grid)[far]
    assert np.all(np.abs(slope) < 2 * 0.8 * operator.grid[far])
    independent = transfer_operator(0.0, QUARTIC)
    energy = potential_energy(QUARTIC, independent.grid)
    np.testing.assert_allclose(fixed_potential(independent), energy - energy.min(), atol=1e-9)


def test_gaussian_fixed_potential_is_closed_form():
    # psi_0 = exp(-omega x^2 / 2) with omega = sqrt(r^2 / 4 - K^2).
    operator = transfer_operator(0.4, Potential(1.0))
    middle = np.abs(operator.grid) < 8
    np.testing.assert_allclose(fixed_potential(operator)[middle], 0.3 * operator.grid[middle] ** 2, atol=1e-9)


def test_eigenvalues_of_ising_decimation_at_its_fixed_points():
    def slope(step, at):
        return (step(at) - step(at - 1e-6)) / 1e-6

    def in_tanh(t):
        return math.tanh(decimate_1d(math.atanh(t)))

    assert slope(in_tanh, 0.0) == pytest.approx(0, abs=1e-5)
    assert slope(in_tanh, 1 - 1e-9) == pytest.approx(2, abs=1e-4)


@pytest.mark.parametrize(
    ("coupling", "potential"), [*CASES, (0.0, Potential(0.3, -2.0, 0.5)), (0.0, Potential(40.0, -15.0, 1.55))]
)
def test_support_is_where_the_weight_has_gone(coupling, potential):
    width = support(coupling, potential)
    x = np.linspace(0, 3 * width, 30_001)
    bound = potential_energy(potential, x) - abs(coupling) * x**2
    assert np.all(bound[x > 1.0001 * width] - bound.min() > 40)
    inside = bound[(x < 0.9999 * width) & (x > 0.99 * width)]
    assert np.all(inside - bound.min() < 40)


def test_support_stops_before_a_well_of_no_weight():
    # 56 nats up: the weight has gone before the barrier in front of it.
    potential = Potential(480.0, -168.0, 32.4)
    energy = potential_energy(potential, np.linspace(0, 2, 2001))
    well = 1 + np.flatnonzero((energy[1:-1] < energy[:-2]) & (energy[1:-1] < energy[2:]))
    assert energy[well] == pytest.approx([56], abs=0.5)
    width = support(0, potential)
    assert width < 0.7 and potential_energy(potential, np.array([width]))[0] == pytest.approx(40, abs=1e-9)


@pytest.mark.parametrize(
    ("coupling", "potential", "named"),
    [
        (0.5, Potential(1.0), r"quadratic = 1.0: must be above 2 \|K\|"),
        (-0.5, Potential(0.9), "quadratic = 0.9"),
        (0.1, Potential(1.0, -0.1), "quartic = -0.1"),
        (0.1, Potential(1.0, 0.1, -0.1), "sextic = -0.1"),
        (0.1, Potential(math.nan, 0.1), "quadratic = nan"),
        (0.1, Potential(1.0, math.inf), "quartic = inf"),
        (math.inf, QUARTIC, "K = inf"),
        (1e200, QUARTIC, "K = 1e\\+200: .* within 1e\\+100"),
        (0.5, Potential(1e-300, 1.0), "quadratic = 1e-300: must be 0 or from 1e-100 to 1e\\+100"),
    ],
)
def test_what_cannot_be_normalised_is_refused(coupling, potential, named):
    for function in (check_normalisable, support, transfer_operator):
        with pytest.raises(ValueError, match=named):
            function(coupling, potential)


def test_what_can_be_normalised_is_not_refused():
    for coupling, potential in [*CASES, (5.0, Potential(-1, -3.0, 0.1)), (5.0, Potential(0, 0.01))]:
        assert check_normalisable(coupling, potential) is None and 0 < support(coupling, potential) < np.inf


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: transfer_operator(0.8, QUARTIC, 15), "points = 15"),
        (lambda: transfer_operator(0.8, QUARTIC, 401, 0.0), "half_width = 0.0"),
        (lambda: transfer_operator(0.8, QUARTIC, 401, math.inf), "half_width = inf"),
        (lambda: ising_operator(math.inf), "K = inf"),
    ],
)
def test_bad_input_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()
