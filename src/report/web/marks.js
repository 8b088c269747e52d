// @ts-check
// Marks of verdicts and of families of algorithms. Colour and a letter show the verdict, the shape shows the family.

import { html, px, svg } from "./dom.js";
import { short } from "./format.js";

/** @typedef {import("./document.js").Vocabulary} Vocabulary */
/** @typedef {import("./document.js").Row} Row */
/** @typedef {import("./document.js").Family} Family */

/** Letters of the verdicts. @type {Record<string, string>} */
const LETTERS = { compute: "C", l1: "L1", l2: "L2", l3: "L3", dram: "D", core: "K", overhead: "O", undecided: "?" };

/** The page's words. @type {Vocabulary} */
let words = { verdicts: [], families: [], marks: [] };

/**
 * Sets the words of the page.
 * @param {Vocabulary} vocabulary
 */
export function learn(vocabulary) {
  words = vocabulary;
}

/** The page's words. @returns {Vocabulary} */
export function vocabulary() {
  return words;
}

/**
 * CSS class of a verdict; an unknown one looks undecided.
 * @param {string} verdict
 * @returns {string}
 */
export function verdictClass(verdict) {
  return verdict in LETTERS ? `v-${verdict}` : "v-undecided";
}

/**
 * The letter of a verdict.
 * @param {string} verdict
 * @returns {string}
 */
export function letter(verdict) {
  return LETTERS[verdict] ?? "?";
}

/**
 * The label of a verdict: "compute bound".
 * @param {string} verdict
 * @returns {string}
 */
export function labelOf(verdict) {
  return words.verdicts.find((v) => v.name === verdict)?.label ?? verdict;
}

/**
 * A chip with the letter and the name of a verdict.
 * @param {string} verdict
 * @param {string} [text]
 * @returns {HTMLElement}
 */
export function chip(verdict, text = short(labelOf(verdict))) {
  // The letter of a memory level is its name.
  const same = text === letter(verdict);
  return html("span", { class: `chip ${verdictClass(verdict)}` }, html("b", { "aria-hidden": same ? null : "true" }, letter(verdict)), text && !same ? html("span", {}, text) : null);
}

/**
 * The family of a row. Rows of a class with several families are told apart by the variant's name.
 * @param {Row} row
 * @returns {Family}
 */
export function familyOf(row) {
  const own = words.families.filter((f) => f.class === row.family);
  const named = own.find((f) => row.variant.includes(f.name.split("-")[0] ?? f.name));
  return named ?? own[0] ?? { class: row.family, name: row.family, corners: null, turn: 0 };
}

/**
 * Path of a family's mark, with the area of a circle of this radius.
 * @param {Family} family
 * @param {number} cx
 * @param {number} cy
 * @param {number} radius
 * @returns {string}
 */
export function markPath(family, cx, cy, radius) {
  const n = family.corners ?? 0;
  if (n < 3) return `M${px(cx - radius)} ${px(cy)}a${px(radius)} ${px(radius)} 0 1 0 ${px(2 * radius)} 0a${px(radius)} ${px(radius)} 0 1 0 ${px(-2 * radius)} 0Z`;
  // A regular n-gon with circumradius c has the area n c^2 sin(2 pi / n) / 2.
  const tau = 2 * Math.PI;
  const reach = radius * Math.sqrt(tau / (n * Math.sin(tau / n)));
  const corners = Array.from({ length: n }, (_, i) => {
    const angle = tau * (i / n + (family.turn ?? 0)) - Math.PI / 2;
    return `${px(cx + reach * Math.cos(angle))} ${px(cy + reach * Math.sin(angle))}`;
  });
  return `M${corners.join("L")}Z`;
}

/**
 * A family's mark for a legend.
 * @param {Family} family
 * @returns {SVGElement}
 */
export function legendMark(family) {
  return svg("svg", { class: "mark", viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" }, svg("path", { d: markPath(family, 8, 8, 5) }));
}
