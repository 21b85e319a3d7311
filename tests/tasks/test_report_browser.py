"""The page of a run in Chromium: everything renders, filters work, nothing runs or is asked."""

import json

import pytest

from mbpo_core.config import ReportConfig
from tasks.report.page import draw
from tasks.report.sources import Sources
from tests.browser import browser
from tests.pipelines import rows
from tests.tasks.report_stores import HOSTILE, many

DRAWN = "[...document.querySelectorAll('.figure')].every((f) => f.dataset.state === 'drawn')"
ROWS = "document.querySelectorAll('#gallery-list .row').length"
COUNT = "document.getElementById('gallery-count').textContent"
MANY = 10_000
AT_ONCE = 60
"""Rows that may be in the document, of however many."""
SECONDS = 1.0
"""What a filter or a sort of all rows may take, on a busy machine too."""


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(finished, tmp_path_factory):
    """The page of a whole run, as its stage made it."""
    from storage.store import ArtifactStore
    from tasks.report.stage import FILE

    store = ArtifactStore(finished[0])
    path = tmp_path_factory.mktemp("page") / FILE
    path.write_bytes((store.files(store.resolve("report")) / FILE).read_bytes())
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The page of ten thousand samples, hostile texts in every column of theirs."""
    folder = tmp_path_factory.mktemp("large")
    sources: Sources = many(folder / "store", MANY, HOSTILE)
    path = folder / "page.html"
    path.write_text(draw(sources, ReportConfig()).html, encoding="utf-8")
    return path


def choose(tab, name, value):
    """Do as a reader who picks a value of a select."""
    tab.run(f"""(() => {{ const select = document.getElementById('gallery-{name}');
        select.value = {json.dumps(value)};
        select.dispatchEvent(new Event('change')); }})()""")


def drawn(tab):
    """Have all figures drawn, as before printing; that is also what printing needs."""
    tab.run("window.dispatchEvent(new Event('beforeprint'))")
    tab.wait(DRAWN)


@pytest.mark.parametrize(
    ("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)]
)
def test_every_section_renders_without_an_error_or_a_request(tab, page, width, dark):
    tab.open(page, width, 844, dark=dark)
    drawn(tab)
    assert tab.run("document.querySelectorAll('.figure').length") >= 8
    assert tab.run("document.querySelectorAll('.figure .main-svg').length") >= 8
    heights = tab.run("[...document.querySelectorAll('main > section')].map((s) => s.offsetHeight)")
    assert len(heights) == 7 and min(heights) > 80
    assert tab.run("document.documentElement.scrollWidth") <= width
    back, text = tab.run("""[getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.body).color].map((c) => parseInt(c.match(/\\d+/)[0]))""")
    assert (back < 64 and text > 200) if dark else (back > 200 and text < 64)
    assert tab.said == [] and tab.asked == []


def test_figures_take_the_colours_of_the_theme_when_it_changes(tab, page):
    colour = "document.querySelector('#figure-iig .plot')._fullLayout.font.color"
    tab.open(page)
    drawn(tab)
    light = tab.run(colour)
    tab.theme(dark=True)
    tab.wait(f"{colour} !== {json.dumps(light)}")
    assert tab.run(colour) == "#dfe4ee"


def test_filters_show_what_the_tables_hold(tab, page, finished):
    root = finished[0]
    selection = rows(root, "select", "selection")
    refused = [row for row in rows(root, "respond", "responses") if row["reason"]]
    tab.open(page)
    everything = tab.run(COUNT)
    assert everything == f"{len(selection)} of {len(selection)} rows"
    choose(tab, "selected", "selected")
    assert tab.run(COUNT).startswith("8 of ")
    assert tab.run(ROWS) == 8
    assert tab.run("document.querySelectorAll('#gallery-list img').length") == 24
    choose(tab, "reason", "kept")
    assert tab.run(COUNT).startswith(f"{8 - len(refused)} of ")
    tab.run("document.getElementById('gallery-reset').click()")
    assert tab.run(COUNT) == everything
    counts = tab.run("""[...document.querySelectorAll('#gallery-reason option')].slice(2).map(
        (option) => [option.value.slice(1), option.textContent])""")
    told = {row["reason"] for row in [*selection, *refused]} - {None}
    assert {name for name, _ in counts} == told
    for name, words in counts:
        choose(tab, "reason", f"={name}")
        assert words == f"{name} ({tab.run(COUNT).split()[0]})"


def test_a_sort_is_the_order_of_the_figures(tab, page, finished):
    recovered = sorted(row["recovered"] for row in rows(finished[0], "mine", "negatives")
                       if row["recovered"] is not None)  # fmt: skip
    shown = """[...document.querySelectorAll('#gallery-list .row')].map(
        (row) => row.querySelectorAll('.number')[2].textContent)"""
    tab.open(page)
    choose(tab, "sort", "recovered")
    falling = tab.run(shown)[: len(recovered)]
    assert falling == [f"{value:.2f}".replace("-", "−") for value in recovered[::-1]]
    tab.run("document.getElementById('gallery-direction').click()")
    assert tab.run(shown)[: len(recovered)] == falling[::-1], "what is not known comes last"


def test_a_row_opens_with_its_pictures_and_the_keyboard_is_enough(tab, page):
    tab.open(page)
    choose(tab, "selected", "selected")
    tab.run("document.querySelector('#gallery-list button').focus()")
    tab.press("ArrowDown")
    assert tab.run("document.activeElement.dataset.place") == "1"
    tab.press("Enter")
    assert tab.run("document.getElementById('gallery-detail').open")
    assert tab.run("document.getElementById('detail-title').textContent").endswith("2 of 8")
    tab.wait("[...document.querySelectorAll('#detail-pictures img')].every((i) => i.naturalWidth)")
    alts = tab.run("[...document.querySelectorAll('#detail-pictures img')].map((i) => i.alt)")
    assert alts == ["clean picture", "negative picture", "difference, enlarged eight times"]
    tab.press("ArrowRight")
    assert tab.run("document.getElementById('detail-title').textContent").endswith("3 of 8")
    tab.press("Escape")
    assert not tab.run("document.getElementById('gallery-detail').open")
    assert tab.run("document.activeElement.dataset.place") == "2"
    tab.press("End")
    assert tab.run("document.activeElement.dataset.place") == "7"


def test_ten_thousand_rows_filter_sort_and_scroll_at_once(tab, large):
    tab.open(large)
    assert tab.run(COUNT) == "10,000 of 10,000 rows"
    assert 0 < tab.run(ROWS) <= AT_ONCE
    tab.run("document.getElementById('gallery-scroll').scrollTop = 1e9")
    tab.wait("document.querySelector('#gallery-list .row:last-child').ariaPosInSet === '10000'")
    assert tab.run(ROWS) <= AT_ONCE
    took = tab.run("""(async () => { const took = {};
        for (const [name, value] of [['sort', 'iig_rejected'], ['kind', 'yes_no'], ['kind', '']]) {
          const select = document.getElementById(`gallery-${name}`), begun = performance.now();
          select.value = value;
          select.dispatchEvent(new Event('change'));
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          took[name + value] = (performance.now() - begun) / 1000;
        }
        return took; })()""")
    assert max(took.values()) < SECONDS, took
    tab.run("""(() => { const search = document.getElementById('gallery-search');
        search.value = 'wrong 1234'; search.dispatchEvent(new Event('input')); })()""")
    tab.wait(f"{COUNT} === '1 of 10,000 rows'")
    print({name: f"{seconds:.3f} s" for name, seconds in took.items()})


def test_hostile_texts_run_nothing_and_ask_nothing(tab, large):
    tab.open(large)
    drawn(tab)
    for place in range(len(HOSTILE)):
        tab.run(f"document.querySelector('#gallery-list [data-place=\"{place}\"]').click()")
        shown = tab.run("document.querySelector('#detail-texts .question').textContent")
        assert shown == f"question {HOSTILE[place]}"
        tab.run("document.getElementById('detail-close').click()")
    assert tab.run("window.ran") is None
    smuggled = "document.querySelectorAll('main iframe, main link, main img[src=x]').length"
    assert tab.run(smuggled) == 0
    assert tab.said == [] and tab.asked == []


def test_what_escaping_let_through_would_still_not_run(tab, page, tmp_path):
    """The policy alone: markup that somebody put into the page neither runs nor loads."""
    elsewhere = "https://example.invalid/x"
    put = "".join(
        [*HOSTILE[:5], f"<img src='{elsewhere}.png'><script src='{elsewhere}.js'></script>"]
    )
    spoiled = tmp_path / "spoiled.html"
    spoiled.write_text(page.read_text().replace("<footer>", put + "<footer>"))
    tab.open(spoiled)
    tab.wait("document.readyState === 'complete'")
    assert tab.run("window.ran") is None
    assert any("Content Security Policy" in text for text in tab.said)
    blocked = [text for text in tab.said if "example.invalid" in text]
    assert blocked, "the browser says what it did not load"
