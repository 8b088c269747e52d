// @ts-check
// The bar of time and the strip as pictures for files. On the page they are controls.

import { px, svg } from "./dom.js";
import { bestRows, shareOf } from "./document.js";
import { percent } from "./format.js";
import { linesOf, widthOf } from "./labels.js";
import { labelOf, letter, verdictClass } from "./marks.js";

/** @typedef {import("./document.js").Run} Run */
/** @typedef {import("./document.js").Series} Series */

/**
 * The bar of time: a segment for each layer, ordered by verdict, with a line for each verdict below.
 * @param {Run} run
 * @param {Series} series
 * @param {number} width
 * @returns {SVGSVGElement}
 */
export function barPicture(run, series, width) {
  const [left, height] = [4, 40];
  const room = width - 2 * left;
  const parts = svg("g", {});
  const texts = svg("g", {});
  let x = left;
  let y = height + 26;
  let keyX = left;
  for (const { verdict, share } of series.shares) {
    const own = bestRows(run, series).filter((r) => r.verdict === verdict).sort((a, b) => shareOf(series, b) - shareOf(series, a));
    const kind = verdictClass(verdict);
    for (const row of own) {
      const wide = shareOf(series, row) * room;
      parts.append(svg("g", { class: kind }, svg("rect", { class: "part", x: px(x), y: 4, width: px(Math.max(0.4, wide)), height: height - 4 })));
      const lines = linesOf(row.layer, wide - 4, 10);
      lines.forEach((text, i) => parts.append(svg("g", { class: kind }, svg("text", { class: "part-name", x: px(x + wide / 2), y: px(height / 2 + 5.5 + 11 * (i - (lines.length - 1) / 2)), "text-anchor": "middle" }, text))));
      x += wide;
    }
    const text = `${labelOf(verdict)} ${percent(share, share < 0.1 ? 1 : 0)}${own.length <= 4 ? `: ${own.map((r) => r.layer).join(", ")}` : ` in ${own.length} layers`}`;
    const size = 24 + widthOf(text, 11) + 10;
    if (keyX + size > width && keyX > left) [keyX, y] = [left, y + 17];
    texts.append(svg("g", { class: kind }, svg("rect", { class: "swatch", x: px(keyX), y: y - 10, width: 18, height: 13, rx: 2 }), svg("text", { class: "letter", x: px(keyX + 9), y, "text-anchor": "middle" }, letter(verdict))), svg("text", { x: px(keyX + 22), y }, text));
    keyX += size;
  }
  return svg("svg", { class: "pic", viewBox: `0 0 ${px(width)} ${px(y + 8)}`, role: "img", "aria-label": `Time of ${series.subject} by layer, ordered by verdict` }, parts, svg("g", { class: "legend-below" }, texts));
}

/**
 * The strip: the fraction of its roof that each layer attains, the least first.
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
