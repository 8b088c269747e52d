// @ts-check
// The strip below the roofline: the fraction of its roof that each layer attains, the least first.

import { html, px } from "./dom.js";
import { bestRows, shareOf } from "./document.js";
import { factsOf } from "./facts.js";
import { percent } from "./format.js";
import { labelOf, letter, verdictClass } from "./marks.js";
import { link } from "./tip.js";

/** @typedef {import("./document.js").Run} Run */
/** @typedef {import("./document.js").Series} Series */

/**
 * The strip: a column for each layer, as wide as the page allows and at least wide enough for its name.
 * @param {Run} run
 * @param {Series} series
 * @param {string[]} only layers that are shown fully
 * @param {(layer: string) => void} open
 * @returns {HTMLElement}
 */
export function strip(run, series, only, open) {
  const rows = bestRows(run, series).filter((r) => typeof r.roof_fraction === "number");
  rows.sort((a, b) => (a.roof_fraction ?? 0) - (b.roof_fraction ?? 0));
  const bars = rows.map((row) => {
    const fraction = Math.min(1, row.roof_fraction ?? 0);
    const bar = html("button", {
      type: "button", class: `strip-bar ${verdictClass(row.verdict)}${only.includes(row.layer) ? "" : " faint"}`,
      "aria-label": `${row.layer}: ${percent(row.roof_fraction)} of its roof, ${labelOf(row.verdict)}, ${percent(shareOf(series, row), 1)} of the time`,
      click: () => open(row.layer),
    }, html("span", { class: "strip-name" }, row.layer), html("span", { class: "strip-track" }, html("i", {})), html("span", { class: "strip-value" }, percent(row.roof_fraction)), html("b", { class: "strip-letter" }, letter(row.verdict)));
    bar.style.setProperty("--f", px(100 * fraction));
    link(bar, row.layer, () => factsOf(series, row));
    return bar;
  });
  return html("div", { class: "strip", role: "group", "aria-label": "Fraction of its roof that each layer attains, the least first" }, bars);
}
