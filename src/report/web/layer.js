// @ts-check
// An opened layer: all the evidence for its verdict, its variants, and the command that measures it again.

import { button, html, px, svg } from "./dom.js";
import { beside } from "./document.js";
import { marksOf, peakName, timed } from "./facts.js";
import { bytes, figure, median, percent, plural, prose, sentence, time } from "./format.js";
import { saveRecords } from "./exporting.js";
import { chip, familyOf, labelOf, legendMark, verdictClass } from "./marks.js";
import { logAxis, ticks } from "./scale.js";

/** @typedef {import("./document.js").Run} Run */
/** @typedef {import("./document.js").Series} Series */
/** @typedef {import("./document.js").Row} Row */
/** @typedef {import("./dom.js").Child} Child */

/**
 * The evidence of a layer.
 * @param {Run} run
 * @param {Series} series
 * @param {Row} row
 * @returns {HTMLElement}
 */
export function layerDetail(run, series, row) {
  const m = typeof row.m === "number" ? run.record?.measurements?.[row.m] : null;
  const all = beside(run, row);
  const variants = all.filter((r) => r.cache === row.cache);
  return html("div", { class: "evidence" },
    html("p", { class: "lead-in" }, html("strong", {}, sentence(labelOf(row.verdict))), row.verdict === "undecided" ? "" : `, ${percent(row.confidence)} sure`, row.disputed ? ", disputed" : "", row.witnesses.length > 1 ? "." : `: ${prose(row.reason)}.`),
    witnesses(row),
    html("div", { class: "panels" },
      panel("Samples", samples(m, row)),
      panel("Twins without loads or arithmetic", twins(m)),
      panel("Model and caches", conditions(row, all))),
    phases(row),
    allVariants(series, row, variants),
    peers(run, series, row),
    otherTypes(run, series, row),
    html("p", { class: "soft" }, html("code", {}, row.problem), `: ${bytes(row.bytes_compulsory)} compulsory, ${figure(row.bandwidth_gbps)} GB/s`, row.bytes_measured ? `, ${figure(row.bytes_measured / row.bytes_compulsory)} times as much counted` : "", row.error_max > 0 ? `; largest error ${row.error_max.toExponential(1)} of the largest output.` : "; equal to the reference bit for bit."),
    command(run, row));
}

/**
 * @param {string} title
 * @param {Node | null} content
 */
function panel(title, content) {
  return content ? html("figure", { class: "panel" }, html("figcaption", {}, title), content) : null;
}

/** @param {Row} row */
function witnesses(row) {
  if (row.witnesses.length < 2) return null;
  const rows = row.witnesses.map((w) => html("tr", {}, html("th", { scope: "row" }, w.witness), html("td", {}, w.vote ? chip(w.vote) : html("span", { class: "soft" }, "abstains")), html("td", { class: "n w2" }, w.vote ? figure(w.weight ?? 1) : "-"), html("td", { class: "wide" }, prose(w.says))));
  return withFiles(`witnesses-${row.network}-${row.layer}`, html("table", { class: "plain witnesses" }, html("caption", {}, "Witnesses and their votes"), head(["witness", "vote", "n w2:weight", "wide:evidence"]), html("tbody", {}, rows)));
}

/**
 * A head of columns: "n:" for numbers, "wide:" for text that wraps.
 * @param {string[]} names
 */
export function head(names) {
  return html("thead", {}, html("tr", {}, names.map((name) => {
    const [css, text] = name.includes(":") ? name.split(/:(.*)/s) : ["", name];
    return html("th", { scope: "col", class: css ?? "" }, text);
  })));
}

/**
 * A table that scrolls by itself where the page is narrow.
 * @param {Element} table
 */
export function scroll(table) {
  const name = table.querySelector("caption")?.textContent ?? "table";
  return html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name }, table);
}

/**
 * A table with buttons that save it.
 * @param {string} name of the file
 * @param {HTMLTableElement} table
 */
export function withFiles(name, table) {
  const write = (/** @type {"csv" | "json"} */ form) => () => saveRecords(name, textRecords(table), form);
  return html("div", {}, scroll(table), html("div", { class: "table-files" }, button("CSV", write("csv"), { class: "quiet", "aria-label": "Save this table as CSV" }), button("JSON", write("json"), { class: "quiet", "aria-label": "Save this table as JSON" })));
}

/**
 * The texts of a table as records.
 * @param {HTMLTableElement} table
 * @returns {Record<string, unknown>[]}
 */
function textRecords(table) {
  const names = [...(table.tHead?.rows[0]?.cells ?? [])].map((c) => c.textContent ?? "");
  // Columns of one name are told apart by their places.
  const keys = names.map((name, i) => (names.indexOf(name) === i ? name : `${name} (${names[i - 1] ?? i})`));
  return [...table.tBodies].flatMap((body) => [...body.rows]).map((row) => Object.fromEntries([...row.cells].flatMap((cell, i) => {
    if (keys[i] === "log scale") return [];
    const { value, unit } = cell.dataset;
    return [[`${keys[i] ?? i}${unit ? ` [${unit}]` : ""}`, value === undefined ? cellText(cell) : Number(value)]];
  })));
}

/**
 * A cell with a number, which files get as it is.
 * @param {number | null | undefined} value
 * @param {string} text
 * @param {string} [unit] of the number in files
 * @param {string} [css] further classes
 */
export function number(value, text, unit, css = "") {
  return html("td", { class: `n ${css}`, "data-value": value ?? null, "data-unit": unit ?? null }, text);
}

/**
 * A cell's text; of a chip only the name.
 * @param {Element} cell
 */
function cellText(cell) {
  const chipped = cell.querySelector(".chip");
  return (chipped ? chipped.querySelector("span") ?? chipped : cell).textContent?.trim() ?? "";
}

/**
 * Samples in the order of their rounds, with the median and its interval.
 * @param {any} m
 * @param {Row} row
 */
function samples(m, row) {
  /** @type {number[]} */
  const values = m?.samples_ns ?? [];
  if (values.length < 2) return null;
  const [w, h, left, bottom] = [340, 150, 52, 20];
  const sortedValues = [...values].sort((a, b) => a - b);
  // A few outliers don't flatten all others: they stand at the upper edge.
  const low = sortedValues[0] ?? 0;
  const most = sortedValues[sortedValues.length - 1] ?? 1;
  const usual = sortedValues[Math.floor(0.95 * (sortedValues.length - 1))] ?? 1;
  const top = values.length < 10 ? most : Math.min(most, usual + Math.max(0.5 * (usual - low), 0.02 * usual));
  const pad = Math.max((top - low) * 0.08, top * 0.005);
  const y = (/** @type {number} */ v) => 8 + ((top + pad - Math.min(v, top)) / (top - low + 2 * pad)) * (h - bottom - 8);
  const x = (/** @type {number} */ i) => left + 8 + (i / Math.max(1, values.length - 1)) * (w - left - 16);
  const picture = svg("svg", { class: "pic small", viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": `${values.length} samples, median ${timed(row)}` });
  picture.append(svg("rect", { class: `interval ${verdictClass(row.verdict)}`, x: left, y: px(y(row.ci_high_ns)), width: w - left, height: px(Math.max(1, y(row.ci_low_ns) - y(row.ci_high_ns))) }));
  picture.append(svg("path", { class: "median", d: `M${left} ${px(y(row.median_ns))}H${w}` }));
  const outside = values.filter((v) => v > top).length;
  for (const [i, v] of values.entries()) {
    picture.append(v > top ? svg("path", { class: "sample out", d: `M${px(x(i) - 3)} ${px(y(top) + 2)}l3 -5l3 5Z` }) : svg("circle", { class: "sample", cx: px(x(i)), cy: px(y(v)), r: 2 }));
  }
  const texts = svg("g", { class: "axis-text" });
  // Labels of the least, the median and the largest, where they have room.
  /** @type {number[]} */
  const written = [];
  for (const v of [row.median_ns, low, top]) {
    if (written.some((o) => Math.abs(y(o) - y(v)) < 13)) continue;
    written.push(v);
    texts.append(svg("text", { x: left - 4, y: px(y(v) + 4), "text-anchor": "end" }, time(v)));
  }
  texts.append(svg("text", { x: w, y: h - 4, "text-anchor": "end" }, `${plural(values.length, "sample")}, in order${outside ? `; ▲ ${outside} above` : ""}`));
  picture.append(texts);
  return html("div", {}, picture, html("p", { class: "soft" }, `Median ${time(row.median_ns)}, 95 % interval ${time(row.ci_low_ns)} to ${time(row.ci_high_ns)}.`));
}

/**
 * Bars of times.
 * @param {{name: Child, ns: number, css: string, text: string}[]} items
 */
function bars(items) {
  const most = Math.max(...items.map((i) => i.ns));
  return html("div", { class: "bars" }, items.map(({ name, ns, css, text }) => {
    const fill = html("i", { class: css });
    fill.style.width = `${px((100 * ns) / most)}%`;
    return html("div", { class: "bar-row" }, html("span", { class: "bar-name" }, name), html("span", { class: "bar-track" }, fill), html("span", { class: "bar-value" }, text));
  }));
}

/** @param {any} m */
function twins(m) {
  const a = m?.ablation;
  if (!a) return null;
  const full = median(a.full_ns ?? []);
  if (full === null) return null;
  /** @type {[string, string, string][]} */
  const parts = [["as it is", "full_ns", "ink"], ["without arithmetic", "loads_only_ns", "v-l3"], ["without loads and stores", "arith_only_ns", "v-compute"]];
  const items = parts.flatMap(([name, key, css]) => {
    const ns = median(a[key] ?? []);
    return ns === null ? [] : [{ name, ns, css, text: `${time(ns)}, ${percent(ns / full)}` }];
  });
  return bars(items);
}

/**
 * Model against measured, cold against warm.
 * @param {Row} row
 * @param {Row[]} all
 */
function conditions(row, all) {
  const items = [{ name: `measured, ${row.cache}`, ns: row.median_ns, css: verdictClass(row.verdict), text: time(row.median_ns) }];
  if (row.predicted_ns) items.push({ name: "model predicts", ns: row.predicted_ns, css: "ink", text: `${time(row.predicted_ns)}, measured ${figure(row.median_ns / row.predicted_ns)} ×` });
  for (const cold of all.filter((r) => r.variant === row.variant && r.cache !== row.cache)) {
    items.push({ name: cold.cache.replaceAll("-", " "), ns: cold.median_ns, css: verdictClass(cold.verdict), text: `${time(cold.median_ns)}, ${figure(cold.median_ns / row.median_ns)} ×` });
  }
  return items.length > 1 ? bars(items) : null;
}

/** @param {Row} row */
function phases(row) {
  if (row.phases.length < 2) return null;
  const rows = row.phases.map((p) => html("tr", { title: p.reason ?? null }, html("th", { scope: "row" }, p.phase.replaceAll("_", " ")), number(p.ns, time(p.ns), "ns"), number(p.share, percent(p.share)), number(p.fraction_of_peak, percent(p.fraction_of_peak)), number(p.intensity, figure(p.intensity)), number(p.gbps, figure(p.gbps)), html("td", {}, chip(p.verdict))));
  return withFiles(`phases-${row.network}-${row.layer}`, html("table", { class: "plain" }, html("caption", {}, "Phases"), head(["phase", "n:time", "n:share", "n:of peak", "n:flop/byte", "n:GB/s", "bound by"]), html("tbody", {}, rows)));
}

/**
 * Details that are made when they are opened first.
 * @param {string} title
 * @param {() => Node} content
 */
function folded(title, content) {
  const box = html("details", { toggle: () => { if (box.open && box.childElementCount === 1) box.append(content()); } }, html("summary", {}, title));
  return box;
}

/**
 * All variants on a logarithmic scale. Scalar ones are folded, since they are far slower.
 * @param {Series} series
 * @param {Row} row
 * @param {Row[]} variants
 */
function allVariants(series, row, variants) {
  if (variants.length < 2) return null;
  const order = [...variants].sort((a, b) => a.median_ns - b.median_ns);
  const vector = order.filter((r) => r.isa !== "scalar");
  const scalar = order.filter((r) => r.isa === "scalar");
  const table = (/** @type {Row[]} */ rows, /** @type {string} */ title) => {
    const axis = logAxis((order[0]?.median_ns ?? 1) / 1.3, (rows[rows.length - 1]?.median_ns ?? 2) * 1.15, 0, 100);
    const body = rows.map((r) => {
      const dot = html("i", { class: verdictClass(r.verdict) });
      dot.style.left = `${px(axis.at(r.median_ns))}%`;
      const range = html("span", { class: "range" });
      range.style.left = `${px(axis.at(r.ci_low_ns))}%`;
      range.style.width = `${px(Math.max(0, axis.at(r.ci_high_ns) - axis.at(r.ci_low_ns)))}%`;
      const lines = ticks(axis, 240, 50).filter((t) => t.labelled).map((t) => {
        const line = html("span", { class: "tick" });
        line.style.left = `${px(axis.at(t.value))}%`;
        return line;
      });
      return html("tr", { class: r.variant === row.variant ? "chosen" : "" }, html("th", { scope: "row", class: "code" }, legendMark(familyOf(r)), html("code", {}, r.variant)), number(r.median_ns, `${time(r.median_ns)}${marksOf(r)}`, "ns"), html("td", { class: "log w2" }, html("span", { class: "log-track", "aria-hidden": "true" }, lines, range, dot)), number(r.median_ns / row.median_ns, `${figure(r.median_ns / row.median_ns)} ×`), number(r.gflops_nominal, figure(r.gflops_nominal), undefined, "w3"), number(r.fraction_of_peak, percent(r.fraction_of_peak), undefined, "w2"), number(r.error_max, r.error_max > 0 ? r.error_max.toExponential(1) : "exact", undefined, "w3"), html("td", {}, chip(r.verdict)));
    });
    return withFiles(`variants-${row.network}-${row.layer}`, html("table", { class: "plain variants" }, html("caption", {}, title), head(["variant", "n:time", "w2:log scale", "n:of best", `n w3:${series.unit}`, "n w2:of peak", "n w3:error", "bound by"]), html("tbody", {}, body)));
  };
  return html("div", {},
    vector.length ? table(vector, "All variants on a logarithmic scale, with the 95 % interval of the median") : null,
    scalar.length ? folded(`${plural(scalar.length, "scalar variant")}, ${figure((scalar[0]?.median_ns ?? 0) / row.median_ns)} × the best time or more`, () => table(scalar, "Scalar variants")) : null);
}

/**
 * @param {Run} run
 * @param {Series} series
 * @param {Row} row
 */
function peers(run, series, row) {
  const duel = (series.duels ?? []).find((d) => d.layer === row.layer);
  if (!duel) return null;
  const faster = duel.ratio >= 1;
  const versions = (run.record?.peers ?? []).join(", ");
  return html("p", {}, html("strong", {}, faster ? "Faster than other libraries. " : "Slower than another library. "), `The best, ${duel.peer.replace(/^peer-/, "").replace("/auto", "")}${duel.implementation ? ` (${duel.implementation})` : ""}, takes ${time(duel.peer_ns)}: ${figure(duel.ratio)} × our time (95 % interval ${figure(duel.ci[0])} to ${figure(duel.ci[1])}).`, versions ? html("span", { class: "soft" }, ` Versions: ${versions}.`) : null);
}

/**
 * @param {Run} run
 * @param {Series} series
 * @param {Row} row
 */
function otherTypes(run, series, row) {
  const own = run.view.types.find((t) => t.network === series.network && t.threads === series.threads);
  const layer = own?.layers.find((l) => l.layer === row.layer);
  const cells = (layer?.cells ?? []).flatMap((c) => {
    const r = typeof c.row === "number" ? run.view.rows[c.row] : undefined;
    return r ? [{ name: c.dt, ns: r.median_ns, css: verdictClass(r.verdict), text: `${time(r.median_ns)}${c.speed_up ? `, ${figure(c.speed_up)} × as fast` : ""}` }] : [];
  });
  return cells.length > 1 ? panel(`The layer in each type, against the ${peakName(row.dt)}`, bars(cells)) : null;
}

/**
 * A word of a shell's command line.
 * @param {string} text
 * @returns {string}
 */
export function quoted(text) {
  return /^[\w./:=,@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * The command that measures a row again.
 * @param {Row} row
 * @returns {string}
 */
export function commandOf(row) {
  const peer = row.family === "peer";
  const words = ["convroof", "bench", quoted(`--problem=${row.problem}`), "--variant", quoted(row.variant), "--threads", String(row.threads)];
  if (row.cache !== "warm") words.push("--cache", quoted(row.cache));
  if (peer) words.push("--peers");
  return words.join(" ");
}

/**
 * @param {Run} run
 * @param {Row} row
 */
function command(run, row) {
  const text = commandOf(row);
  const copy = button("copy", () => {
    const done = () => { copy.textContent = "copied"; window.setTimeout(() => { copy.textContent = "copy"; }, 1500); };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => select(code));
    else select(code);
  }, { class: "quiet", "aria-label": "Copy the command" });
  const code = html("code", {}, text);
  const revision = run.record?.tool?.git_revision;
  return html("div", { class: "command" }, html("span", { class: "soft" }, `Measure it again${revision ? ` (revision ${String(revision).slice(0, 10)})` : ""}:`), html("div", {}, code, copy));
}

/**
 * Selects the text of an element, for browsers without a clipboard for pages.
 * @param {Node} node
 */
function select(node) {
  getSelection()?.selectAllChildren(node);
}
