"""Pages over several sweeps: side by side, and the claims of all rooms; and the commands that write them."""

import importlib
import pathlib
import re

import pytest

from launch import report, results
from launch.command_line import UsageError
from rgflow import registry
from rgflow.protocol import Verdict
from rgflow.report import compare, ledger

ROOT = pathlib.Path(__file__).parents[2]
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 50"><path d="M0 0"/></svg>'
ROOMS = sorted(name for name, maker in registry.EXPERIMENTS.items() if isinstance(maker, registry.Room))
DOCS = {name: importlib.import_module(registry.package(name)).__doc__ for name in ROOMS}
TABLES = {name: registry.claims(name) for name in ROOMS}


def verdict(claim, status="supported", measured=1.0, controls=None, statement="It falls."):
    return Verdict(claim, statement, status, measured, measured, measured, "below 0", 3, 0, controls or {})


def texts(name, claims=("S1-i",)):
    return {"name": name, "caption": f"Caption of {name}.", "alt": f"A drawing of {name}.", "claims": list(claims),
            "falsified_by": f"{', '.join(claims)}: lines that rise."}  # fmt: skip


def sweep(path="a", room="rank_flow", verdicts=(), pictures=("ranks",), config=None, unfinished=""):
    run = {"experiment": room, "groups": [{"name": "g", "runs": [0] * 4}], "device": "2 x cpu",
           "versions": {"jax": "0.10.1"}, "git_commit": "abc", "command": "python -m launch.sweep"}  # fmt: skip
    drawn = [(texts(name), SVG) for name in pictures]
    return compare.Sweep(path, run, config or {"width": 64}, list(verdicts), drawn, f"Title of {room}", unfinished)


def plain(page):
    body = re.sub(r"<style\b.*?</style>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


# --- side by side


def test_equal_claims_share_a_row_and_disagreements_are_counted():
    a = sweep("a", verdicts=[verdict("S1-i [x]"), verdict("S1-i [y]"), verdict("S1-i [z]", "not_run", None)])
    b = sweep("b", verdicts=[verdict("S1-i [y]", "undecided"), verdict("S1-i [x]"), verdict("S1-i [z]"),
                             verdict("S1-ii")])  # fmt: skip
    first, second = compare.compared([a, b])
    assert [row.place for row in first.rows] == ["x", "y", "z"]
    assert [[v.status for v in row.cells] for row in first.rows] == [
        ["supported", "supported"], ["supported", "undecided"], ["not_run", "supported"],
    ]  # fmt: skip
    assert [row.differs for row in first.rows] == [False, True, False]
    assert (first.disagreements, first.shared) == (1, 2)
    assert second.claims[0] is None and second.rows[0].cells[0] is None and second.shared == 0


def test_only_config_keys_that_differ_are_listed():
    mixing = {"sweep": {"mixing": ("x",)}}
    a, b = sweep(config={"width": 64, **mixing}), sweep(config={"width": 32, "new": 1, **mixing})
    assert compare.differences([a, b]) == {"new": ["(absent)", "1"], "width": ["64", "32"]}
    assert compare.differences([a, a]) == {}


def test_comparison_shows_both_sides_and_marks_what_differs():
    a = sweep("first", verdicts=[verdict("S1-i [x]"), verdict("S1-ii")], pictures=("ranks", "loss"))
    b = sweep("second", verdicts=[verdict("S1-i [x]", "contradicted", -2.0), verdict("S1-ii")], config={"width": 32})
    text = plain(compare.render([a, b]))
    for part in ("1 of 1 differs", "agree", "first", "second", "B has no such figure", "S1-i: lines that rise."):
        assert part in text, part
    page = compare.render([a, b])
    assert page.count("<img") == 3 and 'id="figure-A-ranks"' in page and 'id="figure-B-ranks"' in page


def test_rooms_are_compared_apart():
    a, b = sweep("a", verdicts=[verdict("S1-i")]), sweep("b", "kernel_rg", [verdict("S4-size")])
    text = plain(compare.render([a, b]))
    assert text.count("is the only sweep of this room") == 2 and "no such claim" not in text
    assert "has no such figure" not in text


def test_letters_go_on_after_the_alphabet():
    assert [compare.letter(k) for k in (0, 25, 26)] == ["A", "Z", "A1"]


# --- all rooms


@pytest.mark.parametrize("room", ROOMS)
def test_every_claim_of_a_room_has_a_source_that_its_docstring_names(room):
    names = [claim.name for claim in TABLES[room]]
    assert names and len(set(names)) == len(names)
    for claim in TABLES[room]:
        keys = re.findall(r"\w+\d{4}", claim.source)
        assert keys or ledger.rank(claim) == 2, claim.name
        assert all(f"{key} = " in ledger.papers(DOCS[room]) for key in keys), claim.name


def test_rooms_of_the_ledger_are_those_of_the_project():
    assert set(ROOMS) == {p.parent.name for p in (ROOT / "rgflow").glob("*/experiment.py")}


def test_ledger_answers_by_all_readings_and_names_what_is_missing():
    summed = [verdict(f"S1-i [all readings, {x}]", status) for x, status in (("x", "supported"), ("y", "contradicted"))]
    judged = [verdict("S1-i [x]"), *summed, verdict("S1-ii", "undecided")]
    text = plain(ledger.render({"rank_flow": sweep(verdicts=judged)}, TABLES, DOCS))
    assert "holds in some places, by the typical reading, fails in others" in text and "of 2 places" in text
    assert "open everywhere" in text and "HR2026 = Haggi-Mani and Rish" in text
    for room in ("fixed_points", "kernel_rg", "variational_rg"):
        assert f"{room} is missing. This makes it: python -m launch.sweep --config=configs/{room}.py" in text
    assert "rank_flow is missing" not in text


def test_ledger_puts_the_literature_first_and_our_checks_last():
    judged = [verdict("S4-sampler"), verdict("S4-trained mean"), verdict("S4-size"), verdict("S4-new")]
    room = next(
        r for r in ledger.rooms({"kernel_rg": sweep(room="kernel_rg", verdicts=judged)}, TABLES, DOCS) if r.sweep
    )
    assert [c.name for c in room.claims] == ["S4-size", "S4-trained mean", "S4-sampler", "S4-new"]
    assert room.whose("S4-new") == "-" and room.whose("S4-sampler").startswith(ledger.CHECK)


def test_markdown_ledger_is_a_table_for_each_room():
    judged = [verdict("S1-i [a | b]", statement="|x| falls."), verdict("S1-i [y]", "contradicted", -2.0)]
    unfinished = sweep(verdicts=judged, unfinished="Not finished: 1 of 4.")
    lines = ledger.markdown({"rank_flow": unfinished}, TABLES, DOCS).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 3 and {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {len(ledger.COLUMNS) + 1}
    answer = "HR2026 | holds in some places, fails in others | 1 | 1 | 0 | 0 | 0 | places | -2 [-2, -2] to 1 [1, 1] |"
    assert answer in rows[2]
    assert "\\|x\\| falls." in rows[2] and "Not finished: 1 of 4." in lines
    assert sum(line.startswith("Not run here: `python -m launch.sweep") for line in lines) == 3


# --- commands


@pytest.fixture
def read(monkeypatch):
    """Sweeps by path, instead of folders."""
    sweeps = {
        "a": sweep("a", verdicts=[verdict("S1-i")]), "b": sweep("b", verdicts=[verdict("S1-i", "undecided")]),
        "k": sweep("k", "kernel_rg", [verdict("S4-size")]), "t": sweep("t", "configs.common", [verdict("T")]),
    }  # fmt: skip
    monkeypatch.setattr(results, "read_sweep", lambda text, own: sweeps[text])


def command(*words):
    return report.main(["report", *map(str, words)])


def test_folders_may_be_words_or_have_commas():
    given = ["--compare=a,b"], ["--compare", "a", "b"], ["--compare=a", "b"], ["--compare=a", "--compare=b"]
    assert {tuple(report.gathered(["report", *words])) for words in given} == {("report", "--compare=a,b")}
    assert report.gathered(["report", "--workdir", "a", "b"]) == ["report", "--workdir", "a", "b"]
    assert report.gathered(["report", "--workdirs", "a", "--all"]) == ["report", "--all", "--workdirs=a"]


@pytest.mark.usefixtures("read")
def test_compare_writes_one_page(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("--compare", "a", "b") == 0
    assert capsys.readouterr().out == f"written: {tmp_path / 'compare.html'}\n"
    assert "1 of 1 differs" in plain((tmp_path / "compare.html").read_text())
    assert command("--compare=a,b,k", "--out", tmp_path / "sub" / "x.html") == 0
    assert "kernel_rg" in (tmp_path / "sub" / "x.html").read_text()


@pytest.mark.usefixtures("read")
def test_all_writes_a_page_or_markdown(tmp_path, capsys):
    assert command("--all", "a", "k", "--out", tmp_path / "r.html") == 0
    assert "missing: fixed_points; make it with: python -m launch.sweep" in capsys.readouterr().out
    assert command("--all", "--workdirs=a,k", "--out", tmp_path / "r.md") == 0
    assert "S4-size" in (tmp_path / "r.html").read_text() and "**S4-size**" in (tmp_path / "r.md").read_text()


@pytest.mark.usefixtures("read")
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ((), ("--workdir is missing", "--compare")),
        (("--workdir=a", "--all"), ("--workdir and --all",)),
        (("--workdir=a", "--out=x.html"), ("--out is for",)),
        (("--compare=a,b", "--workdirs=c"), ("--workdirs for --all",)),
        (("--compare", "a"), ("'a'", "two folders or more")),
        (("--compare",), ("two folders or more",)),
        (("--compare=a,b", "--out=x.md"), ("x.md", "must end in .html")),
        (("--all", "a", "--out=x.txt"), ("x.txt", "must end in .html or .md")),
        (("--all", "a", "b"), ("'b'", "second sweep of rank_flow", "'a'")),
        (("--all", "t"), ("'t'", "configs.common is no room", "--config=FILE")),
        (("--workdir=a", "b"), ("'b'", "not understood")),
    ],
)
def test_wrong_words_are_refused_in_one_line(words, parts):
    with pytest.raises(UsageError) as refused:
        command(*words)
    text = str(refused.value)
    assert "\n" not in text and all(part in text for part in parts), text


@pytest.mark.usefixtures("read")
def test_a_page_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        command("--compare=a,b", "--out", tmp_path / "file" / "x.html")


def test_a_folder_that_is_no_sweep_is_refused_by_name(tmp_path):
    with pytest.raises(UsageError, match=f"{tmp_path}.*holds no run"):
        command("--compare", tmp_path, tmp_path)
