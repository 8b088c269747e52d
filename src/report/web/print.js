// @ts-check
// The page on paper: the summary of all series, then each series with its picture and table, a page for each.

import { html } from "./dom.js";
import { bestRows, shareOf } from "./document.js";
import { marksOf } from "./facts.js";
import { figure, percent, plural, prose, time } from "./format.js";
import { head } from "./layer.js";
import { provenance } from "./machine.js";
import { chip, familyOf, legendMark, vocabulary } from "./marks.js";
import { roofline } from "./roofline.js";
import { headline, overview, timeBar, verdictKey } from "./summary.js";

/** @typedef {import("./document.js").Run} Run */
/** @typedef {import("./document.js").Series} Series */

/** Width of the paper's text in pixels: 186 mm. */
const WIDTH = 703;

/**
 * Everything that is printed.
 * @param {Run} run
 * @returns {HTMLElement[]}
 */
export function printed(run) {
  const { view } = run;
  const advice = view.series.flatMap((s) => (s.advice ?? []).slice(0, 3).map((a) => html("li", {}, html("strong", {}, `${s.subject}, ${plural(s.threads, "thread")}, ${a.layer}: −${time(a.saved_ns)}. `), prose(a.says))));
  const first = html("div", { class: "sheet" },
    html("h1", {}, "What bounds each layer"),
    html("p", {}, view.title),
    view.noise ? html("p", { class: "noise" }, `${view.noise}.`) : null,
    view.warnings.map((w) => html("p", {}, w)),
    html("p", { class: "soft" }, provenance(run)),
    overview(run, null, true),
    advice.length ? [html("h3", {}, "What would help, the most saved time first"), html("ul", {}, advice)] : null,
    html("h3", {}, "What the words mean"),
    html("dl", {}, vocabulary().verdicts.filter((v) => view.series.some((s) => s.shares.some((x) => x.verdict === v.name))).map((v) => [html("dt", {}, chip(v.name, v.label)), html("dd", {}, `${v.meaning}.`)])));
  return [first, ...view.series.map((s) => sheet(run, s))];
}

/**
 * @param {Run} run
 * @param {Series} series
 */
function sheet(run, series) {
  const rows = bestRows(run, series);
  const families = vocabulary().families.filter((f) => rows.some((r) => familyOf(r).name === f.name));
  const body = rows.map((row) => html("tr", {}, html("th", { scope: "row" }, row.layer), html("td", { class: "n" }, row.count), html("td", {}, row.variant), html("td", { class: "n" }, `${time(row.median_ns)}${marksOf(row)}`), html("td", { class: "n" }, percent(shareOf(series, row), 1)), html("td", { class: "n" }, figure(row.gflops_nominal)), html("td", { class: "n" }, percent(row.roof_fraction)), html("td", { class: "n" }, figure(row.intensity)), html("td", {}, chip(row.verdict))));
  return html("div", { class: "sheet" },
    headline(series),
    timeBar(run, series, WIDTH, null),
    verdictKey(run, series, [], null),
    roofline(run, series, { width: WIDTH, height: rows.length > 24 ? 300 : 360, show: [], view: null, open: null }),
    html("div", { class: "legend" }, families.map((f) => html("span", { class: "family" }, legendMark(f), f.name)), html("span", {}, "Area: share of the time.")),
    html("table", { class: "plain" }, head(["layer", "n:×", "best variant", "n:time", "n:share", `n:${series.unit}`, "n:of roof", "n:flop/byte", "bound by"]), html("tbody", {}, body)));
}
