"""launch/slurm.sh on a real Slurm: the README's commands and those of the script, to the end and interrupted.

Slurm is set up by the test, with two nodes on this machine. What differs from the documentation: folders, flags that
make the sweep small, a time limit of one minute, and requeued jobs that are spared the two minutes that Slurm waits.
"""

import contextlib
import json
import os
import pathlib
import re
import shlex
import signal
import sys
import time

import pytest
import slurm_cluster
import warm
import xarray as xr

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SMALL = (
    "--config.sweep.study=claims --config.sweep.mixing=tokenwise --config.sweep.correlation_length=1.062, "
    "--config.runs.tokenwise.seeds=4 --config.runs.tokenwise.steps=20 --config.depth=2 --config.width=16 "
    "--config.length=16 --config.batch=8 --config.probe_batch=16 --config.pooled_batch=32 --config.records=2"
)
"""What makes a sweep of rank flow small at any preset."""

TOY = "--config=tests/smoke/slurm_toy.py --config.engine.cpu_devices=2"
CHUNKS = 22
"""Chunks of the toy sweep: 40 steps in chunks of 2, and steps 0 and 1."""


def readme(start):
    """Returns the only command of the README that begins so."""
    (line,) = re.findall(rf"^{re.escape(start)}.*$", README, re.M)
    return line


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A Slurm, and beside it ``tree``: the root of a source tree that jobs may be submitted from."""
    cluster = slurm_cluster.Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        try:
            cluster.start()
        except slurm_cluster.Unavailable as reason:
            pytest.skip(str(reason))
        cluster.tree = cluster.folder / "tree"
        cluster.tree.mkdir()
        for name in ("launch", "rgflow", "configs", "tests"):
            (cluster.tree / name).symlink_to(ROOT / name)
        python = cluster.tree / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        python.chmod(0o755)
        for name in warm.SHARED:
            cluster.environment.pop(name, None)
        yield cluster
    finally:
        cluster.stop()


class Job:
    """A job that was submitted with a command line of the documentation."""

    def __init__(self, slurm, command, cwd=None, **variables):
        self.slurm, self.cwd = slurm, cwd or slurm.tree
        said = slurm.call(*shlex.split(command), cwd=self.cwd, **variables)
        self.number = re.fullmatch(r"Submitted batch job (\d+)", said).group(1)

    @property
    def log(self):
        path = self.cwd / f"slurm-{self.number}.out"
        return path.read_text() if path.exists() else ""

    def fact(self, name):
        """Returns a field of ``scontrol show job``."""
        return re.search(rf"\b{name}=(\S+)", self.slurm.call("scontrol", "show", "job", self.number)).group(1)

    def wait(self, condition, seconds=400):
        """Waits until a condition holds; shows the log when it never does."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{self.slurm.call('scontrol', 'show', 'job', self.number)}\n{self.log}"
            time.sleep(0.5)

    def hasten(self):
        """Lets a job that was put back into the queue start without the two minutes that Slurm waits."""
        if self.fact("JobState") == "PENDING" and self.fact("Restarts") != "0":
            time.sleep(5)  # the credential of the start before is revoked for a while
            self.slurm.call("scontrol", "update", f"JobId={self.number}", "StartTime=now")

    def end(self, state="COMPLETED", code="0:0"):
        """Waits for the end of the job, checks how it ended and returns its log."""

        def ended():
            self.hasten()
            now = self.fact("JobState")
            return now not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED")

        self.wait(ended)
        assert (self.fact("JobState"), self.fact("ExitCode")) == (state, code), self.log
        return self.log


def events(workdir, name):
    path = workdir / "events.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [event for event in map(json.loads, lines) if event["event"] == name]


def assert_same_bits(workdir, reference):
    with xr.open_dataset(workdir / "results.nc") as a, xr.open_dataset(reference / "results.nc") as b:
        assert set(a.variables) == set(b.variables)
        for name in a.variables:
            assert a[name].values.tobytes() == b[name].values.tobytes(), name
    assert (workdir / "verdicts.json").read_text() == (reference / "verdicts.json").read_text()


def halfway(workdir):
    return lambda: any(event["step"] >= 8 for event in events(workdir, "checkpoint"))


def one_node(workdir, limit="12:00:00"):
    return f"sbatch --gpus-per-node=1 --time={limit} launch/slurm.sh {TOY} --workdir={workdir}"


def two_nodes(workdir):
    return f"sbatch --nodes=2 --gpus-per-node=8 launch/slurm.sh {TOY} --workdir={workdir}"


@pytest.fixture(scope="module")
def array(slurm):
    """The eight sweeps of the README's array, uninterrupted; the folder of each."""
    workdirs = [slurm.folder / f"sweep {k}" for k in range(1, 9)]
    lines = [f"{TOY} --workdir='{workdir}' --config.root_seed={k // 7}" for k, workdir in enumerate(workdirs)]
    (slurm.tree / "sweeps.txt").write_text("# one sweep per line\n" + "\n".join(lines) + "\n")
    job = Job(slurm, readme("sbatch --array").replace("--array", "--output=%A_%a.out --array"))
    most = 0

    def done():
        nonlocal most
        running = slurm.call("squeue", "--noheader", "--array", f"--job={job.number}", "--states=RUNNING").splitlines()
        most = max(most, len(running))
        return not slurm.call("squeue", "--noheader", f"--job={job.number}")

    job.wait(done)
    logs = [(slurm.tree / f"{job.number}_{k}.out").read_text() for k in range(1, 9)]
    assert all("done in" in log for log in logs), "\n".join(logs)
    assert most <= 4
    return workdirs


@pytest.fixture(scope="module")
def pair(slurm):
    """A sweep over two nodes that nothing happened to."""
    workdir = slurm.folder / "pair"
    Job(slurm, two_nodes(workdir)).end()
    return workdir


def test_two_nodes_run_one_sweep_with_the_command_of_the_readme(slurm):
    workdir = slurm.folder / "shared paper"
    command = readme("sbatch --nodes=2").replace("/shared/paper", shlex.quote(str(workdir)))
    log = Job(slurm, f"{command} {SMALL}").end()
    assert log.count("done in") == 1
    assert "rgflow: job" in log and "on 2 node(s), start 1" in log
    assert [event["processes"] for event in events(workdir, "started")] == [2]
    assert {path.name.count(".") for path in (workdir / "chunks").iterdir()} == {2}  # a share of the rows each


def test_array_runs_a_sweep_per_line(array):
    for workdir in array[1:7]:
        assert_same_bits(workdir, array[0])
    with pytest.raises(AssertionError):
        assert_same_bits(array[7], array[0])


def test_time_limit_is_followed_by_requeues_until_the_sweep_is_done(slurm, array):
    workdir = slurm.folder / "limit"
    log = Job(slurm, one_node(workdir, limit="1"), TOY_PAUSE=str(60 / CHUNKS)).end()
    starts = len(events(workdir, "started"))
    assert starts >= 2
    assert log.count("is back in the queue") == starts - 1
    assert len(events(workdir, "stopped")) == starts - 1
    assert [event["start"].rpartition(".")[2] for event in events(workdir, "started")] == [
        str(k) for k in range(starts)
    ]
    assert_same_bits(workdir, array[0])


def test_a_chunk_that_takes_longer_than_the_limit_ends_the_job_and_its_log_says_so(slurm):
    workdir = slurm.folder / "chunk"
    log = Job(slurm, one_node(workdir, limit="1"), TOY_PAUSE="600").end("TIMEOUT", "0:9")
    assert "is told to save; if the job ends as TIMEOUT" in log and "sbatch --time gives more" in log
    assert len(events(workdir, "started")) == 1


def test_requeue_by_hand_goes_on_from_the_checkpoint(slurm, array):
    workdir = slurm.folder / "requeued"
    job = Job(slurm, one_node(workdir), TOY_PAUSE="0.5")
    job.wait(halfway(workdir))
    assert slurm.call("scontrol", "requeue", job.number) == ""
    log = job.end()
    assert "was ended from outside" in log
    assert events(workdir, "resumed")[-1]["step"] == events(workdir, "stopped")[-1]["step"]
    assert_same_bits(workdir, array[0])


@pytest.mark.parametrize(
    ("commands", "state", "code", "said"),
    [
        (["scancel ID"], "CANCELLED", "75:0", "was ended from outside; the same sbatch command resumes"),
        (
            ["scontrol update JobId=ID Requeue=0", "scancel --signal=TERM ID"],
            "FAILED",
            "75:0",
            "did not take job ID back, so the same sbatch command resumes",
        ),
    ],
    ids=["scancel", "for good"],
)
def test_cancelled_sweep_is_saved_and_the_same_command_resumes(slurm, array, commands, state, code, said, request):
    workdir = slurm.folder / request.node.callspec.id
    submit = one_node(shlex.quote(str(workdir)))
    job = Job(slurm, submit, TOY_PAUSE="0.5")
    job.wait(halfway(workdir))
    for command in commands:
        slurm.call(*re.sub(r"\bID\b", job.number, command).split())
    log = job.end(state, code)
    assert said.replace("ID", job.number) in log
    assert "stopped by SIGTERM; resume with" in log
    stopped = events(workdir, "stopped")[-1]["step"]
    Job(slurm, submit).end()
    assert events(workdir, "resumed")[-1]["step"] == stopped
    assert_same_bits(workdir, array[0])


@pytest.mark.parametrize("victim", ["0", "1"])
def test_a_task_that_is_killed_alone_puts_the_sweep_back_into_the_queue(slurm, pair, victim):
    workdir = slurm.folder / f"killed {victim}"
    job = Job(slurm, two_nodes(shlex.quote(str(workdir))), TOY_PAUSE="0.5")
    job.wait(halfway(workdir))
    names = {"SLURM_CONF": f"{slurm.folder}/slurm.conf", "SLURM_JOB_ID": job.number, "SLURM_STEP_ID": 0}
    (task,) = processes(*(f"{name}={value}" for name, value in {**names, "SLURM_PROCID": victim}.items()))
    os.kill(task, signal.SIGKILL)
    log = job.end()
    assert "Killed" in log
    assert log.count("is back in the queue") == 1
    assert len(events(workdir, "started")) == 2
    assert_same_bits(workdir, pair)


def processes(*settings):
    """Returns the processes that have all of these settings in their environment."""
    wanted, found = {setting.encode() for setting in settings}, []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted <= set((process / "environ").read_bytes().split(b"\0")):
                found.append(int(process.name))
    return found


def test_two_starts_without_progress_end_the_job_with_the_reason(slurm):
    workdir = slurm.folder / "hung"
    job = Job(slurm, one_node(workdir), TOY_HANG="600")

    def stopped():
        """Tells every start to stop before it compiles anything."""
        job.hasten()
        if job.fact("JobState") == "RUNNING" and "start" in job.log:
            slurm.call("scancel", "--signal=TERM", job.number)
        return job.fact("JobState") == "FAILED"

    job.wait(stopped)
    log = job.end("FAILED", "75:0")
    assert re.findall(r"start \d", log) == ["start 1", "start 2"]
    assert "two starts in a row left no new record and no new checkpoint; of the last one: it ended before" in log
    assert f"job {job.number} does not go back into the queue" in log
    assert not workdir.exists()


def test_first_host_without_an_address_is_said_at_once(slurm):
    workdir = slurm.folder / "unknown"
    began = time.monotonic()
    job = Job(slurm, two_nodes(workdir).replace("sbatch", "sbatch --partition=unknown"))
    job.wait(lambda: job.fact("JobState") in ("FAILED", "PENDING") and "host of process 0" in job.log, 120)
    assert time.monotonic() - began < 100  # jax would wait for 300 s and abort
    assert re.search(r"^error: 'nowhere-1', the host of process 0: no (such host|name service answers)", job.log, re.M)
    assert not workdir.exists()
    slurm.call("scancel", job.number)


def test_no_process_of_a_job_is_left_when_it_has_ended(slurm, array):
    for workdir in array:
        (start,) = [event["start"] for event in events(workdir, "started")]
        assert not processes(f"RGFLOW_START={start}", f"SLURM_CONF={slurm.folder}/slurm.conf")


def test_submitted_from_another_folder_it_is_refused_and_what_it_says_to_type_runs(slurm, tmp_path):
    flags = f"{TOY} --workdir={slurm.folder / 'typed'}"
    log = Job(slurm, f"sbatch {slurm.tree}/launch/slurm.sh {flags}", cwd=tmp_path).end("FAILED", "2:0")
    command = re.search(r"type: cd (.*) && (sbatch .*)", log)
    assert command.group(1) == str(slurm.tree)
    Job(slurm, command.group(2).replace("[the same options] ", "")).end()
