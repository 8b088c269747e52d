// @ts-check
// Zoom and pan of a picture: wheel, keys, drag, and two fingers. A double click shows everything again.

/** @typedef {[number, number, number, number]} View */

/**
 * The axes' limits after zooming by a factor around a place. Places are fractions of the axes, from the lower left.
 * @param {View} view x from, x to, y from, y to
 * @param {number} factor above 1 to see less
 * @param {number} fx
 * @param {number} fy
 * @returns {View}
 */
export function zoomed([x0, x1, y0, y1], factor, fx, fy) {
  const axis = (/** @type {number} */ lo, /** @type {number} */ hi, /** @type {number} */ f) => {
    const span = Math.log(hi / lo);
    const at = Math.log(lo) + f * span;
    return [Math.exp(at - (f * span) / factor), Math.exp(at + ((1 - f) * span) / factor)];
  };
  const [a = x0, b = x1] = axis(x0, x1, fx);
  const [c = y0, d = y1] = axis(y0, y1, fy);
  return [a, b, c, d];
}

/**
 * The axes' limits after moving by fractions of the axes.
 * @param {View} view
 * @param {number} dx
 * @param {number} dy
 * @returns {View}
 */
export function panned([x0, x1, y0, y1], dx, dy) {
  const [kx, ky] = [(x1 / x0) ** dx, (y1 / y0) ** dy];
  return [x0 * kx, x1 * kx, y0 * ky, y1 * ky];
}

/**
 * True if a view is neither too narrow nor too wide beside the whole.
 * @param {View} view
 * @param {View} whole
 * @returns {boolean}
 */
export function sensible([x0, x1, y0, y1], whole) {
  const [sx, sy] = [Math.log(x1 / x0), Math.log(y1 / y0)];
  return sx > 0.05 && sy > 0.05 && sx < 2 * Math.log(whole[1] / whole[0]) && sy < 2 * Math.log(whole[3] / whole[2]);
}

/**
 * Listens to the wheel, keys, pointers and double clicks of an element.
 * @param {HTMLElement} element
 * @param {() => {view: View, whole: View, plot: {x: number, y: number, w: number, h: number}}} now
 * @param {(view: View | null) => void} change null shows everything
 */
export function zoomable(element, now, change) {
  /** @type {Map<number, {x: number, y: number}>} */
  const down = new Map();
  let moved = false;
  const apply = (/** @type {View} */ view) => {
    if (sensible(view, now().whole)) change(view);
  };
  const fraction = (/** @type {number} */ clientX, /** @type {number} */ clientY) => {
    const { plot } = now();
    const at = element.getBoundingClientRect();
    return [(clientX - at.left - plot.x) / plot.w, 1 - (clientY - at.top - plot.y) / plot.h];
  };
  element.addEventListener("wheel", (event) => {
    // Without a key the wheel scrolls the page, unless the picture has the focus.
    if (!event.ctrlKey && !event.metaKey && !element.contains(document.activeElement)) return;
    event.preventDefault();
    const [fx = 0.5, fy = 0.5] = fraction(event.clientX, event.clientY);
    apply(zoomed(now().view, Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), fx, fy));
  }, { passive: false });
  element.addEventListener("dblclick", () => change(null));
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { view } = now();
    /** @type {Record<string, () => void>} */
    const keys = {
      "+": () => apply(zoomed(view, 1.4, 0.5, 0.5)),
      "=": () => apply(zoomed(view, 1.4, 0.5, 0.5)),
      "-": () => apply(zoomed(view, 1 / 1.4, 0.5, 0.5)),
      0: () => change(null),
      ArrowLeft: () => apply(panned(view, -0.1, 0)),
      ArrowRight: () => apply(panned(view, 0.1, 0)),
      ArrowUp: () => apply(panned(view, 0, 0.1)),
      ArrowDown: () => apply(panned(view, 0, -0.1)),
    };
    const act = keys[event.key];
    if (!act || (event.target !== element && event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    act();
  });
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    moved = false;
  });
  element.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    if (!before) return;
    const other = [...down].find(([id]) => id !== event.pointerId)?.[1];
    // A finger alone scrolls the page; two fingers zoom and move.
    if (event.pointerType === "touch" && !other) return;
    const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
    if (!other && !moved && Math.hypot(dx, dy) < 4) return;
    if (!moved) element.setPointerCapture(event.pointerId);
    moved = true;
    const { view, plot } = now();
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (!other) return apply(panned(view, -dx / plot.w, dy / plot.h));
    const reach = (/** @type {{x: number, y: number}} */ p) => Math.max(10, Math.hypot(p.x - other.x, p.y - other.y));
    const [fx = 0.5, fy = 0.5] = fraction((event.clientX + other.x) / 2, (event.clientY + other.y) / 2);
    apply(panned(zoomed(view, reach({ x: event.clientX, y: event.clientY }) / reach(before), fx, fy), -dx / plot.w / 2, dy / plot.h / 2));
  });
  const up = (/** @type {PointerEvent} */ event) => down.delete(event.pointerId);
  element.addEventListener("pointerup", up);
  element.addEventListener("pointercancel", up);
  element.addEventListener("lostpointercapture", up);
  // A drag is no click.
  element.addEventListener("click", (event) => {
    if (!moved) return;
    moved = false;
    event.stopPropagation();
    event.preventDefault();
  }, true);
}
