import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { test } from "node:test";
import { arithmeticOf, bestRows, ceilingsOf, complete, firstSeries, inflate, shareOf } from "../../../src/report/web/document.js";
import { passes, sorted } from "../../../src/report/web/filter.js";
import { csv, fileName } from "../../../src/report/web/exporting.js";
import { commandOf, quoted } from "../../../src/report/web/layer.js";
import { rawRun } from "../../../src/report/web/raw.js";
import { deltaOf, sameMachine } from "../../../src/report/web/compare.js";
import { NOTHING } from "../../../src/report/web/state.js";

const record = {
  kind: "convroof-run", fingerprint: { id: "m", cpu_model: "CPU", physical_cores: 2 },
  layers: [{ network: "n", layer: "a", count: 2, problem: "p" }, { network: "n", layer: "b", count: 1, problem: "q" }],
  measurements: [
    { problem: "p", variant: "direct/avx2/st", threads: 1, samples_ns: [3, 1, 2], flops_nominal: 8, flops_executed: 4, bytes_read: 1, bytes_written: 1 },
    { problem: "p", variant: "im2col/avx2/st", threads: 1, samples_ns: [9], flops_nominal: 8, flops_executed: 8, bytes_read: 1, bytes_written: 1 },
    { problem: "p", variant: "peer-x/auto/st", threads: 1, samples_ns: [1], flops_nominal: 8, flops_executed: 8 },
    { problem: "q", variant: "direct/avx2/st", threads: 1, samples_ns: [], flops_nominal: 8, flops_executed: 8 },
  ],
};

test("a document is inflated", async () => {
  assert.equal(await inflate(gzipSync('{"a":"ü"}').toString("base64")), '{"a":"ü"}');
});

test("documents without fields open", () => {
  for (const doc of [{}, null, { runs: [{}] }, { runs: [{ view: { series: [{ network: "n" }], rows: [{}] } }] }]) {
    const run = complete(doc).runs[0];
    if (!run) continue;
    const series = firstSeries(run);
    if (series) assert.deepEqual(bestRows(run, series), []);
  }
});

test("a raw record has times and rates but no verdicts", () => {
  const run = rawRun(record, "b.json", "B");
  const [series] = run.view.series;
  assert.equal(series.id, "n-1");
  assert.deepEqual([series.measured, series.layers, series.time_ns], [1, 2, 4]);
  const [row] = bestRows(run, series);
  assert.deepEqual([row.variant, row.median_ns, row.gflops_executed, row.intensity, row.verdict], ["direct/avx2/st", 2, 2, 2, "undecided"]);
  assert.equal(shareOf(series, row), 1);
  assert.match(run.view.warnings[0], /no verdicts/);
});

test("a layer is compared by its medians, with bounds from their intervals", () => {
  const a = rawRun(record, "a.json", "A");
  const b = rawRun({ ...record, measurements: record.measurements.map((m) => ({ ...m, samples_ns: m.samples_ns.map((s) => 2 * s) })) }, "b.json", "B");
  const doc = complete({ runs: [a, b] });
  const item = { series: a.view.series[0], row: bestRows(a, a.view.series[0])[0] };
  const other = { run: b, series: null, name: "B" };
  assert.deepEqual(deltaOf(doc, a, other, item), { ratio: 2, low: null, high: null, fractions: false });
  Object.assign(item.row, { ci_low_ns: 1, ci_high_ns: 4 });
  Object.assign(bestRows(b, b.view.series[0])[0], { ci_low_ns: 3, ci_high_ns: 5 });
  assert.deepEqual(deltaOf(doc, a, other, item), { ratio: 2, low: 0.75, high: 5, fractions: false });
  assert.ok(sameMachine(a, b));
});

test("every word of a search must occur", () => {
  const run = rawRun(record, "", "A");
  const item = { series: run.view.series[0], row: run.view.rows[0] };
  assert.ok(passes(item, { ...NOTHING, q: "DIRECT avx2" }));
  assert.ok(!passes(item, { ...NOTHING, q: "direct neon" }));
  assert.ok(!passes(item, { ...NOTHING, verdicts: ["l1"] }));
  assert.ok(passes(item, { ...NOTHING, min: 50 }));
});

test("unknown values come last in both directions", () => {
  const items = [3, null, 1].map((v) => ({ v }));
  for (const [dir, order] of [[1, [1, 3, null]], [-1, [3, 1, null]]]) assert.deepEqual(sorted(items, (i) => i.v, dir).map((i) => i.v), order);
});

test("the highest peak is the roof, and types have their own", () => {
  const run = complete({ runs: [{ view: { ceilings: [{ threads: 1, arithmetic: "f32", isa: "avx2", peak: 1, levels: [] }, { threads: 1, arithmetic: "f32", isa: "avx512", peak: 2, levels: [] }, { threads: 1, arithmetic: "int8", isa: "vnni", peak: 8, levels: [] }] } }] }).runs[0];
  assert.equal(ceilingsOf(run, { threads: 1, dt: "f32" }).main.isa, "avx512");
  assert.equal(ceilingsOf(run, { threads: 1, dt: "u8" }).main.isa, "vnni");
  assert.equal(ceilingsOf(run, { threads: 4, dt: "f32" }).main, null);
  assert.deepEqual(["f32", "bf16", "u8", "s8"].map(arithmeticOf), ["f32", "bf16", "int8", "int8"]);
});

test("files are safe for spreadsheets and file systems", () => {
  assert.equal(csv([{ a: '=1+1', b: 'x,"y"', c: null, d: -2 }]), "a,b,c,d\r\n'=1+1,\"x,\"\"y\"\"\",,-2\r\n");
  assert.equal(fileName("../../<a>\u202e.svg"), "a-.svg");
});

test("a command survives the shell", () => {
  assert.equal(quoted("a b'c"), "'a b'\\''c'");
  assert.equal(commandOf({ problem: "--dir=FWD_B mb1ic3", variant: "direct/avx2/st", threads: 2, cache: "weights-cold", family: "direct" }), "convroof bench '--problem=--dir=FWD_B mb1ic3' --variant direct/avx2/st --threads 2 --cache weights-cold");
});
