// @ts-check
// The app: it reads the document and puts the parts of the page together.

import { button, fill, html } from "./dom.js";
import { bestRows, embedded, firstSeries, shareOf } from "./document.js";
import { saveRecords, save, standalone, png, WIDTHS } from "./exporting.js";
import { inScope, passes } from "./filter.js";
import { compareBar, comparedWith, compareColumns, compareNote, differsItem, dropTarget, sameMachine, twinSeries } from "./compare.js";
import { plural, visible } from "./format.js";
import { layerDetail } from "./layer.js";
import { claimsSection, machineSection, provenance, wordsSection } from "./machine.js";
import { chip, familyOf, learn, legendMark, vocabulary } from "./marks.js";
import { printed } from "./print.js";
import { shownTypes, plotOf, roofline, wholeView } from "./roofline.js";
import { go, listen, now, start, toggled } from "./state.js";
import { barPicture, stripPicture } from "./stills.js";
import { strip } from "./strip.js";
import { headline, helpList, overview, tabs, timeBar, verdictKey } from "./summary.js";
import { columns, keyOf, layerTable, ordered, records, reopen } from "./table.js";
import { applyTheme, themeButton } from "./theme.js";
import { tipBox } from "./tip.js";
import { duelSection, typesSection } from "./types.js";
import { zoomable, zoomed } from "./zoom.js";

/** @typedef {import("./document.js").Doc} Doc */
/** @typedef {import("./document.js").Run} Run */
/** @typedef {import("./document.js").Series} Series */
/** @typedef {import("./state.js").State} State */

/** @type {Doc} */
let doc;

/** The run that is shown. @returns {Run} */
function shownRun() {
  const run = doc.runs.find((r) => r.name === now().run) ?? doc.runs[0];
  if (!run) throw new Error("the document has no record");
  return run;
}

/** The series that is shown. @returns {Series | undefined} */
function shownSeries() {
  const run = shownRun();
  return run.view.series.find((s) => s.id === now().series) ?? firstSeries(run);
}

/** Places of the page that change. */
const places = {
  head: html("header", { class: "page-head" }),
  tabs: html("nav", { class: "tabs-place", "aria-label": "Network, threads and type" }),
  summary: html("section", { class: "summary", "aria-label": "Summary" }),
  picture: html("section", { class: "picture" }),
  compare: html("div", { class: "compare-place" }),
  note: html("div", {}),
  filters: html("div", { class: "filters" }),
  table: html("div", { class: "table-place" }),
  more: html("div", { class: "more" }),
};

/** The box of the roofline, which keeps its size while pictures are drawn. */
const canvas = html("div", { class: "canvas", tabindex: 0, role: "region", "aria-label": "Roofline. Keys: plus and minus zoom, arrows move, 0 shows everything." });
const stripPlace = html("div", { class: "strip-place" });
const status = html("p", { class: "hidden", role: "status" });

/** Widths of the roofline's and the bar's boxes. */
const sizes = { canvas: 900, height: 480, bar: 900 };

/** @param {string} layer */
function openLayer(layer) {
  const series = shownSeries();
  if (!series) return;
  const key = visible(`${series.id} ${layer}`);
  const visibleNow = items().some((i) => keyOf(i) === key);
  go(visibleNow ? { layer: key } : { layer: key, q: "", verdicts: [], families: [], min: 0, differs: false, scope: "series" });
  if (!visibleNow) drawFilters();
  for (const body of places.table.querySelectorAll("tbody")) {
    if (body.getAttribute("data-key") !== key) continue;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    body.scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
    /** @type {HTMLElement | null} */ (body.querySelector(".opener"))?.focus({ preventScroll: true });
  }
}

/** The rows that pass all filters. */
function items() {
  const [run, series, state] = [shownRun(), shownSeries(), now()];
  if (!series) return [];
  const all = inScope(run, series, state.scope).filter((item) => passes(item, state));
  const other = comparedWith(doc, state.b);
  return state.differs && other ? all.filter((item) => differsItem(doc, run, other, item)) : all;
}

/** What the table shows. @returns {import("./table.js").TableWish} */
function tableWish() {
  const [run, series, state] = [shownRun(), shownSeries(), now()];
  const several = state.scope !== "series";
  const other = comparedWith(doc, state.b);
  const list = items();
  const most = Math.max(0, ...(series ? inScope(run, series, state.scope) : []).map((i) => shareOf(i.series, i.row)));
  const own = columns(series?.unit ?? "GFLOP/s", several, most);
  const all = other ? compareColumns(doc, run, other, own) : own;
  return {
    columns: all, items: list, sort: state.sort, dir: state.dir, open: state.layer,
    caption: several ? "Layers of several series, each by its best variant" : `Layers of ${series?.subject ?? ""} on ${plural(series?.threads ?? 1, "thread")}, each by its best variant`,
    toggle: (item) => go({ layer: now().layer === keyOf(item) ? "" : keyOf(item) }),
    detail: (item) => layerDetail(run, item.series, item.row),
    order: (key) => {
      const { sort, dir } = now();
      const text = ["layer", "variant", "verdict", "series"].includes(key);
      const first = text || key === "roof_fraction" ? 1 : -1;
      if (sort !== key) go({ sort: key, dir: first });
      else if (dir === first) go({ dir: -first });
      else go({ sort: "", dir: 1 });
    },
  };
}

/** @type {HTMLTableElement | null} */
let table = null;

function drawTable() {
  const wish = tableWish();
  table = layerTable(wish);
  fill(places.table, wish.items.length ? table : html("p", { class: "empty" }, "No layer passes these filters. ", button("show all", clearFilters, { class: "quiet" })));
}

function clearFilters() {
  go({ q: "", verdicts: [], families: [], min: 0, differs: false });
  drawFilters();
}

function drawHead() {
  const run = shownRun();
  const { view } = run;
  fill(places.head,
    html("div", { class: "head-line" },
      html("h1", {}, "What bounds each layer"),
      html("div", { class: "tools" },
        doc.runs.length > 1 ? runChoice() : null,
        dropButton,
        button("save the record", () => save(run.file || "record.json", new Blob([JSON.stringify({ refusals: [], ...run.record })], { type: "application/json" })), { class: "quiet" }),
        themeButton())),
    html("p", { class: "machine" }, view.title || view.facts[0] || "unknown machine"),
    view.noise ? html("p", { class: view.noisy ? "noise noisy" : "noise" }, html("b", { "aria-hidden": "true" }, view.noisy ? "!" : "✓"), html("span", {}, view.noise, /[.!]$/.test(view.noise) ? "" : ".")) : null,
    view.warnings.map((w) => html("p", { class: "noise noisy" }, html("b", { "aria-hidden": "true" }, "!"), html("span", {}, w))),
    html("p", { class: "soft provenance" }, provenance(run)));
}

/** A choice of the shown run. */
function runChoice() {
  const choice = html("select", { "aria-label": "Record", change: () => go({ run: choice.value, layer: "", view: [], b: choice.value === now().b ? "" : now().b }) },
    doc.runs.map((r) => html("option", { value: r.name, selected: r === shownRun() }, `${r.name}: ${r.file || r.view.title}`)));
  return choice;
}

const dropButton = dropTarget(() => doc, (name) => {
  status.textContent = `Compared with record ${name}.`;
  drawHead();
  go({ b: name });
}, (message) => {
  fill(problem, message, " ", button("close", () => { problem.hidden = true; }, { class: "quiet" }));
  problem.hidden = false;
});
const problem = html("p", { class: "problem", role: "alert", hidden: true });

function drawSummary() {
  const [run, series, state] = [shownRun(), shownSeries(), now()];
  if (!series) {
    fill(places.tabs);
    fill(places.summary, html("p", {}, run.view.rows.length > 0 ? "No layer was measured with warm caches, so there is neither a sum nor a picture." : "This record has no measurement with a known time."));
    return;
  }
  fill(places.tabs, tabs(run, series), places.compare);
  fill(places.summary,
    html("div", { class: "answer-side" }, headline(series), timeBar(run, series, sizes.bar, openLayer),
      verdictKey(run, series, state.verdicts, (v) => { go({ verdicts: toggled(now().verdicts, v) }); drawFilters(); }),
      run.view.series.length > 1 ? html("details", { class: "all-series", open: run.view.series.length <= 6 }, html("summary", {}, `All ${run.view.series.length} series of this record`), overview(run, series, false)) : null,
      series.predicted ? html("details", { class: "predicted" }, html("summary", {}, "Does a model agree?"), html("p", {}, series.predicted)) : null),
    helpList(series, openLayer));
}

/** The layers of the shown series that pass the filters. */
function visibleLayers() {
  const [run, series, state] = [shownRun(), shownSeries(), now()];
  if (!series) return [];
  const layers = bestRows(run, series).filter((row) => passes({ series, row }, state));
  const other = comparedWith(doc, state.b);
  const shown = state.differs && other ? layers.filter((row) => differsItem(doc, run, other, { series, row })) : layers;
  return shown.map((row) => row.layer);
}

/**
 * The roofline in this size.
 * @param {number} width
 * @param {number} height
 * @param {boolean} still without links
 */
function drawRoofline(width, height, still) {
  const [run, series, state] = [shownRun(), shownSeries(), now()];
  if (!series) return null;
  return roofline(run, series, {
    width, height, show: state.show, only: visibleLayers(), open: still ? null : openLayer, legend: still,
    view: state.view.length === 4 ? /** @type {import("./roofline.js").View} */ (state.view) : null,
    other: otherOf(run, series),
  });
}

/**
 * What the roofline compares with.
 * @param {Run} run
 * @param {Series} series
 */
function otherOf(run, series) {
  const other = comparedWith(doc, now().b);
  const twin = other ? twinSeries(other, series) : undefined;
  return other && twin ? { run: other.run, series: twin, name: other.name, fractions: !sameMachine(run, other.run) } : null;
}

function drawPicture() {
  const picture = drawRoofline(sizes.canvas, sizes.height, false);
  const focused = /** @type {Element | null} */ (document.activeElement)?.closest(".point")?.getAttribute("data-layer");
  fill(canvas, picture);
  if (focused) for (const p of canvas.querySelectorAll(".point")) if (p.getAttribute("data-layer") === focused) /** @type {SVGElement} */ (p).focus({ preventScroll: true });
}

function drawStrip() {
  const [run, series] = [shownRun(), shownSeries()];
  if (series) fill(stripPlace, strip(run, series, visibleLayers(), openLayer));
}

/** What the picture's tools, legend and boxes are. */
function drawPictureFrame() {
  const [run, series, state] = [shownRun(), shownSeries(), now()];
  if (!series) return fill(places.picture);
  const rows = bestRows(run, series);
  const cold = run.view.rows.some((r) => r.cache !== "warm");
  const phased = rows.some((r) => r.phases.length > 1);
  const nominal = rows.some((r) => r.gflops_nominal > 1.03 * r.gflops_executed);
  const typed = shownTypes(run, series, ["types"]).length > 0;
  /** @type {[string, string, boolean][]} */
  const toggles = [["types", "other types (hollow)", typed], ["nominal", "nominal operations (hollow)", nominal], ["phases", "phases (small dots)", phased], ["cold", "cold caches (crosses)", cold]];
  const families = vocabulary().families.filter((f) => rows.some((r) => familyOf(r).name === f.name));
  const zoom = (/** @type {number} */ factor) => go({ view: zoomed(currentView(), factor, 0.5, 0.5) });
  fill(places.picture,
    html("div", { class: "picture-head" },
      html("h2", {}, `Roofline of ${series.subject}, ${plural(series.threads, "thread")}`),
      html("div", { class: "tools" },
        toggles.filter(([, , exists]) => exists).map(([key, text]) => button(text, () => { go({ show: toggled(now().show, key), view: [] }); drawPictureFrame(); }, { "aria-pressed": String(state.show.includes(key)), class: "toggle" })),
        html("span", { class: "zoom-tools" }, button("+", () => zoom(1.5), { "aria-label": "Zoom in" }), button("−", () => zoom(1 / 1.5), { "aria-label": "Zoom out" }), button("all", () => go({ view: [] }), { "aria-label": "Show everything" })),
        exportMenu())),
    canvas,
    html("div", { class: "legend" },
      series.shares.map((s) => chip(s.verdict)),
      html("span", { class: "gap" }),
      families.map((f) => html("span", { class: "family" }, legendMark(f), f.name)),
      html("span", { class: "soft" }, "Area: share of the time. Band: spread of a roof. Zoom: wheel with Ctrl or after a click, two fingers, + and −. Drag or arrows move; a double click shows everything.")),
    html("h3", {}, "Percentage of its roof that each layer attains ", html("small", { class: "soft" }, "the least first; the roof is that of the layer's own rounds, so a slower clock doesn't count against it")),
    stripPlace);
}

/** Saves each picture in several forms. */
function exportMenu() {
  const make = (/** @type {string} */ kind, /** @type {"single" | "double"} */ size) => {
    const width = size === "single" ? 400 : 760;
    const [run, series] = [shownRun(), shownSeries()];
    if (!series) throw new Error("there is no picture");
    const picture = kind === "roofline" ? drawRoofline(width, size === "single" ? 320 : 430, true) : kind === "time" ? barPicture(run, series, width) : stripPicture(run, series, width);
    if (!picture) throw new Error("there is no picture");
    const caption = [`${series.subject}, ${plural(series.threads, "thread")}; ${run.view.title}`, provenance(run)];
    return { text: standalone(picture, fitted(caption, width), WIDTHS[size]), name: `${kind}-${series.id}-${WIDTHS[size]}mm` };
  };
  const item = (/** @type {string} */ kind, /** @type {"svg" | "png"} */ form, /** @type {"single" | "double"} */ size) => button(`${form.toUpperCase()} ${WIDTHS[size]} mm`, async () => {
    const { text, name } = make(kind, size);
    save(`${name}.${form}`, form === "svg" ? new Blob([text], { type: "image/svg+xml" }) : await png(text, WIDTHS[size]));
  }, { "aria-label": `Save the picture ${kind} as ${form.toUpperCase()}, ${WIDTHS[size]} mm wide` });
  const row = (/** @type {string} */ kind, /** @type {string} */ title) => html("div", { class: "menu-row", role: "group", "aria-label": title }, html("span", {}, title), html("div", { class: "chips" }, item(kind, "svg", "single"), item(kind, "svg", "double"), item(kind, "png", "single"), item(kind, "png", "double")));
  const menu = html("details", { class: "menu", keydown: (/** @type {KeyboardEvent} */ e) => { if (e.key === "Escape") menu.open = false; } }, html("summary", {}, "save pictures"), html("div", { class: "menu-items" }, row("roofline", "roofline"), row("time", "bar of time"), row("roofs", "% of roof")));
  return menu;
}

/**
 * Lines broken so that they fit under a picture.
 * @param {string[]} lines
 * @param {number} width
 */
function fitted(lines, width) {
  const most = Math.floor(width / 5.1);
  return lines.flatMap((line) => {
    /** @type {string[]} */
    const out = [];
    for (const word of line.split(" ")) {
      const last = out[out.length - 1];
      if (last !== undefined && last.length + word.length < most) out[out.length - 1] = `${last} ${word}`;
      else out.push(word);
    }
    return out;
  });
}

/** @returns {import("./zoom.js").View} */
function currentView() {
  const [run, series, state] = [shownRun(), shownSeries(), now()];
  if (state.view.length === 4) return /** @type {import("./zoom.js").View} */ (state.view);
  return series ? wholeView(run, series, state.show, otherOf(run, series)) : [1, 10, 1, 10];
}

function drawFilters() {
  const [run, series, state] = [shownRun(), shownSeries(), now()];
  if (!series) return fill(places.filters);
  const all = inScope(run, series, state.scope);
  const verdicts = vocabulary().verdicts.filter((v) => all.some(({ row }) => row.verdict === v.name));
  const families = vocabulary().families.filter((f) => all.some(({ row }) => familyOf(row).name === f.name));
  const search = html("input", { type: "search", placeholder: "search: layer, variant, shape", "aria-label": "Search", value: state.q, input: () => go({ q: search.value }) });
  const networks = [...new Set(run.view.series.map((s) => s.network))];
  const types = [...new Set(run.view.series.map((s) => s.dt))];
  /** @type {[string, string][]} */
  const scopes = [["series", "this series"], ["all", "all series"], ...(networks.length > 1 ? networks.map((n) => /** @type {[string, string]} */ ([`network:${n}`, `network ${n}`])) : []), ...(types.length > 1 ? types.map((t) => /** @type {[string, string]} */ ([`type:${t}`, `type ${t}`])) : [])];
  const scope = html("select", { "aria-label": "Rows of", change: () => { go({ scope: scope.value }); drawFilters(); } }, scopes.map(([value, text]) => html("option", { value, selected: state.scope === value }, text)));
  const share = html("select", { "aria-label": "Least share of the time", change: () => go({ min: Number(share.value) }) }, [0, 0.5, 1, 2, 5, 10].map((v) => html("option", { value: v, selected: state.min === v }, v ? `at least ${v} % of the time` : "any share")));
  fill(places.filters,
    html("div", { class: "filter-line" }, html("h2", {}, "Layers"), search, scope, share,
      html("span", { class: "tools" },
        button("CSV", () => saveTable("csv"), { class: "quiet", "aria-label": "Save the table as CSV" }),
        button("JSON", () => saveTable("json"), { class: "quiet", "aria-label": "Save the table as JSON" }))),
    html("div", { class: "filter-line" },
      html("span", { role: "group", class: "chips", "aria-label": "Verdicts" }, verdicts.map((v) => html("button", { type: "button", class: "toggle", "aria-pressed": String(state.verdicts.includes(v.name)), click: () => { go({ verdicts: toggled(now().verdicts, v.name) }); drawFilters(); } }, chip(v.name)))),
      html("span", { role: "group", class: "chips", "aria-label": "Algorithms" }, families.map((f) => html("button", { type: "button", class: "toggle", "aria-pressed": String(state.families.includes(f.name)), click: () => { go({ families: toggled(now().families, f.name) }); drawFilters(); } }, legendMark(f), f.name))),
      count));
  drawCount();
}

const count = html("span", { class: "count", "aria-live": "polite" });

function drawCount() {
  const [run, series, state] = [shownRun(), shownSeries(), now()];
  if (!series) return;
  const all = inScope(run, series, state.scope).length;
  const shown = items().length;
  fill(count, shown === all ? plural(all, "layer") : [`${shown} of ${plural(all, "layer")} `, button("show all", clearFilters, { class: "quiet" })]);
}

/** @param {"csv" | "json"} form */
function saveTable(form) {
  const wish = tableWish();
  saveRecords(`layers-${now().scope === "series" ? shownSeries()?.id : "all"}`, records(wish.columns, ordered(wish)), form);
}

function drawMore() {
  const [run, series] = [shownRun(), shownSeries()];
  if (!series) return fill(places.more, machineSection(run), wordsSection());
  fill(places.more, typesSection(run, series), duelSection(run, series), claimsSection(run), machineSection(run), wordsSection());
}

function drawCompare() {
  const other = comparedWith(doc, now().b);
  const series = shownSeries();
  fill(places.compare, series ? compareBar(doc, shownRun(), series, other, () => drawFilters()) : null);
  fill(places.note, series ? compareNote(doc, shownRun(), series, other) : null);
}

function drawAll() {
  drawHead();
  drawSummary();
  drawPictureFrame();
  drawPicture();
  drawStrip();
  drawCompare();
  drawFilters();
  drawTable();
  drawMore();
}

/**
 * Draws again what a change of the state concerns.
 * @param {State} state
 * @param {State} before
 */
function changed(state, before) {
  const differs = (/** @type {(keyof State)[]} */ keys) => keys.some((k) => String(state[k]) !== String(before[k]));
  if (differs(["theme"])) applyTheme();
  if (differs(["run", "series"])) return drawAll();
  const filtered = differs(["q", "verdicts", "families", "min", "differs", "b"]);
  if (filtered) drawSummaryKeys();
  if (filtered) {
    // The table answers first, the pictures in the next frame.
    cancelAnimationFrame(pending);
    pending = requestAnimationFrame(() => { drawPicture(); drawStrip(); });
  } else if (differs(["show", "view"])) drawPicture();
  if (differs(["b"])) drawCompare();
  if (filtered || differs(["scope", "sort", "dir"])) {
    drawTable();
    drawCount();
  } else if (differs(["layer"]) && table) reopen(table, tableWish());
}

/** The frame that draws the pictures. */
let pending = 0;

/** Shows which verdicts are chosen, without drawing the summary again. */
function drawSummaryKeys() {
  const series = shownSeries();
  const keys = places.summary.querySelectorAll(".key");
  series?.shares.forEach((s, i) => keys[i]?.setAttribute("aria-pressed", String(now().verdicts.includes(s.verdict))));
}

/** Draws the pictures again when their boxes change. */
function watchSizes() {
  const watcher = new ResizeObserver(() => {
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (width > 0 && (Math.abs(width - sizes.canvas) > 1 || Math.abs(height - sizes.height) > 1)) {
      Object.assign(sizes, { canvas: width, height });
      drawPicture();
    }
    const bar = places.summary.querySelector(".time-bar")?.clientWidth ?? 0;
    if (bar > 0 && Math.abs(bar - sizes.bar) > 8) {
      sizes.bar = bar;
      const old = places.summary.querySelector(".time-bar");
      const series = shownSeries();
      if (old && series) old.replaceWith(timeBar(shownRun(), series, bar, openLayer));
    }
  });
  watcher.observe(canvas);
  watcher.observe(places.summary);
}

/** Builds the page. */
async function main() {
  start();
  applyTheme();
  doc = await embedded(document);
  learn(doc.vocabulary);
  const app = html("div", { id: "app" }, html("a", { class: "skip", href: "#layers", click: (/** @type {Event} */ e) => { e.preventDefault(); places.filters.scrollIntoView(); /** @type {HTMLElement | null} */ (places.filters.querySelector("input"))?.focus(); } }, "skip to the layers"),
    places.head, problem, places.tabs,
    html("main", {}, places.note, places.summary, places.picture, html("section", { id: "layers", "aria-label": "Layers" }, places.filters, places.table), places.more),
    html("footer", {}, "Made by convroof; this file needs no network."), status, tipBox());
  document.body.append(app);
  const still = html("div", { class: "print-only" });
  document.body.append(still);
  listen(changed);
  drawPictureFrame();
  if (canvas.clientWidth > 0) Object.assign(sizes, { canvas: canvas.clientWidth, height: canvas.clientHeight });
  drawAll();
  // Until here the static part would be shown after an error.
  document.getElementById("static")?.remove();
  watchSizes();
  zoomable(canvas, () => ({ view: currentView(), whole: wholeView(shownRun(), /** @type {Series} */ (shownSeries()), now().show), plot: plotOf(sizes.canvas, sizes.height) }), (view) => go({ view: view ?? [] }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
  window.addEventListener("beforeprint", () => fill(still, printed(shownRun())));
  window.addEventListener("afterprint", () => fill(still));
  const [, ...rest] = now().layer.split(" ");
  if (rest.length) places.table.querySelector("tbody.open")?.scrollIntoView({ block: "center" });
}

main().catch((error) => {
  // The static part is hidden while there is an app.
  document.documentElement.classList.remove("app");
  document.getElementById("app")?.remove();
  document.body.prepend(html("p", { class: "problem", role: "alert" }, `This page can't show its document: ${error instanceof Error ? error.message : String(error)}.`));
});
