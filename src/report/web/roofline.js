// @ts-check
// The roofline: attained rate over arithmetic intensity, under the measured ceilings of a series.

import { px, svg } from "./dom.js";
import { bestRows, beside, ceilingsOf, shareOf } from "./document.js";
import { factsOf } from "./facts.js";
import { figure, percent, time } from "./format.js";
import { meets, placeLabels, widthOf } from "./labels.js";
import { familyOf, labelOf, letter, markPath, verdictClass } from "./marks.js";
import { logAxis, tickLabel, ticks } from "./scale.js";
import { link } from "./tip.js";

/** @typedef {import("./document.js").Row} Row */
/** @typedef {import("./document.js").Run} Run */
/** @typedef {import("./document.js").Series} Series */
/** @typedef {import("./labels.js").Box} Box */
/** @typedef {[number, number, number, number]} View */
/** @typedef {{row: Row, share: number, x: number, y: number, r: number}} Point */

/**
 * @typedef {object} Wish
 * @property {number} width
 * @property {number} height
 * @property {string[]} show toggles: nominal, phases, cold, types
 * @property {View | null} view axes; null for everything
 * @property {string[]} [only] layers that are shown fully; others are faint
 * @property {boolean} [legend] true if the picture itself has the legend, below the plot
 * @property {((layer: string) => void) | null} open what a click on a layer does; null for a still picture
 * @property {{run: Run, series: Series, name: string, fractions: boolean} | null} [other] the run to compare with
 */

/** Margins of the plot. */
const MARGIN = { left: 52, right: 14, top: 14, bottom: 42 };

/** The plot inside a picture. @param {number} width @param {number} height @returns {Box} */
export function plotOf(width, height) {
  return { x: MARGIN.left, y: MARGIN.top, w: width - MARGIN.left - MARGIN.right, h: height - MARGIN.top - MARGIN.bottom };
}

/**
 * Axes that show all points and the corners of all roofs.
 * @param {Run} run
 * @param {Series} series
 * @param {string[]} show
 * @param {Wish["other"]} [other]
 * @returns {View}
 */
export function wholeView(run, series, show, other = null) {
  const { main } = ceilingsOf(run, series);
  const xs = [];
  const ys = [];
  const best = bestRows(run, series).filter((row) => row.intensity > 0 && row.gflops_executed > 0);
  const twins = other ? bestRows(other.run, other.series) : [];
  const rates = best.map((row) => row.gflops_executed);
  for (const row of best) {
    const twin = twins.find((r) => r.layer === row.layer);
    if (other && twin) {
      const to = target(row, twin, other);
      xs.push(to.intensity);
      ys.push(to.rate);
      rates.push(to.rate);
    }
    xs.push(row.intensity);
    ys.push(row.gflops_executed);
    if (show.includes("nominal")) {
      xs.push(row.intensity_nominal);
      ys.push(row.gflops_nominal);
    }
    if (show.includes("phases")) {
      for (const phase of drawnPhases(row)) {
        xs.push(phase.intensity);
        ys.push(phase.gflops);
      }
    }
  }
  for (const type of shownTypes(run, series, show)) {
    for (const row of bestRows(run, type).filter((r) => r.intensity > 0 && r.gflops_executed > 0)) {
      xs.push(row.intensity);
      ys.push(row.gflops_executed);
    }
    ys.push(ceilingsOf(run, type).main?.peak ?? 1);
  }
  if (main) {
    ys.push(main.peak, main.peak / 4);
    for (const level of main.levels) xs.push(main.peak / level.read);
  }
  if (xs.length === 0) xs.push(0.1, 100);
  if (ys.length === 0) ys.push(1, 100);
  // Slow phases may leave the picture, so that layers stay apart.
  const slowest = Math.min(...rates, main ? main.peak / 4 : Infinity);
  const least = Math.max(Math.min(...ys), Number.isFinite(slowest) ? slowest / 4 : 0);
  return [Math.min(...xs) / 1.7, Math.max(...xs) * 1.7, least / 1.5, Math.max(...ys) * 1.45];
}

/**
 * The series of the same network in other types, if they are shown.
 * @param {Run} run
 * @param {Series} series
 * @param {string[]} show
 * @returns {Series[]}
 */
export function shownTypes(run, series, show) {
  if (!show.includes("types")) return [];
  return run.view.series.filter((s) => s.network === series.network && s.threads === series.threads && s.dt !== series.dt);
}

/** @param {Row} row */
function drawnPhases(row) {
  return row.phases.length > 1 ? row.phases.filter((p) => p.gflops > 0 && p.intensity > 0) : [];
}

let clips = 0;

/**
 * The picture.
 * @param {Run} run
 * @param {Series} series
 * @param {Wish} wish
 * @returns {SVGSVGElement}
 */
export function roofline(run, series, wish) {
  const { width, height } = wish;
  const plot = plotOf(width, height);
  const other = wish.other ?? null;
  const best = bestRows(run, series);
  const twins = other ? bestRows(other.run, other.series) : [];
  const view = wish.view ?? wholeView(run, series, wish.show, other);
  const x = logAxis(view[0], view[1], plot.x, plot.x + plot.w);
  const y = logAxis(view[2], view[3], plot.y + plot.h, plot.y);
  const picture = svg("svg", {
    class: "pic roofline", viewBox: `0 0 ${px(width)} ${px(height)}`, width: px(width), height: px(height),
    role: wish.open ? "group" : "img",
    "aria-label": `Roofline of ${series.subject} on ${series.threads} threads: attained ${series.unit} over arithmetic intensity, with the measured ceilings`,
  });
  clips += 1;
  const clip = `plot-${clips}`;
  picture.append(svg("defs", {}, svg("clipPath", { id: clip }, svg("rect", { x: plot.x, y: plot.y, width: px(plot.w), height: px(plot.h) }))));
  const small = width < 520;

  // Grid and axes.
  const grid = svg("g", { class: "grid" });
  const texts = svg("g", { class: "axis-text" });
  for (const { value, labelled } of ticks(x, plot.w, 30)) {
    const at = px(x.at(value));
    grid.append(svg("path", { class: labelled ? "major" : "minor", d: `M${at} ${plot.y}V${px(plot.y + plot.h)}` }));
    if (labelled) texts.append(svg("text", { x: at, y: px(plot.y + plot.h + 16), "text-anchor": "middle" }, tickLabel(value)));
  }
  for (const { value, labelled } of ticks(y, plot.h, 18)) {
    const at = y.at(value);
    grid.append(svg("path", { class: labelled ? "major" : "minor", d: `M${plot.x} ${px(at)}H${px(plot.x + plot.w)}` }));
    if (labelled) texts.append(svg("text", { x: plot.x - 6, y: px(at + 4), "text-anchor": "end" }, tickLabel(value)));
  }
  texts.append(
    svg("text", { class: "axis-name", x: px(plot.x + plot.w / 2), y: px(height - 6), "text-anchor": "middle" }, small ? "operations for each byte" : "arithmetic intensity: operations for each byte that must move"),
    svg("text", { class: "axis-name", x: 0, y: 0, "text-anchor": "middle", transform: `translate(13 ${px(plot.y + plot.h / 2)}) rotate(-90)` }, `executed ${series.unit}`),
  );
  picture.append(grid, texts);

  /** @type {Box[]} */
  const taken = [];
  // Points, the largest first so that small ones stay visible.
  const radius = Math.min(19, Math.max(10, width / 62));
  const largest = Math.max(0.02, ...best.map((row) => shareOf(series, row)));
  /** @type {Point[]} */
  const points = best.filter((row) => row.intensity > 0 && row.gflops_executed > 0).map((row) => {
    const share = shareOf(series, row);
    return { row, share, x: x.at(row.intensity), y: y.at(row.gflops_executed), r: Math.max(3.2, radius * Math.sqrt(share / largest)) };
  });
  points.sort((a, b) => b.r - a.r);
  const within = (/** @type {{x: number, y: number}} */ p) => p.x >= plot.x && p.x <= plot.x + plot.w && p.y >= plot.y && p.y <= plot.y + plot.h;
  for (const point of points) if (within(point)) taken.push({ x: point.x - point.r, y: point.y - point.r, w: 2 * point.r, h: 2 * point.r });
  const inside = svg("g", { "clip-path": `url(#${clip})` });
  picture.append(inside);
  const names = svg("g", { class: "roof-names" });
  const types = shownTypes(run, series, wish.show);
  const tallest = Math.max(0, ...types.map((type) => ceilingsOf(run, type).main?.peak ?? 0));
  roofs(run, series, x, y, plot, inside, names, taken, small, tallest);
  for (const type of types) roofOfType(run, type, x, y, plot, inside, names, taken);
  if (other && !other.fractions && !sameCeilings(run, series, other.run, other.series)) {
    roofs(other.run, other.series, x, y, plot, inside, null, [], small);
  }

  const extras = svg("g", { class: "extras" });
  const dots = svg("g", { class: "dots" });
  inside.append(extras, dots);
  const faint = (/** @type {Row} */ row) => (wish.only && !wish.only.includes(row.layer) ? " faint" : "");
  for (const point of points) {
    const { row } = point;
    const family = familyOf(row);
    if (wish.show.includes("nominal") && row.gflops_nominal > 1.03 * row.gflops_executed) {
      const [nx, ny] = [x.at(row.intensity_nominal), y.at(row.gflops_nominal)];
      extras.append(svg("g", { class: `ghost ${verdictClass(row.verdict)}${faint(row)}`, "data-layer": row.layer }, svg("path", { class: "tie", d: `M${px(point.x)} ${px(point.y)}L${px(nx)} ${px(ny)}` }), svg("path", { class: "hollow", d: markPath(family, nx, ny, 4.5) })));
    }
    if (wish.show.includes("cold")) {
      for (const cold of beside(run, row).filter((r) => r.variant === row.variant && r.cache !== "warm" && r.gflops_executed > 0)) {
        const [cx, cy] = [x.at(cold.intensity), y.at(cold.gflops_executed)];
        const group = svg("g", { class: `ghost cold ${verdictClass(cold.verdict)}${faint(row)}` }, svg("path", { class: "tie", d: `M${px(point.x)} ${px(point.y)}L${px(cx)} ${px(cy)}` }), svg("path", { class: "hollow", d: `M${px(cx - 4)} ${px(cy - 4)}l8 8m0-8l-8 8` }));
        if (wish.open) link(group, row.layer, () => [`${row.layer}, ${cold.cache}`, `${time(cold.median_ns)}, ${figure(cold.median_ns / row.median_ns)} times as long as with warm caches`, labelOf(cold.verdict)]);
        extras.append(group);
      }
    }
    for (const type of types) {
      const twin = bestRows(run, type).find((r) => r.layer === row.layer && r.problem !== row.problem && r.intensity > 0 && r.gflops_executed > 0);
      if (!twin) continue;
      const [cx, cy] = [x.at(twin.intensity), y.at(twin.gflops_executed)];
      const group = svg("g", { class: `ghost ${verdictClass(twin.verdict)}${faint(row)}` }, svg("path", { class: "tie", d: `M${px(point.x)} ${px(point.y)}L${px(cx)} ${px(cy)}` }), svg("path", { class: "hollow", d: markPath(familyOf(twin), cx, cy, 5) }));
      if (wish.open) link(group, row.layer, () => factsOf(type, twin));
      extras.append(group);
    }
    if (wish.show.includes("phases")) {
      for (const phase of drawnPhases(row)) {
        const [cx, cy] = [x.at(phase.intensity), y.at(phase.gflops)];
        const group = svg("g", { class: `phase ${verdictClass(phase.verdict)}${faint(row)}` }, svg("path", { class: "tie", d: `M${px(point.x)} ${px(point.y)}L${px(cx)} ${px(cy)}` }), svg("circle", { class: "mark", cx: px(cx), cy: px(cy), r: 3 }));
        if (wish.open) link(group, row.layer, () => [`${row.layer}: ${phase.phase.replaceAll("_", " ")}`, `${time(phase.ns)}, ${percent(phase.share)} of the layer`, `${figure(phase.gflops)} ${series.unit}, ${figure(phase.gbps)} GB/s`, labelOf(phase.verdict)]);
        extras.append(group);
      }
    }
    const twin = twins.find((r) => r.layer === row.layer);
    const group = svg("g", { class: `point ${verdictClass(row.verdict)}${faint(row)}` });
    if (other && twin) {
      const to = target(row, twin, other);
      arrow(group, point, { x: x.at(to.intensity), y: y.at(to.rate) });
    }
    group.append(svg("path", { class: "mark", d: markPath(family, point.x, point.y, point.r) }));
    if (point.r >= 8.5) group.append(svg("text", { class: "letter", x: px(point.x), y: px(point.y + 4), "text-anchor": "middle" }, letter(row.verdict)));
    if (wish.open) interactive(group, row, series, wish.open);
    dots.append(group);
  }

  // Names: first the layers that arithmetic doesn't bound, then by share of the time.
  const rank = (/** @type {Point} */ p) => (faint(p.row) ? -1 : 0) + (p.row.verdict === "compute" ? p.share : 1 + p.share);
  const wanted = points.filter(within).sort((a, b) => rank(b) - rank(a)).slice(0, Math.max(6, Math.floor((plot.w * plot.h) / 11000)));
  const placed = placeLabels(wanted.map((p) => ({ text: nameOf(p.row), x: p.x, y: p.y, r: p.r })), taken, plot, points.map((p) => ({ text: "", x: p.x, y: p.y, r: p.r })));
  const labels = svg("g", { class: "labels", "aria-hidden": "true" });
  for (const { text, box, lead } of placed) {
    if (lead) labels.append(svg("path", { class: "lead", d: `M${px(lead[0])} ${px(lead[1])}L${px(lead[2])} ${px(lead[3])}` }));
    labels.append(svg("text", { class: "label", x: px(box.x + 2), y: px(box.y + 11) }, text));
  }
  picture.append(names, labels);
  if (wish.legend) legendBelow(picture, series, best, width, height);
  return picture;
}

/**
 * Adds the legend below a picture, which grows by its height.
 * @param {SVGSVGElement} picture
 * @param {Series} series
 * @param {Row[]} best
 * @param {number} width
 * @param {number} height
 */
function legendBelow(picture, series, best, width, height) {
  const legend = svg("g", { class: "legend-below" });
  let [at, line] = [8, height + 14];
  const place = (/** @type {string} */ text, /** @type {number} */ mark) => {
    const size = mark + widthOf(text, 11) + 10;
    if (at + size > width && at > 8) [at, line] = [8, line + 17];
    const from = at;
    at += size;
    return from;
  };
  for (const { verdict } of series.shares) {
    const from = place(labelOf(verdict), 22);
    legend.append(svg("g", { class: verdictClass(verdict) }, svg("rect", { class: "swatch", x: px(from), y: line - 10, width: 18, height: 13, rx: 2 }), svg("text", { class: "letter", x: px(from + 9), y: line, "text-anchor": "middle" }, letter(verdict)), svg("text", { x: px(from + 22), y: line }, labelOf(verdict))));
  }
  const families = new Map(best.map((row) => [familyOf(row).name, familyOf(row)]));
  for (const [text, family] of families) {
    const from = place(text, 16);
    legend.append(svg("path", { class: "shape", d: markPath(family, from + 6, line - 4, 5) }), svg("text", { x: px(from + 16), y: line }, text));
  }
  legend.append(svg("text", { x: px(place("area: share of the time", 0)), y: line }, "area: share of the time"));
  picture.append(legend);
  picture.setAttribute("viewBox", `0 0 ${px(width)} ${px(line + 8)}`);
  picture.setAttribute("height", px(line + 8));
}

/** @param {Row} row */
function nameOf(row) {
  const name = row.layer.replace(/^--pool --alg=/, "");
  const cut = name.length > 24 ? `${name.slice(0, 23)}…` : name;
  return row.verdict === "compute" ? cut : `${cut} (${letter(row.verdict)})`;
}

/**
 * @param {Run} a @param {Series} s @param {Run} b @param {Series} t
 */
function sameCeilings(a, s, b, t) {
  const [one, two] = [ceilingsOf(a, s).main, ceilingsOf(b, t).main];
  return !one || !two || Math.abs(one.peak / two.peak - 1) < 0.02;
}

/**
 * Where B's point of a layer stands in A's picture: by its rate, or on unlike machines by its fraction of its own roof.
 * @param {Row} row
 * @param {Row} twin
 * @param {{fractions: boolean}} other
 */
function target(row, twin, other) {
  if (!other.fractions) return { intensity: twin.intensity, rate: twin.gflops_executed };
  const roof = row.roof_fraction ? row.gflops_executed / row.roof_fraction : row.peak_gflops;
  return { intensity: row.intensity, rate: roof * (twin.roof_fraction ?? twin.fraction_of_peak) };
}

/**
 * @param {SVGElement} group @param {Point} from @param {{x: number, y: number}} to
 */
function arrow(group, from, to) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = Math.hypot(dx, dy);
  if (length < 3) return;
  const [ux, uy] = [dx / length, dy / length];
  const head = Math.min(7, length / 2);
  const [bx, by] = [to.x - ux * head, to.y - uy * head];
  group.append(
    svg("path", { class: "arrow", d: `M${px(from.x)} ${px(from.y)}L${px(bx)} ${px(by)}` }),
    svg("path", { class: "arrow-head", d: `M${px(to.x)} ${px(to.y)}L${px(bx - uy * head * 0.5)} ${px(by + ux * head * 0.5)}L${px(bx + uy * head * 0.5)} ${px(by - ux * head * 0.5)}Z` }),
  );
}

/**
 * @param {SVGElement} group @param {Row} row @param {Series} series @param {(layer: string) => void} open
 */
function interactive(group, row, series, open) {
  const lines = () => factsOf(series, row);
  group.setAttribute("tabindex", "0");
  group.setAttribute("role", "button");
  group.setAttribute("aria-label", `${row.layer}: ${labelOf(row.verdict)}, ${time(row.median_ns)}, ${percent(shareOf(series, row), 1)} of the time`);
  link(group, row.layer, lines);
  group.addEventListener("click", () => open(row.layer));
  group.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    open(row.layer);
  });
}

/**
 * The roofs of a series with their spread as bands, and their names along the lines.
 * @param {Run} run
 * @param {Series} series
 * @param {import("./scale.js").Axis} x
 * @param {import("./scale.js").Axis} y
 * @param {Box} plot
 * @param {SVGElement} inside
 * @param {SVGElement | null} names null for the roofs of B, which are dashed
 * @param {Box[]} taken
 * @param {boolean} small
 * @param {number} [tallest] peak of the highest roof in the picture, which the bandwidths rise to
 */
function roofs(run, series, x, y, plot, inside, names, taken, small, tallest = 0) {
  const { main, others } = ceilingsOf(run, series);
  if (!main) return;
  const { peak } = main;
  const top = Math.max(peak, tallest);
  const slowest = Math.min(...main.levels.map((l) => l.read));
  const fastest = Math.max(...main.levels.map((l) => l.read), 0);
  const flat = fastest > 0 ? peak / fastest : x.lo;
  const right = x.hi * 2;
  const left = x.lo / 2;
  const band = (/** @type {string} */ kind, /** @type {[number, number][]} */ corners) => inside.append(svg("path", { class: `band ${kind}`, d: `M${corners.map(([a, b]) => `${px(x.at(a))} ${px(y.at(b))}`).join("L")}Z` }));
  if (names) {
    const least = peak * (1 - main.spread);
    band("v-compute", [[flat, peak], [right, peak], [right, least], [flat, least]]);
    for (const level of main.levels) {
      const low = level.read * (1 - level.spread);
      band(verdictClass(level.level), [[left, left * level.read], [peak / level.read, peak], [peak / low, peak], [left, left * low]]);
    }
    for (const minor of others) {
      if (minor.peak > 0.97 * peak) continue;
      const at = y.at(minor.peak);
      inside.append(svg("path", { class: "roof minor", d: `M${px(x.at(minor.peak / slowest))} ${px(at)}H${px(plot.x + plot.w)}` }));
      const from = Math.max(plot.x, x.at(minor.peak / slowest));
      flatName(names, taken, plot, `${minor.name}, ${minor.isa}: ${figure(minor.peak)} ${minor.unit}`, plot.x + plot.w - 4, from, at - 4, "minor");
    }
  }
  const dashed = names ? "" : " second";
  inside.append(svg("path", { class: `roof v-compute${dashed}`, d: `M${px(x.at(flat))} ${px(y.at(peak))}H${px(plot.x + plot.w)}` }));
  if (names) {
    // The name stands at the left end of the roof, since points gather at the right.
    const text = small ? `${main.name}: ${figure(peak)}` : `${main.name}, ${main.isa}, ${series.threads} thread${series.threads > 1 ? "s" : ""}: ${figure(peak)} ${main.unit}`;
    const from = Math.max(plot.x + 4, x.at(flat));
    const end = plot.x + plot.w - 4;
    flatName(names, taken, plot, text, Math.min(from + widthOf(text, 12.8) + 6, end), end, y.at(peak) - 6, "v-compute");
    taken.push({ x: x.at(flat), y: y.at(peak) - 2, w: Math.max(0, end - x.at(flat)), h: 4 });
  }
  /** @type {[number, number, number, number][]} */
  const slants = [];
  const slope = Math.atan2(y.at(peak) - y.at(peak / 2), x.at(2) - x.at(1));
  const angle = (slope * 180) / Math.PI;
  for (const level of main.levels) {
    slants.push([x.at(left), y.at(left * level.read), x.at(top / level.read), y.at(top)]);
  }
  const boxes = slants.map((line) => alongLine(line, plot));
  for (const [i, level] of main.levels.entries()) {
    const ridge = peak / level.read;
    inside.append(svg("path", { class: `roof ${verdictClass(level.level)}${dashed}`, d: `M${px(x.at(left))} ${px(y.at(left * level.read))}L${px(x.at(top / level.read))} ${px(y.at(top))}` }));
    if (!names) continue;
    // The name stands on the line, a little behind where the line enters the plot.
    const enters = Math.max(x.lo, y.lo / level.read);
    const text = small ? `${level.name} ${figure(level.read)}` : `${level.name}: ${figure(level.read)} GB/s`;
    const at = { x: x.at(enters) + 8 * Math.cos(slope), y: y.at(enters * level.read) + 8 * Math.sin(slope) };
    const room = Math.hypot(x.at(ridge) - at.x, y.at(peak) - at.y);
    if (ridge > enters && room > widthOf(text, 12)) rising(names, taken, boxes.flatMap((own, k) => (k === i ? [] : own)), plot, text, at, slope, angle, verdictClass(level.level), room);
  }
  // Labels of layers don't stand on the lines.
  if (names) taken.push(...boxes.flat());
}

/**
 * The peak of another type, with its name.
 * @param {Run} run
 * @param {Series} series
 * @param {import("./scale.js").Axis} x
 * @param {import("./scale.js").Axis} y
 * @param {Box} plot
 * @param {SVGElement} inside
 * @param {SVGElement} names
 * @param {Box[]} taken
 */
function roofOfType(run, series, x, y, plot, inside, names, taken) {
  const { main } = ceilingsOf(run, series);
  if (!main) return;
  const fastest = Math.max(...main.levels.map((l) => l.read), 0);
  const from = Math.max(plot.x, fastest > 0 ? x.at(main.peak / fastest) : plot.x);
  const [at, end] = [y.at(main.peak), plot.x + plot.w];
  inside.append(svg("path", { class: "roof v-compute type", d: `M${px(from)} ${px(at)}H${px(end)}` }));
  flatName(names, taken, plot, `${main.name}, ${main.isa}: ${figure(main.peak)} ${main.unit}`, end - 4, from, at - 6, "v-compute");
}

/**
 * Small boxes along a line.
 * @param {[number, number, number, number]} line
 * @param {Box} plot
 * @returns {Box[]}
 */
function alongLine([x1, y1, x2, y2], plot) {
  const steps = Math.max(1, Math.ceil((x2 - x1) / 8));
  return Array.from({ length: steps + 1 }, (_, i) => ({ x: x1 + ((x2 - x1) * i) / steps - 2, y: y1 + ((y2 - y1) * i) / steps - 3, w: 4, h: 6 })).filter((b) => b.x + b.w > plot.x && b.y < plot.y + plot.h);
}

/**
 * Writes a name along a rising line, above or below it, at the first place where it meets nothing.
 * @param {SVGElement} names @param {Box[]} taken @param {Box[]} lines boxes of other lines @param {Box} plot @param {string} text
 * @param {{x: number, y: number}} start @param {number} slope @param {number} angle @param {string} kind @param {number} room
 */
function rising(names, taken, lines, plot, text, start, slope, angle, kind, room) {
  const width = widthOf(text, 12.8);
  const [ux, uy] = [Math.cos(slope), Math.sin(slope)];
  for (let along = 0; along + width < room; along += 12) {
    for (const [middle, base] of [[9, 5], [-10, -14]]) {
      const [sx, sy] = [start.x + ux * along, start.y + uy * along];
      const [m = 0, o = 0] = [middle, base];
      // Small boxes along the text, since one box around a slanted text would be mostly empty.
      const boxes = Array.from({ length: Math.ceil(width / 10) + 1 }, (_, i) => ({ x: sx + ux * i * 10 + uy * m - 6, y: sy + uy * i * 10 - ux * m - 6, w: 12, h: 12, text: true }));
      const fits = boxes.every((b) => b.x > plot.x - 2 && b.y > plot.y && b.x + b.w < plot.x + plot.w && b.y + b.h < plot.y + plot.h + 4) && !boxes.some((b) => taken.some((t) => meets(t, b)) || lines.some((t) => meets(t, b)));
      if (!fits) continue;
      taken.push(...boxes);
      names.append(svg("text", { class: `roof-name ${kind}`, x: 0, y: 0, transform: `translate(${px(sx + uy * o)} ${px(sy - ux * o)}) rotate(${px(angle)})` }, text));
      return;
    }
  }
}

/**
 * Writes a name over a flat roof, at the first place where it meets nothing.
 * @param {SVGElement} names @param {Box[]} taken @param {Box} plot @param {string} text
 * @param {number} start where the name ends at first @param {number} stop where it may end at last
 * @param {number} y @param {string} kind
 */
function flatName(names, taken, plot, text, start, stop, y, kind) {
  const width = widthOf(text, 12.8) + 6;
  const step = start <= stop ? 16 : -16;
  for (let end = start; step > 0 ? end <= stop : end - width >= stop; end += step) {
    const box = { x: end - width, y: y - 11, w: width, h: 14, text: true };
    if (box.x < plot.x || box.y < plot.y - 12 || box.y + box.h > plot.y + plot.h || taken.some((t) => meets(t, box))) continue;
    taken.push(box);
    names.append(svg("text", { class: `roof-name ${kind}`, x: px(end), y: px(y), "text-anchor": "end" }, text));
    return;
  }
}
