"""Bad input: exit code 2, one line naming key, value and what is allowed, and nothing left on disk."""

import subprocess
import sys

import pytest
from sweeps import refused

from launch import command_line, doctor, environment, report, sweep

CONFIG = "--config=configs/rank_flow.py:smoke"


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
        ("training.window.seeds=-3", ["training.window.seeds", "-3", "at least 1"]),
        ("training.tokenwise.steps=0", ["training.tokenwise.steps", "0", "at least 1"]),
        ("training.tokenwise.learning_rate=-1.0", ["learning_rate", "-1.0", "positive"]),
        ("sweep.mixing=attenshun,", ["mixing", "attenshun", "tokenwise, window"]),
        ("chain.kind=ring", ["ring", "dirichlet_lazy"]),
        ("norm=layer", ["norm", "layer", "pre, post, none"]),
        ("mask_mode=roberta", ["mask_mode", "roberta", "pure, bert"]),
        ("dept=3", ["config.dept", "did you mean 'depth'"]),
        ("training.windw.seeds=3", ["config.training.windw.seeds", "did you mean 'window'"]),
        ("training.window=3", ["config.training.window", "a section"]),
        ("depth=deep", ["config.depth", "deep", "int"]),
        ("depth=2.5", ["config.depth", "2.5", "int"]),
        ("engine.chunk_steps=0", ["config.engine.chunk_steps", "0", "at least 1"]),
        ("experiment=ranks", ["experiment", "ranks", "rank_flow"]),
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
        (["--config=configs/nowhere.py"], ["configs/nowhere.py", "no such file"]),
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


def test_folder_with_other_files_is_refused(monkeypatch, capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    line = refused(sweep, [CONFIG, f"--workdir={tmp_path}"], monkeypatch, capsys)
    assert "thesis.tex" in line
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_report_of_an_empty_folder_is_refused(monkeypatch, capsys, tmp_path):
    assert str(tmp_path) in refused(report, [f"--workdir={tmp_path}"], monkeypatch, capsys)


@pytest.mark.parametrize("module", [sweep, report, doctor])
def test_help_of_every_command_is_there(module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command", "--help"])
    with pytest.raises(SystemExit) as stopped:
        command_line.run(module.main, module.__doc__, module.define_flags)
    assert stopped.value.code == 0
    assert f"python -m {module.__name__}" in capsys.readouterr().out


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
