"""What every test of the engine shares."""

import command
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
