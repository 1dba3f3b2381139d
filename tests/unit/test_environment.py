"""The cache of compiled programs: used, read where it cannot be written, and left out where there is none."""

import math
import types

import pytest

from launch import environment


@pytest.fixture
def settings(monkeypatch):
    """The settings of jax that are changed, which are not those of this process."""
    values = {}
    config = types.SimpleNamespace(values=values, update=values.__setitem__)
    monkeypatch.setattr(environment, "jax", types.SimpleNamespace(config=config))
    return values


def test_a_cache_that_can_be_written_is_used_without_a_word(settings, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    environment.use_cache()
    assert settings == {"jax_compilation_cache_dir": str(tmp_path / "rgflow" / "jax")}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("place", "kept"), [("/proc/self", "/proc/self"), ("/proc/nowhere", None)])
def test_a_cache_that_cannot_be_written_is_one_line_and_read_where_it_is(settings, capsys, place, kept):
    settings["jax_compilation_cache_dir"] = place
    environment.use_cache()
    assert settings == {"jax_compilation_cache_dir": kept, "jax_persistent_cache_min_compile_time_secs": math.inf}
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot write to {place}; " in line


def test_a_user_without_a_home_has_no_cache(settings, monkeypatch, capsys):
    def homeless(path):
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(environment.pathlib.Path, "expanduser", homeless)
    environment.use_cache()
    assert settings["jax_compilation_cache_dir"] is None
    assert "no home" in capsys.readouterr().err
