"""Bad input: exit code 2, one line naming key, value and what is allowed, and nothing left on disk."""

import contextlib
import fcntl
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
import warm
from absl import flags
from sweeps import refused, run

from launch import bench, command_line, doctor, environment, report, sweep

CONFIG = "--config=configs/rank_flow.py:smoke"
ROOM_FILE = warm.HERE.parent / "configs" / "rank_flow.py"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sweep.correlation_length=-1.0,2.0", ["correlation_length", "-1.0", "(0, "]),
        ("sweep.correlation_length=0.0,2.0", ["correlation_length", "0.0", "(0, "]),
        ("num_states=1", ["num_states", "1", "at least 2"]),
        ("mask_prob=0.0", ["mask_prob", "0.0", "inside (0, 1)"]),
        ("mask_prob=1.0", ["mask_prob", "1.0", "inside (0, 1)"]),
        ("mask_prob=nan", ["mask_prob", "nan", "inside (0, 1)"]),
        ("window=64", ["window", "64", "wider than the sequence"]),
        ("window=-1", ["window", "-1", "at least 0"]),
        ("runs.window.seeds=-3", ["runs.window.seeds", "-3", "at least 1"]),
        ("runs.tokenwise.steps=0", ["runs.tokenwise.steps", "0", "at least 1"]),
        ("runs.tokenwise.learning_rate=-1.0", ["learning_rate", "-1.0", "positive"]),
        ("sweep.mixing=attenshun,", ["mixing", "attenshun", "tokenwise, window"]),
        ("chain.kind=ring", ["ring", "dirichlet_lazy"]),
        ("norm=layer", ["norm", "layer", "pre, post, none"]),
        ("mask_mode=roberta", ["mask_mode", "roberta", "pure, bert"]),
        ("dept=3", ["config.dept", "did you mean 'depth'"]),
        ("runs.windw.seeds=3", ["config.runs.windw.seeds", "did you mean 'window'"]),
        ("runs.window=3", ["config.runs.window", "a section"]),
        ("depth=deep", ["config.depth", "deep", "int"]),
        ("depth=2.5", ["config.depth", "2.5", "int"]),
        ("engine.chunk_steps=0", ["config.engine.chunk_steps", "0", "at least 1"]),
        ("experiment=ranks", ["experiment", "ranks", "rank_flow"]),
        ("sweep.mixing=", ["config.sweep.mixing", "at least one"]),
        ("sweep.correlation_length=", ["config.sweep.correlation_length", "at least one"]),
        ("sweep.study=", ["config.sweep.study", "claims, controls, settings, blocks, phases"]),
        ("root_seed=99999999999999999999", ["config.root_seed", "from 0 to 4294967295"]),
        ("root_seed=4294967296", ["config.root_seed", "from 0 to 4294967295"]),
        ("root_seed=-1", ["config.root_seed", "from 0 to 4294967295"]),
        ("chain.seed=-1", ["config.chain.seed", "from 0 to 4294967295"]),
        ("depth=99999999999999999999", ["config.depth", "at most 2147483647"]),
        ("runs.tokenwise.steps=2147483648", ["config.steps", "at most 2147483647"]),
        ("runs.window.seeds=99999999999999999999", ["config.sweep", "10000000 runs"]),
        ("engine.cpu_devices=99999", ["config.engine.cpu_devices", "[0, 1024]"]),
        ("engine.chunk_steps=99999999999999999999", ["config.engine.chunk_steps", "at most 2147483647"]),
        ("num_states=10000000", ["config", "memory", "Unable to allocate"]),
        ("sweep.settings.num_states=0", ["config.sweep.settings.num_states = (0,)", "('claims',)", "leave it out"]),
        ("sweep.groups=3", ["config.sweep.groups = (3,)", "changes no run"]),
        ("runs.mixer.seeds=3", ["config.runs.mixer.seeds = 3", "changes no run"]),
    ],
)
def test_bad_value_is_refused_before_anything_compiles(override, words, monkeypatch, capsys, tmp_path):
    workdir = tmp_path / "new" / "run"
    line = refused(sweep, [CONFIG, f"--config.{override}", f"--workdir={workdir}"], monkeypatch, capsys)
    assert all(word in line for word in words), line
    assert not workdir.parent.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--config is missing"]),
        (["--config=configs/nowhere.py"], ["configs/nowhere.py", "no such file", "kernel_rg, rank_flow"]),
        (["--config=elsewhere/rank_flow.py"], ["elsewhere", "--config=rank_flow is the installed", str(ROOM_FILE)]),
        (["--config=" + "f" * 300], ["no such file"]),
        (["--config", "rank_flow:huge"], [str(ROOM_FILE), "huge", "smoke, default, paper"]),
        ([CONFIG, "--workdir=" + "w" * 256], ["--workdir", "256 bytes", "255 are allowed"]),
        ([CONFIG, "--workdir=" + "/w" * 2000], ["--workdir", "4000 bytes", "256"]),
        ([CONFIG, "--workdir=\udcff"], ["--workdir", r"\udcff", "UTF-8"]),
        (["--config=configs/rank_flow.py:huge"], ["huge", "smoke, default, paper"]),
        ([CONFIG, "--workdri=x"], ["workdri"]),
        ([CONFIG, "--resume=maybe"], ["resume", "maybe", "auto|never|must"]),
        ([CONFIG, "--resume=must", "--workdir=checkpoints/none"], ["must", "holds no run"]),
        ([CONFIG, "stray"], ["stray"]),
        ([CONFIG, "--workdir=/proc/none/run"], ["--workdir", "/proc", "cannot write"]),
        ([CONFIG, "--workdir=README.md/run"], ["--workdir", "README.md", "cannot write"]),
        (
            ["--config=configs/rank_flow.py:smoke", "--workdir=gs://bucket/run"],
            ["--workdir", "gs://bucket/run", "mounted"],
        ),
        (
            ["--config=configs/rank_flow.py:smoke", "--num_processes=2"],
            ["--coordinator", "missing", "go together"],
        ),
        (
            ["--config=configs/rank_flow.py:smoke", "--coordinator=host", "--num_processes=2", "--process_id=0"],
            ["--coordinator", "'host'", "HOST:PORT"],
        ),
        (
            ["--config=configs/rank_flow.py:smoke", "--coordinator=a:1", "--num_processes=2", "--process_id=2"],
            ["--process_id", "2", "from 0 to 1"],
        ),
    ],
)
def test_bad_usage_is_one_line(arguments, words, monkeypatch, capsys):
    line = refused(sweep, arguments, monkeypatch, capsys)
    assert all(word in line for word in words), line


def test_a_signal_before_the_run_is_one_line(monkeypatch, capsys):
    def main(argv):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    class Ended(Exception):
        pass

    def end(code):
        raise Ended(code)

    monkeypatch.setattr(command_line, "end_now", end)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Ended, match="75"):
        command_line.run(main, "", sweep.define_flags)
    assert capsys.readouterr().err == "stopped; the same command starts again\n"
    assert signal.getsignal(signal.SIGTERM) is handler


def test_folder_with_other_files_is_refused(monkeypatch, capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    line = refused(sweep, [CONFIG, f"--workdir={tmp_path}"], monkeypatch, capsys)
    assert "thesis.tex" in line
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_report_of_an_empty_folder_is_refused(monkeypatch, capsys, tmp_path):
    assert str(tmp_path) in refused(report, [f"--workdir={tmp_path}"], monkeypatch, capsys)


def shown_help(module, monkeypatch, capsys, *arguments, code=0):
    """Returns what a command prints for --help, asked in this process."""
    monkeypatch.setattr(sys, "argv", ["command", *arguments, "--help"])
    with pytest.raises(SystemExit) as stopped:
        command_line.run(module.main, module.__doc__, module.define_flags, config=module is sweep)
    captured = capsys.readouterr()
    assert stopped.value.code == code, captured.err
    return captured.out or captured.err


@pytest.mark.parametrize("module", [sweep, report, bench, doctor])
def test_help_of_every_command_reads_well_on_80_columns(module, monkeypatch, capsys):
    text = shown_help(module, monkeypatch, capsys)
    name = module.__name__
    assert f"python -m {name}" in text
    assert "Exit code" in text
    # Commands that are shown to be copied stay whole.
    assert max(len(line) for line in text.splitlines() if f"python -m {name} --" not in line) < 80
    assert "\n\n\n" not in text
    values = flags.FlagValues()
    module.define_flags(values)
    for flag in values:
        assert f"\n  --{flag}" in text, flag
        if values[flag].default not in (None, False, ""):
            assert "(default: " in text.split(f"\n  --{flag}")[1].split("\n  --")[0], flag


def test_help_of_a_sweep_says_usage_flags_in_groups_examples_and_exit_codes(monkeypatch, capsys):
    text = shown_help(sweep, monkeypatch, capsys)
    assert text.startswith("Run a sweep: python -m launch.sweep --config=FILE[:PRESET]")
    places = [text.index(part) for part in ("Examples:", "Exit codes:", "\nFlags:", "Several processes")]
    assert places == sorted(places)
    own, others = text.split("Several processes")
    for flag in ("config", "config.KEY", "workdir", "resume", "dry_run", "tensorboard"):
        assert f"  --{flag}" in own
    for flag in ("coordinator", "num_processes", "process_id"):
        assert f"  --{flag}=" in others
        assert f"  --{flag}=" not in own
    assert "<auto|never|must>" not in text  # absl's own way to list the choices


def test_help_with_a_config_lists_its_keys_with_type_value_and_meaning(monkeypatch, capsys):
    text = shown_help(sweep, monkeypatch, capsys, "--config=configs/rank_flow.py:smoke")
    assert "Keys of configs/rank_flow.py:smoke" in text
    assert "  --config.depth=2 (int)\n" in text
    assert "  --config.mask_prob=0.15 (float)\n" in text
    assert "  --config.sweep.correlation_length=1.062,7.09 (tuple)\n" in text
    assert "  --config.batch=8 (int)\n      fresh sequences per step\n" in text
    assert "  --config.engine.chunk_steps=500 (int)\n      most steps of one compiled call" in text
    assert max(len(line) for line in text.splitlines() if "python -m launch.sweep --" not in line) < 80
    default = shown_help(sweep, monkeypatch, capsys, "--config=configs/rank_flow.py")
    assert "  --config.depth=6 (int)\n" in default


def test_help_with_a_config_that_is_not_there_says_so(monkeypatch, capsys):
    line = shown_help(sweep, monkeypatch, capsys, "--config=configs/nowhere.py", code=2)
    assert "configs/nowhere.py" in line
    assert len(line.strip().splitlines()) == 1


WALK = '''"""A walk with a loss that takes a while, one run of which dies: experiment and config in one file."""

import jax
import jax.numpy as jnp
import numpy as np

from configs import common
from rgflow.protocol import Experiment, Point, Stream


def make(config):
    """Returns one walk."""

    def step(key, state, hypers):
        place, steps = state
        noise = jax.random.normal(jax.random.fold_in(key, Stream.NOISE), ())
        loss = jnp.where(steps == hypers["fatal_step"], jnp.nan, 2.0 + 0.1 * noise)
        return (place + noise, steps + 1), {"train_loss": loss}

    return Experiment(
        static="walk",
        hypers={"fatal_step": np.int32(config.fatal_step)},
        init=lambda key, hypers: (jnp.zeros(()), jnp.zeros((), jnp.int32)),
        step=step,
        probe=lambda key, state, hypers: {"place": state[0]},
        schedule=(0, 1, config.steps),
        dims={},
    )


def get_config(preset=""):
    """Returns the config."""
    config = common.get_config("terminal_walk")
    config.update({"steps": 300, "fatal_step": -1, "seeds": 3})
    config.engine.chunk_steps = 10
    return config


def get_sweep(config):
    """Returns walks that live and one that dies."""
    return [Point({"fatal_step": -1}, config.seeds), Point({"fatal_step": 5}, 1)]
'''


def on_a_terminal(command, columns=80):
    """Runs a command on a pseudo-terminal; returns its exit code and what it showed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {k: v for k, v in warm.environment(TERM="xterm").items() if k not in ("COLUMNS", "LINES")}
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    process = subprocess.Popen(command, cwd=warm.HERE.parent, env=environment, **streams)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    return process.wait(60), shown.decode()


def test_sweep_on_a_terminal_of_80_columns_shows_a_bar_that_fits_and_how_to_grow(tmp_path):
    file = tmp_path / "terminal_walk.py"
    file.write_text(WALK)
    workdir = tmp_path / "run"
    words = [f"--config={file}", f"--workdir={workdir}", "--tensorboard"]
    code, shown = on_a_terminal([sys.executable, "-m", "launch.sweep", *words])
    assert code == 0, shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    bars = [line for line in re.split(r"[\r\n]+", plain) if " elapsed, " in line or "run-steps/s" in line]
    assert bars
    assert max(map(len, bars)) <= 80
    for part in ("group 1/1  step 300/300", "100%", "run-steps/s", "(3 runs)", "1 dead", "0:00 left"):
        assert any(part in line for line in bars), (part, bars[-4:])
    assert any(re.search(r"loss (1\.9|2\.0)\d* \+- 0\.0\d+ ", line) for line in bars), bars[-4:]
    for part in ("report.html", "done in 0:", "compiling 0:", "running 0:", "1 of 4 runs dead"):
        assert part in plain, plain[-2000:]
    assert f"tensorboard --logdir={workdir / 'tensorboard'}" in plain
    assert any((workdir / "tensorboard" / "group_000").glob("events.out.tfevents.*"))
    # Its last line is the command that makes it larger, broken where the terminal ends.
    command = shlex.split(plain[plain.rindex("python -m launch.sweep") :])
    assert command[:3] == ["python", "-m", "launch.sweep"]
    assert command[-1] == "--config.seeds=6"
    grown = run(*command[3:])
    assert "4 runs are finished" in grown
    assert "1 of 7 runs dead" in grown


def test_doctor_finds_this_installation_healthy():
    shown = subprocess.run([sys.executable, "-m", "launch.doctor"], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stdout
    assert "healthy" in shown.stdout


def test_version_on_the_bad_list_is_refused_loudly(monkeypatch, capsys):
    monkeypatch.setattr(environment.metadata, "version", lambda name: "0.10.2" if name == "jaxlib" else "1.0")
    assert not doctor.check_version().passed
    monkeypatch.setattr(sys, "argv", ["sweep", CONFIG])
    assert sweep.main(sys.argv) == 1
    assert "39103" in capsys.readouterr().err


def test_canary_notices_wrong_arithmetic(monkeypatch):
    monkeypatch.setattr(doctor.jax, "jit", lambda f: lambda x: f(x) * (1 + 1e-3))
    assert not doctor.check_canary().passed
