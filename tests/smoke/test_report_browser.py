"""The pages in a real browser: nothing loaded or complained about, links, keyboard, phone, dark mode, print."""

import json
import pathlib

import browser
import numpy as np
import pytest
import xarray as xr

from rgflow import registry
from rgflow.plots.figure import Figure
from rgflow.plots.panel import Panel, Series
from rgflow.protocol import Verdict
from rgflow.report import compare, html, ledger

PAGES = ("report", "compare", "ledger")
ROOMS = {"rank_flow": ("S1-i", "S1-ii"), "kernel_rg": ("S4-size", "S4-ReLU mean")}
ABOUT = "A title\n\nIntroduction.\n\nMore."
STATUSES = ("supported", "contradicted", "undecided", "not_run")

LUMINANCE = """
const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const light = rgb => 0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2]);
const parse = text => text.match(/[\\d.]+/g).map(Number);
"""
CONTRAST = f"""(() => {{ {LUMINANCE}
const behind = element => {{
  for (let e = element; e; e = e.parentElement) {{
    const found = parse(getComputedStyle(e).backgroundColor);
    if (found.length < 4 || found[3] > 0) return found;
  }}
  return [255, 255, 255];
}};
let worst = {{ratio: 99, text: ""}}, seen = 0;
for (const element of document.querySelectorAll("body *")) {{
  const own = [...element.childNodes].filter(n => n.nodeType === 3 && n.textContent.trim());
  if (!own.length || !element.getClientRects().length) continue;
  seen += 1;
  const pair = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
  const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
  if (ratio < worst.ratio) worst = {{ratio, text: own[0].textContent.trim(), name: element.className}};
}}
return {{...worst, seen}};
}})()"""
WIDER = """[...document.querySelectorAll("main *")].filter(e => {
  const box = e.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1 && box.left > -1000 && getComputedStyle(e).position !== "absolute";
}).map(e => e.tagName + "." + e.className)"""
HIDDEN_FOLDS = """[...document.querySelectorAll("details")].filter(fold =>
  ![...fold.children].some(e => e.tagName !== "SUMMARY" && e.checkVisibility({contentVisibilityAuto: true})
    && e.getBoundingClientRect().height > 0)).map(fold => fold.textContent.trim().slice(0, 60))"""
SUMMARIES = "document.querySelectorAll('summary')"
REACHABLE = "[...document.querySelectorAll('summary')].filter(e => e.checkVisibility())"


def verdict(claim, k):
    """One of many verdicts, with long names as the rooms have them."""
    controls = {
        f"control_with_a_long_name_{j}": {"value": 0.1 * j, "requirement": "at most 0.25 of the whole", "passed": j < 3}
        for j in range(k % 5)
    }
    where = f"{claim} [ising, block_magnetizations, tanh, {k} halvings; standardised, block_sum]"
    number = None if k % 4 == 3 else 0.1 * k
    return Verdict(where, f"Statement of {claim}.", STATUSES[k % 4], number, number, number, "below 0", 3, 1, controls)


def drawn(name, claims):
    """A figure of two panels; one that bears on no claim says what it is for."""
    panels = [Panel(title, [Series("a & <b>", "trained", [1, 2, 3], [[3.0, 1.0, 2.0]])]) for title in ("one", "other")]
    falsified_by = dict.fromkeys(claims, "lines that rise")
    return Figure(name, f"Caption of {name}.", panels, falsified_by, "It is a drawing.", x="layer", y="rank")


def results():
    """Six runs of two points, one of them dead, with many swept values."""
    died = np.array([-1, -1, 10, -1, -1, -1])
    swept = {f"swept_value_number_{k}": ("run", np.repeat([k, k + 1], 3)) for k in range(9)}
    config = {f"section_{k}": {"a_key": k, "seeds": 3} for k in range(9)} | {"sweep": {"mixing": ("window", "flat")}}
    loss = np.where(np.arange(3) > np.where(died >= 0, 0, 9)[:, None], np.nan, 1.0)
    return xr.Dataset(
        {"loss": (("run", "step"), loss), "died_at": ("run", died)},
        {"step": [0, 10, 100], "seed": ("run", [0, 1, 2] * 2), **swept},
        {"config": json.dumps(config)},
    )


def run_of(room):
    runs = [{"values": {}, "first_seed": 0, "seeds": 6}]
    command = f"python -m launch.sweep --config=configs/{room}.py --config.some.long.key=value,value,value"
    return {"experiment": room, "command": command, "digest": "0", "device": "2 x cpu", "git_commit": "abc",
            "versions": {"jax": "1"}, "groups": [{"name": "group_000", "runs": runs}]}  # fmt: skip


def sweep_of(room, path):
    verdicts = [verdict(claim, k) for claim in ROOMS[room] for k in range(9)]
    return compare.Sweep(path, run_of(room), {"width": len(path)}, verdicts, pictures(ROOMS[room]), room.title(), "")


def pictures(claims):
    return [(d.texts, d.svg) for d in (drawn("ranks", claims), drawn("loss", ()))]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Every kind of page with more verdicts than are unfolded."""
    folder = tmp_path_factory.mktemp("pages")
    stamps = ("2026-01-01T10:00:00+0000", "2026-01-01T10:01:00+0000")
    events = [
        {"time": stamps[0], "event": "started", "device": "2 x cpu"},
        {"time": stamps[1], "event": "record", "group": "group_000", "step": 100},
    ]
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, events)))
    claims = ROOMS["rank_flow"]
    verdicts = [verdict(claim, k) for claim in claims for k in range(20)]
    every = [drawn("ranks", claims), drawn("loss", ())]
    two = [sweep_of("rank_flow", "short"), sweep_of("rank_flow", "a/much/longer/path")]
    every_room = [name for name, maker in registry.EXPERIMENTS.items() if isinstance(maker, registry.Room)]
    docs = {room: f"{room}\n\nReference keys: HR2026 = someone." for room in every_room}
    tables = {room: registry.claims(room) for room in every_room}
    texts = {
        "report": html.render(
            "A title", ABOUT, verdicts, [(d.texts, d.svg) for d in every], run_of("rank_flow"), results(), folder
        ),
        "compare": compare.render([*two, sweep_of("kernel_rg", "third")]),
        "ledger": ledger.render({room: sweep_of(room, room) for room in ROOMS}, tables, docs),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser.tab(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(params=PAGES)
def page(request, pages, tab):
    """An opened page at the size of a desktop, in light mode."""
    tab.media()
    tab.resize(1280, 900)
    tab.open(pages[request.param])
    return pages[request.param]


def complaints(tab):
    """What the browser said against the page that is open, and what the page asked of others than itself."""
    tab.run("new Promise(done => setTimeout(done, 100))")
    said = [e for e in tab.events if e["method"] in ("Runtime.exceptionThrown", "Network.loadingFailed")]
    said += [e for e in tab.events if e["method"] == "Runtime.consoleAPICalled"]
    said += [e for e in tab.events if e["method"] == "Log.entryAdded"]
    asked = [e["params"]["request"]["url"] for e in tab.events if e["method"] == "Network.requestWillBeSent"]
    return said, asked


def test_page_loads_without_complaint_and_asks_for_nothing_else(page, tab):
    said, asked = complaints(tab)
    assert said == [] and asked[0] == pathlib.Path(page).as_uri()
    assert all(url.startswith("data:image/svg+xml;base64,") for url in asked[1:])
    assert tab.run("document.compatMode") == "CSS1Compat" and tab.run("document.documentElement.lang") == "en"


def test_browser_would_tell_what_is_wrong(tab, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<!DOCTYPE html><img src='gone.png'><script>console.error('oh'); nothing.at.all()</script>")
    tab.open(bad)
    said, asked = complaints(tab)
    assert {e["method"] for e in said} >= {"Runtime.exceptionThrown", "Runtime.consoleAPICalled"}
    assert len(asked) == 2


def test_links_resolve_and_ids_are_unique(page, tab):
    ids = tab.run("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids)) > 10
    links = tab.run("[...document.querySelectorAll('a')].map(e => e.getAttribute('href'))")
    assert len(links) > 3 and {link[0] for link in links} == {"#"} and {link[1:] for link in links} <= set(ids)
    names = tab.run("[...document.querySelectorAll('a')].map(e => (e.ariaLabel || e.textContent).trim())")
    assert all(len(name) > 1 for name in names)
    drawings = tab.run("[...document.querySelectorAll('img')].map(e => [e.alt, e.naturalWidth])")
    assert len(drawings) >= 2 and all(alt and width > 300 for alt, width in drawings)


def test_keyboard_reaches_every_fold_and_opens_it(page, tab):
    count = tab.run(f"{REACHABLE}.length")
    assert count >= 3
    reached = set()
    tab.press("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    for _ in range(300):
        tab.press("Tab")
        at = tab.run(f"{REACHABLE}.indexOf(document.activeElement)")
        if at >= 0:
            reached.add(at)
            was = tab.run("document.activeElement.parentElement.open")
            tab.press("Enter")
            assert tab.run("document.activeElement.parentElement.open") != was
            tab.press(" ")
            assert tab.run("document.activeElement.parentElement.open") == was
        if len(reached) == count:
            return
    pytest.fail(f"{len(reached)} of {count} folds reached")


def test_every_scrolling_box_can_be_reached_by_keyboard(page, tab):
    boxes = "[...document.querySelectorAll('.scroll, .light')]"
    assert tab.run(f"{boxes}.length") > 3
    assert tab.run(f"{boxes}.every(e => e.tabIndex === 0 && e.getAttribute('role') === 'region' && e.ariaLabel)")


@pytest.mark.parametrize("folds", ["as they are", "open"])
def test_phone_does_not_scroll_sideways(page, tab, folds):
    tab.resize(390, 844, mobile=True)
    if folds == "open":
        tab.run("document.querySelectorAll('details').forEach(e => { e.open = true })")
    assert tab.run("document.documentElement.scrollWidth") <= tab.run("innerWidth") == 390
    # What is said of a claim is inside the screen without scrolling in its box either.
    assert tab.run("[...document.querySelectorAll('.claims')].every(e => e.getBoundingClientRect().right <= 390)")
    tops = tab.run("[...document.querySelector('.claims tbody tr').cells].map(e => e.getBoundingClientRect().top)")
    assert tops == sorted(tops) and len(set(tops)) == len(tops)


def test_verdicts_fit_into_a_small_window(page, tab):
    tab.resize(1100, 800)
    tables = "[...document.querySelectorAll('.claims')].map(e => e.getBoundingClientRect().right)"
    assert all(right <= 1100 for right in tab.run(tables))


@pytest.mark.parametrize("media", ["", "print"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(page, tab, scheme, media):
    tab.run("document.querySelectorAll('details').forEach(e => { e.open = true })")
    tab.media(media, scheme)
    worst = tab.run(CONTRAST)
    assert worst["seen"] > 50 and worst["ratio"] >= 4.5, worst


def test_dark_mode_is_dark_and_figures_stay_on_white(page, tab):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = tab.run(ground)
    tab.media("", "dark")
    dark = tab.run(ground)
    brightness = [sum(map(int, text[4:-1].split(","))) for text in (light, dark)]
    assert brightness[0] > 700 and brightness[1] < 120
    assert tab.run("getComputedStyle(document.querySelector('.light')).backgroundColor") == "rgb(255, 255, 255)"


def test_status_is_a_word_and_a_shape(page, tab):
    badges = tab.run("[...document.querySelectorAll('.badge')].map(e => [e.className, e.textContent.trim()])")
    shapes = {}
    for look, text in badges:
        status = look.split()[-1]
        assert text.endswith(status.replace("_", " ")), text
        shapes.setdefault(status, set()).add(text[0])
    assert set(shapes) == set(STATUSES) and all(len(found) == 1 for found in shapes.values())
    assert len({next(iter(found)) for found in shapes.values()}) == len(STATUSES)


def test_print_opens_every_fold_and_cuts_nothing(page, tab):
    tab.run("document.querySelectorAll('details').forEach(e => { e.open = false })")
    assert len(tab.run(HIDDEN_FOLDS)) == tab.run("document.querySelectorAll('details').length") > 3
    tab.media("print")
    tab.resize(718, 1000)  # A4 without chromium's margins
    assert tab.run(HIDDEN_FOLDS) == []
    assert tab.run(WIDER) == []
    printed = tab.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)
    assert printed["data"].startswith("JVBER")  # %PDF


SCRIPTS = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 300" width="400pt" height="300pt"
onload="parent.document.title='RAN'"><script>top.document.title = 'RAN'; alert(1)</script>
<image href="http://192.0.2.1/leak"/><a href="javascript:alert(1)"><rect width="400" height="300"/></a></svg>"""


@pytest.mark.parametrize("kind", PAGES)
def test_a_drawing_that_somebody_sent_runs_nothing_and_asks_for_nothing(kind, tab, tmp_path):
    texts = {"name": "ranks", "caption": "<script>alert(1)</script>", "alt": "\"><script>document.title='RAN'</script>",
             "claims": ["S1-i"], "falsified_by": "lines that rise"}  # fmt: skip
    sent = sweep_of("rank_flow", "sent")._replace(pictures=[(texts, SCRIPTS)])
    tables = {"rank_flow": registry.claims("rank_flow")}
    page = {
        "report": lambda: html.render("A", ABOUT, sent.verdicts, sent.pictures, sent.run, results(), tmp_path),
        "compare": lambda: compare.render([sent, sent]),
        "ledger": lambda: ledger.render({"rank_flow": sent}, tables, {"rank_flow": ABOUT}),
    }[kind]()
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    tab.media()
    tab.resize(1280, 900)
    tab.open(tmp_path / "page.html")
    said, asked = complaints(tab)
    assert said == [] and [url for url in asked if not url.startswith("data:")] == [(tmp_path / "page.html").as_uri()]
    assert tab.run("document.title") != "RAN"
    assert tab.run("document.images[0].complete && document.images[0].naturalWidth") > 300
    # The policy holds also against what a template would forget.
    tab.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=http://192.0.2.1/x onerror=document.title=`RAN`>')"
    )
    complaints(tab)
    assert tab.run("document.title") != "RAN"
