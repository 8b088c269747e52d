import assert from "node:assert/strict";
import { test } from "node:test";
import { meets, placeLabels } from "../../../src/report/web/labels.js";

const inside = { x: 0, y: 0, w: 900, h: 500 };

test("labels never overlap, leave the picture or cover a point", () => {
  let seed = 7;
  const random = () => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed / 2147483648; };
  for (let run = 0; run < 40; run += 1) {
    const wanted = Array.from({ length: 40 }, (_, i) => ({ text: `conv${i}_x.1x1`, x: 500 + 300 * random(), y: 60 + 90 * random(), r: 3 + 12 * random() }));
    const points = wanted.map((p) => ({ x: p.x - p.r, y: p.y - p.r, w: 2 * p.r, h: 2 * p.r }));
    const placed = placeLabels(wanted, points, inside);
    assert.ok(placed.length >= 5, `${placed.length} labels`);
    placed.forEach((a, i) => {
      assert.ok(a.box.x >= 0 && a.box.y >= 0 && a.box.x + a.box.w <= 900 && a.box.y + a.box.h <= 500);
      assert.ok(points.every((p) => !meets(p, a.box)));
      placed.slice(i + 1).forEach((b) => assert.ok(!meets(a.box, b.box), `${a.text} meets ${b.text}`));
    });
  }
});

test("a lone label stands right of its point", () => {
  const [label] = placeLabels([{ text: "fc", x: 100, y: 100, r: 5 }], [{ x: 95, y: 95, w: 10, h: 10 }], inside);
  assert.equal(label?.lead, null);
  assert.equal(label?.box.x, 108);
});

test("a crowded label gets a line to its point", () => {
  const wall = { x: 60, y: 60, w: 80, h: 80 };
  const [label] = placeLabels([{ text: "fc", x: 100, y: 100, r: 5 }], [wall], inside);
  assert.ok(label?.lead);
  assert.ok(!meets(label.box, wall));
});

test("without a free place there is no label", () => {
  assert.deepEqual(placeLabels([{ text: "fc", x: 100, y: 100, r: 5 }], [inside], inside), []);
});
