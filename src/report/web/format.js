// @ts-check
// Quantities and names as text. The rules are those of src/units.rs and src/escape.rs.

/** Characters that have an effect instead of a shape: controls, line separators and direction marks. */
const ACTS = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff]|[\u{e0000}-\u{e007f}]/gu;

/** Escapes of characters that have a short one. @type {Record<string, string>} */
const SHORT = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * The text on one line, with each active character as an escape of Rust: `\n`, `\u{1b}`.
 * @param {unknown} text
 * @returns {string}
 */
export function visible(text) {
  return String(text ?? "").replace(ACTS, (c) => SHORT[c] ?? `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`);
}

/**
 * True for a number that can be shown.
 * @param {unknown} value
 * @returns {value is number}
 */
export function known(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/**
 * A time in nanoseconds with a readable unit.
 * @param {number | null | undefined} ns
 * @returns {string}
 */
export function time(ns) {
  if (!known(ns)) return "-";
  const size = Math.abs(ns);
  if (size < 1e3) return `${ns.toFixed(0)} ns`;
  if (size < 1e5) return `${(ns / 1e3).toFixed(1)} µs`;
  if (size < 1e6) return `${(ns / 1e3).toFixed(0)} µs`;
  if (size < 1e7) return `${(ns / 1e6).toFixed(2)} ms`;
  if (size < 1e8) return `${(ns / 1e6).toFixed(1)} ms`;
  if (size < 1e9) return `${(ns / 1e6).toFixed(0)} ms`;
  return `${(ns / 1e9).toFixed(2)} s`;
}

/**
 * A size of memory with a readable unit, a power of 1024 bytes.
 * @param {number | null | undefined} bytes
 * @returns {string}
 */
export function bytes(bytes) {
  if (!known(bytes)) return "-";
  if (bytes < 1024) return `${bytes.toFixed(0)} B`;
  const units = ["KiB", "MiB", "GiB"];
  let size = bytes / 1024;
  let unit = 0;
  while (size >= 1023.95 && unit + 1 < units.length) {
    size /= 1024;
    unit += 1;
  }
  return `${size.toFixed(1).replace(/\.0$/, "")} ${units[unit]}`;
}

/**
 * A fraction in per cent. Small ones are never shown as nothing.
 * @param {number | null | undefined} fraction
 * @param {number} [digits]
 * @returns {string}
 */
export function percent(fraction, digits = 0) {
  if (!known(fraction)) return "-";
  const value = 100 * fraction;
  const least = 10 ** -digits / 2;
  if (value > 0 && value < least) return `< ${(2 * least).toFixed(digits)} %`;
  if (value < 100 && value >= 100 - least) return `> ${(100 - 2 * least).toFixed(digits)} %`;
  return `${value.toFixed(digits)} %`;
}

/**
 * A number with about three significant digits.
 * @param {number | null | undefined} value
 * @returns {string}
 */
export function figure(value) {
  if (!known(value)) return "-";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 99.95) return value.toFixed(0);
  if (size >= 9.995) return value.toFixed(1);
  if (size >= 0.01) return value.toFixed(2);
  return value.toExponential(1);
}

/**
 * A number of things: "1 layer", "2 layers".
 * @param {number} n
 * @param {string} noun
 * @returns {string}
 */
export function plural(n, noun) {
  return n === 1 ? `1 ${noun}` : `${n} ${noun}s`;
}

/**
 * The text with a capital letter in front.
 * @param {string} text
 * @returns {string}
 */
export function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/**
 * A sentence of the document with the page's unit of microseconds: 468 us becomes 468 µs.
 * @param {string | null | undefined} text
 * @returns {string}
 */
export function prose(text) {
  // A number and its unit stay on one line.
  return String(text ?? "").replace(/(\d) us\b/g, "$1 µs").replace(/(\d) (?=(?:%|ms|µs|ns|s|GB\/s|GFLOP\/s|GOP\/s|[KMG]iB)(?![\w/]))/g, "$1\u00a0");
}

/**
 * The short name of a bound: "compute bound" becomes "compute".
 * @param {string} label
 * @returns {string}
 */
export function short(label) {
  return label.replace(/ bound$/, "");
}

/**
 * A relative change: "+3.1 %", "-12 %".
 * @param {number | null | undefined} ratio new time over old time
 * @returns {string}
 */
export function change(ratio) {
  if (!known(ratio)) return "-";
  const value = 100 * (ratio - 1);
  const digits = Math.abs(value) < 9.95 ? 1 : 0;
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return `${text} %`;
  return `${value > 0 ? "+" : "\u2212"}${text} %`;
}

/**
 * The middle of some numbers; null without any.
 * @param {number[]} values
 * @returns {number | null}
 */
export function median(values) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? (sorted[half] ?? null) : ((sorted[half - 1] ?? 0) + (sorted[half] ?? 0)) / 2;
}
