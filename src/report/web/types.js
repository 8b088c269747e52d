// @ts-check
// Layers side by side in several element types, and beside other libraries.

import { html } from "./dom.js";
import { figure, plural, time } from "./format.js";
import { head, number, withFiles } from "./layer.js";
import { chip } from "./marks.js";
import { link } from "./tip.js";

/** @typedef {import("./document.js").Run} Run */
/** @typedef {import("./document.js").Series} Series */

/**
 * A network's layers in each type on the series' threads; null if there is one type only.
 * @param {Run} run
 * @param {Series} series
 * @returns {HTMLElement | null}
 */
export function typesSection(run, series) {
  const view = run.view.types.find((t) => t.network === series.network && t.threads === series.threads);
  const first = view?.layers[0];
  if (!view || !first) return null;
  const names = first.cells.map((c) => c.dt);
  const rows = view.layers.map((layer) => {
    const row = html("tr", {}, html("th", { scope: "row" }, layer.layer), layer.cells.map((c, i) => {
      const r = typeof c.row === "number" ? run.view.rows[c.row] : undefined;
      return [number(r?.median_ns, time(r?.median_ns), "ns"), i > 0 ? number(c.speed_up, c.speed_up ? `${figure(c.speed_up)} ×` : "-") : null, html("td", { class: c.changed ? "changed" : "" }, r ? chip(r.verdict) : "")];
    }));
    link(row, layer.layer, null);
    return row;
  });
  const heads = names.flatMap((dt, i) => (i > 0 ? [`n:${dt}`, `n:${names[0]} / ${dt}`, "bound by"] : [`n:${dt}`, "bound by"]));
  return html("section", { id: "types" },
    html("h2", {}, `${series.network}, ${plural(series.threads, "thread")}: what changes with the type`),
    view.sentence ? html("p", {}, view.sentence) : null,
    withFiles(`types-${series.network}-${series.threads}`, html("table", { class: "plain" }, html("caption", {}, "Times by the best variant of each type; verdicts that differ from the first type are outlined"), head(["layer", ...heads]), html("tbody", {}, rows))));
}

/**
 * Duels with other libraries; null if none were measured.
 * @param {Run} run
 * @param {Series} series
 * @returns {HTMLElement | null}
 */
export function duelSection(run, series) {
  const duels = series.duels ?? [];
  if (duels.length === 0) return null;
  const rows = duels.map((d) => {
    const lost = d.ratio < 1 ? "lost" : "";
    const row = html("tr", {}, html("th", { scope: "row" }, d.layer), html("td", { class: "w2" }, html("code", {}, d.ours)), number(d.ours_ns, time(d.ours_ns), "ns"), html("td", {}, html("code", { title: d.implementation ?? null }, d.peer.replace(/^peer-/, "").replace("/auto", ""))), number(d.peer_ns, time(d.peer_ns), "ns"), number(d.ratio, `${figure(d.ratio)}${d.ratio < 1 ? " slower" : ""}`, undefined, lost), html("td", { class: "n w2" }, `${figure(d.ci[0])} to ${figure(d.ci[1])}`));
    link(row, d.layer, null);
    return row;
  });
  const means = (series.means ?? []).map((m) => html("tr", { class: "mean" }, html("th", { scope: "row" }, m.over), html("td", { class: "w2" }, `geometric mean of ${m.layers}`), html("td", {}), html("td", {}), html("td", {}), html("td", { class: m.ratio < 1 ? "n lost" : "n" }, figure(m.ratio)), html("td", { class: "w2" })));
  const lost = series.lost ?? [];
  return html("section", { id: "libraries" },
    html("h2", {}, "Comparison with other libraries"),
    html("p", {}, "The peer's time / our time in the rounds that both took part in: above 1 ours is faster. ", lost.length ? `Slower than the best peer, the most lost time first: ${lost.join(", ")}.` : "No layer is slower than the best peer."),
    html("details", { open: true }, html("summary", {}, plural(duels.length, "layer")),
      withFiles(`libraries-${series.id}`, html("table", { class: "plain" }, html("caption", { class: "hidden" }, `${series.subject} beside other libraries`), head(["layer", "w2:best of ours", "n:time", "best peer", "n:time", "n:peer / ours", "n w2:95 %"]), html("tbody", {}, rows, means)))),
    run.record?.peers?.length ? html("p", { class: "soft" }, `Versions: ${run.record.peers.join(", ")}.`) : null);
}
