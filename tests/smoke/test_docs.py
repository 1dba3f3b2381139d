"""The documentation: every block of code runs or is parsed, pages agree with the code, and the site builds."""

import ast
import html.parser
import json
import pathlib
import re
import urllib.parse

import pytest

pytest.importorskip("griffe", reason="needs pip install -e '.[docs]'")

import doc_pages
import matplotlib.pyplot as plt
import page_api
import page_claims
import page_configs
import page_rooms
import page_values
import sweeps
import warm
import xarray
from doc_pages import DOCS, PAGES, ROOT
from mkdocs.commands.build import build
from mkdocs.config import load_config

from configs import common
from launch import command_line
from rgflow import registry
from rgflow.judging.claim import judge
from rgflow.protocol import Results
from rgflow.report import summary

ROOMS = ("rank_flow", "fixed_points", "variational_rg", "kernel_rg")
RUN = [page for page in PAGES if re.search(r"^```(python|sh)$", (DOCS / page).read_text(), re.M)]
"""Pages with blocks that run; what only the hooks put into a page is looked at when it is tested."""


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_parsed(page):
    runs = any(block.kind == "run" and block.language != "bibtex" for block in doc_pages.blocks(page))
    assert runs == (page in RUN)
    for block in doc_pages.blocks(page):
        if block.kind == "parsed":
            for words in doc_pages.commands(block.text):
                doc_pages.check_other(words)
        elif block.kind == "file":
            compile(block.text, page, "exec")
        elif block.language == "sh":
            assert all(doc_pages.launched(words) for words in doc_pages.commands(block.text))


@pytest.fixture
def folder(tmp_path):
    """A folder with nothing but what a reader's commands name."""
    for name in ("configs", "examples", "launch"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run_shell(text, folder):
    """Runs the launch commands of a block in a folder."""
    for words in doc_pages.commands(text):
        name, arguments = doc_pages.launched(words)
        sweeps.ended(warm.Process(["-m", f"launch.{name}", *arguments], cwd=folder))


SWEEPS = [page for page in RUN if re.search(r"^```sh$.*?-m launch.sweep", (DOCS / page).read_text(), re.M | re.S)]
"""Pages whose blocks take many seconds: continuous integration runs them with the other slow tests of this file."""


@pytest.mark.parametrize("page", [pytest.param(page, marks=pytest.mark.slow if page in SWEEPS else ()) for page in RUN])
def test_blocks_run_in_order_in_one_namespace(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    namespace, ran = {"__name__": "__main__"}, 0
    try:
        for number, block in enumerate(doc_pages.blocks(page)):
            if (block.language, block.kind) == ("sh", "run"):
                run_shell(block.text, folder)
            if (block.language, block.kind) == ("python", "run"):
                exec(compile(block.text, f"{page}, block {number}", "exec"), namespace)
            ran += block.kind == "run"
    finally:
        plt.close("all")
    assert ran, f"{page} has no block that is run"


@pytest.mark.parametrize(
    "text",
    [
        "python -m launch.sweep --config=configs/rank_flow.py --config.no_such_key=1",
        "python -m launch.sweep --config=configs/rank_flow.py --no_such_flag",
        "python -m launch.swoop --config=configs/rank_flow.py",
        "pip install -e '.[no_such_extra]'",
        "python -m examples.no_such_example",
        "curl https://example.org",
    ],
)
def test_commands_that_are_wrong_are_found(text):
    (words,) = doc_pages.commands(text)
    with pytest.raises((ValueError, command_line.UsageError)):
        doc_pages.check_other(words)


@pytest.mark.parametrize("info", ["", "yaml", "{.sh .skipped}", "{.python .parsed}", "console"])
def test_blocks_without_a_check_are_found(info):
    with pytest.raises(ValueError, match="a block must be"):
        doc_pages.block(info, "")


def test_a_page_that_does_not_run_is_found(folder, monkeypatch):
    monkeypatch.setattr(doc_pages, "blocks", lambda _: [doc_pages.Block("python", "run", "assert False")])
    with pytest.raises(AssertionError):
        test_blocks_run_in_order_in_one_namespace("none", folder, monkeypatch)


@pytest.mark.parametrize("room", ROOMS)
def test_every_config_key_is_listed_with_the_values_of_the_presets(room):
    table = page_configs.table(room)
    module = page_configs.importlib.import_module(f"configs.{room}")
    shared = dict(page_configs.leaves(common.get_config(room)))
    for preset in common.PRESETS:
        for key, value in page_configs.leaves(module.get_config(preset)):
            if key not in shared:
                rows = [line for line in table.splitlines() if line.startswith(f"| `{key}` |")]
                assert len(rows) == 1, key
                assert page_configs._shown(value) in rows[0], (preset, key)
    assert set(shared) - {"experiment"} == set(re.findall(r"^\| `(.*?)` ", page_configs.shared_table(), re.M))


def test_meanings_of_keys_are_the_comments_beside_them():
    said = page_configs.meanings((ROOT / "configs" / "rank_flow.py").read_text())
    assert said["window"].endswith("positions seen on either side (window)")
    said = page_configs.meanings((ROOT / "configs" / "variational_rg.py").read_text())
    assert said["stack.epochs"] == "per machine, one machine after the other"
    said = page_configs.meanings((ROOT / "configs" / "fixed_points.py").read_text())
    assert "autoencoder | magnetization" in said["task"]


@pytest.mark.parametrize("room", ROOMS)
def test_every_function_that_a_room_names_exists_and_is_linked(room):
    rows = page_rooms.equations(room).splitlines()[2:]
    assert len(rows) > 10
    for row in rows:
        functions = row.split(" | ")[-1].removesuffix(" |")
        assert re.fullmatch(r"\[`[\w.]+`\]\[rgflow[\w.]+\](, \[`[\w.]+`\]\[rgflow[\w.]+\])*", functions), row


CLAIMS = {claim.name: claim for room in ROOMS for claim in registry.claims(room)}
"""Every claim that verdicts are given on."""

LEDGER = (DOCS / "claims_table.md").read_text()
ROW = re.compile(
    r"^\| \*\*(S\d.*?)\*\* .*? \| (.*?) \| (.*?) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\w[\w, ]*) \|", re.M
)


def claims_in(page):
    """The names of claims in the first column of the tables of a page, as a reader sees it."""
    cells = re.findall(r"^\| (S\d.*?) \|", doc_pages.text_of(page), re.M)
    return {re.sub(r" \[.*", "", name) for cell in cells for name in cell.split(", ") if "[" not in name or "]" in cell}


def test_the_ledger_and_the_rooms_list_every_claim_and_no_other():
    assert len(CLAIMS) == 33
    assert claims_in("claims.md") == set(CLAIMS)
    assert set().union(*(claims_in(f"rooms/{room}.md") for room in ROOMS)) >= set(CLAIMS)


def test_findings_of_the_ledger_are_on_the_claims_of_the_code():
    """The findings come from stored sweeps: they must be on the same claims, from the same sources."""
    whose = {name: source for name, source, *_ in ROW.findall(LEDGER)}
    assert whose == {name: claim.source for name, claim in CLAIMS.items()}


@pytest.mark.parametrize("room", ROOMS)
def test_the_table_of_claims_is_that_of_the_code(room):
    rows = page_claims.table(room).splitlines()[2:]
    for claim, row in zip(registry.claims(room), rows, strict=True):
        cells = re.split(r"(?<!\\) \| ", row.removeprefix("| ").removesuffix(" |"))
        shown = [re.sub(r"\\(.)", r"\1", cell) for cell in cells[:4]]
        assert shown == [claim.name, claim.source, claim.statement, claim.expected]
        assert (f"`{claim.flags}`" in cells[4]) if claim.flags else not cells[4].strip(" |")


def test_every_flag_that_a_claim_needs_is_understood_by_the_sweep():
    flags = {(room, claim.flags) for room in ROOMS for claim in registry.claims(room) if claim.flags}
    assert flags, "no claim names flags: there is nothing to check"
    for room, words in flags:
        doc_pages.parse("sweep", [f"--config=configs/{room}.py", *words.split()])


def test_verdicts_of_the_main_experiment_are_the_same_wherever_they_are_given():
    """The README's short table, the full table of the room, the ledger's extremes, and the rules of the code."""
    full = (DOCS / "rooms" / "rank_flow.md").read_text().split("### The verdicts of the default sweep")[1]
    rows = [row.strip("| ").split(" | ") for row in full.split("\n### ")[0].splitlines() if row.startswith("| S1")]
    assert len(rows) == 24
    for name, _, _, rule, *_ in rows:
        assert rule == CLAIMS[name.partition(" [")[0]].expected
    found = {(row[0].partition(" [")[0], row[1], row[2]) for row in rows}
    table = (ROOT / "README.md").read_text().split("## What the main experiment finds")[1]
    shown = [row.strip("| ").split(" | ") for row in table.splitlines() if re.match(r"\| S1-\w+:", row)]
    assert [row[0].partition(":")[0] for row in shown] == ["S1-i", "S1-ii", "S1-iii", "S1-modes"]
    quoted = [(row[0].partition(":")[0], *cell.split(", ", 1)) for row in shown for cell in row[1:] if "[" in cell]
    assert len(quoted) == 14
    assert set(quoted) <= found
    for name in ("S1-i", "S1-ii", "S1-iii", "S1-modes"):
        (line,) = [line for line in LEDGER.splitlines() if line.startswith(f"| **{name}** ")]
        effects = set(line.rstrip(" |").rpartition(" | ")[2].split(" to "))
        assert effects <= {row[2] for row in rows if row[0].startswith(f"{name} [")}


def test_numbers_of_the_benchmarks_in_the_readme_are_those_of_their_table():
    table = [line.split(" | ") for line in (DOCS / "benchmarks_table.md").read_text().splitlines() if " x |" in line]
    measured = {(row[1], row[2], row[3], row[4]) for row in table}
    text = (ROOT / "README.md").read_text().split("## How fast it is")[1]
    quoted = re.findall(r"^\| .*?, (\d+ runs) \| (.*?) \| (.*? x) \[(.*?), (.*?)\] \|$", text, re.M)
    assert len(quoted) == 3
    assert {(case, peer, ratio, f"{low} - {high}") for case, peer, ratio, low, high in quoted} <= measured


STORED = sorted((DOCS / "data").glob("rank_flow_*.nc"))
"""Results of long sweeps, from which the tables and figures of a page are made again."""


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_verdicts_on_stored_results_are_those_of_the_page(path):
    with xarray.open_dataset(path, engine="h5netcdf") as stored:
        results = Results(stored.load(), json.loads(stored.attrs["config"]))
    page = (DOCS / "rooms" / "rank_flow.md").read_text().split("### At the published budget")[1].split("\n### ")[0]
    rows = {tuple(row.strip("| ").split(" | ")[:3]) for row in page.splitlines() if row.startswith("| S1")}
    mixing = path.stem.removeprefix("rank_flow_")
    judged = judge([CLAIMS[name] for name in ("S1-i", "S1-ii", "S1-iii")], results)
    expected = {(v.claim, v.status, summary.effect_text(v)) for v in judged if v.status != "not_run"}
    assert expected and expected <= rows, mixing
    assert {row for row in rows if f"{mixing}" in row[0]} == expected


RULES = {
    "rank_flow": [
        "below {SELECTIVITY_BOUND} |",
        "above {GAIN}; $C_2$ trained above {MAJORITY} |",
        "within {CONVERGED_NATS} nats",
        "1 - CKA within {SAME_DRIFT} |",
        "needs p at most {ALPHA}",
        "with {ERROR_RATE:.0%} for any error",
    ],
    "fixed_points": [
        "ring coupling is 0 within {COUPLING_MARGIN}",
        "fixed point within {KURTOSIS_MARGIN} ",
        "within {FLOW_SHARE:.0%}",
        "the same to {SAME_LOSS:.0e}",
    ],
    "variational_rg": [
        "within {SIGMAS:g} standard errors and known to {PRECISION:.1%}",
        "below {YARDSTICK_BOUND}, from",
        "at least {LEAST_BLOCKS} records",
        "below {ROUNDING:.0e} |",
        "below {EXACT:.0e} nats",
        "more than {LEAST_PARTICIPATION:g} sites",
        "(below {MOST_SHUFFLED_PARTICIPATION})",
        "within {SAME_LATTICE:.0%}",
        "within {SAME_ENERGY:.0%}",
        "data within {SAME_ORDER} |",
    ],
    "kernel_rg": [
        "R-hat at most {WORST_R_HAT}, at least {LEAST_ESS:g} effective",
        "are at most {SHARPNESS:.0%}",
        "below {SADDLE_BOUND:g} L/N",
        "within {CLOSE:.0%}",
        "fitted to {FITTED:.0e}",
        "settled to {SETTLED:.0%}",
        "below {NO_VARIANCE:.0%} of the equilibrium's",
    ],
}
"""What a page says of the decision rules; the names are those of the numbers that the code decides by."""


def numbers(package):
    """The numbers with a name in the modules of a package; a name with two values is left out."""
    found = {}
    for path in sorted((ROOT / "rgflow" / package).glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and re.fullmatch(r"-?[\d.e-]+", ast.unparse(node.value)):
                found.setdefault(ast.unparse(node.targets[0]), set()).add(ast.literal_eval(node.value))
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


@pytest.mark.parametrize("room", ROOMS)
def test_decision_rules_on_the_pages_have_the_numbers_of_the_code(room):
    text = (DOCS / "rooms" / f"{room}.md").read_text()
    known = numbers("judging") | numbers(room)
    rules = [rule.format(**known).replace("%", " %").replace("e-0", "e-") for rule in RULES[room]]
    missing = [rule for rule in rules if rule not in text]
    assert not missing


@pytest.mark.parametrize("name", page_values.GENERATORS)
def test_every_generator_is_used(name):
    assert any(f"<!-- generated: {name}" in (DOCS / page).read_text() for page in PAGES)


def test_generated_parts_that_cannot_be_made_are_refused():
    for text in ("<!-- generated: nothing -->", "<!-- generated: section No Such Section -->"):
        with pytest.raises(ValueError, match=r"must be one of|no section"):
            page_values.filled(text, pathlib.PurePosixPath("index.md"))


class Page(html.parser.HTMLParser):
    """What a built page refers to: anchors it has, links, what a browser loads with it, images without words."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.loaded, self.wordless = set(), [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed") and found.get("src"):
            self.loaded.append(found["src"])
        if tag == "link" and found.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(found["href"])
        if tag == "img" and not found.get("alt"):
            self.wordless.append(found.get("src"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a warning of mkdocs is an error."""
    made = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(made)))
    return {path.relative_to(made): Page(path.read_text()) for path in made.rglob("*.html")}, made


@pytest.mark.slow  # the site takes thirteen seconds; continuous integration runs the slow tests of this file
def test_the_site_needs_no_network_and_every_figure_has_words(site):
    pages, made = site
    assert len(pages) > 25
    for path, page in pages.items():
        assert not [name for name in page.loaded if "//" in name], path
        assert not page.wordless, path
    for sheet in made.rglob("*.css"):
        assert "url(http" not in sheet.read_text().replace("url(//", "url(http"), sheet


@pytest.mark.slow
def test_every_internal_link_leads_somewhere(site):
    pages, made = site
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for link in page.links:
            where, _, anchor = urllib.parse.unquote(link).partition("#")
            if "://" in where or where.startswith("mailto:"):
                continue
            target = (made / path.parent / where).resolve() if where else made / path
            assert target.exists(), (path, link)
            if anchor and target.suffix == ".html":
                assert anchor in pages[target.relative_to(made.resolve())].anchors | {"__top"}, (path, link)


@pytest.mark.slow
def test_the_reference_has_every_public_module_and_formulas_are_drawn(site):
    pages, made = site
    for package in page_api.packages():
        page = pages[pathlib.Path("api") / f"{package}.html"]
        assert {package, *page_api.modules(package)} <= page.anchors, package
    text = (made / "api" / "rgflow.rank_flow.html").read_text()
    assert text.count("<math") > 20
    assert "arithmatex" not in text
    assert "&gt;&gt;&gt;" in re.sub(r"<span[^>]*>|</span>", "", text), "doctests are blocks of code"
