// @ts-check
// The document of the page: its types, and how it is read. src/report/document.rs writes it.

/**
 * @typedef {{name: string, label: string, meaning: string, help: string}} Meaning
 * @typedef {{class: string, name: string, corners?: number | null, turn?: number}} Family
 * @typedef {{verdicts: Meaning[], families: Family[], marks: [string, string][]}} Vocabulary
 * @typedef {{witness: string, vote?: string | null, weight?: number, says: string}} Witness
 * @typedef {{phase: string, ns: number, share: number, flops?: number, bytes?: number, gflops: number, fraction_of_peak: number, gbps: number, intensity: number, verdict: string, reason?: string}} Phase
 * @typedef {{index: number, family: string, m?: number | null, network: string, dt: string, layer: string, kind?: string, count: number, problem: string, variant: string, isa: string, threads: number, cache: string, samples: number, median_ns: number, min_ns: number, ci_low_ns: number, ci_high_ns: number, scattered?: boolean, gflops_nominal: number, gflops_executed: number, peak_gflops: number, fraction_of_peak: number, roof_fraction?: number | null, intensity: number, intensity_nominal: number, bytes_compulsory: number, bandwidth_gbps: number, error_max: number, best: boolean, tied: boolean, phases: Phase[], bytes_measured?: number | null, predicted_ns?: number | null, verdict: string, confidence: number, disputed?: boolean, witnesses: Witness[], reason: string}} Row
 * @typedef {{verdict: string, share: number, layers: number}} Share
 * @typedef {{layer: string, kind: string, saved_ns: number, says: string, evidence?: string}} Advice
 * @typedef {{network?: string, dt?: string, layer: string, threads?: number, ours: string, peer: string, implementation?: string | null, ours_ns: number, peer_ns: number, ratio: number, ci: [number, number]}} Duel
 * @typedef {{over: string, layers: number, ratio: number, lost?: number}} Mean
 * @typedef {{id: string, network: string, dt: string, threads: number, subject: string, unit: string, measured: number, layers: number, time_ns: number, gflops: number, shares: Share[], sentence: string, predicted?: string | null, best: number[], advice?: Advice[], duels?: Duel[], means?: Mean[], lost?: string[]}} Series
 * @typedef {{level: string, name: string, read: number, spread: number}} LevelRoof
 * @typedef {{threads: number, isa: string, arithmetic: string, name: string, unit: string, peak: number, spread: number, levels: LevelRoof[]}} Ceilings
 * @typedef {{dt: string, row?: number | null, speed_up?: number | null, changed?: boolean}} TypedCell
 * @typedef {{network: string, threads: number, types: string[], sentence?: string, layers: {layer: string, cells: TypedCell[]}[]}} TypesView
 * @typedef {{title: string, facts: string[], warnings: string[], noise: string, noisy: boolean, notes: string[], missing_counters?: string | null, series: Series[], rows: Row[], ceilings: Ceilings[], types: TypesView[], claims: any[]}} View
 * @typedef {{name: string, file: string, record: any, refusals_left_out?: number, view: View}} Run
 * @typedef {{format: number, tool: any, vocabulary: Vocabulary, runs: Run[], comparison?: any}} Doc
 */

/**
 * Text of gzip data in base64.
 * @param {string} text
 * @returns {Promise<string>}
 */
export async function inflate(text) {
  const binary = atob(text.trim());
  const data = Uint8Array.from(binary, (c) => c.charCodeAt(0));
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"));
  return await new Response(stream).text();
}

/**
 * The document that a page holds.
 * @param {Document} page
 * @returns {Promise<Doc>}
 */
export async function embedded(page) {
  const element = page.getElementById("document");
  if (!element) throw new Error("the page has no document");
  const text = element.textContent ?? "";
  const packed = element.getAttribute("data-encoding") === "gzip+base64";
  return complete(JSON.parse(packed ? await inflate(text) : text));
}

/** Words for documents that have none. @type {Vocabulary} */
const NO_WORDS = { verdicts: [], families: [], marks: [] };

/**
 * The document with an empty value for each field that it lacks, so that older and newer documents open.
 * @param {any} doc
 * @returns {Doc}
 */
export function complete(doc) {
  const words = { ...NO_WORDS, ...(doc?.vocabulary ?? {}) };
  const runs = (doc?.runs ?? []).map((/** @type {any} */ run, /** @type {number} */ i) => completeRun(run, i));
  return { format: 1, tool: {}, comparison: null, ...doc, vocabulary: words, runs };
}

/**
 * @param {any} run
 * @param {number} i
 * @returns {Run}
 */
function completeRun(run, i) {
  const view = run?.view ?? {};
  // Rows are many, so they are completed where they are.
  const rows = view.rows ?? [];
  rows.forEach((/** @type {any} */ row, /** @type {number} */ index) => {
    row.index = index;
    row.count ??= 1;
    row.dt ??= "f32";
    row.cache ??= "warm";
    row.family ??= "other";
    row.phases ??= [];
    row.witnesses ??= [];
    row.reason ??= "";
    row.confidence ??= 0;
    row.verdict ??= "undecided";
  });
  const series = (view.series ?? []).map((/** @type {any} */ one) => ({
    dt: "f32", shares: [], best: [], advice: [], duels: [], means: [], lost: [], unit: "GFLOP/s", subject: one.network, sentence: "", ...one,
  }));
  return {
    file: "", record: {}, ...run, name: run?.name ?? String.fromCharCode(65 + i),
    view: { title: "", facts: [], warnings: [], noise: "", noisy: false, notes: [], types: [], claims: [], ceilings: [], ...view, rows, series },
  };
}

/**
 * Time of a layer in all its occurrences.
 * @param {Row} row
 * @returns {number}
 */
export function total(row) {
  return row.count * row.median_ns;
}

/**
 * The best rows of a series, in the order of the network.
 * @param {Run} run
 * @param {Series} series
 * @returns {Row[]}
 */
export function bestRows(run, series) {
  return series.best.flatMap((i) => run.view.rows[i] ?? []);
}

/**
 * The share of a row in its series' time.
 * @param {Series} series
 * @param {Row} row
 * @returns {number}
 */
export function shareOf(series, row) {
  return series.time_ns > 0 ? total(row) / series.time_ns : 0;
}

/**
 * All rows of the layer of a row in its series: every variant, every state of the caches.
 * @param {Run} run
 * @param {Row} row
 * @returns {Row[]}
 */
export function beside(run, row) {
  return run.view.rows.filter((r) => r.layer === row.layer && r.network === row.network && r.dt === row.dt && r.threads === row.threads);
}

/**
 * The arithmetic of an element type.
 * @param {string} dt
 * @returns {string}
 */
export function arithmeticOf(dt) {
  return dt === "f32" || dt === "bf16" ? dt : "int8";
}

/**
 * The ceilings over a series: those of its arithmetic with the highest peak. The others are narrower sets.
 * @param {Run} run
 * @param {Series} series
 * @returns {{main: Ceilings | null, others: Ceilings[]}}
 */
export function ceilingsOf(run, series) {
  const own = run.view.ceilings.filter((c) => c.threads === series.threads && c.arithmetic === arithmeticOf(series.dt));
  const sorted = own.sort((a, b) => b.peak - a.peak);
  const [main = null, ...others] = sorted;
  return { main, others };
}

/**
 * The series that a page opens with: the network of the most layers on the most threads.
 * @param {Run} run
 * @returns {Series | undefined}
 */
export function firstSeries(run) {
  const rank = (/** @type {Series} */ s) => s.best.length * 1e4 + s.threads * 10 + (s.dt === "f32" ? 1 : 0);
  return [...run.view.series].sort((a, b) => rank(b) - rank(a))[0];
}
