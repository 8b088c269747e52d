// @ts-check
// The table of layers: sorted by any column, each row opens to its evidence.

import { append, html, px } from "./dom.js";
import { shareOf, total } from "./document.js";
import { marksOf, timed } from "./facts.js";
import { sorted } from "./filter.js";
import { figure, percent, plural, time, visible } from "./format.js";
import { chip, familyOf, legendMark, verdictClass } from "./marks.js";
import { link } from "./tip.js";

/** @typedef {import("./filter.js").Item} Item */
/** @typedef {import("./document.js").Row} Row */

/**
 * @typedef {object} Column
 * @property {string} key
 * @property {string} label
 * @property {string} [title]
 * @property {string} css classes: n for numbers, w2 and w3 for columns that narrow pages leave out
 * @property {(item: Item) => string | number | null | undefined} value for sorting and for files
 * @property {(item: Item) => import("./dom.js").Child} cell
 */

/**
 * The columns.
 * @param {string} unit of rates
 * @param {boolean} several true if rows are of several series
 * @param {number} most the largest share, whose bar is full
 * @returns {Column[]}
 */
export function columns(unit, several, most) {
  /** @type {Column[]} */
  const all = [
    { key: "layer", label: "layer", css: "", value: ({ row }) => row.layer, cell: ({ row }) => row.layer },
    { key: "count", label: "×", title: "occurrences in the network", css: "n w3", value: ({ row }) => row.count, cell: ({ row }) => row.count },
    { key: "variant", label: "best variant", css: "w2 code", value: ({ row }) => row.variant, cell: ({ row }) => [legendMark(familyOf(row)), html("code", {}, row.variant)] },
    { key: "median_ns", label: "time", title: "median of one run of the layer", css: "n", value: ({ row }) => row.median_ns, cell: ({ row }) => html("span", { title: timed(row) }, `${time(row.median_ns)}${marksOf(row)}`) },
    { key: "share", label: "share", title: "share of the network's time, all occurrences", css: "n bar", value: ({ series, row }) => shareOf(series, row), cell: ({ series, row }) => bar(shareOf(series, row), most, verdictClass(row.verdict)) },
    { key: "gflops_nominal", label: unit, title: "operations of the definition, in 10^9 per second", css: "n w3", value: ({ row }) => row.gflops_nominal, cell: ({ row }) => figure(row.gflops_nominal) },
    { key: "roof_fraction", label: "of roof", title: "executed rate / roof at this intensity", css: "n w1", value: ({ row }) => row.roof_fraction, cell: ({ row }) => percent(row.roof_fraction) },
    { key: "fraction_of_peak", label: "of peak", title: "nominal rate / peak of the type: above 100 % if fewer operations are executed", css: "n w3", value: ({ row }) => row.fraction_of_peak, cell: ({ row }) => percent(row.fraction_of_peak) },
    { key: "intensity", label: "flop/byte", css: "n w3", value: ({ row }) => row.intensity, cell: ({ row }) => figure(row.intensity) },
    { key: "bandwidth_gbps", label: "GB/s", title: "compulsory bytes / time", css: "n w3", value: ({ row }) => row.bandwidth_gbps, cell: ({ row }) => figure(row.bandwidth_gbps) },
    { key: "verdict", label: "bound by", css: "", value: ({ row }) => row.verdict, cell: ({ row }) => chip(row.verdict) },
    { key: "confidence", label: "sure", title: "votes for the verdict / (votes cast + 1)", css: "n w3", value: ({ row }) => row.confidence, cell: ({ row }) => (row.verdict === "undecided" ? "-" : percent(row.confidence)) },
  ];
  if (several) {
    all.splice(1, 0, { key: "series", label: "series", css: "w1", value: ({ series }) => series.id, cell: ({ series }) => `${series.subject}, ${plural(series.threads, "thread")}` });
  }
  return all;
}

/**
 * A share as a bar with its number.
 * @param {number} share
 * @param {number} most
 * @param {string} css
 */
function bar(share, most, css) {
  const fill = html("i", { class: css });
  fill.style.width = `${px(Math.max(1, Math.min(100, (100 * share) / Math.max(most, 1e-9))))}%`;
  return html("span", { class: "share-bar" }, html("span", { class: "track" }, fill), html("span", {}, percent(share, 1)));
}

/**
 * @typedef {object} TableWish
 * @property {Column[]} columns
 * @property {Item[]} items
 * @property {string} sort
 * @property {number} dir
 * @property {string} caption
 * @property {string} open key of the opened row
 * @property {(item: Item) => void} toggle opens or closes a row
 * @property {(item: Item) => Node} detail
 * @property {(key: string) => void} order
 */

/** Number of layers that a table gets at once. */
const AT_ONCE = 40;

/**
 * A key of an item among all series.
 * @param {Item} item
 * @returns {string}
 */
export function keyOf({ series, row }) {
  return visible(`${series.id} ${row.layer}`);
}

/**
 * The items in the order of the chosen column; in the order of the network without one.
 * @param {{columns: Column[], items: Item[], sort: string, dir: number}} wish
 * @returns {Item[]}
 */
export function ordered({ columns: all, items, sort, dir }) {
  const column = all.find((c) => c.key === sort);
  return column ? sorted(items, column.value, dir) : items;
}

/**
 * The table.
 * @param {TableWish} wish
 * @returns {HTMLTableElement}
 */
export function layerTable(wish) {
  const heads = wish.columns.map((c) => {
    const active = wish.sort === c.key;
    return html("th", { scope: "col", class: c.css, "aria-sort": active ? (wish.dir > 0 ? "ascending" : "descending") : null },
      html("button", { type: "button", title: c.title ?? null, click: () => wish.order(c.key) }, c.label));
  });
  const table = html("table", { class: "layers" }, html("caption", {}, wish.caption), html("thead", {}, html("tr", {}, heads)));
  const list = ordered(wish);
  const add = (/** @type {Item[]} */ part) => table.append(...part.map((item) => layerBody(wish, item)));
  add(list.slice(0, AT_ONCE));
  // The rest of a long table follows while the reader looks at its beginning.
  const later = (/** @type {number} */ from) => requestAnimationFrame(() => {
    if (from >= list.length || !table.isConnected) return;
    add(list.slice(from, from + AT_ONCE));
    later(from + AT_ONCE);
  });
  later(AT_ONCE);
  return table;
}

/**
 * The rows of a layer.
 * @param {TableWish} wish
 * @param {Item} item
 */
function layerBody(wish, item) {
  const key = keyOf(item);
  const opened = wish.open === key;
  const body = html("tbody", { "data-key": key, class: opened ? "open" : "" });
  const cells = wish.columns.map((c, i) => {
    if (i > 0) return html("td", { class: c.css }, c.cell(item));
    const opener = html("button", { type: "button", class: item.row.layer.length <= 22 ? "opener short" : "opener", "aria-expanded": String(opened), click: (/** @type {Event} */ e) => { e.stopPropagation(); wish.toggle(item); } }, c.cell(item));
    return html("th", { scope: "row", class: c.css }, opener, html("code", { class: "under" }, item.row.variant));
  });
  const row = html("tr", { class: "main", click: () => wish.toggle(item) }, cells);
  link(row, item.row.layer, null);
  body.append(row);
  if (opened) append(body, [detailRow(wish, item)]);
  return body;
}

/**
 * @param {TableWish} wish
 * @param {Item} item
 */
function detailRow(wish, item) {
  return html("tr", { class: "detail" }, html("td", { colspan: wish.columns.length }, wish.detail(item)));
}

/**
 * Opens or closes rows in a table that is shown already.
 * @param {HTMLTableElement} table
 * @param {TableWish} wish
 */
export function reopen(table, wish) {
  for (const body of table.tBodies) {
    const key = body.getAttribute("data-key") ?? "";
    const opened = key === wish.open;
    if (opened === body.classList.contains("open")) continue;
    body.classList.toggle("open", opened);
    body.querySelector(".opener")?.setAttribute("aria-expanded", String(opened));
    body.querySelector("tr.detail")?.remove();
    const item = wish.items.find((i) => keyOf(i) === key);
    if (opened && item) body.append(detailRow(wish, item));
  }
}

/**
 * Values of the table as records, for files.
 * @param {Column[]} all
 * @param {Item[]} items
 * @returns {Record<string, string | number | null>[]}
 */
export function records(all, items) {
  return items.map((item) => {
    /** @type {Record<string, string | number | null>} */
    const out = { network: item.row.network, dt: item.row.dt, threads: item.row.threads };
    for (const c of all) if (c.key !== "series") out[c.key] = c.value(item) ?? null;
    return { ...out, total_ns: total(item.row), ci_low_ns: item.row.ci_low_ns, ci_high_ns: item.row.ci_high_ns, samples: item.row.samples, gflops_executed: item.row.gflops_executed, problem: item.row.problem };
  });
}
