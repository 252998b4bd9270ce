"""The report in headless Chromium: its size, first paint, the first screen drawn, all charts drawn.

The recording is a generated soak: 8 servers, 8 GPUs at 10 Hz; its first 90 minutes, and in full all 72 h too. The peer
is a page of the very same traces and layouts with the whole plotly.js inline and numbers as base64, as
`plotly.io.to_html` writes them, read back from our own page; it holds nothing but the charts. Pages are opened in turn,
each in a fresh context. "All" has every chart drawn at once, folded ones too, as if they were all on the screen. Both
pages must show the same number of drawn traces, and some in each chart.

    python -m benchmarks.bench_report RUN_DIR        # of a recording that is there, such as a soak made before
"""

from __future__ import annotations

import base64
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from plotly.offline import get_plotlyjs

from benchmarks.figure import Figure
from benchmarks.planted.soak import write_soak

SHORT = 1 / 48  # of 72 h
ROUNDS = 7
SIZE_MB, FIRST_PAINT_S, FIRST_SCREEN_S, ALL_S = 3.0, 0.5, 1.5, 3.0
TWICE = 2.0
_AT_ONCE = """
globalThis.IntersectionObserver = class {
  constructor(told) { this.told = told; }
  observe(target) { queueMicrotask(() => this.told([{ isIntersecting: true, target }])); }
  unobserve() {}
};
document.addEventListener("DOMContentLoaded", () => {
  for (const fold of document.querySelectorAll("details.fold")) fold.open = true;
});
"""
_DRAWN = """(within) => new Promise((done) => {
  const wanted = () => [...document.querySelectorAll(".plot")]
    .filter((plot) => plot.offsetParent && plot.getBoundingClientRect().top < within);
  const look = () => {
    if (document.readyState === "complete" && wanted().every((plot) => plot.dataset.drawn === "true")) {
      requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() / 1000)));
    } else setTimeout(look, 5);
  };
  look();
})"""
_PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
_CHARTS = """() => JSON.stringify([...document.querySelectorAll(".plot")].map((plot) =>
  ({ data: plot.data, layout: { ...plot.layout, width: plot.clientWidth }, height: plot.clientHeight })),
  (_, value) => ArrayBuffer.isView(value) ? [...value].map((each) => Number.isNaN(each) ? null : each) : value)"""
_TRACES = """() => [...document.querySelectorAll(".plot")].map((plot) =>
  [...plot.querySelectorAll(".scatterlayer > .trace, .barlayer .trace")].filter((one) => one.querySelector("path"))
    .length)"""
EVERYWHERE = 10**9
LONG = 48  # numbers; shorter lists stay text


@dataclass(frozen=True, slots=True)
class Opened:
    """Seconds since the page was asked for."""

    painted: float
    first_screen: float
    whole: float


def measure(*, full: bool) -> Iterator[Figure]:
    """The figures; none where there is no Chromium."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("    no Chromium here: nothing measured", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory(prefix="comfysoak-bench-") as folder:
        yield from of_recording(write_soak(Path(folder) / "short", scale=SHORT), chromium, "90 min")
        if full:
            yield from of_recording(write_soak(Path(folder) / "whole"), chromium, "72 h")


def of_recording(run_dir: Path, chromium: str, length: str) -> Iterator[Figure]:
    """The figures of the report of one recording, which is made first."""
    from playwright.sync_api import sync_playwright

    ours, peer = run_dir / "bench.html", run_dir / "bench-peer.html"
    subprocess.run([sys.executable, "-m", "comfysoak_analysis", run_dir, "--page", ours], check=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        charts, traces = _all_drawn(browser, ours)
        peer.write_text(_peer_page(charts), encoding="utf-8")
        _, theirs = _all_drawn(browser, peer)
        if traces != theirs or not all(traces):
            raise ValueError(f"each chart must show the same traces on both pages: ours {traces}, the peer's {theirs}")
        pages = [(_opened(browser, ours), _opened(browser, peer)) for _ in range(ROUNDS)]
        browser.close()
    yield _size(ours, peer, f"{len(charts)} charts of {sum(traces)} traces, {length}")
    first, other = zip(*pages, strict=True)
    yield _time(f"{length}, first paint", FIRST_PAINT_S, [one.painted for one in first], [one.painted for one in other])
    screens = [one.first_screen for one in first], [one.first_screen for one in other]
    yield _time(f"{length}, first screen drawn", FIRST_SCREEN_S, *screens)
    yield _time(f"{length}, all charts drawn", ALL_S, [one.whole for one in first], [one.whole for one in other])


def _size(ours: Path, peer: Path, what: str) -> Figure:
    own, other = (path.stat().st_size / 1e6 for path in (ours, peer))
    return Figure(
        f"size of the report, {what}", own, "MB", f"at most {SIZE_MB:g}", own <= SIZE_MB, "full plotly.js", other,
        other / own,
    )  # fmt: skip


def _time(what: str, most_s: float, own: list[float], peer: list[float]) -> Figure:
    shares = [theirs / ours for ours, theirs in zip(own, peer, strict=True)]
    value, ratio = statistics.median(own), statistics.median(shares)
    return Figure(
        f"report, {what}", value, "s", f"at most {most_s:g}, and half of the peer", value <= most_s and ratio >= TWICE,
        "full plotly.js", statistics.median(peer), ratio, f"{min(shares):.2f}..{max(shares):.2f}", len(own),
    )  # fmt: skip


def _opened(browser: Any, path: Path) -> Opened:
    """Opened twice: as a reader does, and with all charts at once."""
    painted, screen = _visit(browser, path, 800)
    return Opened(painted, screen, _visit(browser, path, EVERYWHERE, script=_AT_ONCE)[1])


def _visit(browser: Any, path: Path, within: int, script: str = "") -> tuple[float, float]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, offline=True)
    page = context.new_page()
    page.add_init_script(script)
    page.goto(f"file://{path}", wait_until="commit")
    drawn = page.evaluate(_DRAWN, within)
    painted = page.evaluate(_PAINTED)
    context.close()
    return painted, drawn


def _all_drawn(browser: Any, path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """Of every chart of a page its traces and layout, and how many traces are there to be seen."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, offline=True)
    page = context.new_page()
    page.add_init_script(_AT_ONCE)
    page.goto(f"file://{path}")
    page.evaluate(_DRAWN, EVERYWHERE)
    charts: list[dict[str, Any]] = json.loads(page.evaluate(_CHARTS))
    traces: list[int] = page.evaluate(_TRACES)
    context.close()
    return charts, traces


def _peer_page(charts: list[dict[str, Any]]) -> str:
    """All charts of one page below each other, drawn where they stand, with the whole plotly.js."""
    parts = [
        f'<div class="plot" id="plot-{place}" style="height: {chart["height"]}px"></div><script>'
        f"Plotly.newPlot('plot-{place}', {_plain(chart['data'])}, {_plain(chart['layout'])}).then("
        "(plot) => { plot.dataset.drawn = 'true'; });</script>"
        for place, chart in enumerate(charts)
    ]
    head = '<!doctype html><html><head><meta charset="utf-8"><title>peer</title>'
    return f"{head}<script>{get_plotlyjs()}</script></head><body>{''.join(parts)}</body></html>"


def _plain(value: Any) -> str:
    return json.dumps(_encoded(value)).replace("<", "\\u003c")


def _encoded(value: Any) -> Any:
    """Long lists of numbers as plotly.py writes arrays: base64 of 64-bit floats, NaN for what is missing."""
    if isinstance(value, dict):
        return {key: _encoded(each) for key, each in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) >= LONG and all(each is None or type(each) in (int, float) for each in value):
        return {"dtype": "f8", "bdata": base64.b64encode(np.array(value, dtype="<f8").tobytes()).decode()}
    return [_encoded(each) for each in value]


if __name__ == "__main__":
    found = shutil.which("chromium")
    if found is None or len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.bench_report RUN_DIR; needs chromium")
    for figure in of_recording(Path(sys.argv[1]), found, Path(sys.argv[1]).name):
        told = f"{figure.name}: {figure.value:.3g} {figure.unit}, {'met' if figure.met else 'NOT met'} ({figure.goal})"
        print(f"{told}; {figure.peer} {figure.peer_value:.3g} {figure.unit}, {figure.ratio:.2f}x {figure.spread}")
