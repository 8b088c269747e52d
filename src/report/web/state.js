// @ts-check
// The state of the page. All of it is in the URL's hash, so that a link shows what one saw.

/**
 * @typedef {object} State
 * @property {string} run name of the shown run
 * @property {string} series id of the shown series
 * @property {string} layer opened layer
 * @property {string} q search text
 * @property {string[]} verdicts
 * @property {string[]} families
 * @property {number} min least share of the time in per cent
 * @property {string} scope "series" or "all"
 * @property {string} sort column
 * @property {number} dir 1 for ascending, -1 for descending
 * @property {string[]} show toggles of the picture: nominal, phases, cold, types
 * @property {number[]} view zoomed axes: x from, x to, y from, y to
 * @property {string} b name of the run to compare with
 * @property {boolean} differs only layers that differ
 * @property {string} theme "", "light" or "dark"
 */

/** @type {State} */
export const NOTHING = { run: "", series: "", layer: "", q: "", verdicts: [], families: [], min: 0, scope: "series", sort: "", dir: 1, show: [], view: [], b: "", differs: false, theme: "" };

/**
 * The state that a hash describes. Unknown keys and broken values are ignored.
 * @param {string} hash
 * @returns {State}
 */
export function parse(hash) {
  const text = hash.replace(/^#/, "");
  const state = { ...NOTHING };
  if (text === "dark" || text === "light") return { ...state, theme: text };
  const given = new URLSearchParams(text);
  const list = (/** @type {string} */ key) => (given.get(key) ?? "").split(",").filter(Boolean);
  const word = (/** @type {string} */ key) => given.get(key) ?? "";
  const numbers = list("view").map(Number);
  const min = Number(given.get("min") ?? 0);
  return {
    run: word("run"), series: word("series"), layer: word("layer"), q: word("q"),
    verdicts: list("verdicts"), families: list("families"),
    min: Number.isFinite(min) && min > 0 ? min : 0,
    scope: /^(all$|network:|type:)/.test(word("scope")) ? word("scope") : "series",
    sort: word("sort"), dir: word("dir") === "-1" ? -1 : 1,
    show: list("show"), view: numbers.length === 4 && numbers.every((v) => Number.isFinite(v) && v > 0) && Number(numbers[0]) < Number(numbers[1]) && Number(numbers[2]) < Number(numbers[3]) ? numbers : [],
    b: word("b"), differs: word("differs") === "1",
    theme: ["light", "dark"].includes(word("theme")) ? word("theme") : "",
  };
}

/**
 * The hash of a state. Values that are the default are left out.
 * @param {State} state
 * @returns {string}
 */
export function write(state) {
  const out = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    const usual = NOTHING[/** @type {keyof State} */ (key)];
    const text = Array.isArray(value) ? value.map((v) => (typeof v === "number" ? Number(v.toPrecision(4)) : v)).join(",") : value === true ? "1" : String(value);
    if (text !== (Array.isArray(usual) ? usual.join(",") : String(usual))) out.set(key, text);
  }
  const text = out.toString();
  return text ? `#${text}` : "";
}

/** @type {State} */
let current = { ...NOTHING };

/** @type {((state: State, before: State) => void)[]} */
const listeners = [];

/** @type {number | undefined} */
let writing;

/** The state now. @returns {State} */
export function now() {
  return current;
}

/**
 * Calls a function after each change.
 * @param {(state: State, before: State) => void} listener
 */
export function listen(listener) {
  listeners.push(listener);
}

/**
 * Changes the state, the page and then the hash.
 * @param {Partial<State>} patch
 */
export function go(patch) {
  const before = current;
  current = { ...current, ...patch };
  for (const listener of listeners) listener(current, before);
  // Browsers limit how often the address may change.
  clearTimeout(writing);
  writing = window.setTimeout(remember, 150);
}

function remember() {
  history.replaceState(null, "", write(current) || location.pathname + location.search);
}

/** Takes the state from the hash, now and whenever the reader changes it. */
export function start() {
  current = parse(location.hash);
  window.addEventListener("hashchange", () => {
    const before = current;
    current = { ...parse(location.hash) };
    for (const listener of listeners) listener(current, before);
  });
}

/**
 * The list with a value added, or removed if it was there.
 * @param {string[]} list
 * @param {string} value
 * @returns {string[]}
 */
export function toggled(list, value) {
  return list.includes(value) ? list.filter((v) => v !== value) : [...list, value];
}
