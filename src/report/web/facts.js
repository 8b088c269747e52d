// @ts-check
// Facts of a row as lines of text, for tooltips and for screen readers.

import { arithmeticOf, shareOf } from "./document.js";
import { figure, percent, plural, time } from "./format.js";
import { labelOf } from "./marks.js";

/** @typedef {import("./document.js").Row} Row */
/** @typedef {import("./document.js").Series} Series */

/**
 * Name of the peak of an element type.
 * @param {string} dt
 * @returns {string}
 */
export function peakName(dt) {
  const arithmetic = arithmeticOf(dt);
  return arithmetic === "f32" ? "FMA peak" : `${arithmetic} peak`;
}

/**
 * Marks behind a time: * for few samples, ~ for scattered ones.
 * @param {Row} row
 * @returns {string}
 */
export function marksOf(row) {
  return `${row.samples < 5 ? "*" : ""}${row.scattered ? "~" : ""}`;
}

/**
 * Time with its interval.
 * @param {Row} row
 * @returns {string}
 */
export function timed(row) {
  const of = row.samples < 5 ? plural(row.samples, "sample") : `${time(row.ci_low_ns)} to ${time(row.ci_high_ns)}, ${row.samples} samples`;
  return `${time(row.median_ns)} (${of})`;
}

/**
 * Facts of a row, one a line.
 * @param {Series} series
 * @param {Row} row
 * @returns {string[]}
 */
export function factsOf(series, row) {
  return [
    row.layer,
    `${labelOf(row.verdict)}, ${percent(shareOf(series, row), 1)} of the network's time`,
    row.variant,
    timed(row) + (row.count > 1 ? `, ${row.count} times in the network` : ""),
    `${figure(row.gflops_executed)} ${series.unit} executed, ${figure(row.gflops_nominal)} nominal`,
    `${percent(row.roof_fraction)} of its roof, ${percent(row.fraction_of_peak)} of the ${peakName(row.dt)}`,
    `${figure(row.intensity)} flop/byte, ${figure(row.bandwidth_gbps)} GB/s`,
  ];
}
