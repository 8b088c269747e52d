// @ts-check
// Logarithmic axes.

/**
 * @typedef {object} Axis
 * @property {number} lo least value
 * @property {number} hi largest value
 * @property {(value: number) => number} at position of a value
 * @property {(position: number) => number} value value at a position
 */

/**
 * An axis from the value lo at position `from` to hi at position `to`.
 * @param {number} lo
 * @param {number} hi
 * @param {number} from
 * @param {number} to
 * @returns {Axis}
 */
export function logAxis(lo, hi, from, to) {
  const span = Math.log(hi / lo);
  return {
    lo, hi,
    at: (value) => from + (Math.log(Math.max(value, 1e-12) / lo) / span) * (to - from),
    value: (position) => lo * Math.exp(((position - from) / (to - from)) * span),
  };
}

/** Digits that labels show, with the least distance of two of them in decades. @type {[number[], number][]} */
const DIGITS = [[[1, 2, 3, 4, 5, 6, 7, 8, 9], 0.0457], [[1, 2, 3, 5], 0.176], [[1, 2, 5], 0.301], [[1, 3], 0.477], [[1], 1]];

/**
 * Values of grid lines. Labels are at least `gap` apart.
 * @param {Axis} axis
 * @param {number} length of the axis
 * @param {number} gap
 * @returns {{value: number, labelled: boolean}[]}
 */
export function ticks(axis, length, gap) {
  const decade = length / Math.log10(axis.hi / axis.lo);
  const [digits] = DIGITS.find(([, least]) => least * decade >= gap) ?? [[1], 1];
  const out = [];
  for (let e = Math.floor(Math.log10(axis.lo)); e <= Math.ceil(Math.log10(axis.hi)); e += 1) {
    for (let digit = 1; digit < 10; digit += 1) {
      const value = Number(`${digit}e${e}`);
      if (value >= axis.lo && value <= axis.hi) out.push({ value, labelled: digits.includes(digit) });
    }
  }
  if (out.filter((t) => t.labelled).length >= 2) return out;
  // The axis is so narrow that few such values are on it: round steps instead.
  const step = 10 ** Math.floor(Math.log10((axis.hi - axis.lo) / 2));
  const fine = [];
  for (let value = Math.ceil(axis.lo / step) * step; value <= axis.hi; value += step) fine.push({ value: Number(value.toPrecision(6)), labelled: true });
  const every = Math.max(1, Math.ceil((fine.length * gap) / length));
  return fine.map((t, i) => ({ ...t, labelled: i % every === 0 }));
}

/**
 * A tick's label.
 * @param {number} value
 * @returns {string}
 */
export function tickLabel(value) {
  if (value >= 1e5) return value.toExponential(0).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}
