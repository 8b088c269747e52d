// @ts-check
// What the pointer or the keyboard focus is on: a tooltip, and the same layer marked in table, bar and pictures.

import { fill, html } from "./dom.js";
import { visible } from "./format.js";

/** @type {HTMLElement | null} */
let box = null;

/** The tooltip's element. @returns {HTMLElement} */
export function tipBox() {
  box ??= html("div", { class: "tip", role: "tooltip", hidden: true });
  return box;
}

/**
 * Shows lines of text beside a place of the window.
 * @param {string[]} lines
 * @param {number} x
 * @param {number} y
 */
export function showTip(lines, x, y) {
  const tip = tipBox();
  fill(tip, lines.map((line, i) => html("div", i === 0 ? { class: "tip-head" } : {}, line)));
  tip.hidden = false;
  const [w, h] = [tip.offsetWidth, tip.offsetHeight];
  tip.style.left = `${Math.max(8, Math.min(x + 14, window.innerWidth - w - 8))}px`;
  tip.style.top = `${y + h + 24 > window.innerHeight ? Math.max(8, y - h - 12) : y + 14}px`;
}

/** Hides the tooltip. */
export function hideTip() {
  tipBox().hidden = true;
}

/**
 * Marks every element of a layer, in all pictures and tables.
 * @param {string | null} layer
 */
export function mark(layer) {
  for (const element of document.querySelectorAll(".hot")) element.classList.remove("hot");
  if (layer === null) return;
  const name = visible(layer);
  for (const element of document.querySelectorAll("[data-layer]")) {
    if (element.getAttribute("data-layer") === name) element.classList.add("hot");
  }
}

/**
 * Makes an element show lines and mark its layer while the pointer or the focus is on it.
 * @param {Element} element
 * @param {string} layer
 * @param {(() => string[]) | null} lines
 */
export function link(element, layer, lines) {
  element.setAttribute("data-layer", visible(layer));
  const leave = () => {
    hideTip();
    mark(null);
  };
  element.addEventListener("pointerenter", () => mark(layer));
  element.addEventListener("pointerleave", leave);
  element.addEventListener("blur", leave);
  element.addEventListener("focus", () => {
    mark(layer);
    if (!lines || !element.matches(":focus-visible")) return;
    const place = element.getBoundingClientRect();
    showTip(lines(), place.right, place.bottom);
  });
  element.addEventListener("keydown", (event) => {
    if (/** @type {KeyboardEvent} */ (event).key === "Escape") hideTip();
  });
  if (lines) {
    element.addEventListener("pointermove", (event) => {
      const { clientX, clientY, pointerType } = /** @type {PointerEvent} */ (event);
      if (pointerType !== "touch") showTip(lines(), clientX, clientY);
    });
  }
}
