import assert from "node:assert/strict";
import { test } from "node:test";
import { NOTHING, parse, toggled, write } from "../../../src/report/web/state.js";

test("a hash describes the whole state", () => {
  const state = { ...NOTHING, run: "B", series: "resnet50-u8-2", layer: "resnet50-u8-2 conv1", q: "3x3 & <b>", verdicts: ["l1", "dram"], families: ["gemm-1x1"], min: 0.5, scope: "all", sort: "share", dir: -1, show: ["cold"], view: [0.1, 10, 2, 200], b: "A/nin-1", differs: true, theme: "dark" };
  assert.deepEqual(parse(write(state)), state);
});

test("the usual state has no hash", () => {
  assert.equal(write(NOTHING), "");
  assert.deepEqual(parse(""), NOTHING);
});

test("the scopes of networks and types survive", () => {
  for (const scope of ["network:resnet50", "type:u8"]) assert.equal(parse(write({ ...NOTHING, scope })).scope, scope);
});

test("broken values are ignored", () => {
  const state = parse("#view=1,2,x,4&min=-3&dir=7&scope=none&theme=pink&unknown=1");
  assert.deepEqual(state, NOTHING);
  assert.deepEqual(parse("#view=10,1,1,10").view, []);
  assert.equal(parse("#dark").theme, "dark");
});

test("a choice is added or removed", () => {
  assert.deepEqual(toggled(["a"], "b"), ["a", "b"]);
  assert.deepEqual(toggled(["a", "b"], "a"), ["b"]);
});
