"""The faults that are planted to test the suite fit the code as it is."""

import planted_faults
import pytest


@pytest.mark.parametrize("fault", planted_faults.FAULTS, ids=lambda fault: fault.name)
def test_what_a_fault_changes_stands_in_its_file_once(fault):
    assert (planted_faults.ROOT / fault.file).read_text().count(fault.old) == 1
    assert fault.old != fault.new
    assert all((planted_faults.ROOT / "tests" / name).is_file() for name in fault.tests.split())


def test_faults_have_names_of_their_own():
    assert len({fault.name for fault in planted_faults.FAULTS}) == len(planted_faults.FAULTS) >= 30
