"""Attacks: a workdir that somebody sent runs nothing, leads nowhere outside, and shows its words as words."""

import base64
import html.parser
import io
import json
import os
import pickle
import re
import shlex
import shutil
import zipfile

import foreign
import h5py
import numpy as np
import pytest

EVIL = "pathlib.Path(__file__).with_name('RAN').write_text('')"
MODULE = f"import pathlib\n{EVIL}\ndef make(config):\n    raise SystemExit\n"
SCRIPT = "<script>document['title']='RAN'</script><img src=x onerror=alert(1)>\"'"
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" onload="document.title=\'RAN\'">'
    "<script>document.title='RAN'</script><image href='http://192.0.2.1/x'/></svg>"
)


@pytest.fixture
def outside(tmp_path):
    """A folder beside the workdir, whose files no command may read, write or delete."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg">SECRET</svg>')
    (folder / "SECRET.npz").write_bytes(b"")
    return folder


def state(folder):
    """Every file of a folder with its content."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- nothing runs


def test_no_module_that_a_workdir_names_is_imported(workdir, made, tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text(MODULE)
    foreign.forge(workdir, "evil_module")
    named = {"import_from": str(tmp_path), "path": str(tmp_path)}
    foreign.edit_json(workdir / "run.json", lambda run: run.update(named), seal=True)
    (workdir / "evil_module.py").write_text(MODULE)
    # Found also without the workdir's help: beside it, and in the folder in which the command is started.
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in foreign.COMMANDS:
        foreign.COMMANDS[command](workdir, made)
    assert not list(tmp_path.rglob("RAN"))
    (tmp_path / "evil.py").write_text(MODULE.replace("raise SystemExit", "pass") + CONFIG_OF_EVIL)
    foreign.attempt(foreign.report, f"--workdir={workdir}", f"--config={tmp_path / 'evil.py'}")
    assert list(tmp_path.rglob("RAN"))  # the attack would have worked


CONFIG_OF_EVIL = """
import ml_collections
def get_config(preset=""):
    return ml_collections.ConfigDict({"experiment": "evil_module"})
"""


def test_the_report_of_a_foreign_experiment_shows_what_its_workdir_holds(workdir, made):
    foreign.forge(workdir, "somebody.elses")
    kept = {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.name != "report.html"}
    code, said = foreign.COMMANDS["report"](workdir, made)
    assert code == 0 and "The code of 'somebody.elses' is not part of rgflow and was not named" in said
    page = (workdir / "report.html").read_text()
    # The sender's figure, and one that is drawn from the data.
    assert "a claim" in page and "add --config=FILE" in page and page.count("<img") == 2
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert foreign.COMMANDS["compare"](workdir, made)[0] == 0
    assert "somebody.elses" in (made.parent / "c.html").read_text()
    code, said = foreign.COMMANDS["all"](workdir, made)
    assert code == 2 and "somebody.elses is no room; name its code with --config=FILE" in said


def test_the_report_of_a_foreign_experiment_is_drawn_from_its_records_alone(workdir, made):
    foreign.forge(workdir, "somebody.elses")
    for name in ("results.nc", "verdicts.json", "figures/figures.json"):
        (workdir / name).unlink()
    foreign.edit_record(workdir, 1, lambda arrays: arrays.pop("projection"))
    for command in ("report", "compare"):
        assert foreign.COMMANDS[command](workdir, made)[0] == 0
    page = (workdir / "report.html").read_text()
    assert "nothing to judge yet" in page and page.count("<img") == 1
    assert "No run of 4 died." in page and "6 of 6" in page
    shutil.rmtree(workdir / "chunks")
    code, said = foreign.COMMANDS["report"](workdir, made)
    assert code == 2 and "holds no record yet" in said


class Evil:
    """What numpy would call when it loads a pickle."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def test_no_pickle_is_loaded(workdir, made, tmp_path):
    mark = str(tmp_path / "RAN")
    path = workdir / "chunks" / "group_000-000000001.npz"
    foreign.edit_record(workdir, 1, lambda arrays: arrays.update(projection=np.array([Evil(mark)] * 4, object)))
    assert b"mkdir" in path.read_bytes()
    for kind in ("member", "file"):
        if kind == "file":
            path.write_bytes(pickle.dumps(Evil(mark)))
        assert foreign.COMMANDS["report"](workdir, made)[0] == 0
        assert not os.path.exists(mark)


@pytest.mark.parametrize(
    "command", ["rm -rf ~", "python -m launch.sweep; touch RAN", "python -m launch.sweep $(touch RAN) `touch RAN` --a"]
)
def test_a_command_is_shown_as_words_and_never_run(workdir, made, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    foreign.edit_json(workdir / "run.json", lambda run: run.update(command=command), seal=True)
    code, said = foreign.COMMANDS["report"](workdir, made)
    assert not (tmp_path / "RAN").exists()
    if "launch.sweep " not in command:
        assert code == 2 and "must be a command that begins with python -m launch.sweep" in said
        return
    page = Page((workdir / "report.html").read_text())
    shown = [text for text in page.texts if "launch.sweep" in text and "RAN" in text]
    assert shown and all(shlex.split(text)[:3] == ["python", "-m", "launch.sweep"] for text in shown)
    for text in shown:
        assert "touch" not in re.sub(r"'[^']*'", "", text)


# --- pages show words


class Page(html.parser.HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def assert_tame(text):
    """Asserts that a page has no script, no event handler, and loads nothing."""
    page = Page(text)
    assert not {"script", "svg", "iframe", "object", "embed", "link", "base", "form"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("src", "data:image/svg+xml;base64,").startswith("data:image/svg+xml;base64,")
        assert attributes.get("href", "#").startswith("#")
    (policy,) = [a["content"] for _, a in page.tags if "http-equiv" in a]
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("experiment", ["toy", "somebody.elses"])
def test_every_word_of_a_workdir_is_escaped(workdir, made, experiment):
    forged = foreign.forge(workdir, experiment) if experiment != "toy" else workdir

    def words(run):
        run |= {"device": SCRIPT, "git_commit": SCRIPT, "versions": {SCRIPT: SCRIPT}}
        run["command"] += " " + shlex.quote(SCRIPT)

    foreign.edit_json(forged / "run.json", words, seal=True)
    foreign.edit_json(forged / "config.json", lambda config: config["sweep"].update({SCRIPT: SCRIPT}))
    told = {"time": "2026-01-01T10:00:00+0000", "event": "started", "device": SCRIPT}
    with (forged / "events.jsonl").open("a") as file:
        file.write(json.dumps(told) + "\n")
    control = {SCRIPT: {"value": 1.0, "requirement": SCRIPT, "passed": False}}
    fields = {"claim": f"{SCRIPT} [{SCRIPT}]", "statement": SCRIPT, "expected": SCRIPT, "controls": control}
    foreign.edit_json(forged / "verdicts.json", lambda verdicts: verdicts[0].update(fields))
    shown = {"caption": SCRIPT, "alt": SCRIPT, "claims": [SCRIPT], "falsified_by": SCRIPT}
    foreign.edit_json(forged / "figures" / "figures.json", lambda figures: figures[0].update(shown))
    (forged / "figures" / "ranks.svg").write_text(SVG)
    code, said = foreign.COMMANDS["compare"](forged, made)
    assert code == 0, said
    page = (made.parent / "c.html").read_text()
    assert_tame(page)
    assert html.escape(SCRIPT) not in page or "<script" not in page
    assert base64.b64encode(SVG.encode()).decode() in page
    assert foreign.COMMANDS["report"](forged, made)[0] == 0
    assert_tame((forged / "report.html").read_text())
    if experiment == "toy":
        assert foreign.COMMANDS["all"](forged, made)[0] == 0
        assert_tame((made.parent / "a.html").read_text())


# --- no path leads out

LINKED = (
    "config.json", "run.json", "events.jsonl", "results.nc", "verdicts.json", "report.html", "lock.json", "chunks",
    "chunks/group_000-000000001.npz", "checkpoints", "checkpoints/group_000", "figures", "figures/figures.json",
    "figures/ranks.svg", "figures/ranks.png", "tables", "tables/ranks.csv", "tensorboard", "any",
    ".run.json.PID.tmp", "figures/.figures.json.PID.tmp",
)  # fmt: skip


@pytest.mark.parametrize("name", LINKED)
def test_a_link_is_refused_before_anything_is_read_written_or_deleted(workdir, made, outside, name):
    # The number of a process may be guessed, and with it the temporary names that it takes.
    here, there = workdir / name.replace("PID", str(os.getpid())), outside / name.replace("/", "-")
    here.parent.mkdir(exist_ok=True)
    if here.exists():
        shutil.move(here, there)
    elif name in ("tensorboard", "checkpoints", "checkpoints/group_000"):
        there.mkdir()
        (there / "file").write_text("kept")
    else:
        there.write_text("kept")
    here.symlink_to(there)
    before, mine = state(outside), state(workdir)
    for command in foreign.COMMANDS:
        code, said = foreign.COMMANDS[command](workdir, made)
        assert code == 2 and len(said.splitlines()) == 1
        assert str(here) in said and "link" in said, said
    assert state(outside) == before and state(workdir) == mine


def test_a_new_folder_with_a_link_is_refused_too(tmp_path, outside):
    (outside / "victim").write_text("kept")
    workdir = tmp_path / "new"
    workdir.mkdir()
    (workdir / "lock.json").symlink_to(outside / "victim")
    with foreign.toy_room():
        code, said = foreign.COMMANDS["sweep"](workdir, workdir)
    assert code == 2 and str(workdir / "lock.json") in said
    assert (outside / "victim").read_text() == "kept"


@pytest.mark.parametrize("name", ["../../outside/g", "../outside/g", "{outside}/g", "*", "..", "a/b", "g\x00"])
def test_a_group_of_a_name_with_a_folder_is_refused(workdir, made, outside, name):
    name = name.format(outside=outside)

    def rename(run):
        run["groups"][0]["name"] = name

    foreign.edit_json(workdir / "run.json", rename, seal=True)
    (outside / "g").mkdir()
    (outside / "g" / "7").mkdir()
    (outside / "g" / "7" / "file").write_text("kept")
    before = state(outside)
    for command in foreign.COMMANDS:
        code, said = foreign.COMMANDS[command](workdir, made)
        assert code == 2 and "groups[0].name = " in said and len(said.splitlines()) == 1
    assert state(outside) == before


@pytest.mark.parametrize("name", ["../../outside/secret", "{outside}/secret", "../verdicts"])
def test_a_figure_of_a_name_with_a_folder_is_refused(workdir, made, outside, name):
    name = name.format(outside=outside)
    foreign.edit_json(workdir / "figures" / "figures.json", lambda figures: figures[0].update(name=name))
    for command in ("compare", "all"):
        code, said = foreign.COMMANDS[command](workdir, made)
        assert code == 2 and "must be the name of a file, without a folder" in said
    assert all("SECRET" not in path.read_text() for path in (*made.parent.glob("*.html"), workdir / "report.html"))


@pytest.mark.parametrize("how", ["external file", "external link", "soft link", "virtual", "group"])
def test_results_whose_numbers_lie_elsewhere_are_refused(workdir, made, outside, how):
    (outside / "raw").write_bytes(np.arange(100.0).tobytes())
    with h5py.File(outside / "other.nc", "w") as other:
        other["leak"] = np.arange(3.0)
    with h5py.File(workdir / "results.nc", "a") as file:
        if how == "external file":
            file.create_dataset("leak", (4,), "f8", external=[(str(outside / "raw"), 0, 32)])
        elif how == "external link":
            file["leak"] = h5py.ExternalLink(str(outside / "other.nc"), "/leak")
        elif how == "soft link":
            file["leak"] = h5py.SoftLink("/seed")
        elif how == "virtual":
            layout = h5py.VirtualLayout((3,), "f8")
            layout[:] = h5py.VirtualSource(str(outside / "other.nc"), "leak", (3,))
            file.create_virtual_dataset("leak", layout)
        else:
            file.create_group("leak")
    for command in ("compare", "all"):
        code, said = foreign.COMMANDS[command](workdir, made)
        assert code == 2 and "'leak' lies in another file" in said, said


# --- no file is larger than it is


def test_results_and_records_that_claim_to_be_huge_are_refused(workdir, made):
    with h5py.File(workdir / "results.nc", "a") as file:
        file.create_dataset("huge", (2**40,), "f8", chunks=(2**20,))
    code, said = foreign.COMMANDS["compare"](workdir, made)
    assert code == 2 and "more numbers than the file has room for" in said
    path = workdir / "chunks" / "group_000-000000001.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        content = io.BytesIO()
        np.save(content, np.zeros(2**22))
        for name in ("projection.npy", "died_at.npy"):
            archive.writestr(name, content.getvalue())
    assert foreign.COMMANDS["report"](workdir, made)[0] == 0
    assert path.stat().st_size < 2**18
