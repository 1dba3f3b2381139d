"""Tables, figures and page of a report, from hand-made verdicts and synthetic results."""

import base64
import dataclasses
import io
import json
import os
import pathlib
import re
import subprocess
import sys
from html.parser import HTMLParser

import datasets
import ml_collections
import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from configs import rank_flow as rank_flow_config
from launch import outcome, terminal
from launch import report as report_command
from launch import results as results_command
from launch import workdir as workdirs
from launch.command_line import UsageError
from rgflow import registry
from rgflow.engine import grid, records
from rgflow.engine.plan import Plan
from rgflow.judging.text import number_text
from rgflow.plots.figure import Figure
from rgflow.plots.panel import Guide, Panel, Series
from rgflow.probes.spectrum import RANK_MEASURES
from rgflow.protocol import Point, Verdict
from rgflow.rank_flow import probe
from rgflow.rank_flow.readings import DRIFT_MEASURES
from rgflow.report import html, ledger, tables

NAN = float("nan")
STEPS = (0, 1, 10, 100)
MADE = datasets.config_of("rank_flow", "default", num_states=4)
SIZES = {"depth": 4, "width": 8, "window": 0, "cooldown": 0.0}
TRAINING = {"steps": 100, "learning_rate": 1e-3}


def passed(value):
    return {"value": value, "requirement": "at least 0.5 <of> the attainable", "passed": True}


def failed(value):
    return {"value": value, "requirement": "below 0.05", "passed": False}


VERDICTS = [
    Verdict("S1-i [window, length 1]", "The rank falls.", "supported", -0.1912, -0.2301, -0.1513,
            "below 0", 8, 0, {"converged": passed(0.001), "informed": passed(0.75)}),
    Verdict("S1-i [window, length 7]", "The rank falls.", "undecided", -0.5, -0.9, 0.1, "below 0", 7, 1,
            {"converged": failed(0.37), "informed": failed(NAN)}),
    Verdict("S1-ii [a | b]", "It is selective.", "contradicted", 0.02, NAN, NAN, "below -0.5", 1, 0, {}),
    Verdict("S1-iii", "Drift concentrates.", "not_run", None, None, None, "needs two lengths", 0, 0, {}),
]  # fmt: skip


def results(mixings=("tokenwise", "window"), lengths=(1.0, 7.0), seeds=3, depth=4, dead=(), reached=None, depths=()):
    """Results whose rank falls with depth and training; ``dead`` runs are NaN, others stop at ``reached``."""
    rng = np.random.default_rng(0)
    runs = [(m, x, s) for m in mixings for x in lengths for s in range(seeds)]
    shape = (len(runs), len(STEPS), len(probe.LEVELS), len(probe.CENTRINGS))
    layer, trained = np.arange(depth + 1) / depth, np.log10(np.array(STEPS) + 1)[:, None, None, None]

    def noise(*size):
        return 1 + 0.05 * rng.standard_normal(size)

    rank = 16 * np.exp(-0.5 * trained * layer) * noise(*shape, depth + 1)
    drift = 0.4 * np.exp(-2.0 * np.arange(depth)) * noise(*shape, depth)
    loss = (1.5 + np.exp(-trained[:, 0, 0, 0])) * noise(*shape[:2])
    for k, d in enumerate(depths):
        rank[k, ..., d + 1 :], drift[k, ..., d:] = NAN, NAN
    for k in range(len(runs)):
        last = -1 if k in dead else STEPS[-1] if reached is None else reached
        late = np.array(STEPS) > last
        rank[k, late], drift[k, late], loss[k, late] = NAN, NAN, NAN
    seen = rank[:, :, 0, 0]
    measured = {
        **dict.fromkeys(RANK_MEASURES, rank),
        **dict.fromkeys(DRIFT_MEASURES, drift),
        "loss": loss,
        "excess_loss": loss - 1.2,
        "predictor_effective_rank": 0 * rank[:, :, 0, :, 0] + 2.5,
        "mode_r2": seen[..., None] / [20.0, 30.0, 40.0],
        "bayes_r2": seen / 20,
        "perturbation": -seen[:, :, None] * [[0.1], [0.2], [0.3]],
        "stream_growth": 0 * seen,
    }
    known = {"bayes_loss": 1.2, "architecture_loss": 1.5, "blind_loss": 2.7, "mode_modulus": [0.5, 0.4, 0.1]}
    swept = {"control": "none", "chain.kind": "dirichlet_lazy", **SIZES, **TRAINING, "chain.groups": 0}
    points = [Point({"mixing": m, "correlation_length": x, **swept}, seeds) for m in mixings for x in lengths]
    config = {**SIZES, "sweep": {"mixing": mixings}, "note": '<b> & "quotes"',
              "chain": {"kind": "dirichlet_lazy", "groups": 4}, "phases": {**SIZES, **TRAINING},
              "runs": dict.fromkeys(mixings, TRAINING)}  # fmt: skip
    died_at = [1 if k in dead else -1 for k in range(len(runs))]
    attributes = {"config": json.dumps(config)}
    return datasets.results(MADE, points, measured, known, died_at, STEPS, attributes=attributes)


def made_up():
    """Figures of all that a page must carry: lines, bars, a legend, words with signs of HTML, claims and none."""
    falling = 20.0 * np.array([0.5, 0.6, 0.7])[:, None] ** np.arange(4)
    lines = [Series(x, kind, range(4), falling / x) for x in (1.0, 7.0) for kind in ("untrained", "trained")]
    bars = [Series("", "trained bars", ["0 \u2192 1", "1 \u2192 2"], falling[:, :2])]
    wanted = {"S1-i": "lines that do not fall", "S1-ii": "lines that fall <alike> & together"}
    return [
        Figure(
            "ranks", "Rank against depth.", [Panel("window", lines)], wanted, x="layer", y="rank", group="length {:g}"
        ),
        Figure(
            "drift", "Drift & depth.", [Panel("a", bars), Panel("b", bars)], {"S1-iii": "even bars"}, x="transition"
        ),
        Figure(
            "loss",
            "Loss.",
            [Panel("", lines, [Guide("bound", y=1.0)])],
            purpose="It shows what was learned.",
            scale="log",
        ),
    ]


def run_json(dataset):
    runs = [{"values": {}, "first_seed": 0, "seeds": dataset.sizes["run"]}]
    command = "python -m launch.sweep --config=a.py"
    return {"experiment": "rank_flow", "command": command, "digest": "0", "device": "cpu", "git_commit": "",
            "science": {}, "versions": {"jax": "1"}, "groups": [{"name": "g", "runs": runs}]}  # fmt: skip


def page_of(dataset, verdicts=VERDICTS, drawn=None, workdir=pathlib.Path("/tmp/w")):
    drawn = made_up() if drawn is None else drawn
    run = run_json(dataset)
    config = ml_collections.ConfigDict(json.loads(dataset.attrs["config"]))
    commands = outcome.commands(run, config, workdir)
    about = "A title\n\nIntro & more."
    pictures = [(one.texts, one.svg) for one in drawn]
    return html.render("A title", about, verdicts, pictures, run, dataset, workdir, commands=commands)


# --- tables


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((-0.1912, -0.2301, -0.1513), "-0.19 [-0.23, -0.15]"),
        ((0.0014, 0.0011, 0.0018), "0.0014 [0.0011, 0.0018]"),
        ((1234.5, 1200.0, 1300.0), "1234 [1200, 1300]"),
        ((-0.001, -0.1, 0.1), "0.00 [-0.10, 0.10]"),
        ((1.0, 1.0, 1.0), "1 [1, 1]"),
        ((2.0, NAN, NAN), "2"),
        ((None, None, None), "-"),
        ((NAN, 0.0, 1.0), "-"),
    ],
)
def test_digits_follow_the_interval(numbers, text):
    assert number_text(*numbers) == text


def test_verdicts_are_strict_json():
    data = results_command.verdicts_to_json(VERDICTS)
    again = json.loads(json.dumps(data, allow_nan=False))
    assert [v["status"] for v in again] == ["supported", "undecided", "contradicted", "not_run"]
    assert again[1]["controls"]["informed"]["value"] is None
    assert again[2]["low"] is None
    assert set(again[0]) == set(Verdict.__dataclass_fields__)


def test_numpy_scalars_become_json():
    data = results_command.strict({"a": np.float32(1.5), "b": (np.bool_(True), np.inf), "c": np.int64(3)})
    assert data == {"a": 1.5, "b": [True, None], "c": 3}


def test_terminal_table_says_it_all():
    console = Console(width=120, file=io.StringIO())
    console.print(terminal.verdict_table(VERDICTS))
    text = console.file.getvalue()
    for part in (
        "S1-i [window, length 1]",
        "-0.19 [-0.23, -0.15]",
        "7 (1)",
        "converged = 0.37 and 1 more",
        "all passed",
        "not run",
    ):
        assert part in text


def test_a_row_of_a_markdown_table_keeps_its_columns():
    assert ledger.markdown_row(["a | b", "c\nd"]) == "| a \\| b | c d |"


def test_run_summary_counts_dead_and_unfinished():
    dataset = results(dead=(0,), reached=10)
    first, second = tables.run_summary(dataset)[:2]
    assert (first["runs"], first["dead"], first["ended"]) == (3, {0: 1}, 1)
    assert (second["dead"], second["ended"], second["reached"], second["steps"]) == ({}, 0, 10, 100)
    assert tables.unfinished(run_json(dataset), dataset).startswith("This sweep is not finished: 1 of 12 runs")
    assert tables.unfinished(run_json(results()), results()) == ""


# --- figures


@pytest.fixture(scope="module")
def dataset():
    return results(dead=(0,))


@pytest.fixture(scope="module")
def drawn():
    return made_up()


def test_files_and_page_are_the_same_on_two_calls(tmp_path, dataset):
    pages = []
    for folder in ("a", "b"):
        again = made_up()
        pages.append(page_of(dataset, drawn=again))
        for d in again:
            d.save(tmp_path / folder)
    assert pages[0] == pages[1]
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert len(files) == 2 * len(again)
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_drawing_leaves_matplotlib_alone():
    # In a process of its own: reading the setting "backend" imports pyplot, and any test may have done so.
    code = (
        "import sys, matplotlib; names = ('font.size', 'svg.fonttype', 'svg.hashsalt', 'axes.grid')\n"
        "before = [matplotlib.rcParams[n] for n in names]\n"
        "from rgflow.plots import style\n"
        "with style.style(): assert [matplotlib.rcParams[n] for n in names] != before\n"
        "assert [matplotlib.rcParams[n] for n in names] == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr


def test_an_experiment_without_figures_has_none():
    assert registry.figures("configs.common")(None, []) == []


# --- page


class Page(HTMLParser):
    """Collects tags, ids and links of a page, and fails on a tag that is closed wrongly."""

    VOID = ("meta", "br", "link", "img", "hr")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, name):
        return [a[name] for _, a in self.tags if name in a]


@pytest.fixture(scope="module")
def page(dataset, drawn):
    return page_of(dataset, drawn=drawn)


def test_page_is_well_formed(page):
    parsed = Page(page)
    assert parsed.open == []
    ids = parsed.all("id")
    assert len(ids) == len(set(ids)) > 10


def test_references_hit_their_own_ids(page):
    parsed = Page(page)
    links = [h[1:] for h in parsed.all("href")]
    assert links
    assert set(links) <= set(parsed.all("id"))


def test_page_loads_nothing_and_runs_nothing(page):
    parsed = Page(page)
    assert not {"script", "link", "svg", "iframe", "object"} & {tag for tag, _ in parsed.tags}
    assert all(source.startswith("data:image/svg+xml;base64,") for source in parsed.all("src"))
    assert not re.search(r"https?://|@import|url\(", page)
    (policy,) = [a["content"] for tag, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_every_figure_has_alt_text_and_caption(page, drawn):
    parsed = Page(page)
    drawings = [a for tag, a in parsed.tags if tag == "img"]
    assert len(drawings) == len(drawn) == 3
    assert all(len(a["alt"]) > 40 for a in drawings)
    shown = [base64.b64decode(a["src"].partition(",")[2]) for a in drawings]
    assert shown == [one.svg for one in drawn]
    assert page.count("<figcaption>") == len(drawn)


def test_page_holds_verdicts_runs_config_and_command(page):
    text = re.sub(r"\s+", " ", Page(page).text)
    for part in (
        "-0.19 [-0.23, -0.15]", "S1-iiIt is selective.", "window, length 7", "needs two lengths",
        "all 2 controls passed", "converged, informed", "at least 0.5 <of> the attainable", "seed 0 at step 1",
        "1 supported", "1 undecided", "of 2 places: holds in some places, open in the others",
        "What would falsify it.", "1 dead run of 12",
        '<b> & "quotes"',
        "python -m launch.sweep --config=a.py", "Intro & more.", "7 (1)",
    ):  # fmt: skip
        assert part in text, part


def test_claims_and_figures_link_to_each_other(page, drawn):
    parsed = Page(page)
    links, claims = parsed.all("href"), {"S1-i", "S1-ii", "S1-iii"}
    for d in drawn:
        assert links.count(f"#figure-{d.name}") == len(claims & set(d.falsified_by))
    for claim in claims:
        assert links.count(f"#claim-{claim}") == sum(claim in d.falsified_by for d in drawn) > 0


def test_folds_are_open_only_where_they_are_few(dataset):
    def opened(verdicts):
        page = Page(page_of(dataset, verdicts, drawn=[]))
        return sum("open" in a for tag, a in page.tags if tag == "details")

    many = [dataclasses.replace(VERDICTS[0], claim=f"S1-i [{k}]") for k in range(31)]
    assert opened(many[:30]) == opened(many) + 1


def test_unfinished_page_says_so():
    text = Page(page_of(results(reached=10), verdicts=[], drawn=[])).text
    assert "not finished: 0 of 12" in text
    assert "nothing to judge" in text


# --- command


def make_workdir(folder, finished=("group_000",), started=("group_001",)):
    """A workdir of the smoke sweep with made-up records; a started group lacks its last one."""
    config = rank_flow_config.get_config("smoke")
    plan = Plan(config, registry.make).grown(grid.expand(rank_flow_config.get_sweep(config)), len)
    rng = np.random.default_rng(0)
    for group in plan.groups:
        schedule, experiment = plan.schedule(group), plan.experiment(group.runs[0])
        for step in schedule if group.name in finished else schedule[:-1] if group.name in started else ():
            record = {
                name: rng.uniform(1, 2, (len(group.runs), *(len(experiment.coords[d]) for d in dims)))
                for name, dims in {**experiment.dims, "loss": (), "excess_loss": ()}.items()
                if name not in experiment.reference
            }
            record["died_at"] = np.full(len(group.runs), -1)
            records.write_record(folder, group.name, step, record, 0, len(group.runs))
    command = ["sweep", "--config=configs/rank_flow.py"]
    records.write_json(folder / "run.json", workdirs.describe(plan, command))
    records.write_json(folder / "config.json", config.to_dict())
    return folder


def test_report_of_an_unfinished_sweep(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(registry, "figures", lambda name: lambda results, verdicts: made_up())
    report_command.write_report(make_workdir(tmp_path))
    printed = capsys.readouterr().out
    assert "not finished: 4 of 8 runs" in printed
    assert str(tmp_path / "report.html") in printed.replace("\n", "")
    claims = [v["claim"] for v in json.loads((tmp_path / "verdicts.json").read_text()) if v["status"] != "not_run"]
    assert claims
    assert all("tokenwise" in claim or "all readings" in claim for claim in claims)
    with xr.open_dataset(tmp_path / "results.nc", engine="h5netcdf") as dataset:
        assert dataset.sizes["run"] == 8
        assert json.loads(dataset.attrs["config"])["depth"] == rank_flow_config.get_config("smoke").depth
        assert {"experiment", "versions", "device", "git_commit"} <= set(dataset.attrs)
    assert (tmp_path / "figures" / "ranks.svg").exists()
    assert (tmp_path / "tables" / "ranks.csv").read_text() == made_up()[0].csv
    for name in ("report.html", "figures", "tables", "verdicts.json", "results.nc"):
        assert (f"{tmp_path / name}\n" in printed) == (tmp_path / name).exists(), name
    assert "The verdicts rest on the finished runs" in (tmp_path / "report.html").read_text()


def test_all_takes_the_newest_finished_sweep_and_writes_its_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(registry, "figures", lambda name: lambda results, verdicts: made_up()[:1])
    monkeypatch.setattr(report_command, "ROOT", tmp_path)
    every = ("group_000", "group_001")
    old, new = (make_workdir(tmp_path / name, finished=every) for name in ("old", "new"))
    make_workdir(tmp_path / "unfinished")
    smoke = make_workdir(tmp_path / "smoke", finished=every)
    said = json.loads((smoke / "run.json").read_text())
    said |= {"command": "python -m launch.sweep --config=a.py:smoke"}
    records.write_json(smoke / "run.json", {**said, "checksum": workdirs.checksum(said)})
    for age, path in enumerate((smoke, new, old)):
        os.utime(path / "run.json", (2e9 - age, 2e9 - age))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")

    assert report_command.newest_finished() == [str(new)]
    printed = capsys.readouterr().out
    for part in ("smoke': a smoke test", "unfinished': not finished", "damaged"):
        assert part in printed, part
    assert report_command.main(["report", "--all"]) == 0
    assert f"{new}: its report is missing or older than its records, writing it" in capsys.readouterr().out
    page = (tmp_path / "results.html").read_text()
    assert str(new) in page and str(old) not in page and "kernel_rg is missing" in page

    assert report_command.main(["report", "--compare", str(new), str(new), f"--out={tmp_path / 'c.html'}"]) == 0
    assert "writing it" not in capsys.readouterr().out
    os.utime(next((new / "chunks").glob("*.npz")), (3e9, 3e9))
    assert not results_command.is_current(new)


def test_report_before_any_run_is_finished(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(registry, "figures", lambda name: lambda results, verdicts: [])
    report_command.write_report(make_workdir(tmp_path, finished=(), started=("group_000",)))
    assert "nothing to judge yet" in capsys.readouterr().out
    assert json.loads((tmp_path / "verdicts.json").read_text()) == []


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no run"):
        report_command.main(["report", f"--workdir={tmp_path}"])
    with pytest.raises(UsageError, match="--workdir is missing"):
        report_command.main(["report"])


def test_a_run_without_records_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no record yet"):
        report_command.write_report(make_workdir(tmp_path, finished=(), started=()))
