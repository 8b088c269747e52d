// @ts-check
// The machine: its facts, measured ceilings, counters, notes, and what the words of the page mean.

import { html } from "./dom.js";
import { figure, percent, sentence } from "./format.js";
import { head, withFiles } from "./layer.js";
import { chip, vocabulary } from "./marks.js";

/** @typedef {import("./document.js").Run} Run */

/**
 * When and by what a run was measured.
 * @param {Run} run
 * @returns {string}
 */
export function provenance(run) {
  const { record } = run;
  const tool = record?.tool ?? {};
  const revision = tool.git_revision ? ` (${String(tool.git_revision).slice(0, 10)}${tool.git_dirty ? ", with local changes" : ""})` : "";
  const when = String(record?.started ?? "").replace("T", " ").replace(/:\d\dZ$/, " UTC");
  return `${when ? `Measured ${when}` : "Measured"} by convroof ${tool.version ?? "of unknown version"}${revision}${record?.conditions?.batch ? `, batch ${record.conditions.batch}` : ""}.`;
}

/**
 * Ceilings as a table.
 * @param {Run} run
 */
export function ceilingTable(run) {
  const levels = [...new Map(run.view.ceilings.flatMap((c) => c.levels.map((l) => [l.level, l.name]))).entries()];
  const rows = run.view.ceilings.map((c) => html("tr", {}, html("td", { class: "n" }, c.threads), html("td", {}, c.isa), html("td", {}, c.name), html("td", { class: "n", "data-value": c.peak, "data-unit": c.unit }, `${figure(c.peak)} ${c.unit}`, html("small", { class: "soft" }, ` −${percent(c.spread, 1)}`)),
    levels.map(([level]) => {
      const found = c.levels.find((l) => l.level === level);
      return html("td", { class: "n", "data-value": found?.read ?? null }, found ? [figure(found.read), html("small", { class: "soft" }, ` −${percent(found.spread, 1)}`)] : "-");
    })));
  return withFiles("ceilings", html("table", { class: "plain ceilings" }, html("caption", {}, "Ceilings, measured by this run; behind each its spread (best − median) / best"), head(["n:threads", "instruction set", "ceiling", "n:peak", ...levels.map(([, name]) => `n:${name}, GB/s`)]), html("tbody", {}, rows)));
}

/**
 * The machine's section.
 * @param {Run} run
 * @returns {HTMLElement}
 */
export function machineSection(run) {
  const { view, record } = run;
  const f = record?.fingerprint ?? {};
  const line = [`kernel ${f.kernel ?? "unknown"}`, `huge pages ${f.huge_pages ?? "unknown"}`, `load ${f.load_average ?? "unknown"}`, record?.conditions?.pinned ? "workers pinned to cores" : "workers not pinned", record?.tool?.rustc ?? "unknown compiler"].join(", ");
  return html("section", { id: "machine" },
    html("h2", {}, "The machine"),
    html("p", {}, `${view.title}: ${line}.`),
    html("p", { class: "soft" }, provenance(run)),
    view.notes.map((n) => html("p", {}, n)),
    ceilingTable(run),
    view.missing_counters ? html("p", { class: "soft" }, `${view.missing_counters}. Times and models need none of them.`) : null,
    record?.peers?.length ? html("p", {}, `Other libraries in this run: ${record.peers.join(", ")}.`) : null);
}

/** What the words mean. @returns {HTMLElement} */
export function wordsSection() {
  const { verdicts, marks } = vocabulary();
  return html("section", { id: "words" },
    html("h2", {}, "What the words mean"),
    html("dl", {},
      verdicts.map((v) => [html("dt", {}, chip(v.name, v.label)), html("dd", {}, `${sentence(v.meaning)}. What would help: ${v.help}.`)]),
      html("dt", {}, "arithmetic intensity"), html("dd", {}, "Operations for each byte that any implementation must move: the inputs read once, the weights once, the outputs written once."),
      html("dt", {}, "roofline"), html("dd", {}, "What a machine can attain at an intensity. The slanted lines are the bandwidths of its caches and memory, the flat one its arithmetic. A layer left of the corner waits for data, one right of it for arithmetic."),
      html("dt", {}, "nominal and executed"), html("dd", {}, "Nominal operations are those of the definition, padding included: they rank variants. Executed ones are those that an algorithm really does: they belong on the roofline."),
      html("dt", {}, "sure"), html("dd", {}, "Votes for the verdict / (votes cast + 1), so it never reaches 100 %."),
      marks.map(([sign, meaning]) => [html("dt", {}, sign), html("dd", {}, sentence(meaning), ".")])));
}

/**
 * Claims that were tested on the machine.
 * @param {Run} run
 * @returns {HTMLElement | null}
 */
export function claimsSection(run) {
  if (run.view.claims.length === 0) return null;
  const value = (/** @type {any} */ f) => (f.ci ? `${figure(f.value)} (${figure(f.ci[0])} to ${figure(f.ci[1])})` : figure(f.value));
  return html("section", { id: "claims" },
    html("h2", {}, "What is claimed of these networks"),
    run.view.claims.map((c) => html("details", {}, html("summary", {}, html("strong", {}, `${c.number ?? ""}. ${sentence(c.label ?? "")}: `), c.claim ?? ""),
      html("p", {}, c.answer ?? ""),
      withFiles(`claim-${c.number ?? ""}`, html("table", { class: "plain" }, html("caption", { class: "hidden" }, `Figures for claim ${c.number ?? ""}`), head(["figure", "n:value", "unit", "how"]), html("tbody", {}, (c.evidence ?? []).map((/** @type {any} */ f) => html("tr", {}, html("td", { class: "wide" }, f.what), html("td", { class: "n" }, value(f)), html("td", {}, f.unit), html("td", {}, f.measured ? "measured" : "counted")))))))));
}
