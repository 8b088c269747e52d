// @ts-check
// A record without conclusions, as a run that can be compared: its times and rates, and no verdicts.

import { complete, total } from "./document.js";
import { median } from "./format.js";

/** @typedef {import("./document.js").Run} Run */

/** Families by a part of their algorithms' ids. @type {[string, string][]} */
const PARTS = [["peer-", "peer"], ["direct", "direct"], ["im2col", "im2col"], ["gemm-1x1", "gemm"], ["strassen", "gemm"], ["winograd", "winograd"], ["pool", "pool"]];

/**
 * The run of a raw record. Times are the samples' medians.
 * @param {any} record
 * @param {string} file
 * @param {string} name
 * @returns {Run}
 */
export function rawRun(record, file, name) {
  const layers = Array.isArray(record?.layers) ? record.layers : [];
  const measurements = Array.isArray(record?.measurements) ? record.measurements : [];
  /** @type {Map<string, {m: any, i: number}[]>} */
  const byProblem = new Map();
  measurements.forEach((/** @type {any} */ m, /** @type {number} */ i) => {
    const own = byProblem.get(m.problem) ?? [];
    own.push({ m, i });
    byProblem.set(m.problem, own);
  });
  /** @type {any[]} */
  const rows = [];
  for (const layer of layers) {
    for (const { m, i } of byProblem.get(layer.problem) ?? []) {
      const ns = median(m.samples_ns ?? []);
      if (ns === null || ns <= 0) continue;
      const bytes = (m.bytes_read ?? 0) + (m.bytes_written ?? 0);
      const peak = median(m.peak_gflops ?? []) ?? 0;
      const variant = String(m.variant ?? "");
      rows.push({
        index: rows.length, m: i, family: PARTS.find(([part]) => variant.includes(part))?.[1] ?? "other",
        network: layer.network, dt: layer.dt ?? "f32", layer: layer.layer, kind: layer.kind, count: layer.count ?? 1, problem: m.problem,
        variant, isa: variant.split("/")[1] ?? "", threads: m.threads, cache: m.cache ?? "warm", samples: m.samples_ns.length,
        median_ns: ns, min_ns: Math.min(...m.samples_ns), ci_low_ns: null, ci_high_ns: null,
        gflops_nominal: m.flops_nominal / ns, gflops_executed: m.flops_executed / ns, peak_gflops: peak, fraction_of_peak: peak ? m.flops_nominal / ns / peak : null, roof_fraction: null,
        intensity: bytes ? m.flops_executed / bytes : 0, intensity_nominal: bytes ? m.flops_nominal / bytes : 0, bytes_compulsory: bytes, bandwidth_gbps: bytes / ns, error_max: m.error_max ?? 0, verdict: "undecided",
      });
    }
  }
  const run = complete({ runs: [{ name, file, record, view: { title: machineOf(record), warnings: [`${file || "This file"} is a raw record: it has times and rates (medians of its samples), but no verdicts and no intervals. convroof report A.json B.json gives both.`], rows, series: [] } }] }).runs[0];
  if (!run) throw new Error("the record is empty");
  /** @type {Map<string, import("./document.js").Row>} */
  const best = new Map();
  for (const row of run.view.rows) {
    if (row.cache !== "warm" || row.family === "peer") continue;
    const key = JSON.stringify([row.network, row.dt, row.threads, row.layer]);
    const before = best.get(key);
    if (!before || row.median_ns < before.median_ns) best.set(key, row);
  }
  for (const row of best.values()) {
    row.best = true;
    const id = row.dt === "f32" ? `${row.network}-${row.threads}` : `${row.network}-${row.dt}-${row.threads}`;
    let series = run.view.series.find((s) => s.id === id);
    if (!series) {
      const all = layers.filter((/** @type {any} */ l) => l.network === row.network && (l.dt ?? "f32") === row.dt).length;
      series = { id, network: row.network, dt: row.dt, threads: row.threads, subject: row.dt === "f32" ? row.network : `${row.network} in ${row.dt}`, unit: row.dt === "f32" || row.dt === "bf16" ? "GFLOP/s" : "GOP/s", measured: 0, layers: all, time_ns: 0, gflops: 0, shares: [], sentence: "", best: [] };
      run.view.series.push(series);
    }
    const before = series.time_ns;
    series.time_ns += total(row);
    series.gflops = (series.gflops * before + total(row) * row.gflops_nominal) / series.time_ns;
    series.measured += 1;
    series.best.push(row.index);
    series.shares = [{ verdict: "undecided", share: 1, layers: series.measured }];
  }
  return run;
}

/** @param {any} record */
function machineOf(record) {
  const f = record?.fingerprint ?? {};
  return `${f.cpu_model ?? "unknown CPU"}, ${f.physical_cores ?? "unknown number of"} cores`;
}
