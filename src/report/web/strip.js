// @ts-check
// The strip below the roofline: the fraction of its roof that each layer attains, the least first.

import { html, px, svg } from "./dom.js";
import { bestRows, shareOf } from "./document.js";
import { factsOf } from "./facts.js";
import { percent } from "./format.js";
import { widthOf } from "./labels.js";
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

/**
 * The strip as a picture for files.
 * @param {Run} run
 * @param {Series} series
 * @param {number} width
 * @returns {SVGSVGElement}
 */
export function stripPicture(run, series, width) {
  const rows = bestRows(run, series).filter((r) => typeof r.roof_fraction === "number").sort((a, b) => (a.roof_fraction ?? 0) - (b.roof_fraction ?? 0));
  const columns = width > 600 ? 2 : 1;
  const each = Math.ceil(rows.length / columns);
  const [line, gap] = [17, 20];
  const column = (width - 8 - gap * (columns - 1)) / columns;
  const name = Math.min(0.5 * column, Math.max(40, ...rows.map((r) => widthOf(r.layer, 12.6) + 4)));
  const track = column - name - 76;
  const picture = svg("svg", { class: "pic", viewBox: `0 0 ${px(width)} ${each * line + 24}`, role: "img", "aria-label": `Percentage of its roof that each layer of ${series.subject} attains` });
  picture.append(svg("text", { x: 4, y: 13 }, "percentage of its roof that each layer attains"));
  rows.forEach((row, i) => {
    const x = 4 + Math.floor(i / each) * (column + gap);
    const y = 20 + (i % each) * line;
    const cut = widthOf(row.layer, 12.6) > name ? `${row.layer.slice(0, Math.max(4, Math.floor(name / 7)))}…` : row.layer;
    picture.append(svg("g", { class: verdictClass(row.verdict) },
      svg("text", { x: px(x), y: y + 11 }, cut),
      svg("rect", { class: "rail", x: px(x + name + 4), y: y + 2, width: px(track), height: 10 }),
      svg("rect", { class: "swatch", x: px(x + name + 4), y: y + 2, width: px(track * Math.min(1, row.roof_fraction ?? 0)), height: 10 }),
      svg("text", { x: px(x + name + track + 42), y: y + 11, "text-anchor": "end" }, percent(row.roof_fraction)),
      svg("rect", { class: "swatch", x: px(x + column - 24), y: y + 1, width: 20, height: 13, rx: 2 }),
      svg("text", { class: "letter", x: px(x + column - 14), y: y + 11, "text-anchor": "middle" }, letter(row.verdict))));
  });
  return picture;
}
