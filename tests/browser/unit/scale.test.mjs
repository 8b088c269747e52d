import assert from "node:assert/strict";
import { test } from "node:test";
import { logAxis, tickLabel, ticks } from "../../../src/report/web/scale.js";
import { panned, sensible, zoomed } from "../../../src/report/web/zoom.js";

test("an axis is logarithmic and invertible", () => {
  const axis = logAxis(1, 100, 0, 200);
  assert.equal(axis.at(10), 100);
  assert.ok(Math.abs(axis.value(150) - 10 ** 1.5) < 1e-9);
});

test("labels of ticks have room", () => {
  for (const [lo, hi, length, gap] of [[0.1, 100, 900, 30], [10, 300, 500, 18], [0.1, 1000, 240, 30], [200, 260, 300, 18], [1, 1.5, 200, 30]]) {
    const axis = logAxis(lo, hi, 0, length);
    const labelled = ticks(axis, length, gap).filter((t) => t.labelled).map((t) => axis.at(t.value));
    assert.ok(labelled.length >= 2, `${lo} to ${hi}: ${labelled.length}`);
    labelled.slice(1).forEach((at, i) => assert.ok(at - labelled[i] >= 0.6 * gap, `${lo} to ${hi}: ${labelled}`));
  }
  assert.deepEqual([0.2, 50, 1e5].map(tickLabel), ["0.2", "50", "1e5"]);
});

test("zooming keeps the place under the pointer", () => {
  const [x0, x1, y0, y1] = zoomed([1, 100, 10, 1000], 2, 0.25, 0.5);
  const at = (f, lo, hi) => lo * (hi / lo) ** f;
  assert.ok(Math.abs(at(0.25, x0, x1) - at(0.25, 1, 100)) < 1e-9);
  assert.ok(Math.abs(at(0.5, y0, y1) - 100) < 1e-9);
  assert.ok(Math.abs(Math.log10(x1 / x0) - 1) < 1e-9);
});

test("moving keeps the zoom", () => {
  const [x0, x1, y0, y1] = panned([1, 100, 10, 1000], 0.5, 0);
  assert.deepEqual([x0, x1, y0, y1].map((v) => Math.round(v)), [10, 1000, 10, 1000]);
  assert.ok(sensible([x0, x1, y0, y1], [1, 100, 10, 1000]));
  assert.ok(!sensible([1, 1.01, 10, 1000], [1, 100, 10, 1000]));
});
