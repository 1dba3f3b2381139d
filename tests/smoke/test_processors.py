"""The tests with the narrowest margins, as other processors would run them.

The list is the head of what ``-p tests.margins`` writes, over several settings of processors.
"""

import os
import subprocess
import sys

import pytest
import warm

NARROWEST = ()


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
