"""The tests with the narrowest margins, as other processors would run them.

The list is the head of what ``-p tests.margins`` writes, among the tests whose numbers differ between AVX-512 with
jaxlib 0.10 and SSE 4.2 with jaxlib 0.12 (104 of 773; most others compare exact numbers with rounded tables).
"""

import os
import subprocess
import sys

import pytest
import warm

NARROWEST = (
    "tests/physics/test_ising_exact.py::test_kaufman_against_enumeration[4-4-1.5]",
    "tests/unit/test_dependence.py::test_dead_units_are_nan_and_the_others_unchanged",
    "tests/physics/test_couplings.py::test_covariance_of_spins_and_of_means",
    "tests/unit/test_singular.py::test_effective_rank_and_every_value_agree_with_numpy_float64[duplicates]",
    "tests/unit/test_gauges.py::test_principal_axes_come_by_variance_with_a_fixed_sign",
    "tests/unit/test_singular.py::test_effective_rank_and_every_value_agree_with_numpy_float64[deficient]",
    "tests/unit/test_linear.py::test_constant_and_broken_representations",
    "tests/unit/test_variational_rg_learning.py::test_a_stack_goes_up_and_down_through_its_means",
    "tests/unit/test_rank_flow_dynamics.py::test_table_shortcut_equals_plain_path[pure]",
    "tests/unit/test_rank_flow_dynamics.py::test_table_shortcut_equals_plain_path[bert]",
    "tests/unit/test_rank_flow_dynamics.py::test_scored_shortcut_equals_plain_path[4-bert]",
    "tests/unit/test_rank_flow_relevance.py::test_perturbation_is_the_derivative_of_the_stream[attention]",
    "tests/unit/test_dense.py::test_layers_and_outputs_by_hand[identity]",
    "tests/unit/test_rank_flow_dynamics.py::test_scored_shortcut_equals_plain_path[0-pure]",
    "tests/physics/test_kernel_rg_samplers.py::test_padded_network_computes_what_the_bare_one_does[linear]",
    "tests/physics/test_rank_flow_theory.py::test_long_sequences_do_not_underflow_in_single_precision",
    "tests/unit/test_rank_flow_relevance.py::test_rows_belong_to_their_targets[mixer]",
    "tests/unit/test_gauges.py::test_orbit_keeps_the_output_and_changes_the_couplings",
    "tests/unit/test_residual.py::test_forward_equals_numpy[False-post]",
    "tests/unit/test_rank_flow_probe.py::test_ranks_equal_float64_numpy_on_the_explicit_matrix[tokenwise]",
)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("instructions", "library"), [("AVX2", "Haswell"), ("SSE4_2", "Nehalem")])
def test_the_narrowest_hold_on_another_processor(instructions, library):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_max_isa={instructions}"
    # A kernel that is chosen by hand crashes OpenBLAS 0.3.34, which then knows no size of the cache.
    environment = warm.environment(XLA_FLAGS=flags, OPENBLAS_CORETYPE=library, OPENBLAS_L2_SIZE="512")
    words = [sys.executable, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", "-m", "", *NARROWEST]
    done = subprocess.run(words, cwd=warm.HERE.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"{len(NARROWEST)} passed" in done.stdout
