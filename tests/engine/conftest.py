"""What every test of the engine shares."""

import command
import foreign
import pytest


@pytest.fixture(autouse=True)
def no_process_is_left_behind():
    """Kills the processes that a failed test has left running."""
    yield
    while command.STARTED:
        process = command.STARTED.pop()
        if process.poll() is None:
            process.kill()
        if not (process.stdout and process.stdout.closed):  # else its garbage warns in some later test
            process.communicate()


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A finished workdir of the toy experiment, which no test changes."""
    return foreign.finished(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def workdir(made, tmp_path):
    """A copy of it, which is a test's own."""
    with foreign.toy_room():
        yield foreign.copy(made, tmp_path / "run")
