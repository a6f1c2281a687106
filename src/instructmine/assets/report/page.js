"use strict";
// Charts, theme and the row browser. Text from data becomes text nodes, never markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const colour = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

  // ── text ──────────────────────────────────────────────────────────────────────────────────
  const INVISIBLE =
    /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\p{Cs}/gu;

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  // Put text into an element: what is invisible is named, what was searched for is marked.
  function write(into, text, wanted) {
    let from = 0;
    for (const odd of text.matchAll(INVISIBLE)) {
      marked(into, text.slice(from, odd.index), wanted);
      const code = odd[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      into.append(element("span", "odd", "⟨U+" + code + "⟩"));
      from = odd.index + odd[0].length;
    }
    marked(into, text.slice(from), wanted);
  }

  function marked(into, text, wanted) {
    const lower = text.toLowerCase();
    if (!wanted || lower.length !== text.length) { // places would not agree
      into.append(text);
      return;
    }
    let from = 0;
    for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
      into.append(text.slice(from, at), element("mark", "", text.slice(at, at + wanted.length)));
      from = at + wanted.length;
    }
    into.append(text.slice(from));
  }

  function number(value) {
    if (value === null || value === undefined) return "–";
    if (Number.isInteger(value)) return value.toLocaleString("en-US");
    return String(Number(value.toPrecision(4))).replace("-", "−");
  }

  // ── charts ────────────────────────────────────────────────────────────────────────────────
  const SYMBOLS = ["circle", "diamond", "square", "triangle-up", "cross", "star", "hexagon", "x"];
  const literal = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;");
  const clipped = (text) => (text.length > 34 ? text.slice(0, 33) + "…" : text);
  const coordinates = (values) => values.map((one) => (typeof one === "string" ? literal(one) : one));

  function trace(chart, one, place) {
    const shade = colour(one.role);
    const hover = one.labels.length
      ? { text: one.labels.map(literal), hovertemplate: "%{text}<br>%{x:.4~g}, %{y:.4~g}" }
      : { hovertemplate: (chart.lying ? "%{y}: %{x:.4~g}" : "%{x:.4~g}: %{y:.4~g}") };
    const made = { name: literal(clipped(one.name)), x: coordinates(one.x), y: coordinates(one.y), ...hover };
    if (one.low.length) made[chart.lying ? "error_x" : "error_y"] = interval(one, chart.lying ? one.x : one.y, shade);
    if (one.kind === "bars")
      return { ...made, type: "bar", orientation: chart.lying ? "h" : "v", marker: { color: shade } };
    if (one.kind === "points") {
      const size = chart.bare ? 6 : 8;
      const marker = { color: shade, size, opacity: chart.bare ? 0.75 : 0.9, symbol: SYMBOLS[place % SYMBOLS.length] };
      return { ...made, type: "scatter", mode: "markers", marker };
    }
    const line = { color: shade, width: 2, dash: one.role === "rest" ? "dot" : "solid" };
    if (one.kind === "steps") return { ...made, type: "scatter", mode: "lines", line: { ...line, shape: "hvh" } };
    const mode = one.x.length <= 40 ? "lines+markers" : "lines";
    return { ...made, type: "scatter", mode, line, marker: { color: shade, symbol: SYMBOLS[place % SYMBOLS.length] } };
  }

  function interval(one, values, shade) {
    const away = (end, sign) => end.map((value, i) => (value === null ? 0 : sign * (value - values[i])));
    return {
      type: "data", symmetric: false, array: away(one.high, 1), arrayminus: away(one.low, -1), color: shade,
      thickness: 1.5, width: 4,
    };
  }

  function layout(chart, width) {
    const ink = colour("ink");
    const axis = {
      gridcolor: colour("line"), linecolor: colour("line"), zeroline: false, automargin: true, fixedrange: true,
      tickfont: { color: colour("muted") }, title: { font: { color: ink, size: 13 }, standoff: 8 },
    };
    const titled = (text) => ({ ...axis, title: { ...axis.title, text: literal(text) } });
    const x = titled(chart.x_title);
    const y = titled(chart.lying ? "" : chart.y_title);
    if (chart.log_x) Object.assign(x, { type: "log", ...logTicks(chart, width) });
    if (chart.lying) {
      const most = width < 500 ? 18 : 42;
      const names = [...new Set(chart.series.flatMap((one) => one.y))];
      Object.assign(y, {
        type: "category", range: [names.length - 0.4, -0.6], tickvals: names.map(literal),
        ticktext: names.map((one) => literal(one.length > most ? one.slice(0, most - 1) + "…" : one)),
      });
    }
    if (chart.bare) for (const one of [x, y]) Object.assign(one, { showticklabels: false, showgrid: false });
    return {
      xaxis: x, yaxis: y, font: { color: ink, size: 13, family: getComputedStyle(document.body).fontFamily },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", bargap: 0.25, dragmode: false,
      margin: { l: 12, r: 12, t: chart.series.length > 1 ? 34 : 14, b: 12, pad: 2 },
      showlegend: chart.series.length > 1, hoverlabel: { bgcolor: colour("panel"), font: { color: ink } },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: ink }, itemclick: false, itemdoubleclick: false },
      shapes: chart.marks.map((mark) => shape(mark, chart)),
      annotations: chart.marks.filter((mark) => mark.label).map((mark) => annotation(mark, chart)),
    };
  }

  // Round numbers within the axis: 1, 2, 5, 10, … or only 1, 10, … where there is no room.
  function logTicks(chart, width) {
    const all = chart.series.flatMap((one) => one.x);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const decades = Math.ceil(Math.log10(high / low)) + 1;
    const steps = decades * 3 * 60 < width ? [1, 2, 5] : [1];
    const tickvals = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      for (const step of steps) tickvals.push(step * 10 ** power);
    return { tickvals, ticktext: tickvals.map(number) };
  }

  function shape(mark, chart) {
    const line = { color: colour("muted"), width: 1.5, dash: "dash" };
    if (mark.axis === "x") return { type: "line", x0: mark.at, x1: mark.at, yref: "paper", y0: 0, y1: 1, line };
    if (mark.axis === "y") return { type: "line", y0: mark.at, y1: mark.at, xref: "paper", x0: 0, x1: 1, line };
    const all = chart.series.flatMap((one) => [...one.x, ...one.y]);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    return { type: "line", x0: low, y0: low, x1: high, y1: high, line };
  }

  function annotation(mark, chart) {
    const text = literal(mark.label);
    const common = { text, showarrow: false, font: { color: colour("ink") }, bgcolor: colour("paper") };
    if (mark.axis === "y") return { ...common, xref: "paper", x: 1, xanchor: "right", y: mark.at, yanchor: "bottom" };
    const at = chart.log_x ? Math.log10(mark.at) : mark.at;
    return { ...common, x: at, xanchor: "left", yref: "paper", y: 1, yanchor: "top", xshift: 4 };
  }

  function draw(place) {
    const chart = data.charts[place.dataset.chart];
    if (chart.lying) {
      const bars = new Set(chart.series.flatMap((one) => one.y)).size;
      place.style.height = 96 + bars * (chart.series.length > 1 ? 46 : 34) + "px";
    }
    place.dataset.drawn = "yes";
    const traces = chart.series.map((one, i) => trace(chart, one, i));
    return Plotly.react(place, traces, layout(chart, place.clientWidth), { displayModeBar: false, responsive: true });
  }

  const places = [...document.querySelectorAll("[data-chart]")];
  const near = new IntersectionObserver(
    (seen) => {
      for (const one of seen)
        if (one.isIntersecting && !one.target.dataset.drawn) draw(one.target);
    },
    { rootMargin: "600px" },
  );
  places.forEach((place) => near.observe(place));
  const redraw = () => places.filter((place) => place.dataset.drawn).forEach(draw);

  for (const list of document.querySelectorAll("[role=tablist]")) {
    const tabs = [...list.querySelectorAll("[role=tab]")];
    const show = (tab) => {
      for (const one of tabs) {
        const on = one === tab;
        one.setAttribute("aria-selected", String(on));
        one.tabIndex = on ? 0 : -1;
        byId(one.getAttribute("aria-controls")).hidden = !on;
      }
      tab.focus();
    };
    tabs.forEach((tab, i) => {
      tab.addEventListener("click", () => show(tab));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step) show(tabs[(i + step + tabs.length) % tabs.length]);
      });
    });
  }

  // ── theme ─────────────────────────────────────────────────────────────────────────────────
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    redraw();
  });
  dark.addEventListener("change", redraw);

  // ── rows ──────────────────────────────────────────────────────────────────────────────────
  const browser = data.browser;
  if (!browser) return;
  const PAGE = 10;
  const LONG = 900; // characters of a message shown at first
  const largest = Math.max(0, ...browser.rows.flatMap((row) => row.contributions.map((one) => Math.abs(one ?? 0)))) || 1;
  const rows = browser.rows.map((row, i) => ({
    ...row,
    at: i,
    text: row.messages.map((message) => message[1]).join("\n").toLowerCase(),
    kind: row.reason.split(" of ")[0].split(" by ")[0].split(":")[0],
  }));
  const fields = ["search", "group", "source", "reason", "column", "low", "high", "sort"];
  const given = Object.fromEntries(fields.map((name) => [name, byId(name)]));
  let found = [];
  let shown = 0;

  const column = () => given.column.value;
  const percentile = (row, name) =>
    (name === "quality" ? browser.quality_percentiles : browser.percentiles[name])[row.at];
  const score = (row, name) => (name === "quality" ? row.quality : row.scores[browser.columns.indexOf(name)]);

  function matches(row, wanted, low, high) {
    if (wanted && !row.text.includes(wanted)) return false;
    if (given.group.value && !row.groups.includes(given.group.value)) return false;
    if (given.source.value && row.source !== Number(given.source.value)) return false;
    if (given.reason.value && row.kind !== given.reason.value) return false;
    if (low <= 0 && high >= 100) return true;
    const own = percentile(row, column());
    return own !== null && own >= low && own <= high;
  }

  function order(a, b) {
    const sort = given.sort.value;
    const tie = a.source - b.source || a.row - b.row;
    // two rows without a rank give no number, and go by their place
    if (sort === "rank") return (a.rank ?? Infinity) - (b.rank ?? Infinity) || tie;
    if (sort === "place") return tie;
    const [x, y] = [score(a, column()), score(b, column())];
    if (x === null || y === null) return (x === null) - (y === null) || tie;
    return (sort === "up" ? x - y : y - x) || tie;
  }

  const bound = (field, otherwise) => (field.value === "" ? otherwise : Number(field.value));

  function filter() {
    const wanted = given.search.value.trim().toLowerCase();
    const [low, high] = [bound(given.low, 0), bound(given.high, 100)];
    found = rows.filter((row) => matches(row, wanted, low, high));
    found.sort(order);
    byId("found").textContent = found.length.toLocaleString("en-US") + " of " + rows.length.toLocaleString("en-US") + " rows of the sample";
    byId("cards").replaceChildren();
    shown = 0;
    more();
  }

  function more() {
    const wanted = given.search.value.trim().toLowerCase();
    const next = found.slice(shown, shown + PAGE);
    byId("cards").append(...next.map((row, i) => card(row, shown + i, wanted)));
    shown += next.length;
    byId("more").hidden = shown >= found.length;
    byId("more").textContent = "Show " + Math.min(PAGE, found.length - shown) + " more";
  }

  function card(row, position, wanted) {
    const made = element("article");
    made.tabIndex = position === 0 ? 0 : -1;
    made.setAttribute("aria-posinset", String(position + 1));
    made.setAttribute("aria-setsize", String(found.length));
    const head = element("div", "card-head");
    const place = browser.sources[row.source] + ":" + row.row;
    const title = element("strong");
    write(title, row.rank ? "#" + number(row.rank) : place);
    head.append(title);
    if (row.reason) {
      const badge = element("span", row.selected ? "badge selected" : "badge");
      write(badge, row.reason);
      head.append(badge);
    }
    if (row.quality !== null) head.append(element("span", "", "quality " + number(row.quality)));
    const where = element("span");
    write(where, place);
    head.append(where, element("span", "", row.id.slice(0, 12)));
    made.append(head);
    if (!row.messages.length) made.append(element("p", "note", "The text could not be read."));
    for (const [role, text, length] of row.messages) made.append(message(role, text, length, wanted));
    made.append(why(row));
    return made;
  }

  function message(role, text, length, wanted) {
    const made = element("div", "message");
    made.append(element("span", "role", role));
    const said = element("div", "said");
    said.dir = "auto";
    const at = wanted ? text.toLowerCase().lastIndexOf(wanted) : -1;
    const brief = text.length > LONG && at < LONG - wanted.length;
    write(said, brief ? text.slice(0, LONG) + "…" : text, wanted);
    made.append(said);
    if (brief) {
      const all = element("button", "all", "Show all of it");
      all.type = "button";
      all.addEventListener("click", () => {
        said.replaceChildren();
        write(said, text, wanted);
        all.remove();
      });
      made.append(element("span"), all);
    }
    if (length > [...text].length) made.append(element("span"), element("span", "note", "cut; " + number(length) + " characters in all"));
    return made;
  }

  function why(row) {
    const made = element("div", "why");
    if (browser.rule && row.contributions.length) {
      made.append(element("h3", "", "Why is it here? What adds to quality, against the pool's mean (negative is better)"));
      browser.rule.columns.forEach((name, i) => {
        const own = row.contributions[i];
        made.append(line(name, own === null ? "–" : (own > 0 ? "+" : "") + number(own), own === null ? null : [own / largest]));
      });
    }
    made.append(element("h3", "", "Scores, and their percentiles in the pool"));
    browser.columns.forEach((name, i) => {
      const share = browser.percentiles[name][row.at];
      const text = row.scores[i] === null ? "no value" : number(row.scores[i]) + " · " + share + " %";
      made.append(line(name, text, share === null ? null : share / 100));
    });
    return made;
  }

  // A labelled bar: a share from the left, or [share] to either side of the middle.
  function line(name, text, share) {
    const made = element("div", "score");
    const label = element("span");
    write(label, name);
    const two = Array.isArray(share);
    const bar = element("div", "bar" + (two ? " two" : "") + (two && share[0] > 0 ? " against" : ""));
    if (share !== null) {
      const fill = element("i");
      const [left, width] = two
        ? [share[0] < 0 ? 50 + 50 * share[0] : 50, 50 * Math.abs(share[0])]
        : [0, 100 * share];
      fill.style.left = left + "%";
      fill.style.width = width + "%";
      bar.append(fill);
    }
    made.append(label, bar, element("span", "", text));
    return made;
  }

  function download() {
    const lines = found.map((row) =>
      JSON.stringify({
        source: browser.sources[row.source], row: row.row, id: row.id, rank: row.rank, quality: row.quality,
        selected: row.selected, reason: row.reason,
        scores: Object.fromEntries(browser.columns.map((name, i) => [name, row.scores[i]])),
        messages: row.messages.map(([role, content]) => ({ role, content })),
        cut: row.messages.some(([, text, length]) => length > [...text].length),
      }),
    );
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "application/x-ndjson" }));
    link.download = "rows.jsonl";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  function go(step) {
    const list = [...byId("cards").children];
    const at = list.indexOf(document.activeElement.closest("#cards article"));
    if (at + step >= list.length && shown < found.length) {
      more();
      return go(step);
    }
    const next = list[Math.max(0, Math.min(list.length - 1, at + step))];
    if (!next) return;
    list.forEach((one) => (one.tabIndex = one === next ? 0 : -1));
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
  }

  let waiting = 0;
  for (const field of Object.values(given))
    field.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(filter, field === given.search ? 120 : 0);
    });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", more);
  byId("download").addEventListener("click", download);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = document.activeElement;
    const typing = at.matches("input, select, textarea");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      given.search.focus();
      given.search.scrollIntoView({ block: "center" });
    } else if (event.key === "Escape" && at.closest("#cards")) {
      given.search.focus();
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && (at === given.search || at.closest("#cards"))) {
      event.preventDefault();
      go(event.key === "ArrowDown" ? 1 : -1);
    }
  });
  filter();
})();
