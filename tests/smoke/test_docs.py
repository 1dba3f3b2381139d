"""The documentation: every block of code runs or is parsed, pages agree with the code, and the site builds."""

import html.parser
import pathlib
import re
import signal
import urllib.parse

import pytest

pytest.importorskip("griffe", reason="needs pip install -e '.[docs]'")

import doc_pages
import matplotlib.pyplot as plt
import page_api
import page_configs
import page_rooms
import page_values
from doc_pages import DOCS, PAGES, ROOT
from mkdocs.commands.build import build
from mkdocs.config import load_config

from configs import common
from launch import command_line
from rgflow import registry
from rgflow.fixed_points import controls as fixed_controls
from rgflow.fixed_points import verdict as fixed_verdict
from rgflow.kernel_rg import claims as kernel_claims
from rgflow.kernel_rg import claims_trained, observables
from rgflow.rank_flow import claims as rank_claims
from rgflow.rank_flow import robustness
from rgflow.rank_flow import verdict as rank_verdict
from rgflow.variational_rg import claims as machine_claims
from rgflow.variational_rg import claims_lattice, claims_mapping, claims_stack

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


def run_shell(text):
    """Runs the launch commands of a block in this process."""
    for words in doc_pages.commands(text):
        name, arguments = doc_pages.launched(words)
        assert doc_pages.COMMANDS[name].main([name, *arguments]) == command_line.DONE


@pytest.mark.parametrize("page", RUN)
def test_blocks_run_in_order_in_one_namespace(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    namespace, ran = {"__name__": "__main__"}, 0
    try:
        for number, block in enumerate(doc_pages.blocks(page)):
            if (block.language, block.kind) == ("sh", "run"):
                run_shell(block.text)
            if (block.language, block.kind) == ("python", "run"):
                exec(compile(block.text, f"{page}, block {number}", "exec"), namespace)
            ran += block.kind == "run"
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
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


def claims_of_the_code():
    """The names of all claims that verdicts are given on."""
    return {claim.name for room in registry.EXPERIMENTS for claim in registry.claims(room)}


def claims_in(page):
    """The names of claims in the first column of the tables of a page, as it is written."""
    cells = re.findall(r"^\| (S\d.*?) \|", (DOCS / page).read_text(), re.M)
    return {re.sub(r" \[.*", "", name) for cell in cells for name in cell.split(", ") if "[" not in name or "]" in cell}


def test_the_ledger_and_the_rooms_list_every_claim_and_no_other():
    ours = claims_of_the_code()
    assert len(ours) == 30
    assert claims_in("claims.md") == ours
    assert set().union(*(claims_in(f"rooms/{room}.md") for room in ROOMS)) >= ours - {"S4-trained variance"}
    assert "S4-trained variance" in (DOCS / "rooms" / "kernel_rg.md").read_text()


def test_numbers_of_readings_are_the_same_wherever_they_are_given():
    pages = ("README.md", "docs/claims.md", "docs/rooms/rank_flow.md", "docs/rooms/fixed_points.md")
    readme, ledger, ranks, points = (" ".join((ROOT / name).read_text().split()) for name in pages)
    assert re.search(
        r"S1-i holds in 19 of 112 readings, .*? S1-ii holds in none of 32, .*? S1-iii holds in 16 of 60", ranks
    )
    assert "S1-i holds in 19 of 112 readings, S1-ii in 0 of 32, S1-iii in 16 of 60" in readme
    assert "None of 126 readings supports the claim; 86 contradict it and 40 are open" in points
    assert "0 of 126 readings support it, 86 contradict it, 40 are open" in readme
    assert "S2-flow: contradicted in 38 of 42 readings, supported in none" in points
    for said in (
        "| 112: ",
        "supported in 19, ",
        "| 32 that are defined; supported in none",
        "in 16 readings",
        "| 60 that are",
        "| 126: ",
    ):
        assert said in ledger
    assert "in 86 readings, open in 40" in ledger
    assert "in 38 readings, open in 4, supported in none | 42 |" in ledger


RULES = {
    "rank_flow": [
        f"within {rank_claims.CONVERGED_NATS} nats",
        f"in at least {rank_claims.MONOTONE_FRACTION:.0%}".replace("%", " %"),
        f"below {rank_claims.SELECTIVITY_BOUND} |",
        f"R(long) above {rank_claims.LONG_RATIO};",
        f"at most {robustness.ERROR_RATE:.0%}".replace("%", " %"),
    ],
    "fixed_points": [
        f"ring coupling is 0 within {fixed_controls.COUPLING_MARGIN}",
        f"fixed point within {fixed_controls.KURTOSIS_MARGIN} ",
        f"within {fixed_verdict.FLOW_SHARE:.0%}".replace("%", " %"),
        f"the same to {fixed_verdict.SAME_LOSS:.0e}".replace("e-0", "e-"),
    ],
    "variational_rg": [
        f"within {claims_lattice.SIGMAS:g} standard errors and known to {100 * claims_lattice.PRECISION} %",
        f"below {claims_lattice.YARDSTICK_BOUND}, from",
        f"at least {claims_lattice.LEAST_BLOCKS} records",
        f"below {claims_mapping.ROUNDING:.0e} |",
        f"below {claims_mapping.EXACT:.0e} nats".replace("e-0", "e-"),
        f"more than {claims_stack.LEAST_PARTICIPATION:g} sites",
        f"(below {claims_stack.MOST_SHUFFLED_PARTICIPATION})",
        f"within {100 * claims_stack.SAME_LATTICE:g} %",
        f"within {100 * claims_stack.SAME_ENERGY:g} %",
        f"data within {claims_stack.SAME_ORDER} |",
    ],
    "kernel_rg": [
        f"R-hat at most {observables.WORST_R_HAT}, at least {observables.LEAST_ESS:g} effective",
        f"are at most {100 * kernel_claims.SHARPNESS:g} %",
        f"below {kernel_claims.SADDLE_BOUND:g} L/N",
        f"within {100 * observables.CLOSE:g} %",
        f"fitted to {claims_trained.FITTED:.0e}".replace("e-0", "e-"),
        f"settled to {100 * claims_trained.SETTLED:g} %",
        f"below {100 * claims_trained.NO_VARIANCE:g} % of the equilibrium's",
    ],
}
"""What a page says of the decision rules, with the numbers that the code decides by."""


@pytest.mark.parametrize("room", ROOMS)
def test_decision_rules_on_the_pages_have_the_numbers_of_the_code(room):
    text = (DOCS / "rooms" / f"{room}.md").read_text()
    missing = [rule for rule in RULES[room] if rule not in text]
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


def test_the_site_needs_no_network_and_every_figure_has_words(site):
    pages, made = site
    assert len(pages) > 25
    for path, page in pages.items():
        assert not [name for name in page.loaded if "//" in name], path
        assert not page.wordless, path
    for sheet in made.rglob("*.css"):
        assert "url(http" not in sheet.read_text().replace("url(//", "url(http"), sheet


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


def test_the_reference_has_every_public_module_and_formulas_are_drawn(site):
    pages, made = site
    for package in page_api.packages():
        page = pages[pathlib.Path("api") / f"{package}.html"]
        assert {package, *page_api.modules(package)} <= page.anchors, package
    text = (made / "api" / "rgflow.rank_flow.html").read_text()
    assert text.count("<math") > 20
    assert "arithmatex" not in text
    assert "&gt;&gt;&gt;" in re.sub(r"<span[^>]*>|</span>", "", text), "doctests are blocks of code"
