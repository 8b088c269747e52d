// @ts-check
// Which rows are shown, and in which order.

import { bestRows, shareOf } from "./document.js";
import { familyOf } from "./marks.js";

/** @typedef {import("./document.js").Row} Row */
/** @typedef {import("./document.js").Run} Run */
/** @typedef {import("./document.js").Series} Series */
/** @typedef {import("./state.js").State} State */
/** @typedef {{series: Series, row: Row}} Item */

/**
 * The rows of a scope: the shown series, all series, all of a network, or all of a type.
 * @param {Run} run
 * @param {Series} series
 * @param {string} scope
 * @returns {Item[]}
 */
export function inScope(run, series, scope) {
  const [kind = "", value = ""] = scope.split(/:(.*)/s);
  const own = run.view.series.filter((s) => {
    if (kind === "all") return true;
    if (kind === "network") return s.network === value;
    if (kind === "type") return s.dt === value;
    return s.id === series.id;
  });
  return own.flatMap((s) => bestRows(run, s).map((row) => ({ series: s, row })));
}

/**
 * True for a row that the filters and the search let pass. All words of the search must occur.
 * @param {Item} item
 * @param {State} state
 * @returns {boolean}
 */
export function passes({ series, row }, state) {
  if (state.verdicts.length && !state.verdicts.includes(row.verdict)) return false;
  if (state.families.length && !state.families.includes(familyOf(row).name)) return false;
  if (state.min > 0 && 100 * shareOf(series, row) < state.min) return false;
  const text = `${row.layer} ${row.variant} ${row.network} ${row.dt} ${row.kind ?? ""} ${row.verdict} ${row.problem}`.toLowerCase();
  return state.q.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/**
 * Rows in the order of a column's values. Unknown values come last.
 * @param {Item[]} items
 * @param {(item: Item) => string | number | null | undefined} value
 * @param {number} direction
 * @returns {Item[]}
 */
export function sorted(items, value, direction) {
  const keyed = items.map((item) => ({ item, key: value(item) }));
  keyed.sort((a, b) => {
    const [x, y] = [a.key, b.key];
    if (x === null || x === undefined) return y === null || y === undefined ? 0 : 1;
    if (y === null || y === undefined) return -1;
    if (typeof x === "string" || typeof y === "string") return direction * String(x).localeCompare(String(y), "en", { numeric: true });
    return direction * (x - y);
  });
  return keyed.map(({ item }) => item);
}
