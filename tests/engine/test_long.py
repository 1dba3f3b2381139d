"""Long sweeps: memory of the host, time spent on checkpoints, how many of them are kept."""

import os
import pathlib
import re
import subprocess
import sys
import time

import command
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def resident_mib(process) -> float:
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


@pytest.mark.slow
def test_host_memory_is_flat_over_ten_thousand_chunks_and_two_checkpoints_are_kept(tmp_path):
    workdir, chunks = tmp_path / "run", 10_000
    flags = (f"--config.steps={chunks}", "--config.engine.chunk_steps=1", "--config.engine.checkpoint_seconds=0.2")
    process = command.start(workdir, *flags, OMP_NUM_THREADS="1")
    seen = []
    while process.poll() is None:
        steps = [e["step"] for e in command.events(workdir, "checkpoint")]
        if steps and steps[-1] < chunks:  # the report at the end may take what it likes
            seen.append((steps[-1], resident_mib(process)))
            assert len(list((workdir / "checkpoints" / "group_000").glob("[0-9]*[0-9]"))) <= 3  # one being written
        time.sleep(0.02)
    command.finish(process)
    early = max(size for step, size in seen if step < 2000)
    late = max(size for step, size in seen if step > 9000)
    print(f"resident: {early:.0f} MiB before chunk 2000, {late:.0f} MiB after chunk 9000")
    assert late < 1.05 * early
    assert len(list((workdir / "checkpoints" / "group_000").glob("[0-9]*[0-9]"))) == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_checkpoints_at_the_default_cadence_cost_less_than_a_twentieth_of_the_time(tmp_path):
    workdir = tmp_path / "run"
    flags = ["--config.sweep.mixing=tokenwise", "--config.runs.tokenwise.steps=6000"]
    configured = ["--config=configs/rank_flow.py", f"--workdir={workdir}", *flags]
    subprocess.run([sys.executable, "-m", "launch.sweep", *configured], cwd=ROOT, check=True, timeout=500)
    times = [time.mktime(time.strptime(e["time"][:19], "%Y-%m-%dT%H:%M:%S")) for e in all_events(workdir)]
    spent = sum(e["seconds"] for name in ("checkpoint", "closed") for e in command.events(workdir, name))
    saves = len(command.events(workdir, "checkpoint"))
    print(f"{saves} saves: {spent:.2f} s of {times[-1] - times[0]:.0f} s")
    assert saves >= 2
    assert spent < 0.05 * (times[-1] - times[0])


def all_events(workdir):
    return [*command.events(workdir, "started"), *command.events(workdir, "finished")]


@pytest.mark.slow
def test_a_hundred_thousand_seeds_are_planned_in_seconds(tmp_path):
    """Cold, as for a user: the tests of shapes that other tests switch on would take most of the time."""
    one_point = ("--config.sweep.correlation_length=1.0", "--config.sweep.mixing=tokenwise")
    flags = [
        "--config=rank_flow:smoke",
        *one_point,
        "--config.runs.tokenwise.seeds=100000",
        f"--workdir={tmp_path}/run",
    ]
    words = [sys.executable, "-m", "launch.sweep", *flags]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        said = process.stdout.readline()
        times = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        command.wait_for((tmp_path / "run" / "run.json").exists, process)
    finally:
        process.kill()
        process.communicate()
    seconds = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    print(f"{seconds:.1f} s of one core, imports among them")
    assert said.startswith("100000 runs on ")
    assert seconds < 10
    assert (tmp_path / "run" / "run.json").stat().st_size < 10_000
