// @ts-check
// The answer in five seconds: what bounds the network, where its time goes, and what would help.

import { button, fill, html, px } from "./dom.js";
import { bestRows, shareOf } from "./document.js";
import { factsOf } from "./facts.js";
import { figure, percent, plural, prose, sentence, time } from "./format.js";
import { linesOf } from "./labels.js";
import { chip, labelOf, letter, verdictClass } from "./marks.js";
import { go } from "./state.js";
import { link } from "./tip.js";

/** @typedef {import("./document.js").Run} Run */
/** @typedef {import("./document.js").Series} Series */
/** @typedef {import("./document.js").Row} Row */
/** @typedef {import("./document.js").Advice} Advice */

/**
 * The choice of a network, a number of threads and a type.
 * @param {Run} run
 * @param {Series} series
 * @returns {HTMLElement}
 */
export function tabs(run, series) {
  const all = run.view.series;
  const distinct = (/** @type {(s: Series) => string} */ of) => [...new Set(all.map(of))];
  // The nearest series: the wanted value first, then as many of the others as there are.
  const choose = (/** @type {"network" | "threads" | "dt"} */ key, /** @type {string} */ value) => {
    const fit = (/** @type {Series} */ s) => Number(s.network === series.network) * 4 + Number(s.threads === series.threads) * 2 + Number(s.dt === series.dt);
    const found = all.filter((s) => String(s[key]) === value).sort((a, b) => fit(b) - fit(a))[0];
    if (found) go({ series: found.id, layer: "", view: [] });
  };
  const group = (/** @type {string} */ name, /** @type {"network" | "threads" | "dt"} */ key, /** @type {(v: string) => string} */ text) => {
    const values = distinct((s) => String(s[key]));
    const buttons = values.map((value) => {
      const exists = key === "network" || all.some((s) => String(s[key]) === value && s.network === series.network);
      return button(text(value), () => choose(key, value), { "aria-pressed": String(String(series[key]) === value), disabled: !exists });
    });
    return html("div", { class: "tab-group", role: "group", "aria-label": name }, buttons);
  };
  return html("div", { class: "tabs" },
    group("network", "network", (v) => v),
    group("threads", "threads", (v) => plural(Number(v), "thread")),
    group("element type", "dt", (v) => v));
}

/**
 * The head of a series: its main verdict in large letters, its time, and the sentence.
 * @param {Series} series
 * @returns {HTMLElement}
 */
export function headline(series) {
  const [first] = series.shares;
  const whole = series.measured === series.layers;
  return html("div", { class: "headline" },
    html("h2", {}, `${series.subject}, ${plural(series.threads, "thread")}${series.dt === "f32" ? ", f32" : ""}`),
    html("p", { class: "answer" },
      first ? html("strong", { class: verdictClass(first.verdict) }, `${percent(first.share)} ${labelOf(first.verdict)}`) : "nothing was measured",
      html("span", {}, ` ${time(series.time_ns)}`, html("small", {}, ` ${figure(series.gflops)} ${series.unit}`))),
    html("p", { class: "says" }, afterColon(series.sentence)),
    whole ? null : html("p", { class: "soft" }, `${series.measured} of ${plural(series.layers, "layer")} measured: the time is not that of the whole network.`));
}

/**
 * The part of a conclusion behind its subject, which stands above it already.
 * @param {string} text
 */
function afterColon(text) {
  const at = text.indexOf(": ");
  return at < 0 ? text : sentence(text.slice(at + 2));
}

/**
 * The bar of time: a segment for each layer, ordered by verdict. Names stand where they fit.
 * @param {Run} run
 * @param {Series} series
 * @param {number} width
 * @param {((layer: string) => void) | null} open null for a still bar
 * @returns {HTMLElement}
 */
export function timeBar(run, series, width, open) {
  const rows = bestRows(run, series);
  const order = series.shares.map((s) => s.verdict);
  const groups = order.map((verdict) => {
    const own = rows.filter((r) => r.verdict === verdict).sort((a, b) => shareOf(series, b) - shareOf(series, a));
    const segments = own.map((row) => {
      const share = shareOf(series, row);
      const room = share * width;
      const text = linesOf(row.layer, room - 6, 11).map((line, i) => (i ? [html("br"), line] : line));
      const content = html("span", {}, text);
      // Thin segments are too small to be controls of their own: the table and the strip have the same layers.
      const segment = open && room >= 24
        ? html("button", { class: `segment ${verdictClass(verdict)}`, type: "button", "aria-label": `${row.layer}: ${percent(share, 1)} of the time, ${labelOf(verdict)}`, click: () => open(row.layer) }, content)
        : html("span", { class: `segment ${verdictClass(verdict)}`, click: open ? () => open(row.layer) : null }, content);
      segment.style.flexGrow = String(share);
      if (open) link(segment, row.layer, () => factsOf(series, row));
      return segment;
    });
    return segments;
  });
  return html("div", { class: "time-bar", role: open ? "group" : "img", "aria-label": `Time of ${series.subject} by layer, ordered by verdict` }, groups);
}

/**
 * The verdicts of a series with their shares: a legend, and filters.
 * @param {Run} run
 * @param {Series} series
 * @param {string[]} chosen
 * @param {((verdict: string) => void) | null} choose
 * @returns {HTMLElement}
 */
export function verdictKey(run, series, chosen, choose) {
  const rows = bestRows(run, series);
  const items = series.shares.map((s) => {
    const names = rows.filter((r) => r.verdict === s.verdict).map((r) => r.layer);
    const listed = names.length <= 4 ? `: ${names.join(", ")}` : ` in ${plural(names.length, "layer")}`;
    const content = [chip(s.verdict), html("span", { class: "share" }, percent(s.share, s.share < 0.1 ? 1 : 0)), html("span", { class: "names" }, listed)];
    return choose
      ? html("button", { type: "button", class: "key", "aria-pressed": String(chosen.includes(s.verdict)), title: `Show only what is ${labelOf(s.verdict)}`, click: () => choose(s.verdict) }, content)
      : html("span", { class: "key" }, content);
  });
  return html("div", { class: "keys", role: "group", "aria-label": "Verdicts" }, items);
}

/** Names of the kinds of advice. @type {Record<string, string>} */
const KINDS = { roof: "reach the roof", algorithm: "other algorithm", fusion: "fuse", type: "smaller type" };

/**
 * What would help, ordered by the time saved on the whole network.
 * @param {Series} series
 * @param {(layer: string) => void} open
 * @returns {HTMLElement}
 */
export function helpList(series, open) {
  const advice = [...(series.advice ?? [])].sort((a, b) => b.saved_ns - a.saved_ns);
  const box = html("div", { class: "help" }, html("h3", {}, "What would help"));
  if (advice.length === 0) {
    box.append(html("p", { class: "soft" }, "This record has no evidence that a change would save time."));
    return box;
  }
  const most = advice[0]?.saved_ns ?? 1;
  const list = html("ol", { class: "advice" });
  const item = (/** @type {Advice} */ a) => {
    const bar = html("i", { class: "saved", "aria-hidden": "true" });
    bar.style.width = `${px((100 * a.saved_ns) / most)}%`;
    const row = html("li", {},
      html("div", { class: "advice-head" },
        html("button", { type: "button", class: "link", click: () => open(a.layer) }, a.layer),
        html("span", { class: "kind" }, KINDS[a.kind] ?? a.kind),
        html("strong", {}, `\u2212${time(a.saved_ns)}`),
        html("span", { class: "soft" }, percent(a.saved_ns / series.time_ns, 1))),
      bar,
      html("p", {}, prose(a.says), a.evidence ? html("span", { class: "figures" }, ` ${sentence(prose(a.evidence))}`) : null));
    link(row, a.layer, null);
    return row;
  };
  fill(list, advice.slice(0, 3).map(item));
  box.append(html("p", { class: "soft" }, "Time saved on the whole network, the most first. Savings of one layer don't add up."), list);
  if (advice.length > 3) {
    const more = button(`show all ${advice.length}`, () => {
      const all = more.getAttribute("aria-expanded") !== "true";
      fill(list, (all ? advice : advice.slice(0, 3)).map(item));
      more.setAttribute("aria-expanded", String(all));
      more.textContent = all ? "show 3" : `show all ${advice.length}`;
    }, { "aria-expanded": "false", class: "quiet" });
    box.append(more);
  }
  return box;
}

/**
 * All series of a run, a row for each: the time, a small bar, and the sentence.
 * @param {Run} run
 * @param {Series | null} chosen
 * @param {boolean} still without buttons
 * @returns {HTMLElement}
 */
export function overview(run, chosen, still) {
  const rows = run.view.series.map((s) => {
    const bar = html("span", { class: "mini-bar", "aria-hidden": "true" }, s.shares.map((share) => {
      const part = html("i", { class: verdictClass(share.verdict) }, share.share > 0.12 ? letter(share.verdict) : "");
      part.style.flexGrow = String(share.share);
      return part;
    }));
    const title = `${s.subject}, ${plural(s.threads, "thread")}`;
    return html("tr", { class: chosen?.id === s.id ? "chosen" : "" },
      html("th", { scope: "row" }, still ? title : html("button", { type: "button", class: "link", "aria-current": chosen?.id === s.id ? "true" : null, click: () => go({ series: s.id, layer: "", view: [] }) }, title)),
      html("td", { class: "n" }, time(s.time_ns)),
      html("td", { class: "mini" }, bar),
      html("td", { class: "wide" }, afterColon(s.sentence)));
  });
  return html("table", { class: "overview" }, html("caption", { class: "hidden" }, "All networks, threads and types of this record"),
    html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "network"), html("th", { scope: "col", class: "n" }, "time"), html("th", { scope: "col" }, "by verdict"), html("th", { scope: "col", class: "wide" }, "what bounds it"))),
    html("tbody", {}, rows));
}
