"""The page in a browser without a network: charts are drawn, nothing is asked for, nothing hostile runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from comfysoak_analysis.report import build
from tests.analysis.planted import START_NS, plant
from tests.analysis.test_frames import S, prompt
from tests.analysis.test_report import EVIL

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
NO_RULE = "Content Security Policy"
MACHINES = ["host-cpu", "host-memory", "processes"]


class Visit:
    """One page opened offline, with all it asked for and complained of."""

    def __init__(self, browser: object, path: Path, **options: object) -> None:
        self.context = browser.new_context(offline=True, **options)  # type: ignore[attr-defined]  # playwright is optional here
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on(
            "console",
            lambda message: self.complaints.append(message.text) if message.type in {"error", "warning"} else None,
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.address = f"file://{path}"
        self.page.goto(self.address)

    def draw_all(self) -> list[str]:
        """Unfold all, scroll to each chart until it is drawn; the keys of all."""
        self.page.evaluate("() => { for (const fold of document.querySelectorAll('.fold')) fold.open = true; }")
        for plot in self.page.query_selector_all(".plot"):
            plot.scroll_into_view_if_needed()
            self.page.wait_for_function("element => element.dataset.drawn === 'true'", arg=plot)
        return [plot.get_attribute("data-key") for plot in self.page.query_selector_all(".plot[data-drawn]")]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[object]:
    """One browser for all tests here."""
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with failures."""
    directory = tmp_path_factory.mktemp("browser")
    build(plant(directory, oom_at_s=(30,), drops_at_s=(42,)))
    return directory / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_charts_are_drawn_without_a_request_or_an_error(browser: object, report: Path, scheme: str) -> None:
    """In both colour schemes."""
    visit = Visit(browser, report, color_scheme=scheme)
    keys = visit.draw_all()
    assert keys == ["per-minute", "incidents", "latency", "service", "queue", "vram", "loads", "utilisation", *MACHINES]
    assert visit.requests == [visit.address]
    assert visit.complaints == []
    visit.context.close()


def test_charts_below_the_screen_wait_until_they_are_scrolled_to(browser: object, report: Path) -> None:
    """The first screen is the verdict."""
    visit = Visit(browser, report, viewport={"width": 1280, "height": 700})
    assert visit.page.query_selector_all(".plot[data-drawn]") == []
    visit.context.close()


def test_zooming_one_chart_zooms_all(browser: object, report: Path) -> None:
    """The finding's link shows its moment in all of them, and the button the whole run again."""
    visit = Visit(browser, report)
    visit.draw_all()
    spans = "() => [...document.querySelectorAll('.plot')].map((plot) => plot.layout.xaxis.range.map(String).join())"
    before = set(visit.page.evaluate(spans))
    visit.page.click("#finding-OOM button.link")
    visit.page.wait_for_function("() => !document.getElementById('whole').hidden")
    zoomed = set(visit.page.evaluate(spans))
    assert len(before) == len(zoomed) == 1
    assert before != zoomed
    visit.page.click("#whole")
    visit.page.wait_for_function("() => document.getElementById('whole').hidden")
    assert set(visit.page.evaluate(spans)) == before
    visit.context.close()


def test_a_line_switched_off_stays_off_when_the_time_range_changes(browser: object, report: Path) -> None:
    """Also where the chart is made anew for it."""
    visit = Visit(browser, report)
    visit.draw_all()
    shown = """() => document.querySelector('.plot[data-key="latency"]').data
        .filter((trace) => trace.visible !== false).map((trace) => trace.name)"""
    before = visit.page.evaluate(shown)
    visit.page.get_by_role("button", name="p95").first.click()
    visit.page.wait_for_function(f"({shown})().length < {len(before)}")
    visit.page.click("#finding-OOM button.link")
    visit.page.wait_for_function("() => !document.getElementById('whole').hidden")
    assert visit.page.evaluate(shown) == [name for name in before if name != "p95"]
    visit.context.close()


def test_charts_are_as_wide_as_their_place_when_the_window_changes(browser: object, report: Path) -> None:
    """Narrower, and wide again."""
    visit = Visit(browser, report, viewport={"width": 1280, "height": 900})
    visit.draw_all()
    for width in (800, 1280):
        visit.page.set_viewport_size({"width": width, "height": 900})
        visit.page.wait_for_function(
            """() => [...document.querySelectorAll(".plot")].every((plot) =>
                plot.clientWidth === plot.querySelector("svg").clientWidth)"""
        )
    visit.context.close()


def test_dots_that_cover_each_other_are_left_out_until_there_is_room(browser: object, tmp_path: Path) -> None:
    """The slowest is drawn at any zoom."""
    ends = (START_NS + (1000 + 5 * number) * S // 100 for number in range(600))
    rows = tuple(
        prompt(number, scheduled_ns=end - S, sent_ns=end - S, end_received_ns=end, outcome="success")
        for number, end in enumerate(ends)
    )
    build(plant(tmp_path, other_rows=rows))
    visit = Visit(browser, tmp_path / "report.html")
    visit.draw_all()
    dots = """() => document.querySelector('.plot[data-key="latency"]').data
        .filter((trace) => trace.mode === "markers").flatMap((trace) => [...trace.y])"""
    whole = visit.page.evaluate(dots)
    visit.page.focus("#chart-latency .stage")
    for _ in range(4):
        visit.page.keyboard.press("+")
    visit.page.wait_for_function(f"({dots})().length > {len(whole)}")
    assert max(visit.page.evaluate(dots)) == max(whole)
    visit.context.close()


def test_a_mark_tells_the_state_of_the_gpu(browser: object, report: Path) -> None:
    """When pointed at."""
    visit = Visit(browser, report)
    visit.draw_all()
    plot = visit.page.query_selector('.plot[data-key="incidents"]')
    plot.scroll_into_view_if_needed()
    visit.page.evaluate(
        """() => { const plot = document.querySelector('.plot[data-key="incidents"]');
           const curve = plot.data.findIndex((trace) => trace.name === 'OOM');
           Plotly.Fx.hover(plot, [{ curveNumber: curve, pointNumber: 0 }]); }"""
    )
    text = visit.page.wait_for_selector('.plot[data-key="incidents"] .hovertext').text_content()
    assert "VRAM 98%" in text
    assert "OutOfMemoryError" in text
    visit.context.close()


def test_hostile_text_is_shown_and_not_run(browser: object, tmp_path: Path) -> None:
    """In names, codes, messages, and in what a mark says when pointed at."""
    rows = tuple(
        prompt(
            number, workflow=EVIL, outcome="failed", code="NODE_ERROR", error_message=EVIL, node_class=EVIL, server=EVIL
        )
        for number in range(3)
    )
    build(plant(tmp_path, name=EVIL, node_error_at_s=(20,), node_error_text=EVIL, other_rows=rows))
    visit = Visit(browser, tmp_path / "report.html")
    visit.draw_all()
    assert "owned" not in visit.page.title().replace("document.title='owned'", "")
    assert visit.page.query_selector_all("img, iframe, object, embed") == []
    assert visit.requests == [visit.address]
    assert visit.complaints == []
    assert "document.title='owned'" in visit.page.inner_text("#failures")
    visit.context.close()


@pytest.mark.parametrize("width", [1280, 800, 390])
def test_nothing_is_wider_than_the_screen(browser: object, report: Path, width: int) -> None:
    """Tables scroll by themselves."""
    visit = Visit(browser, report, viewport={"width": width, "height": 900})
    visit.draw_all()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    visit.context.close()
