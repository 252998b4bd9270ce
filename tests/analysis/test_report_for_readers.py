"""The page for those who choose what to see, use the keyboard, do not see it, or print it: a fleet of two servers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfysoak_analysis.report import build
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Gpu, Row, Server
from tests.analysis.planted import GIB, START_NS, plant
from tests.analysis.test_frames import prompt
from tests.analysis.test_report_in_browser import Visit

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
SECONDS = 60
SERVERS = ("http://one:8188", "http://two:8188")
KEYS = "() => [...document.querySelectorAll('.plot[data-drawn]')].map((one) => one.layout.xaxis.range.map(Number))"
NAMES = "key => document.querySelector(`.plot[data-key='${key}']`).data.map((one) => one.name)"


def fleet_rows() -> Iterator[Row]:
    """Eight GPUs on two hosts, a queue at each server, and at the second one prompts that fail."""
    for number in range(8):
        host, index = ("one", "two")[number // 4], number % 4
        for second in range(0, SECONDS, 2):
            yield Gpu(
                at_ns=START_NS + second * NS_PER_S, read_cost_ns=1, host=host, source="nvml", uuid=f"GPU-{number}",
                index=index, memory_used_bytes=(number + 1) * GIB, memory_total_bytes=16 * GIB, utilisation_ratio=0.5,
            )  # fmt: skip
    for server in SERVERS:
        for second in range(SECONDS):
            yield Server(at_ns=START_NS + second * NS_PER_S, server=server, queue_pending=2, queue_running=1)
    for number in range(12):
        row = prompt(number, server=SERVERS[number % 2], outcome="success")
        bad = {"outcome": "failed", "code": "NODE_ERROR", "error_message": "no such file", "node_class": "LoadImage"}
        yield replace(row, **bad) if number in (5, 7) else row  # type: ignore[arg-type]  # columns by name


@pytest.fixture(scope="module")
def page_of_a_fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its report."""
    directory = tmp_path_factory.mktemp("fleet")
    build(plant(directory, duration_s=float(SECONDS), users=0, gpu=False, other_rows=tuple(fleet_rows())))
    return directory / "report.html"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[object]:
    """One browser for all tests here."""
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def visit(browser: object, page_of_a_fleet: Path) -> Iterator[Visit]:
    """The page, all charts drawn; whatever a test does, nothing is asked for and nothing complains."""
    visit = Visit(browser, page_of_a_fleet, reduced_motion="reduce")
    visit.draw_all()
    yield visit
    assert [request for request in visit.requests if not request.startswith("file:")] == []
    assert visit.complaints == []
    visit.context.close()


def choose(visit: Visit, kind: str, value: str) -> None:
    visit.page.click(f".pick[data-kind='{kind}'] summary")
    visit.page.check(f".pick[data-kind='{kind}'] input[value='{value}']")
    visit.page.keyboard.press("Escape")


def test_a_fleet_is_a_band_until_gpus_are_chosen(visit: Visit) -> None:
    """Then their lines stand in it; tables follow, and the address keeps the choice."""
    assert visit.page.evaluate(NAMES, "vram") == ["lowest to highest", "middle half", "median of 8", "capacity"]
    choose(visit, "gpu", "GPU-6")
    shown = visit.page.evaluate(NAMES, "vram")
    assert [name for name in dict.fromkeys(shown) if name != "capacity"] == ["lowest to highest", "GPU 2 on two"]
    rows = visit.page.query_selector_all("#times tr[data-of^='GPU-']")
    assert [row.get_attribute("data-of") for row in rows if row.is_visible()] == ["GPU-6"]
    assert "on=GPU-6" in visit.page.url
    visit.page.reload()
    visit.draw_all()
    assert visit.page.evaluate(NAMES, "vram") == shown
    assert visit.page.inner_text(".pick[data-kind='gpu'] summary") == "GPU 2 on two"


def test_findings_prompts_and_gpus_follow_a_server(visit: Visit) -> None:
    """A finding of the other server is hidden, and the page says so; GPUs are those of its host."""
    assert visit.page.is_visible("#finding-NODE_ERROR")
    choose(visit, "server", SERVERS[0])
    assert not visit.page.is_visible("#finding-NODE_ERROR")
    assert "not shown" in visit.page.inner_text("#hidden-findings")
    assert "failed" not in visit.page.evaluate(NAMES, "per-minute")
    assert {name for name in visit.page.evaluate(NAMES, "vram") if name.startswith("GPU")} == {
        f"GPU {index} on one" for index in range(4)
    }
    visit.page.click(".pick[data-kind='server'] summary")
    visit.page.click(".pick[data-kind='server'] .clear")
    assert visit.page.is_visible("#finding-NODE_ERROR")
    assert "on=" not in visit.page.url


def test_the_keyboard_moves_the_time_of_all_charts(visit: Visit) -> None:
    """Plus, arrow and Home; every chart has the same range, the address too, and it is told aloud."""
    (whole,) = {tuple(one) for one in visit.page.evaluate(KEYS)}
    visit.page.focus("#chart-vram .stage")
    visit.page.keyboard.press("+")
    visit.page.keyboard.press("ArrowRight")
    visit.page.wait_for_function(f"first => ({KEYS})().every((one) => one[0] > first)", arg=whole[0])
    (moved,) = {tuple(one) for one in visit.page.evaluate(KEYS)}
    assert moved[1] - moved[0] == pytest.approx((whole[1] - whole[0]) / 2, rel=0.01)
    assert re.search(r"[#&]t=\d+-\d+", visit.page.url)
    visit.page.wait_for_function("() => document.getElementById('said').textContent.startsWith('All charts show')")
    visit.page.keyboard.press("Home")
    visit.page.wait_for_function(f"whole => ({KEYS})().every((one) => one[0] === whole)", arg=whole[0])
    assert "t=" not in visit.page.url


def test_a_time_can_be_typed(visit: Visit) -> None:
    """From and to, in UTC; what is upside down is refused."""
    start = visit.page.input_value("#from")
    visit.page.fill("#from", start[:-2] + f"{int(start[-2:]) + 10:02d}")
    assert "t=10000-" in visit.page.url
    before = visit.page.url
    visit.page.fill("#to", start)
    assert visit.page.url == before


def test_marks_tell_their_finding_and_lead_to_it(visit: Visit) -> None:
    """By focus: code, how often, when and the sentence; Escape takes it away, Enter goes to the card."""
    visit.page.focus("#rail .flag")
    told = visit.page.inner_text("#tip")
    assert "NODE_ERROR" in told
    assert "2 in all" in told
    assert "UTC" in told
    visit.page.keyboard.press("Escape")
    assert not visit.page.is_visible("#tip")
    visit.page.keyboard.press("Enter")
    assert "#finding-NODE_ERROR" in visit.page.url
    assert visit.page.evaluate("() => document.activeElement.id") == "finding-NODE_ERROR"


def test_a_finding_has_a_permanent_link_that_keeps_the_time(browser: object, page_of_a_fleet: Path) -> None:
    """Opened anew, the card is pointed at and the charts show the time."""
    visit = Visit(browser, page_of_a_fleet)
    visit.page.goto(visit.address + "#finding-NODE_ERROR&t=5000-25000&on=GPU-1")
    visit.page.reload()
    visit.draw_all()
    assert "pointed" in visit.page.get_attribute("#finding-NODE_ERROR", "class")
    assert {one[1] - one[0] for one in visit.page.evaluate(KEYS)} == {20_000}
    visit.page.goto(visit.address + "#t=x&on=%E0%A4%A&on=nobody")
    visit.page.reload()
    assert visit.page.inner_text(".pick[data-kind='gpu'] summary") == "All 8 GPUs"
    assert visit.complaints == []
    visit.context.close()


def test_what_cannot_be_seen_is_said(visit: Visit) -> None:
    """Charts have a name and a sentence of figures, controls a name; one heading of the first level; no empty link."""
    tree = visit.page.locator("body").aria_snapshot()
    assert tree.count("[level=1]") == 1
    assert 'group "VRAM"' in tree
    assert 'region "What the page shows"' in tree
    words = visit.page.text_content("#words-vram")
    assert "median of 8: 4.5 GiB on average" in words
    assert "1 marks" in words or "marks of findings" in words
    unnamed = """() => [...document.querySelectorAll('a, button, input, summary, [tabindex="0"]')].filter((one) =>
        one.offsetParent && !one.closest('.plot') &&
        !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length)).length"""
    assert visit.page.evaluate(unnamed) == 0


def test_the_tab_key_goes_through_the_page_and_out_of_it(visit: Visit) -> None:
    """First to the skip link; from there always on, never in a circle, to the last thing there is."""
    seen: list[int] = []
    visit.page.evaluate("() => { document.body.tabIndex = -1; document.body.focus(); }")
    for _ in range(400):
        visit.page.keyboard.press("Tab")
        place = visit.page.evaluate(
            "() => document.activeElement === document.body ? -1 "
            ": [...document.querySelectorAll('*')].indexOf(document.activeElement)"
        )
        if place < 0 or (seen and place <= seen[0]):
            break
        if place not in seen[-1:]:  # the parts of a date are several stops
            seen.append(place)
    assert len(seen) > 20
    assert seen == sorted(set(seen))
    assert "Skip to" in visit.page.evaluate("place => document.querySelectorAll('*')[place].textContent", seen[0])


def test_paper_has_all_charts_in_light_colours_and_no_buttons(browser: object, page_of_a_fleet: Path) -> None:
    """Also what is folded and what was never scrolled to, from a dark screen."""
    visit = Visit(browser, page_of_a_fleet, color_scheme="dark")
    visit.page.emulate_media(media="print")
    visit.page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    visit.page.wait_for_function(
        "() => [...document.querySelectorAll('.plot')].every((one) => one.dataset.drawn === 'true')"
    )
    assert visit.page.evaluate("() => [...document.querySelectorAll('.plot')].every((one) => one.layout.width < 700)")
    assert visit.page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert (
        visit.page.evaluate("() => getComputedStyle(document.documentElement).getPropertyValue('--ink').trim()")
        == "#17191d"
    )
    assert not visit.page.is_visible("#controls")
    assert not visit.page.is_visible(".permalink")
    assert len(visit.page.pdf(format="A4")) > 20_000
    assert visit.complaints == []
    visit.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(browser: object, page_of_a_fleet: Path, scheme: str) -> None:
    """4.5 to 1 at least, against the nearest ground that is no shade."""
    visit = Visit(browser, page_of_a_fleet, color_scheme=scheme)
    visit.draw_all()
    poor = visit.page.evaluate(
        """() => {
          const light = (rgb) => rgb.map((c) => c / 255)
            .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
            .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);
          const parts = (text) => text.match(/[\\d.]+/g).map(Number);
          const ground = (one) => { for (; one; one = one.parentElement) {
            const found = parts(getComputedStyle(one).backgroundColor);
            if (found.length < 4 || found[3] === 1) return found.slice(0, 3); }
            return [255, 255, 255]; };
          const hasText = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
          const found = new Set();
          for (const one of document.querySelectorAll('main *, footer *')) {
            if (!one.offsetParent || one.closest('.sr, svg, .plot') || !hasText(one)) continue;
            const ink = light(parts(getComputedStyle(one).color).slice(0, 3));
            const [a, b] = [ink, light(ground(one))].sort((x, y) => y - x);
            const ratio = (a + 0.05) / (b + 0.05);
            if (ratio < 4.5) found.add(`${one.tagName}.${one.className}: ${ratio.toFixed(2)}`);
          }
          return [...found]; }"""
    )
    assert poor == []
    visit.context.close()
