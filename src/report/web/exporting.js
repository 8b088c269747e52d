// @ts-check
// Pictures and tables as files: SVG, PNG, CSV and JSON.

import { html, svg } from "./dom.js";
import { visible } from "./format.js";

/** Widths of journals' columns in millimetres. */
export const WIDTHS = { single: 85, double: 178 };

/** Properties of marks that a picture outside of the page needs as attributes. */
const KEPT = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linejoin", "opacity", "font-size", "font-weight", "paint-order"];

/**
 * Offers a file to the reader.
 * @param {string} name
 * @param {Blob} blob
 */
export function save(name, blob) {
  const url = URL.createObjectURL(blob);
  const anchor = html("a", { href: url, download: fileName(name), hidden: true });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  window.setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/**
 * A name without characters that file systems refuse.
 * @param {string} name
 * @returns {string}
 */
export function fileName(name) {
  return name.replace(/[^\w.+-]+/g, "-").replace(/^[-.]+/, "").slice(0, 120) || "convroof";
}

/**
 * A picture by itself: light colours, every style as an attribute, and a line that says where it is from.
 * @param {SVGSVGElement} picture drawn for the export
 * @param {string[]} caption lines below the picture
 * @param {number} millimetres width on paper
 * @returns {string}
 */
export function standalone(picture, caption, millimetres) {
  const [, , w = 1, h = 1] = (picture.getAttribute("viewBox") ?? "0 0 1 1").split(" ").map(Number);
  const line = 12;
  const height = h + line * caption.length + 4;
  const root = svg("svg", { class: "pic", xmlns: "http://www.w3.org/2000/svg", viewBox: `0 0 ${w} ${height}` });
  root.append(svg("rect", { class: "paper", x: 0, y: 0, width: w, height }));
  root.append(...[...picture.childNodes].map((n) => n.cloneNode(true)));
  for (const [i, text] of caption.entries()) root.append(svg("text", { class: "source", x: 4, y: h + line * (i + 1) - 2 }, text));
  // The light palette holds inside .light, whatever the page's theme is.
  const stage = html("div", { class: "light stage", "aria-hidden": "true" });
  stage.append(root);
  document.body.append(stage);
  const drawn = [...root.querySelectorAll("*")].filter((element) => !element.closest("defs"));
  // All styles are read before classes go, since children inherit the colours of their groups.
  const styles = drawn.map((element) => {
    const style = getComputedStyle(element);
    return KEPT.map((key) => [key, style.getPropertyValue(key)]).filter(([key, value]) => value && value !== "normal" && (key !== "paint-order" || element.tagName === "text"));
  });
  for (const [i, element] of drawn.entries()) {
    for (const [key, value] of styles[i] ?? []) element.setAttribute(String(key), String(value));
    for (const name of ["class", "tabindex", "role", "data-layer", "aria-label", "aria-hidden"]) element.removeAttribute(name);
  }
  stage.remove();
  for (const name of ["class", "tabindex", "role"]) root.removeAttribute(name);
  root.setAttribute("width", `${millimetres}mm`);
  root.setAttribute("height", `${((millimetres * height) / w).toFixed(2)}mm`);
  root.setAttribute("font-family", "Helvetica, Arial, 'Liberation Sans', sans-serif");
  root.prepend(svg("title", {}, picture.getAttribute("aria-label") ?? "convroof"), svg("desc", {}, caption.join(" ")));
  return new XMLSerializer().serializeToString(root);
}

/**
 * A standalone picture as PNG with 300 dots an inch or more.
 * @param {string} text
 * @param {number} millimetres
 * @returns {Promise<Blob>}
 */
export async function png(text, millimetres) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const width = Math.round((millimetres / 25.4) * 600);
  const canvas = html("canvas", { width, height: Math.round((width * image.height) / image.width) });
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser can't draw pictures");
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return await new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("this browser can't write PNG"))), "image/png"));
}

/**
 * Records as CSV (RFC 4180). Text that a spreadsheet would read as a formula gets an apostrophe.
 * @param {Record<string, unknown>[]} records
 * @returns {string}
 */
export function csv(records) {
  const keys = [...new Set(records.flatMap((r) => Object.keys(r)))];
  const cell = (/** @type {unknown} */ value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const text = visible(typeof value === "object" ? JSON.stringify(value) : value);
    const safe = /^[=+\-@]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [keys.join(","), ...records.map((r) => keys.map((k) => cell(r[k])).join(","))].join("\r\n") + "\r\n";
}

/**
 * Offers records as a file.
 * @param {string} name
 * @param {Record<string, unknown>[]} records
 * @param {"csv" | "json"} form
 */
export function saveRecords(name, records, form) {
  const text = form === "csv" ? csv(records) : `${JSON.stringify(records, null, 1)}\n`;
  save(`${name}.${form}`, new Blob([text], { type: form === "csv" ? "text/csv" : "application/json" }));
}
