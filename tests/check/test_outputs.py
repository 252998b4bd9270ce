"""The outcome as JSON, JUnit, a page, annotations and a log: the same truth in each."""

from __future__ import annotations

import io
import json
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from playwright.sync_api import sync_playwright

import comfysoak.annotations as for_github
from comfysoak.check.account import OURS, Account
from comfysoak.check.checking import failed
from comfysoak.check.output.document import as_text
from comfysoak.check.output.junit import junit
from comfysoak.check.output.log import Log
from comfysoak.check.output.page import page
from comfysoak.check.output.words import next_step
from comfysoak.check.rows import KINDS, Part
from comfysoak_core.errors import ExitCode
from tests.check.accounts import HOSTILE, account, complaints

DOC = Path(__file__).parents[2] / "docs" / "check.md"


def test_a_warning_fails_nothing_and_an_interruption_comes_before_all() -> None:
    """Exit codes: 0, 4, 130."""
    only_a_warning = {"nodes.seed": complaints()["nodes.seed"]}
    assert account(only_a_warning).exit_code is ExitCode.OK
    assert account(complaints()).exit_code is ExitCode.TARGET_NOT_READY
    assert account(complaints(), interrupted=ExitCode.INTERRUPTED).exit_code is ExitCode.INTERRUPTED


def test_what_to_do_next_is_about_what_its_reader_can_mend() -> None:
    """The first row that failed, one alone or of several; a mistake of ours is reported, not mended."""
    ours = {"url.http": failed("url.http", f"{OURS}: KeyError", "Report it.")}
    ping = {"socket.ping": complaints()["socket.ping"]}
    assert next_step(account(complaints())).startswith("Mend workflow.values first, the others may come from it;")
    assert next_step(account(ours | ping)) == "Mend socket.ping, then call this again."
    assert next_step(account(ours)) == "Report the mistake of ours; the other rows stand."
    assert next_step(account(rows=())).startswith("Name a ComfyUI")
    assert "--gateway" in next_step(account())
    assert "--errors" in next_step(account(gateway="http://platform:8080"))
    assert "put back" in next_step(account(interrupted=ExitCode.INTERRUPTED))


def test_the_document_has_every_row_and_what_is_documented() -> None:
    """Counts are those of its rows; each key of it, and of a row, stands in the manual."""
    document = json.loads(as_text(account(complaints())))
    assert [row["id"] for row in document["rows"]] == list(KINDS)
    states = [row["state"] for row in document["rows"]]
    assert document["counts"] == {state: states.count(state) for state in ("ok", "warning", "failed", "skipped")}
    assert (document["version"], document["exit_code"], document["conclusion"]) == (1, 4, "failed")
    row = next(row for row in document["rows"] if row["id"] == "workflow.values")
    assert (row["code"], row["took_s"]) == ("VALIDATION_REJECTED", 0.25)
    manual = DOC.read_text(encoding="utf-8")
    assert [key for key in (*document, *row) if f"`{key}`" not in manual] == []


def test_junit_has_a_case_a_row() -> None:
    """Failures carry code, cause and remedy; a warning passes and says so; skipped cases say why."""
    root = ET.fromstring(junit(account(complaints())))
    cases = {str(case.get("name")).split(":")[0]: case for case in root.iter("testcase")}
    assert list(cases) == ["the check ran to its end", *KINDS]
    assert [suite.get("name") for suite in root] == ["check", *Part]
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == (str(len(KINDS) + 1), "2", "0")
    failure = cases["workflow.values"].find("failure")
    assert failure is not None
    assert failure.get("type") == "VALIDATION_REJECTED"
    assert "Bring it." in str(failure.text)
    assert str(cases["nodes.seed"].findtext("system-out")).startswith("warning: ")
    assert cases["nodes.seed"].find("failure") is None
    assert cases["gateway.health"].findtext("skipped") == "no gateway was named"
    assert cases["socket.order"].get("classname") == "check.socket"


def test_junit_of_an_interrupted_check_is_not_green() -> None:
    """Nothing failed, but not all was looked at."""
    whole = account()
    root = ET.fromstring(junit(account(rows=whole.rows[:3], interrupted=ExitCode.TERMINATED)))
    assert root.get("errors") == "1"


def test_junit_survives_what_a_server_says() -> None:
    """It is XML still, and the text is there."""
    root = ET.fromstring(junit(account(complaints(HOSTILE))))
    assert any("owned" in str(failure.text) for failure in root.iter("failure"))


def test_annotations_tell_failures_before_warnings() -> None:
    """An error for each row that failed, on one line each."""
    lines = list(for_github.of_check(account(complaints(HOSTILE))))
    assert [line.split("::")[1].split(" ")[0] for line in lines] == ["error", "error", "warning"]
    assert "title=ComfySoak%3A workflow.values" in lines[0] or "title=ComfySoak: workflow.values" in lines[0]
    assert all("\n" not in line for line in lines)


def test_the_log_is_lines_of_json() -> None:
    """Each event with its time; rows as they stand in the document."""
    stream = io.StringIO()
    log = Log(stream)
    done = account(complaints(HOSTILE))
    log.write("doing", words="waiting")
    for row in done.rows:
        log.row(row)
    log.ended(done)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["doing", *["row"] * len(KINDS), "ended"]
    assert all(event["at"].endswith("+00:00") for event in events)
    assert events[-1]["counts"]["failed"] == 2


SOUND, FAILING = account(), account(complaints())


@pytest.mark.parametrize(("of", "headline"), [(SOUND, "Sound"), (FAILING, "2 rows failed")])
def test_the_page_says_how_it_came_out_first(of: Account, headline: str) -> None:
    """Then the parts at a glance, what to mend, and all rows."""
    text = page(of)
    places = [text.index(mark) for mark in (f"<h1>{headline}</h1>", 'class="tiles"', 'id="rows"')]
    assert places == sorted(places)
    assert ('id="mend"' in text) is bool(of is FAILING)


def test_the_page_has_no_script_and_loads_nothing() -> None:
    """Its policy forbids all of it; a reader may follow links to the guide."""
    text = page(account(complaints(HOSTILE), target=f"http://{HOSTILE}"))
    assert "default-src 'none'" in text
    assert not re.search(r"<(script|img|link|iframe)", text)
    links = set(re.findall(r'href="([^#"][^"]*)"', text))
    assert links
    assert all(link.startswith("https://github.com/comfysoak/comfysoak/blob/main/docs/") for link in links)
    assert "\u202e" not in text


@pytest.mark.browser
def test_the_page_can_be_read_by_everybody(tmp_path: Path, chromium: str) -> None:
    """No request, no words beyond the edge of a telephone, dark and light, headings in order, a skip link first."""
    long = "x" * 400
    path = tmp_path / "check.html"
    path.write_text(page(account(complaints(f"{HOSTILE} {long}"))), encoding="utf-8", errors="replace")
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(path.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        dark = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        tab.emulate_media(color_scheme="light")
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != dark
        assert tab.title().startswith("✕ 2 rows failed")
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.getAttribute('href')") == "#mend"
        levels = tab.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(one => +one.tagName[1])")
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        names = tab.evaluate("[...document.querySelectorAll('a')].map(one => one.textContent.trim())")
        assert all(names)
        assert len(tab.pdf()) > 1000
        browser.close()
    assert asked == [path.as_uri()]


def test_a_row_that_fails_says_more_than_its_code() -> None:
    """A long text is cut, not dropped."""
    text = page(account({"url.tcp": failed("url.tcp", "y" * 5000, "Start it.")}))
    assert "y" * 1000 in text
    assert "y" * 2000 not in text
