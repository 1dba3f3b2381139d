"""README, docs, scripts, --help and code agree: flags, config keys, files of a workdir, exit codes, verdict fields.

What is named as `--flag`, `--config.KEY` or a dotted key must exist; what exists must be named somewhere.
"""

import dataclasses
import functools
import importlib
import json
import pathlib
import re
import typing

import ml_collections
import pytest
import sweeps
from absl import flags

from configs import common
from launch import bench, command_line, doctor, report, sweep
from rgflow import registry
from rgflow.protocol import Verdict

ROOT = pathlib.Path(__file__).parents[2]
COMMANDS = {"sweep": sweep, "report": report, "bench": bench, "doctor": doctor}
PAGES = {
    path: path.read_text() for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
}
SCRIPTS = {path: path.read_text() for path in (ROOT / "launch").glob("*.sh")}
OUTSIDE = {"strict", "kill-on-bad-exit", "help"}
"""Flags of other programs that pages mention, and the one that every command has without defining it."""

CONTRACT = (ROOT / "CONTRIBUTING.md").read_text().split("## The contract")[1].split("\n## ")[0]


def defined(module):
    """The flags of a command, with --config where it takes one."""
    values = flags.FlagValues()
    module.define_flags(values)
    return set(values) | ({"config"} if module is sweep else set())


def joined(text):
    """A page with the lines of its commands put together."""
    return re.sub(r"\\\n\s*", " ", text)


def commands(text):
    """Yields (command, its words) of every launch command in a text; what a cluster's script is given is a sweep's."""
    for line in joined(text).splitlines():
        for name, rest in re.findall(r"-m launch\.(\w+)([^#;|`\n]*)", line):
            yield name, rest.split()
        for rest in re.findall(r"launch/(?:slurm|tpu_pod)\.sh([^#;|`\n]*)", line):
            yield "sweep", rest.split()


@functools.cache
def config_of(file, preset="default"):
    """The config of a file and preset."""
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    return module.get_config(preset)


FILES = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "configs").glob("*.py") if path.stem in registry.EXPERIMENTS
)
EVERY_CONFIG = (*FILES, "examples/signal_propagation.py")


def has(config, key):
    """Whether a config has a key or a section of that dotted name."""
    for name in key.split("."):
        if not isinstance(config, ml_collections.ConfigDict) or name not in config:
            return False
        config = config[name]
    return True


def where(path):
    """A page's name for a person."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_of_help_is_documented(name, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit):
        command_line.run(
            COMMANDS[name].main, COMMANDS[name].__doc__, COMMANDS[name].define_flags, config=name == "sweep"
        )
    shown = set(re.findall(r"^  --([a-z_]+)", capsys.readouterr().out, re.M)) - {"config.KEY"}
    assert shown == defined(COMMANDS[name]), "--help and the definitions differ"
    # The page of commands is made of the definitions themselves.
    generated = any(f"<!-- generated: command {name} -->" in text for text in PAGES.values())
    named = {flag for text in PAGES.values() for flag in re.findall(r"--([a-z_]+)", text)}
    missing = sorted(shown - named) if not generated else []
    assert not missing, f"launch.{name}: no page names {', '.join('--' + flag for flag in missing)}"


def test_every_flag_that_a_page_names_exists():
    known = {flag for module in COMMANDS.values() for flag in defined(module)} | OUTSIDE
    wrong = []
    for path, text in {**PAGES, **SCRIPTS}.items():
        for name, words in commands(text):
            given = {re.split(r"[=.]", word.lstrip("-"))[0] for word in words if word.startswith("--")}
            wrong += [f"{where(path)}: launch.{name} --{f}" for f in given - defined(COMMANDS[name]) - OUTSIDE]
    for path, text in PAGES.items():
        prose = re.sub(r"```.*?```", "", text, flags=re.S)
        found = {flag for code in re.findall(r"`([^`\n]+)`", prose) for flag in re.findall(r"^--([a-z][\w-]*)", code)}
        wrong += [f"{where(path)}: `--{flag}`" for flag in found - known]
    assert not wrong, f"named, but not a flag: {', '.join(sorted(wrong))}"


def test_every_launch_command_that_a_page_names_exists():
    named = {name for text in {**PAGES, **SCRIPTS}.values() for name, _ in commands(text)}
    assert named <= set(COMMANDS), f"named, but not a command: {', '.join(sorted(named - set(COMMANDS)))}"
    assert {"sweep", "report", "bench", "doctor"} <= named


def test_every_config_key_that_a_command_sets_exists_in_its_config():
    wrong, checked = [], 0
    for path, text in {**PAGES, **SCRIPTS}.items():
        for _, words in commands(text):
            file = next((w.split("=")[1].partition(":")[0] for w in words if w.startswith("--config=")), "")
            if file not in EVERY_CONFIG:
                continue
            for word in (w for w in words if w.startswith("--config.")):
                key, checked = word.removeprefix("--config.").partition("=")[0], checked + 1
                if key != "KEY" and not has(config_of(file), key):
                    wrong.append(f"{where(path)}: {file} has no {key}")
    assert not wrong, "; ".join(wrong)
    assert checked > 10


def test_every_config_file_that_a_page_names_exists_and_every_preset():
    wrong = []
    for path, text in {**PAGES, **SCRIPTS}.items():
        for file, preset in re.findall(r"\b((?:configs|examples)/\w+\.py)(?::(\w+))?", text):
            if not (ROOT / file).is_file():
                wrong.append(f"{where(path)}: {file} does not exist")
            elif preset and preset not in common.PRESETS:
                wrong.append(f"{where(path)}: {file} has no preset {preset}")
    assert not wrong, "; ".join(wrong)


def test_every_key_that_a_page_names_in_prose_exists_in_some_config():
    """Words such as `--config.seeds` or `engine.run_batch`, whose first part is a section of a config."""
    configs = [config_of(file) for file in EVERY_CONFIG]
    sections = {name for c in configs for name, value in c.items() if isinstance(value, ml_collections.ConfigDict)}
    wrong, checked = [], 0
    for path, text in PAGES.items():
        prose = re.sub(r"```.*?```", "", text, flags=re.S)
        keys = set(re.findall(r"--config\.([\w.]+)", prose)) - {"KEY"}
        keys |= {
            word
            for word in re.findall(r"`([a-z_]\w*(?:\.[a-z_]\w*)+)", prose)
            if word.split(".")[0] in sections and not word.endswith((".py", ".md", ".nc", ".json", ".sh"))
        }
        checked += len(keys)
        wrong += [f"{where(path)}: {key}" for key in keys if not any(has(c, key.rstrip(".")) for c in configs)]
    assert not wrong, f"named, but in no config: {', '.join(sorted(wrong))}"
    assert checked > 1


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A finished sweep with everything that a sweep writes."""
    folder = tmp_path_factory.mktemp("contract") / "run"
    small = ("--config.sweep.sigma_w=0.8,", "--config.seeds=2", "--config.depth=22")
    sweeps.run("--config=examples/signal_propagation.py:smoke", *small, "--tensorboard", f"--workdir={folder}")
    return folder


def test_workdir_holds_what_the_contract_says_and_no_more(workdir):
    bullet = CONTRACT.split("A workdir holds")[1].split("\n* ")[0]
    promised = {word.rstrip("/") for word in re.findall(r"`([\w.]+/?)`", bullet)}
    held = {path.name for path in workdir.iterdir()}
    # Tables are written where a figure has numbers of its own.
    assert held | {"tables"} == promised, f"only one of workdir and CONTRIBUTING.md has {sorted(held ^ promised)}"
    folders = {word.rstrip("/") for word in re.findall(r"`([\w.]+/)`", bullet)}
    assert {path.name for path in workdir.iterdir() if path.is_dir()} | {"tables"} == folders
    everywhere = "\n".join(text for path, text in PAGES.items() if path.name != "CONTRIBUTING.md")
    missing = sorted(name for name in promised - {"tensorboard"} if name not in everywhere)
    assert not missing, f"neither README nor docs name {', '.join(missing)}"


def test_fields_and_statuses_of_a_verdict_are_those_of_the_contract(workdir):
    bullet = CONTRACT.split("`verdicts.json` is a list")[1].split("\n* ")[0]
    fields, statuses = bullet.split("the status is")
    names = [field.name for field in dataclasses.fields(Verdict)]
    assert re.findall(r"`(\w+)`", fields) == names
    assert re.findall(r"`(\w+)`", statuses) == list(typing.get_args(typing.get_type_hints(Verdict)["status"]))
    for verdict in json.loads((workdir / "verdicts.json").read_text()):
        assert list(verdict) == names


CODES = {
    command_line.DONE: "done",
    command_line.FAILED: "anything else",
    command_line.BAD_USAGE: "bad usage or config",
    command_line.RESUMABLE: "stopped and resumable",
    command_line.FAILED_AMONG_OTHERS: "in one of several processes",
}


@pytest.mark.parametrize(
    "place", ["README.md", "CONTRIBUTING.md", "launch.sweep --help"], ids=lambda place: place.split()[0]
)
def test_exit_codes_are_those_of_the_code(place):
    text = sweep.__doc__ if place.startswith("launch") else (ROOT / place).read_text()
    (sentence,) = re.findall(r"Exit codes: (.*?)\.(?=\s|$)", text.split("Exit codes: 0 measured")[0], re.S)
    found = {int(code): words for code, words in re.findall(r"(\d+) ([a-z ]+)", " ".join(sentence.split()))}
    assert {code: words.strip() for code, words in found.items()} == CODES


@pytest.mark.parametrize("name", sorted(registry.EXPERIMENTS))
def test_every_room_has_a_config_with_three_presets(name):
    if not isinstance(registry.EXPERIMENTS[name], registry.Room):
        pytest.skip("added by another test")
    module = importlib.import_module(f"configs.{name}")
    digests = set()
    for preset in ("smoke", "default", "paper"):
        config = module.get_config(preset)
        assert config.experiment == name
        assert module.get_sweep(config)
        digests.add(config.to_json())
    assert len(digests) == 3, "two presets are the same"
    assert module.get_config().to_json() == module.get_config("default").to_json()
    with pytest.raises(ValueError, match="preset = 'huge': must be one of smoke, default, paper"):
        module.get_config("huge")


def test_commands_that_the_package_lists_are_all():
    import launch

    assert set(re.findall(r"launch\.(\w+)", launch.__doc__ or "")) == set(COMMANDS)


def test_sentence_on_the_way_to_an_experiment_is_true():
    """CONTRIBUTING.md gives the length of the example."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (lines,) = re.findall(r"`examples/signal_propagation\.py` is one of (\d+) lines", text)
    assert len((ROOT / "examples" / "signal_propagation.py").read_text().splitlines()) == int(lines)
