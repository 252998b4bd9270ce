(() => {
  "use strict";
  let run = JSON.parse(document.getElementById("run-data").textContent);
  const LEFT = innerWidth < 600 ? 126 : 150, RIGHT = 34; // the same for all charts, so that their times stand above each other
  const PRINTED = 690; // pixels: A4 less its margins
  let charts, whole, days, kinds, hosts;
  const drawn = new Map(); // key -> element
  let range = null; // null: the whole run, also while it grows
  let chosen = new Set(); // keys of subjects; none: all
  let following = false;
  const FEW_DOTS = 100; // all are drawn
  const silenced = new Set(); // "chart/line": switched off in a legend
  const byId = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];

  function read(next) {
    run = next;
    charts = new Map(run.charts.map((chart) => [chart.key, chart]));
    whole = [run.start_ms, run.end_ms];
    days = whole[1] - whole[0] > 20 * 3_600_000; // then a time of day needs its date
    kinds = new Map(run.subjects.map((one) => [one.key, one.kind]));
    hosts = new Map(run.subjects.map((one) => [one.key, one.host]));
  }
  read(run);

  const shownRange = () => range || whole;
  const at = (ms) => run.start_ms + ms;
  // Each question to the style sheet may lay out the whole page anew: each role is asked for once a colour scheme.
  let colours = new Map();
  function colour(role) {
    if (!colours.has(role)) colours.set(role, getComputedStyle(document.documentElement).getPropertyValue("--" + role).trim() || "#888888");
    return colours.get(role);
  }
  const faded = (hex, alpha) => hex + Math.round(alpha * 255).toString(16).padStart(2, "0"); // read faster than rgba(), which counts for thousands of dots

  // ---- what is selected -------------------------------------------------------------------------------------------
  // Of each kind what is shown; null: all. GPUs follow their server and servers their GPUs where hosts tell them apart.
  function narrowed() {
    const of = (kind) => new Set([...chosen].filter((key) => kinds.get(key) === kind));
    const beside = (keys) => new Set([...keys].map((key) => hosts.get(key)));
    const follow = (kind, keys) => {
      const names = beside(keys);
      if (!keys.size || names.has("") || new Set(hosts.values()).size < 2) return null;
      const found = run.subjects.filter((one) => one.kind === kind && names.has(one.host)).map((one) => one.key);
      return found.length ? new Set(found) : null;
    };
    const gpus = of("gpu"), servers = of("server");
    return { gpu: gpus.size ? gpus : follow("gpu", servers), server: servers.size ? servers : follow("server", gpus),
      host: follow("host", new Set([...gpus, ...servers])) };
  }
  let now = narrowed();
  const isIn = (key) => { const only = now[kinds.get(key)]; return !only || only.has(key); };
  function isShown(series, chart) {
    const fleet = chart.series.some((one) => one.fleet);
    const kind = kinds.get(chart.series.find((one) => one.of && kinds.has(one.of))?.of);
    const only = kind ? now[kind] : null;
    if (!only) return series.fleet || !series.of || !fleet;
    return series.of ? only.has(series.of) : !series.fleet || series === chart.series.find((one) => one.kind === "band");
  }
  function kept(one, chart) { // places of dots or spans that are about what is selected, and can be told apart at this zoom
    const places = [...one.x.keys()];
    if (!one.of || !chosen.size) return apart(one, chart, places);
    const away = new Set(Object.entries(one.of).flatMap(([key, about]) => (isIn(key) ? [] : about)));
    return apart(one, chart, places.filter((place) => !away.has(place)));
  }
  // Of dots that would cover each other but for a few pixels one is drawn, the highest; of spans all that last long enough to be seen.
  function apart(one, chart, places) {
    if (places.length < FEW_DOTS) return places;
    const wide = Math.max((drawn.get(chart.key)?.clientWidth || 1100) - LEFT - RIGHT, 100);
    const [from, to] = shownRange(), cell = ((one.small ? 4 : one.lasting ? 1 : 6) / wide) * (chart.across ? 1 : to - from);
    const high = one.small ? (Math.max(...one.y) * 4) / chart.height || 1 : 0, found = new Map();
    for (const place of places) {
      const key = `${Math.floor((at(one.x[place]) - from) / cell)} ${one.lasting ? one.rows[place] : one.small ? Math.floor(one.y[place] / high) : one.y[place]}`;
      const before = found.get(key), size = one.lasting || one.y;
      if (before === undefined || size[place] > size[before]) found.set(key, place);
    }
    return [...found.values()].sort((a, b) => a - b);
  }

  // ---- values ---------------------------------------------------------------------------------------------------------
  const NOTHING = 65535, STEPS = 65534;
  const numbers = (values) => Float64Array.from(values, (each) => each ?? NaN); // plotly goes through these faster than through arrays
  function unpacked(values) { // see figures/packed.py; NaN where there is none; kept, since a chart is drawn again and again
    if (!values) return values;
    if (Array.isArray(values)) return numbers(values);
    if (!values.read) {
      const text = atob(values.at);
      values.read = new Float64Array(text.length / 2);
      for (let place = 0; place < values.read.length; place++) {
        const number = text.charCodeAt(2 * place) + 256 * text.charCodeAt(2 * place + 1);
        values.read[place] = number === NOTHING ? NaN : values.low + number * values.step;
      }
    }
    return values.read;
  }
  const mostOf = (values) => (Array.isArray(values) ? Math.max(0, ...values) : values.low + STEPS * values.step); // of many GPUs without unpacking them

  // ---- charts ---------------------------------------------------------------------------------------------------------
  function tracesOf(chart) {
    const traces = [];
    const value = `%{y:${chart.decimals}}` + (chart.unit ? " " + chart.unit : "");
    const x = (place) => (chart.across ? place / 1000 : at(place));
    for (const one of chart.series) {
      if (!isShown(one, chart)) continue;
      const hex = colour(one.colour), y = unpacked(one.y), low = unpacked(one.low), high = unpacked(one.high);
      const base = { name: one.name, meta: one.name, x0: x(one.x0), dx: chart.across ? one.dx / 1000 : one.dx, y };
      if (one.kind === "bar") {
        traces.push({ ...base, type: "bar", width: base.dx * 0.86, marker: { color: hex, line: { width: 0 } }, hovertemplate: value });
        continue;
      }
      const outer = one.kind === "band" && one === chart.series.find((other) => other.kind === "band");
      if (low && (one.kind === "line" || one.kind === "band")) {
        traces.push({ name: one.name, meta: one.name, type: "scatter", mode: "lines", ...band(one, low, high, x), fill: "toself",
          fillcolor: faded(hex, one.kind === "line" ? 0.18 : outer ? 0.16 : 0.3), line: { width: 0 }, hoverinfo: "skip", connectgaps: false });
        if (one.kind === "band") continue;
      }
      const markers = one.kind !== "limit" && y.filter(Number.isFinite).length < 3;
      traces.push({ ...base, type: "scatter", mode: markers ? "lines+markers" : "lines", marker: { size: 5 }, connectgaps: / ?p\d+$/.test(one.name),
        line: { color: hex, width: one.kind === "limit" ? 1.4 : 1.9, shape: one.kind === "step" ? "hvh" : "linear", dash: one.kind === "limit" ? "dot" : "solid" },
        hovertemplate: value, ...(one.kind === "area" ? { fill: "tozeroy", fillcolor: faded(hex, 0.12) } : {}) });
    }
    for (const one of chart.spans) {
      const places = kept(one, chart);
      traces.push({ type: "bar", orientation: "h", name: one.name, meta: one.name, base: numbers(places.map((place) => at(one.x[place]))), x: numbers(places.map((place) => one.lasting[place])),
        y: places.map((place) => one.rows[place]), width: 0.5, text: places.map((place) => one.words[place]), textposition: "none",
        hovertemplate: "%{text}<extra></extra>", marker: { color: colour(one.colour), line: { width: 0 } } });
    }
    for (const one of chart.dots) {
      const hex = colour(one.colour), places = kept(one, chart);
      traces.push({ type: "scatter", mode: "markers", name: one.name, meta: one.name, x: numbers(places.map((place) => x(one.x[place]))), y: one.small ? numbers(places.map((place) => one.y[place])) : places.map((place) => one.y[place]),
        text: places.map((place) => one.words[place]), cliponaxis: one.small, // else each dot is asked whether it is in sight
        hovertemplate: one.small ? `%{text}<br>%{y:${chart.decimals}} ${chart.unit}<extra></extra>` : `<b>${one.name}</b>  %{x|%H:%M:%S}<br>%{text}<extra></extra>`,
        marker: one.small ? { size: 4.5, color: faded(hex, 0.5), line: { width: 0 } } : { size: 10, symbol: one.symbol, color: faded(hex, 0.85), line: { width: 1.2, color: colour("card") } } });
    }
    for (const trace of traces) if (silenced.has(`${chart.key}/${trace.meta}`)) trace.visible = false;
    return traces;
  }

  // One polygon for each stretch without a gap: out along the minimum, back along the maximum.
  function band(one, low, high, at) {
    const x = [], y = [];
    for (let from = 0; from < low.length; from++) {
      if (Number.isNaN(low[from])) continue;
      let to = from;
      while (to + 1 < low.length && !Number.isNaN(low[to + 1])) to++;
      if (x.length) { x.push(NaN); y.push(NaN); }
      for (let i = from; i <= to; i++) { x.push(at(one.x0 + i * one.dx)); y.push(low[i]); }
      for (let i = to; i >= from; i--) { x.push(at(one.x0 + i * one.dx)); y.push(high[i]); }
      from = to;
    }
    return { x: numbers(x), y: numbers(y) };
  }

  const shadesOf = (chart) => (chart.across ? [] : run.phases.filter((phase) => phase.quiet).map((phase) => ({ type: "rect", xref: "x", yref: "paper", layer: "below",
    x0: at(phase.from), x1: at(phase.to), y0: 0, y1: 1, fillcolor: colour("shade"), line: { width: 0 } })));

  const overOf = (chart) => (chart.key === run.charts[0].key ? 20 : 10); // pixels above: the first names the phases
  const underOf = (chart) => (days || chart.across ? 42 : 28); // pixels below the axis: dates take a second line

  function layoutOf(chart, element) {
    const font = { family: colour("sans"), size: 11.5, color: colour("quiet") };
    const strip = chart.rows.length > 0;
    const hover = chart.dots.some((one) => one.small) || strip ? "closest" : "x unified";
    const axis = { fixedrange: true, gridcolor: colour("grid"), zerolinecolor: colour("line"), zerolinewidth: 1, ticks: "outside", ticklen: 7, tickcolor: "rgba(0,0,0,0)", tickfont: font, automargin: false, ticklabeloverflow: "allow" };
    const first = chart.key === run.charts[0].key;
    const notes = run.phases.filter((phase) => phase.quiet && first).map((phase) => ({ text: phase.label, xref: "x", yref: "paper", x: at(phase.from), y: 1, xanchor: "left",
      yanchor: "bottom", showarrow: false, font: { ...font, size: 10.5 }, xshift: 2 }));
    const across = { gridcolor: colour("grid"), tickfont: font, ticks: "", showline: true, linecolor: colour("line"), zeroline: false, tickangle: 0, ticklabeloverflow: "allow", showspikes: false };
    return {
      height: chart.height, width: element.clientWidth || element._fullLayout?.width, // told, since plotly would ask the whole page
      margin: { l: LEFT, r: RIGHT, t: overOf(chart), b: underOf(chart) }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font, showlegend: false, barmode: "stack", bargap: 0, hovermode: hover, hoverdistance: 24, dragmode: chart.across ? false : "zoom", shapes: shadesOf(chart), annotations: notes,
      hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line-strong"), font: { family: colour("sans"), size: 12, color: colour("ink") }, align: "left" },
      xaxis: chart.across ? { ...across, fixedrange: true, ...(/^runs/.test(chart.across) ? { dtick: Math.ceil(Math.max(...chart.series.map((one) => unpacked(one.y).length)) / 20) } : {}), rangemode: "tozero", title: { text: chart.across, font } }
        : { ...across, type: "date", range: shownRange().slice(), hoverformat: chart.series.some((one) => one.kind === "bar") ? "%H:%M:%S" : "%H:%M:%S.%3f", ...ticksOf(shownRange()),
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
    if (!chart.series.some((one) => one.colour === "capacity")) return 0;
    return Math.max(0, ...chart.series.map((one) => mostOf(one.high || one.y))) * 1.06;
  }

  function draw(element) {
    const chart = charts.get(element.dataset.key);
    if (!chart || drawn.has(chart.key)) return;
    drawn.set(chart.key, element);
    endLines(element, chart);
    const config = { displayModeBar: false, displaylogo: false, showSendToCloud: false, doubleClick: false, scrollZoom: false };
    Plotly.newPlot(element, tracesOf(chart), layoutOf(chart, element), config).then(() => {
      const cursor = document.createElement("div");
      cursor.className = "cursor";
      element.appendChild(cursor);
      element.on("plotly_relayout", (change) => follow(change));
      element.on("plotly_doubleclick", () => show(null));
      element.on("plotly_click", (event) => toCard("finding-" + event.points[0].data.meta));
      placeMarks(element, chart);
      element.dataset.drawn = "true";
    });
    element.addEventListener("mousemove", (event) => point(event.clientX - element.getBoundingClientRect().left));
    element.addEventListener("mouseleave", () => point(null));
  }

  function redraw() {
    colours = new Map();
    for (const [key, element] of drawn) {
      const chart = charts.get(key);
      if (!chart || !element.isConnected) { drawn.delete(key); continue; }
      endLines(element, chart);
      Plotly.react(element, tracesOf(chart), layoutOf(chart, element));
      placeMarks(element, chart);
    }
  }

  // Lines across a chart begin below the names of its phases and end at its axis: they strike through no word. Told before it is drawn: all in it inherits this.
  function endLines(element, chart) {
    element.style.setProperty("--over", overOf(chart) + "px");
    element.style.setProperty("--under", underOf(chart) + "px");
  }

  // Plotly keeps the width it was told: again when the page is wider or narrower, or a fold is opened.
  let fitting = 0;
  function fit() {
    cancelAnimationFrame(fitting);
    fitting = requestAnimationFrame(() => {
      if (document.documentElement.classList.contains("printing")) return;
      const off = [...drawn.values()].filter((element) => element.clientWidth && element._fullLayout && element.clientWidth !== element._fullLayout.width);
      for (const element of off) Plotly.react(element, tracesOf(charts.get(element.dataset.key)), layoutOf(charts.get(element.dataset.key), element));
    });
  }
  addEventListener("resize", fit);
  addEventListener("toggle", fit, true);

  function point(left) {
    for (const element of drawn.values()) {
      const cursor = element.querySelector(".cursor");
      if (!cursor) continue;
      cursor.style.display = left !== null && left >= LEFT && left <= element.clientWidth - RIGHT ? "block" : "none";
      cursor.style.left = left + "px";
    }
  }

  // ---- marks ----------------------------------------------------------------------------------------------------------
  const isAbout = (of) => !of.length || !chosen.size || of.some((key) => !kinds.has(key) || isIn(key));
  function marksShown() {
    const [from, to] = shownRange();
    return run.marks.filter((mark) => at(mark.at) >= from && at(mark.at) <= to && isAbout(run.findings[mark.anchor].of))
      .map((mark) => ({ ...mark, finding: run.findings[mark.anchor], share: (at(mark.at) - from) / (to - from) }));
  }
  const clock = (ms) => new Date(ms).toISOString().slice(days ? 5 : 11, 19).replace("T", " ");
  const counted = new Intl.NumberFormat("en");
  const told = (mark) => `${mark.finding.code}, ${mark.finding.severity}, ${clock(at(mark.at))} UTC, ${counted.format(mark.finding.count)} in all: ${mark.finding.words}`;

  function markElement(mark, kind) {
    const element = document.createElement("a");
    element.className = `${kind} ${mark.finding.severity}`;
    element.href = "#" + mark.anchor;
    element.style.setProperty("--at", mark.share);
    element.dataset.at = mark.at;
    element.addEventListener("pointerenter", () => tip(element, mark));
    element.addEventListener("pointerleave", () => tip(null));
    element.addEventListener("focus", () => tip(element, mark));
    element.addEventListener("blur", () => tip(null));
    element.addEventListener("click", (event) => { event.preventDefault(); toCard(mark.anchor); });
    return element;
  }

  function placeMarks(element, chart) {
    for (const old of element.querySelectorAll(".mark")) old.remove();
    if (chart.across) return;
    const marks = marksShown();
    for (const mark of chart.rows.length ? [] : marks) {
      const line = markElement(mark, "mark");
      line.tabIndex = -1; // the same are in the rail, where the keyboard reaches them
      element.appendChild(line);
    }
  }
  function tellMarks() { // to those who do not see them; not chart by chart, since each would lay out the page anew
    const count = marksShown().length, words = count ? `${count} marks of findings in the time shown.` : "No mark of a finding in the time shown.";
    for (const place of all("[data-marks]")) if (!charts.get(place.dataset.marks)?.across && place.textContent !== words) place.textContent = words;
  }

  function placeRail() {
    const rail = byId("rail");
    if (!rail) return;
    const held = rail.contains(document.activeElement) ? document.activeElement.dataset.at : null;
    rail.replaceChildren(...marksShown().map((mark, place) => {
      const flag = markElement(mark, "flag");
      flag.tabIndex = place ? -1 : 0; // one stop for the tab key; arrows do the rest
      flag.setAttribute("aria-label", told(mark));
      return flag;
    }));
    rail.classList.toggle("bare", !rail.childElementCount);
    if (held !== null) [...rail.children].find((flag) => flag.dataset.at === held)?.focus({ preventScroll: true });
  }

  byId("rail")?.addEventListener("keydown", (event) => {
    const flags = [...byId("rail").children], place = flags.indexOf(document.activeElement);
    const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: flags.length - 1 }[event.key];
    if (place < 0 || to === undefined) return;
    event.preventDefault();
    const next = flags[Math.min(Math.max(to, 0), flags.length - 1)];
    flags.forEach((flag) => { flag.tabIndex = flag === next ? 0 : -1; });
    next.focus();
  });

  function tip(element, mark) {
    const box = byId("tip");
    box.hidden = !element;
    if (!element) return;
    const line = (name, text) => { const part = document.createElement(name); part.textContent = text; return part; };
    box.className = "tip " + mark.finding.severity;
    box.replaceChildren(line("b", mark.finding.code), line("span", `${mark.finding.severity} · ${counted.format(mark.finding.count)} in all · ${clock(at(mark.at))} UTC`), line("p", mark.finding.words));
    const place = element.getBoundingClientRect(), wide = box.offsetWidth, high = box.offsetHeight;
    const below = place.top + (element.classList.contains("flag") ? place.height : 24) + 8;
    box.style.left = Math.min(Math.max(place.left + place.width / 2 - wide / 2, 8), innerWidth - wide - 8) + "px";
    box.style.top = (below + high < innerHeight ? below : Math.max(place.top - high - 8, 8)) + "px";
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") { byId("tip").hidden = true; all(".pick[open]").forEach(closePick); } });
  addEventListener("scroll", () => { byId("tip").hidden = true; }, { passive: true });

  function toCard(anchor) {
    const card = byId(anchor);
    if (!card || !anchor.startsWith("finding-")) return;
    writeHash(anchor);
    reveal(card);
  }
  function reveal(element) {
    all(".pointed").forEach((old) => old.classList.remove("pointed"));
    for (let fold = element.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    if (element.classList.contains("card")) element.classList.add("pointed");
    element.scrollIntoView();
    if (element.tabIndex === -1) element.focus({ preventScroll: true });
  }

  // ---- time range -------------------------------------------------------------------------------------------------------
  const millis = (value) => (typeof value === "number" ? value : Date.parse(String(value).replace(" ", "T") + (/[zZ]$/.test(value) ? "" : "Z")));

  function follow(change) {
    if (following) return;
    if (change["xaxis.autorange"]) return show(null);
    const from = change["xaxis.range[0]"] ?? change["xaxis.range"]?.[0];
    const to = change["xaxis.range[1]"] ?? change["xaxis.range"]?.[1];
    if (from !== undefined && to !== undefined) show([millis(from), millis(to)]);
  }

  function bounded([from, to]) { // inside the run, a tenth of a second at least
    const least = Math.min(100, whole[1] - whole[0]);
    const long = Math.min(Math.max(to - from, least), whole[1] - whole[0]);
    const start = Math.min(Math.max(from, whole[0]), whole[1] - long);
    return long >= whole[1] - whole[0] ? null : [start, start + long];
  }

  function show(next, quietly = false) {
    range = next && bounded(next);
    following = true;
    const [from, to] = shownRange();
    const relaid = { "xaxis.range": [from, to], "xaxis.dtick": ticksOf([from, to]).dtick };
    const timed = [...drawn].filter(([key]) => !charts.get(key).across);
    const again = (key, element) => { // where dots were left out, others may now have room
      const chart = charts.get(key);
      return chart.dots.length || chart.spans.length ? Plotly.react(element, tracesOf(chart), layoutOf(chart, element)) : Plotly.relayout(element, { ...relaid });
    };
    Promise.all(timed.map(([key, element]) => again(key, element))).finally(() => { following = false; });
    for (const [key, element] of timed) placeMarks(element, charts.get(key));
    showKnobs();
    writeHash();
    if (!quietly) say(range ? `All charts show ${clock(from)} to ${clock(to)} UTC.` : "All charts show the whole run.");
  }

  function move(key, shift) {
    const [from, to] = shownRange(), step = (to - from) * (shift ? 0.5 : 0.125), middle = (from + to) / 2;
    const zoom = (share) => [middle - (to - from) * share, middle + (to - from) * share];
    const next = { ArrowLeft: () => [from - step, to - step], ArrowRight: () => [from + step, to + step], "+": () => zoom(0.25), "=": () => zoom(0.25),
      "-": () => zoom(1), _: () => zoom(1), Home: () => null }[key];
    if (!next) return false;
    show(next());
    return true;
  }
  document.addEventListener("keydown", (event) => {
    if (!event.target.classList?.contains("stage") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (move(event.key, event.shiftKey)) event.preventDefault();
  });

  let saying = 0;
  function say(words) { clearTimeout(saying); saying = setTimeout(() => { byId("said").textContent = words; }, 250); }

  function showKnobs() {
    const [from, to] = shownRange(), local = (ms) => new Date(ms).toISOString().slice(0, 19);
    for (const [id, value] of [["from", from], ["to", to]]) {
      const input = byId(id);
      if (!input) continue;
      Object.assign(input, { min: local(whole[0]), max: local(Math.ceil(whole[1] / 1000) * 1000) });
      if (input !== document.activeElement) input.value = local(value);
    }
    if (byId("whole")) byId("whole").hidden = !range;
    placeRail();
    tellMarks();
  }

  // ---- the address: #finding-OOM&t=1000-9000&on=GPU-a ----------------------------------------------------------------------
  function written(anchor) {
    const parts = [anchor];
    if (range) parts.push(`t=${Math.round(range[0] - run.start_ms)}-${Math.round(range[1] - run.start_ms)}`);
    for (const key of chosen) parts.push("on=" + encodeURIComponent(key));
    return "#" + parts.filter(Boolean).join("&");
  }
  const anchorNow = () => { const first = location.hash.slice(1).split("&")[0]; return first.includes("=") ? "" : first; };
  function writeHash(anchor = anchorNow()) {
    const hash = written(anchor);
    if (hash !== (location.hash || "#")) history.replaceState(null, "", hash === "#" ? location.pathname + location.search : hash);
  }
  function readHash() {
    const parts = location.hash.slice(1).split("&"), anchor = anchorNow();
    const decoded = (text) => { try { return decodeURIComponent(text); } catch { return ""; } };
    const time = parts.map((part) => /^t=(\d+)-(\d+)$/.exec(part)).find(Boolean);
    const on = parts.filter((part) => part.startsWith("on=")).map((part) => decoded(part.slice(3))).filter((key) => ["gpu", "server"].includes(kinds.get(key)));
    if (time || on.length || parts.length > 1) {
      range = time ? bounded([at(Number(time[1])), at(Number(time[2]))]) : null;
      chosen = new Set(on);
    }
    return anchor ? byId(decoded(anchor)) : null;
  }
  addEventListener("hashchange", () => {
    const target = readHash();
    selected(true);
    show(range, true);
    if (target) reveal(target);
  });

  // ---- selection ----------------------------------------------------------------------------------------------------------
  function selected(quietly = false) {
    now = narrowed();
    for (const pick of all(".pick")) {
      const inputs = [...pick.querySelectorAll("input")], on = inputs.filter((input) => chosen.has(input.value));
      inputs.forEach((input) => { input.checked = chosen.has(input.value); });
      const what = pick.dataset.kind === "gpu" ? "GPUs" : "servers";
      const words = !on.length ? `All ${inputs.length} ${what}` : on.length === 1 ? on[0].parentElement.textContent.trim() : `${on.length} of ${inputs.length} ${what}`;
      pick.querySelector(".chosen").textContent = words;
      pick.classList.toggle("some", on.length > 0);
    }
    for (const row of all("[data-of]")) row.hidden = !isIn(row.dataset.of);
    let away = 0;
    for (const card of all("[data-subjects]")) { card.hidden = !isAbout(JSON.parse(card.dataset.subjects)); away += card.hidden; }
    const note = byId("hidden-findings");
    if (note) { note.hidden = !away; note.textContent = `${away} ${away === 1 ? "finding is" : "findings are"} about other servers or GPUs, and not shown.`; }
    for (const button of all(".legend button")) {
      const chart = charts.get(button.dataset.chart), name = chart?.legend[Number(button.dataset.name)];
      const series = chart?.series.filter((one) => one.name === name) || [];
      button.setAttribute("aria-pressed", String(!silenced.has(`${button.dataset.chart}/${name}`)));
      button.hidden = series.length > 0 && !series.some((one) => isShown(one, chart));
    }
    redraw();
    showKnobs();
    writeHash();
    if (!quietly) say(all(".pick .chosen").map((one) => one.textContent).join(", ") + (away ? `; ${away} findings not shown` : "") + ".");
  }
  const closePick = (pick) => { const inside = pick.contains(document.activeElement); pick.open = false; if (inside) pick.querySelector("summary").focus(); };
  document.addEventListener("change", (event) => {
    const input = event.target;
    if (input.closest(".pick")) {
      if (input.checked) chosen.add(input.value); else chosen.delete(input.value);
      selected();
    } else if (input.id === "from" || input.id === "to") {
      const from = millis(byId("from").value), to = millis(byId("to").value);
      const sound = Number.isFinite(from) && Number.isFinite(to) && from < to;
      input.setCustomValidity(sound ? "" : "From must be before to.");
      if (sound) show([from, to]); else { input.reportValidity(); say("From must be before to."); }
    }
  });

  // ---- clicks -----------------------------------------------------------------------------------------------------------
  function showMoment(button) {
    const from = Number(button.dataset.from), to = Number(button.dataset.to);
    const pad = Math.max((to - from) * 0.25, Math.min(10_000, (whole[1] - whole[0]) / 8));
    show([at(from - pad), at(to + pad)]);
    const figure = byId("chart-" + button.dataset.chart) || byId("timeline");
    reveal(figure);
    figure.querySelector(".stage")?.focus({ preventScroll: true });
  }
  function toggleLine(button) {
    const element = drawn.get(button.dataset.chart);
    if (!element) return;
    const visible = button.getAttribute("aria-pressed") !== "true", name = charts.get(button.dataset.chart).legend[Number(button.dataset.name)];
    button.setAttribute("aria-pressed", String(visible));
    silenced[visible ? "delete" : "add"](`${button.dataset.chart}/${name}`);
    Plotly.restyle(element, { visible }, element.data.flatMap((trace, index) => (trace.meta === name ? [index] : [])));
  }
  function copy(button, text, fallback) {
    const before = button.firstChild.textContent;
    const done = () => { button.firstChild.textContent = "Copied"; say("Copied."); setTimeout(() => { button.firstChild.textContent = before; }, 1500); };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, fallback);
    else fallback();
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    for (const pick of all(".pick[open]")) if (!pick.contains(event.target)) pick.open = false;
    if (!button) return;
    if (button.id === "whole") { show(null); all(".stage")[0]?.focus({ preventScroll: true }); }
    else if (button.classList.contains("clear")) { for (const input of button.closest(".pick").querySelectorAll("input")) chosen.delete(input.value); selected(); }
    else if (button.dataset.from) showMoment(button);
    else if (button.classList.contains("permalink")) {
      writeHash(button.dataset.anchor); // also where nothing may be copied, the address is right
      copy(button, location.href, () => say("The link is in the address bar."));
    } else if (button.classList.contains("copy")) {
      const text = button.previousElementSibling;
      copy(button, text.textContent, () => getSelection().selectAllChildren(text));
    } else if (button.closest(".legend")) toggleLine(button);
  });

  // ---- start ------------------------------------------------------------------------------------------------------------
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "300px 0px" });
  function dress() { // what the script adds to the page, again after each renewal
    byId("controls").hidden = false;
    all(".permalink").forEach((button) => { button.hidden = false; });
    for (const box of all(".scroll").filter((each) => each.scrollWidth > each.clientWidth)) { // all are measured before any is changed
      let heading = box;
      while (heading && !/^H[23]$/.test(heading.tagName)) heading = heading.previousElementSibling || heading.parentElement;
      Object.assign(box, { tabIndex: 0, role: "region", ariaLabel: heading?.textContent.trim() || "Table" });
    }
    all(".plot").forEach((element) => { if (!drawn.has(element.dataset.key)) seen.observe(element); });
  }
  const target = readHash();
  dress();
  selected(true);
  if (target && location.hash.includes("&")) reveal(target);
  else if (target?.classList.contains("card")) target.classList.add("pointed");

  let printing = [];
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("printing"); // light colours
    printing = all("main details:not([open]):not(.pick)").filter((fold) => fold.id === "machines" || fold.classList.contains("figures"));
    printing.forEach((fold) => { fold.open = true; });
    all(".plot").forEach(draw);
    redraw();
    for (const element of drawn.values()) Plotly.relayout(element, { width: PRINTED });
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    printing.forEach((fold) => { fold.open = false; });
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  // ---- a run in progress --------------------------------------------------------------------------------------------------
  // The page asks for its newer self, and takes over section by section what has changed: no reload, so that place,
  // focus, range and selection stay.
  function renew(text) {
    const next = new DOMParser().parseFromString(text, "text/html");
    const data = JSON.parse(next.getElementById("run-data").textContent);
    const kept = new Map(all(".plot").map((element) => [element.dataset.key, element]));
    const open = new Set(all("details[open]").map(nameOf)), focused = document.activeElement && pathTo(document.activeElement);
    const top = scrollAnchor();
    for (const element of next.querySelectorAll(".plot")) {
      const old = kept.get(element.dataset.key);
      if (old) element.closest(".stage").replaceWith(old.closest(".stage"));
    }
    const fresh = next.getElementById("main");
    for (const id of ["rail", "said", "tip"]) { const place = fresh.querySelector("#" + id); if (place && byId(id)) place.replaceWith(byId(id)); }
    byId("main").replaceChildren(...fresh.childNodes);
    document.title = next.title;
    document.body.dataset.conclusion = next.body.dataset.conclusion;
    read(data);
    for (const fold of all("details")) if (open.has(nameOf(fold))) fold.open = true;
    dress();
    selected(true);
    show(range, true);
    if (focused) document.querySelector(focused)?.focus({ preventScroll: true });
    top();
  }
  const nameOf = (fold) => fold.id || fold.dataset.kind || `${fold.closest("[id]")?.id}/${fold.querySelector("summary")?.textContent}`;
  function pathTo(element) {
    if (element.id) return "#" + CSS.escape(element.id);
    const parent = element.parentElement;
    return !parent || element === document.body ? "" : `${pathTo(parent)} > :nth-child(${[...parent.children].indexOf(element) + 1})`;
  }
  function scrollAnchor() { // what stands at the top of the screen stands there afterwards
    const first = all("main [id]").find((element) => element.getBoundingClientRect().bottom > 60 && element.offsetParent);
    const id = first?.id, before = first?.getBoundingClientRect().top;
    return () => { const after = id && byId(id); if (after) scrollBy({ top: after.getBoundingClientRect().top - before, behavior: "instant" }); };
  }
  async function watch() {
    let version = byId("live")?.dataset.version;
    while (run.live) {
      await new Promise((resolve) => { setTimeout(resolve, 1000); });
      try {
        const answer = await fetch("state", { cache: "no-store" }), state = await answer.json();
        stand(state.words);
        if (state.version === version) continue;
        renew(await (await fetch("page", { cache: "no-store" })).text());
        version = state.version;
        stand(run.live ? state.words : "The run has ended; this is its report.");
      } catch {
        stand("Nothing answers any more: comfysoak report --live has ended. What is shown is the last state.");
      }
    }
  }
  function stand(words) { const place = byId("live"); if (place && place.textContent !== words) place.textContent = words; }
  if (run.live) watch();
})();
