// @ts-check
// Comparison of what is shown with another record, or with another series of the same record.

import { button, html } from "./dom.js";
import { bestRows, complete, embedded } from "./document.js";
import { change, figure, known, percent, plural, prose, time } from "./format.js";
import { chip } from "./marks.js";
import { rawRun } from "./raw.js";
import { go, now } from "./state.js";

/** @typedef {import("./document.js").Doc} Doc */
/** @typedef {import("./document.js").Run} Run */
/** @typedef {import("./document.js").Series} Series */
/** @typedef {import("./document.js").Row} Row */
/** @typedef {import("./filter.js").Item} Item */
/** @typedef {import("./table.js").Column} Column */
/** @typedef {{run: Run, series: string | null, name: string}} Other */
/** @typedef {{ratio: number, low: number | null, high: number | null, fractions: boolean, change?: string}} Delta */

/**
 * What is compared with: "B" is a record, "A/resnet50-1" a series of one.
 * @param {Doc} doc
 * @param {string} b
 * @returns {Other | null}
 */
export function comparedWith(doc, b) {
  if (!b) return null;
  const [name = "", series = null] = b.split(/\/(.*)/s);
  const run = doc.runs.find((r) => r.name === name);
  if (!run || (series && !run.view.series.some((s) => s.id === series))) return null;
  return { run, series, name: series ? `${name}: ${series}` : name };
}

/**
 * The series of B beside one of A.
 * @param {Other} other
 * @param {Series} series
 * @returns {Series | undefined}
 */
export function twinSeries(other, series) {
  return other.run.view.series.find((s) => s.id === (other.series ?? series.id));
}

/**
 * The row of B beside one of A.
 * @param {Other} other
 * @param {Item} item
 * @returns {Row | undefined}
 */
export function twinRow(other, item) {
  const series = twinSeries(other, item.series);
  return series && bestRows(other.run, series).find((r) => r.layer === item.row.layer);
}

/**
 * True if both were measured on one machine.
 * @param {Run} a
 * @param {Run} b
 * @returns {boolean}
 */
export function sameMachine(a, b) {
  const [x, y] = [a.record?.fingerprint?.id, b.record?.fingerprint?.id];
  return a === b || (x !== undefined && x === y);
}

/**
 * B's time over A's, with an interval. The document has it for its own records. Otherwise the medians' intervals bound it.
 * On unlike machines it is A's fraction of its roof over B's, so that above 1 still means that B is worse.
 * @param {Doc} doc
 * @param {Run} run
 * @param {Other} other
 * @param {Item} item
 * @returns {Delta | null}
 */
export function deltaOf(doc, run, other, item) {
  const twin = twinRow(other, item);
  if (!twin) return null;
  const { row } = item;
  const exact = other.series ? null : exactDelta(doc, run, other, row);
  if (exact) return exact;
  if (!sameMachine(run, other.run)) {
    return known(row.roof_fraction) && known(twin.roof_fraction) && twin.roof_fraction > 0 ? { ratio: row.roof_fraction / twin.roof_fraction, low: null, high: null, fractions: true } : null;
  }
  const bounds = known(row.ci_low_ns) && known(twin.ci_low_ns) && row.ci_low_ns > 0;
  return { ratio: twin.median_ns / row.median_ns, low: bounds ? twin.ci_low_ns / row.ci_high_ns : null, high: bounds ? twin.ci_high_ns / row.ci_low_ns : null, fractions: false };
}

/**
 * The difference that the document states.
 * @param {Doc} doc
 * @param {Run} run
 * @param {Other} other
 * @param {Row} row
 * @returns {Delta | null}
 */
function exactDelta(doc, run, other, row) {
  if (run !== doc.runs[0]) return null;
  const own = (doc.comparison?.runs ?? []).find((/** @type {any} */ c) => c.name === other.run.name);
  const found = (own?.layers ?? []).find((/** @type {any} */ d) => d.layer === row.layer && d.network === row.network && d.threads === row.threads && (d.dt ?? "f32") === row.dt);
  if (!found || !known(found.ratio)) return null;
  return { ratio: found.ratio, low: found.ci?.[0] ?? null, high: found.ci?.[1] ?? null, fractions: Boolean(found.fractions), change: found.change };
}

/**
 * True if a layer differs: its interval excludes 1, or its verdict changes. Without an interval 5 % are a difference.
 * @param {Doc} doc
 * @param {Run} run
 * @param {Other} other
 * @param {Item} item
 * @returns {boolean}
 */
export function differsItem(doc, run, other, item) {
  const twin = twinRow(other, item);
  const delta = deltaOf(doc, run, other, item);
  if (!twin || !delta) return Boolean(twinSeries(other, item.series));
  if (twin.verdict !== item.row.verdict && other.run.view.series.some((s) => s.sentence)) return true;
  return isSure(delta);
}

/**
 * True if a difference is more than noise, as far as the records tell.
 * @param {Delta} delta
 * @returns {boolean}
 */
function isSure(delta) {
  if (delta.change) return !["unknown", "same", "unchanged", "none"].includes(delta.change);
  if (known(delta.low) && known(delta.high)) return delta.low > 1 || delta.high < 1;
  return Math.abs(delta.ratio - 1) > 0.05;
}

/**
 * Columns of a table that compares.
 * @param {Doc} doc
 * @param {Run} run
 * @param {Other} other
 * @param {Column[]} own
 * @returns {Column[]}
 */
export function compareColumns(doc, run, other, own) {
  const kept = own.filter((c) => ["layer", "series", "median_ns", "share", "roof_fraction", "verdict"].includes(c.key)).map((c) => (c.key === "median_ns" ? { ...c, label: "time, A", css: "n w1" } : c.key === "roof_fraction" ? { ...c, label: "of roof, A", css: "n w2" } : c.key === "verdict" ? { ...c, label: "bound by, A", css: "w1" } : c.key === "share" ? { ...c, css: "n bar w2" } : c));
  const twin = (/** @type {Item} */ item) => twinRow(other, item);
  const fractions = !sameMachine(run, other.run);
  /** @type {Column[]} */
  const more = [
    { key: "b_median_ns", label: "time, B", css: "n", value: (item) => twin(item)?.median_ns, cell: (item) => time(twin(item)?.median_ns) },
    {
      key: "b_ratio", label: fractions ? "of roof: A / B" : "B against A", title: fractions ? "A's fraction of its roof / B's: above 1 B is farther from its roof" : "change of the time, with its 95 % interval", css: "n", value: (item) => deltaOf(doc, run, other, item)?.ratio,
      cell: (item) => {
        const delta = deltaOf(doc, run, other, item);
        if (!delta) return "-";
        const interval = known(delta.low) && known(delta.high) ? html("small", { class: "soft" }, ` ${fractions ? figure(delta.low) : change(delta.low)} to ${fractions ? figure(delta.high) : change(delta.high)}`) : null;
        return html("span", { class: isSure(delta) ? (delta.ratio > 1 ? "worse" : "better") : "" }, html("b", {}, delta.fractions ? `${figure(delta.ratio)} ×` : change(delta.ratio)), interval);
      },
    },
    { key: "b_roof_fraction", label: "of roof, B", css: "n w2", value: (item) => twin(item)?.roof_fraction, cell: (item) => percent(twin(item)?.roof_fraction) },
    { key: "b_verdict", label: "bound by, B", css: "w1", value: (item) => twin(item)?.verdict, cell: (item) => { const r = twin(item); return r ? html("span", { class: r.verdict === item.row.verdict ? "" : "changed" }, chip(r.verdict)) : "-"; } },
  ];
  return [...kept, ...more];
}

/**
 * The choice of what is compared, and the filter "only what differs". Null if there is nothing to compare.
 * @param {Doc} doc
 * @param {Run} run
 * @param {Series} series
 * @param {Other | null} other
 * @param {() => void} refresh
 * @returns {HTMLElement | null}
 */
export function compareBar(doc, run, series, other, refresh) {
  /** @type {[string, string][]} */
  const choices = [["", "nothing"]];
  for (const r of doc.runs) if (r !== run) choices.push([r.name, `record ${r.name}: ${r.file || r.view.title}`]);
  for (const s of run.view.series) if (s.network === series.network && s.id !== series.id) choices.push([`${run.name}/${s.id}`, `${s.subject} on ${plural(s.threads, "thread")}`]);
  if (choices.length < 2) return null;
  const choice = html("select", { "aria-label": "Compare with", change: () => { go({ b: choice.value, differs: false }); refresh(); } }, choices.map(([value, text]) => html("option", { value, selected: now().b === value }, text)));
  const bar = html("div", { class: "compare-bar" }, html("label", {}, "Compare with ", choice));
  if (other && twinSeries(other, series)) {
    const only = button("only what differs", () => { go({ differs: !now().differs }); only.setAttribute("aria-pressed", String(now().differs)); }, { class: "toggle", "aria-pressed": String(now().differs) });
    bar.append(only);
  }
  return bar;
}

/**
 * What A and B are, and how they are compared. Null without a B.
 * @param {Doc} doc
 * @param {Run} run
 * @param {Series} series
 * @param {Other | null} other
 * @returns {HTMLElement | null}
 */
export function compareNote(doc, run, series, other) {
  if (!other) return null;
  const twin = twinSeries(other, series);
  if (!twin) return html("section", { class: "compare-note" }, html("p", {}, `${other.name} has no ${series.subject} on ${plural(series.threads, "thread")}.`));
  const same = sameMachine(run, other.run);
  const side = (/** @type {string} */ name, /** @type {Run} */ of, /** @type {Series} */ s) => html("p", {}, html("b", {}, `${name}: `), `${s.subject}, ${plural(s.threads, "thread")}, `, html("b", {}, time(s.time_ns)), `, ${of.view.title}${of.file ? `, ${of.file}` : ""}`, compilerOf(of));
  return html("section", { class: "compare-note", "aria-label": "Comparison" },
    side("A", run, series), side("B", other.run, twin),
    html("p", {}, same ? [html("b", {}, `B takes ${change(twin.time_ns / series.time_ns)} time. `), "Arrows lead from A to B; dashed roofs are B's."] : [html("b", {}, "The machines differ, "), "so layers are compared in fractions of their roofs. Arrows lead from A to where B's fraction would be under A's roofs."]),
    conclusions(doc, run, series, other).map((text) => html("p", {}, prose(text))),
    other.run.view.warnings.map((w) => html("p", { class: "soft" }, w)));
}

/**
 * The document's sentences about a series.
 * @param {Doc} doc
 * @param {Run} run
 * @param {Series} series
 * @param {Other} other
 * @returns {string[]}
 */
function conclusions(doc, run, series, other) {
  if (run !== doc.runs[0] || other.series) return [];
  const own = (doc.comparison?.runs ?? []).find((/** @type {any} */ c) => c.name === other.run.name);
  const about = `${series.subject}, ${plural(series.threads, "thread")}`;
  const found = (own?.sentences ?? []).filter((/** @type {string} */ s) => s.startsWith(`${about}:`));
  // One for each series; several would be about single layers.
  return found.length === 1 ? found : [];
}

/** @param {Run} run */
function compilerOf(run) {
  const compiler = run.record?.tool?.rustc;
  return compiler ? html("span", { class: "soft" }, `, ${String(compiler).replace(/ \(.*/, "")}`) : null;
}

/**
 * The run that a file holds: a report, a document or a raw record.
 * @param {string} text
 * @param {string} file
 * @param {string} name
 * @returns {Promise<Run>}
 */
export async function runOf(text, file, name) {
  let found;
  if (text.trimStart().startsWith("<")) {
    // A parsed page is inert: nothing in it runs or loads.
    const page = new DOMParser().parseFromString(text, "text/html");
    if (!page.getElementById("document")) throw new Error(`${file} is a page without a document of convroof`);
    found = await embedded(page);
  } else {
    const value = JSON.parse(text);
    if (value?.kind === "convroof-run") return rawRun(value, file, name);
    if (!Array.isArray(value?.runs)) throw new Error(`${file} is neither a record nor a report of convroof`);
    found = complete(value);
  }
  const [run] = found.runs;
  if (!run) throw new Error(`${file} has no record`);
  return { ...run, name, file: run.file || file };
}

/**
 * A button that adds a record from a file. Files may also be dropped on the page.
 * @param {() => Doc} doc
 * @param {(name: string) => void} added
 * @param {(message: string) => void} failed
 * @returns {HTMLElement}
 */
export function dropTarget(doc, added, failed) {
  const take = async (/** @type {FileList | null | undefined} */ files) => {
    for (const file of files ?? []) {
      const name = String.fromCharCode(65 + Math.min(25, doc().runs.length));
      try {
        doc().runs.push(await runOf(await file.text(), file.name, name));
        added(name);
      } catch (error) {
        failed(`Can't read ${file.name}: ${error instanceof Error ? error.message : String(error)}.`);
      }
    }
  };
  const input = html("input", { type: "file", accept: ".json,.html", hidden: true, "aria-label": "Record or report to compare with", change: () => { take(input.files); input.value = ""; } });
  const isFile = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
  window.addEventListener("dragover", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    document.documentElement.classList.add("dropping");
  });
  window.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.documentElement.classList.remove("dropping"); });
  window.addEventListener("drop", (event) => {
    document.documentElement.classList.remove("dropping");
    if (!isFile(event)) return;
    event.preventDefault();
    take(event.dataTransfer?.files);
  });
  return html("span", {}, button("compare with a file", () => input.click(), { class: "quiet", title: "A record or a report of convroof. You can also drop it on the page." }), input);
}
