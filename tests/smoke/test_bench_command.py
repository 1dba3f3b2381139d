"""launch.bench as its user runs it, in its smallest sizes: recompilation or communication fail it, never time."""

import json
import subprocess
import sys

import pytest


def bench(tmp_path, *flags):
    out = tmp_path / "bench.json"
    command = [sys.executable, "-m", "launch.bench", "--tiny", f"--out={out}", *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads(out.read_text())


def test_a_suite_is_timed(tmp_path):
    text, kept = bench(tmp_path, "--suite=markov", "--rounds=1")
    assert {row["suite"] for row in kept["rows"]} == {"markov"}
    assert kept["machine"]["processor"] and "markov" in text


# Slow: every room is compiled and lowered at several sizes. That no program communicates is tested by lowering them,
# that nothing is compiled while a sweep runs is tested on the toy experiment.
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_counts_hold_and_a_suite_is_timed(tmp_path):
    text, kept = bench(tmp_path, "--suite=markov,counts", "--rounds=1")
    measured = {count["name"]: count for count in kept["counts"]}
    assert all(count["passed"] for count in measured.values())
    assert measured["compilations while it runs"]["measured"] == "0"
    assert measured["communication, rank_flow"]["measured"].startswith("0 bytes")
    assert measured["growth of a step with runs"]["measured"] == "1.00"
    assert {row["suite"] for row in kept["rows"]} == {"markov"}
    assert kept["machine"]["processor"]
    assert "markov" in text and "communication" in text


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_suite_runs_without_peers(tmp_path):
    _, kept = bench(tmp_path, "--suite=all", "--rounds=1")
    assert all(row["status"] in ("few rounds", "met", "missed", "") for row in kept["rows"])
    assert len({row["suite"] for row in kept["rows"]}) == 11
