(() => {
  "use strict";
  const run = JSON.parse(document.getElementById("run-data").textContent);
  const LEFT = innerWidth < 600 ? 126 : 150, RIGHT = 34; // the same for all charts, so that their times stand above each other
  const charts = new Map(run.charts.map((chart) => [chart.key, chart]));
  const drawn = new Map(); // key -> element
  const whole = [run.start_ms, run.end_ms];
  let range = whole.slice();
  let following = false;
  const days = whole[1] - whole[0] > 20 * 3_600_000; // then a time of day needs its date

  const colour = (role) => getComputedStyle(document.documentElement).getPropertyValue("--" + role).trim() || "#888";
  const faded = (hex, alpha) => {
    const part = (at) => parseInt(hex.slice(at, at + 2), 16);
    return `rgba(${part(1)},${part(3)},${part(5)},${alpha})`;
  };
  const at = (ms) => run.start_ms + ms;

  function tracesOf(chart) {
    const traces = [];
    const value = `%{y:${chart.decimals}}` + (chart.unit ? " " + chart.unit : "");
    for (const one of chart.series) {
      const hex = colour(one.colour);
      const base = { name: one.name, meta: one.name, x0: at(one.x0), dx: one.dx, y: one.y };
      if (one.kind === "bar") {
        traces.push({ ...base, type: "bar", width: one.dx * 0.86, marker: { color: hex, line: { width: 0 } }, hovertemplate: value });
        continue;
      }
      const shape = one.kind === "step" ? "hvh" : "linear";
      if (one.low && one.kind === "line") {
        traces.push({ name: one.name, meta: one.name, type: "scatter", mode: "lines", ...band(one), fill: "toself", fillcolor: faded(hex, 0.18),
          line: { width: 0 }, hoverinfo: "skip", connectgaps: false });
      }
      const dash = one.kind === "limit" ? "dot" : "solid";
      const markers = one.kind !== "limit" && one.y.filter((y) => y !== null).length < 3;
      traces.push({ ...base, type: "scatter", mode: markers ? "lines+markers" : "lines", marker: { size: 5 }, connectgaps: one.name.startsWith("p"),
        line: { color: hex, width: one.kind === "limit" ? 1.4 : 1.9, shape, dash }, hovertemplate: value,
        ...(one.kind === "area" ? { fill: "tozeroy", fillcolor: faded(hex, 0.12) } : {}) });
    }
    for (const one of chart.spans) {
      traces.push({ type: "bar", orientation: "h", name: one.name, meta: one.name, base: one.x.map(at), x: one.lasting, y: one.rows, width: 0.5,
        text: one.words, textposition: "none", hovertemplate: "%{text}<extra></extra>", marker: { color: colour(one.colour), line: { width: 0 } } });
    }
    for (const one of chart.dots) {
      const hex = colour(one.colour);
      traces.push({ type: "scatter", mode: "markers", name: one.name, meta: one.name, x: one.x.map(at), y: one.y, text: one.words, cliponaxis: false,
        hovertemplate: one.small ? `%{text}<br>%{y:${chart.decimals}} ${chart.unit}<extra></extra>` : "%{text}<extra></extra>",
        marker: one.small ? { size: 4.5, color: faded(hex, 0.5), line: { width: 0 } } : { size: 10, symbol: one.symbol, color: faded(hex, 0.85), line: { width: 1.2, color: colour("card") } } });
    }
    return traces;
  }

  // One polygon for each stretch without a gap: out along the minimum, back along the maximum.
  function band(one) {
    const x = [], y = [];
    for (let from = 0; from < one.low.length; from++) {
      if (one.low[from] === null) continue;
      let to = from;
      while (to + 1 < one.low.length && one.low[to + 1] !== null) to++;
      if (x.length) { x.push(null); y.push(null); }
      for (let i = from; i <= to; i++) { x.push(at(one.x0 + i * one.dx)); y.push(one.low[i]); }
      for (let i = to; i >= from; i--) { x.push(at(one.x0 + i * one.dx)); y.push(one.high[i]); }
      from = to;
    }
    return { x, y };
  }

  function shapesOf(chart) {
    const shapes = run.phases.filter((phase) => phase.quiet).map((phase) => ({ type: "rect", xref: "x", yref: "paper", layer: "below",
      x0: at(phase.from), x1: at(phase.to), y0: 0, y1: 1, fillcolor: colour("shade"), line: { width: 0 } }));
    if (chart.rows.length === 0) {
      for (const mark of run.marks) {
        shapes.push({ type: "line", xref: "x", yref: "paper", layer: "below", x0: at(mark.at), x1: at(mark.at), y0: 0, y1: 1,
          line: { width: 1, color: faded(colour(mark.severity), 0.45), dash: "dot" } });
      }
    }
    return shapes;
  }

  function layoutOf(chart) {
    const font = { family: colour("sans"), size: 11.5, color: colour("quiet") };
    const strip = chart.rows.length > 0;
    const hover = chart.dots.some((one) => one.small) ? "closest" : strip ? "closest" : "x unified";
    const axis = { fixedrange: true, gridcolor: colour("grid"), zerolinecolor: colour("line"), zerolinewidth: 1, ticks: "outside", ticklen: 7, tickcolor: "rgba(0,0,0,0)", tickfont: font, automargin: false };
    const first = chart.key === run.charts[0].key;
    const notes = run.phases.filter((phase) => phase.quiet && first).map((phase) => ({ text: phase.label, xref: "x", yref: "paper", x: at(phase.from), y: 1, xanchor: "left",
      yanchor: "bottom", showarrow: false, font: { ...font, size: 10.5 }, xshift: 2 }));
    return {
      height: chart.height, margin: { l: LEFT, r: RIGHT, t: first ? 20 : 10, b: days ? 42 : 28 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font, showlegend: false, barmode: "stack", bargap: 0, hovermode: hover, hoverdistance: 24, dragmode: "zoom", shapes: shapesOf(chart), annotations: notes,
      hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line-strong"), font: { family: colour("sans"), size: 12, color: colour("ink") }, align: "left" },
      xaxis: { type: "date", range: range.slice(), gridcolor: colour("grid"), tickfont: font, ticks: "", showline: true, linecolor: colour("line"), zeroline: false,
        tickangle: 0, hoverformat: chart.series.some((one) => one.kind === "bar") ? "%H:%M:%S" : "%H:%M:%S.%3f", showspikes: false, ...ticksOf(range),
        tickformatstops: [{ dtickrange: [null, 999], value: "%H:%M:%S.%L" }, { dtickrange: [1000, 59_999], value: "%H:%M:%S" },
          { dtickrange: [60_000, 86_399_999], value: days ? "%H:%M\n%b %d" : "%H:%M" }, { dtickrange: [86_400_000, null], value: "%b %d" }] },
      yaxis: strip
        ? { ...axis, type: "category", categoryorder: "array", categoryarray: chart.rows.slice().reverse(), range: [-0.6, chart.rows.length - 0.4], tickfont: { ...font, color: colour("ink-2") } }
        : { ...axis, rangemode: "tozero", nticks: 5, ...(chart.whole ? { range: [0, 104] } : {}), ...(topOf(chart) ? { range: [0, topOf(chart)] } : {}) },
    };
  }

  // The same ticks in all charts: left to itself a chart of bars would put them under its bars.
  function ticksOf([from, to]) {
    const most = innerWidth < 600 ? 2 : innerWidth < 1000 ? 6 : 9;
    const nice = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 1.5e4, 3e4, 6e4, 1.2e5, 3e5, 6e5, 9e5, 1.8e6, 3.6e6, 7.2e6, 1.08e7, 2.16e7, 4.32e7];
    const dtick = nice.find((step) => (to - from) / step <= most) ?? 8.64e7 * Math.ceil((to - from) / 8.64e7 / most);
    return { tick0: 0, dtick };
  }

  function topOf(chart) {
    const limit = chart.series.find((one) => one.colour === "capacity");
    if (!limit) return 0;
    const most = Math.max(...chart.series.flatMap((one) => (one.high || one.y)).filter((y) => y !== null));
    return most * 1.06;
  }

  function draw(element) {
    const chart = charts.get(element.dataset.key);
    if (!chart || drawn.has(chart.key)) return;
    drawn.set(chart.key, element);
    const config = { displayModeBar: false, displaylogo: false, showSendToCloud: false, responsive: true, doubleClick: false, scrollZoom: false };
    Plotly.newPlot(element, tracesOf(chart), layoutOf(chart), config).then(() => {
      const cursor = document.createElement("div");
      cursor.className = "cursor";
      element.appendChild(cursor);
      element.on("plotly_relayout", (change) => follow(change));
      element.on("plotly_doubleclick", () => show(whole));
      element.dataset.drawn = "true";
    });
    element.addEventListener("mousemove", (event) => point(event.clientX - element.getBoundingClientRect().left));
    element.addEventListener("mouseleave", () => point(null));
  }

  function point(left) {
    for (const element of drawn.values()) {
      const cursor = element.querySelector(".cursor");
      if (!cursor) continue;
      cursor.style.display = left !== null && left >= LEFT && left <= element.clientWidth - RIGHT ? "block" : "none";
      cursor.style.left = left + "px";
    }
  }

  const millis = (value) => (typeof value === "number" ? value : Date.parse(String(value).replace(" ", "T") + (/[zZ]$/.test(value) ? "" : "Z")));

  function follow(change) {
    if (following) return;
    if (change["xaxis.autorange"]) return show(whole);
    const from = change["xaxis.range[0]"] ?? change["xaxis.range"]?.[0];
    const to = change["xaxis.range[1]"] ?? change["xaxis.range"]?.[1];
    if (from !== undefined && to !== undefined) show([millis(from), millis(to)]);
  }

  function show(next) {
    range = next.slice();
    document.getElementById("whole").hidden = range[0] === whole[0] && range[1] === whole[1];
    following = true;
    const relaid = { "xaxis.range": range.slice(), "xaxis.dtick": ticksOf(range).dtick };
    Promise.all([...drawn.values()].map((element) => Plotly.relayout(element, relaid))).finally(() => { following = false; });
  }

  document.getElementById("whole").addEventListener("click", () => show(whole));
  for (const button of document.querySelectorAll("button[data-from]")) {
    button.addEventListener("click", () => {
      const from = Number(button.dataset.from), to = Number(button.dataset.to);
      const pad = Math.max((to - from) * 0.25, Math.min(10_000, (whole[1] - whole[0]) / 8));
      show([Math.max(at(from - pad), whole[0]), Math.min(at(to + pad), whole[1])]);
      document.getElementById("timeline").scrollIntoView();
    });
  }
  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const element = drawn.get(button.dataset.chart);
      if (!element) return;
      const names = charts.get(button.dataset.chart).legend;
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      const which = element.data.flatMap((trace, index) => (trace.meta === names[Number(button.dataset.name)] ? [index] : []));
      Plotly.restyle(element, { visible: shown }, which);
    });
  }
  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", () => {
      const text = button.previousElementSibling.textContent;
      const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
      if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => select(button.previousElementSibling));
      else select(button.previousElementSibling);
    });
  }
  function select(element) { getSelection().selectAllChildren(element); }

  const plots = [...document.querySelectorAll(".plot")];
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "300px 0px" });
  plots.forEach((element) => seen.observe(element));
  addEventListener("beforeprint", () => plots.forEach(draw));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const [key, element] of drawn) Plotly.react(element, tracesOf(charts.get(key)), layoutOf(charts.get(key)));
  });
})();
