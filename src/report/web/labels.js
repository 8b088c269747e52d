// @ts-check
// Places for labels: beside their points, or farther away with a line to them. Labels never overlap.

/** @typedef {{x: number, y: number, w: number, h: number, text?: boolean}} Box A box of text is crossed by no line. */
/** @typedef {{text: string, x: number, y: number, r: number}} Wanted */
/** @typedef {{text: string, box: Box, lead: [number, number, number, number] | null}} Placed */

/** Height of a label. */
export const LABEL_HEIGHT = 14;

/**
 * Approximate width of a text in the font of the pictures.
 * @param {string} text
 * @param {number} [size] font size
 * @returns {number}
 */
export function widthOf(text, size = 12) {
  let width = 0;
  for (const c of text) width += /[ijlI.,:;|'!]/.test(c) ? 0.3 : /[mwMW%]/.test(c) ? 0.88 : /[A-Z]/.test(c) ? 0.68 : c > "\u2fff" ? 1 : 0.565;
  return width * size + 4;
}

/**
 * A name on one or two lines of this width; none if it doesn't fit.
 * @param {string} name
 * @param {number} width
 * @param {number} size font size
 * @returns {string[]}
 */
export function linesOf(name, width, size) {
  const fits = (/** @type {string} */ text) => widthOf(text, size) <= width;
  if (fits(name)) return [name];
  const at = [...name.matchAll(/[._/-]/g)].map((m) => m.index).find((i) => fits(name.slice(0, i)) && fits(name.slice(i)));
  return at ? [name.slice(0, at), name.slice(at)] : [];
}

/**
 * @param {Box} a
 * @param {Box} b
 * @returns {boolean}
 */
export function meets(a, b) {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

/**
 * True if a line passes through a box.
 * @param {[number, number, number, number]} line
 * @param {Box} box
 * @returns {boolean}
 */
function crosses([x1, y1, x2, y2], box) {
  let from = 0;
  let to = 1;
  for (const [start, delta, lo, hi] of /** @type {[number, number, number, number][]} */ ([[x1, x2 - x1, box.x, box.x + box.w], [y1, y2 - y1, box.y, box.y + box.h]])) {
    if (delta === 0) {
      if (start <= lo || start >= hi) return false;
      continue;
    }
    const [a, b] = [(lo - start) / delta, (hi - start) / delta];
    from = Math.max(from, Math.min(a, b));
    to = Math.min(to, Math.max(a, b));
  }
  return from < to;
}

/**
 * True if two lines cross.
 * @param {[number, number, number, number]} a
 * @param {[number, number, number, number]} b
 * @returns {boolean}
 */
function cross([ax, ay, bx, by], [cx, cy, dx, dy]) {
  const side = (/** @type {number} */ px, /** @type {number} */ py, /** @type {number} */ qx, /** @type {number} */ qy, /** @type {number} */ rx, /** @type {number} */ ry) => (qx - px) * (ry - py) - (qy - py) * (rx - px);
  return side(ax, ay, bx, by, cx, cy) * side(ax, ay, bx, by, dx, dy) < 0 && side(cx, cy, dx, dy, ax, ay) * side(cx, cy, dx, dy, bx, by) < 0;
}

/**
 * Places labels one after another, the most important first. A label without a free place is left out. Lines cross
 * neither labels nor other lines, nor the marks of other points.
 * @param {Wanted[]} wanted
 * @param {Box[]} taken boxes that stay free of labels
 * @param {Box} inside
 * @param {Wanted[]} [marks] all points
 * @returns {Placed[]}
 */
export function placeLabels(wanted, taken, inside, marks = wanted) {
  /** @type {Placed[]} */
  const placed = [];
  const occupied = [...taken];
  const texts = taken.filter((t) => t.text);
  /** @type {[number, number, number, number][]} */
  const lines = [];
  for (const want of wanted) {
    const w = widthOf(want.text);
    const found = candidates(want, w).find(({ box, lead }) => {
      if (box.x < inside.x || box.y < inside.y || box.x + box.w > inside.x + inside.w || box.y + box.h > inside.y + inside.h) return false;
      if (occupied.some((o) => meets(o, box)) || lines.some((line) => crosses(line, box))) return false;
      if (!lead) return true;
      if (placed.some((p) => crosses(lead, p.box)) || texts.some((t) => crosses(lead, t)) || lines.some((line) => cross(lead, line))) return false;
      return !marks.some((m) => (m.x !== want.x || m.y !== want.y) && crosses(lead, { x: m.x - 0.7 * m.r, y: m.y - 0.7 * m.r, w: 1.4 * m.r, h: 1.4 * m.r }));
    });
    if (!found) continue;
    occupied.push(found.box);
    if (found.lead) lines.push(found.lead);
    placed.push({ text: want.text, ...found });
  }
  return placed;
}

/**
 * Places for a label, the best first.
 * @param {Wanted} want
 * @param {number} w
 * @returns {{box: Box, lead: [number, number, number, number] | null}[]}
 */
function candidates({ x, y, r }, w) {
  const h = LABEL_HEIGHT;
  const near = r + 3;
  /** @type {{box: Box, lead: [number, number, number, number] | null}[]} */
  const out = [];
  const add = (/** @type {number} */ bx, /** @type {number} */ by) => out.push({ box: { x: bx, y: by, w, h }, lead: null });
  add(x + near, y - h / 2);
  add(x - near - w, y - h / 2);
  add(x - w / 2, y - near - h);
  add(x - w / 2, y + near);
  add(x + near * 0.75, y - near * 0.75 - h);
  add(x + near * 0.75, y + near * 0.75);
  add(x - near * 0.75 - w, y - near * 0.75 - h);
  add(x - near * 0.75 - w, y + near * 0.75);
  for (const reach of [16, 28, 42, 58, 76, 96, 120, 150, 180]) {
    for (const turn of [0.12, 0.88, 0.38, 0.62, 0.25, 0.75, 0.06, 0.94, 0.44, 0.56, 0.18, 0.82, 0.32, 0.68, 0.22, 0.28, 0.72, 0.78, 0, 0.5]) {
      // Turns count clockwise from the right, so that places below come first: roofs are above.
      const [dx, dy] = [Math.cos(2 * Math.PI * turn), Math.sin(2 * Math.PI * turn)];
      const [ex, ey] = [x + dx * (r + reach), y + dy * (r + reach)];
      const box = { x: dx >= -0.01 ? ex + 1 : ex - w - 1, y: ey - h / 2, w, h };
      out.push({ box, lead: [x + dx * r, y + dy * r, ex, ey] });
    }
  }
  return out;
}
