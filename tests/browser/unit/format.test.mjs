import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, change, figure, median, percent, plural, prose, sentence, short, time, visible } from "../../../src/report/web/format.js";

test("active characters become visible", () => {
  assert.equal(visible("conv1 größer 图"), "conv1 größer 图");
  assert.equal(visible("a\u001b[31mb\r\nc\u202ed\u009be\0"), "a\\u{1b}[31mb\\r\\nc\\u{202e}d\\u{9b}e\\u{0}");
  assert.equal(visible("\u{e0001}\ufeff"), "\\u{e0001}\\u{feff}");
  assert.equal(visible(null), "");
});

test("times have readable units", () => {
  assert.deepEqual([485, 2500, 302e3, 1.63e6, 13.6e6, 281e6, 2.5e9].map(time), ["485 ns", "2.5 µs", "302 µs", "1.63 ms", "13.6 ms", "281 ms", "2.50 s"]);
  assert.deepEqual([null, undefined, NaN, Infinity].map(time), ["-", "-", "-", "-"]);
});

test("sizes are in powers of 1024", () => {
  assert.deepEqual([0, 1023, 1024, 1536, 1024 * 1024 - 1, 3 * 1024 ** 3].map(bytes), ["0 B", "1023 B", "1 KiB", "1.5 KiB", "1 MiB", "3 GiB"]);
});

test("shares are never rounded to nothing or to all", () => {
  assert.deepEqual([0, 0.001, 0.5, 0.999, 1, 1.25].map((f) => percent(f)), ["0 %", "< 1 %", "50 %", "> 99 %", "100 %", "125 %"]);
  assert.equal(percent(0.0001, 1), "< 0.1 %");
  assert.equal(percent(null), "-");
});

test("figures have three digits", () => {
  assert.deepEqual([0, 0.0012, 0.44, 1, 12.34, 99.96, 254.4].map(figure), ["0", "1.2e-3", "0.44", "1.00", "12.3", "100", "254"]);
});

test("changes have a sign", () => {
  assert.deepEqual([1, 1.031, 0.88, 2].map(change), ["0.0 %", "+3.1 %", "−12 %", "+100 %"]);
});

test("the median of an even number is between two", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(median([]), null);
});

test("words", () => {
  assert.deepEqual([plural(1, "layer"), plural(2, "layer"), sentence("over"), short("L1 bound"), short("undecided")], ["1 layer", "2 layers", "Over", "L1", "undecided"]);
  assert.equal(prose("468 us measured, used"), "468\u00a0µs measured, used");
  assert.equal(prose("83 % of 118 GFLOP/s, 4 times, 3 starts"), "83\u00a0% of 118\u00a0GFLOP/s, 4 times, 3 starts");
});
