// @ts-check
// Light and dark: as the system says, unless the reader chose.

import { button } from "./dom.js";
import { go, now } from "./state.js";

const STORE = "convroof-theme";

/** The theme that the reader chose before; empty without one. */
function remembered() {
  try {
    return localStorage.getItem(STORE) ?? "";
  } catch {
    return "";
  }
}

/** True if the page is dark. */
export function isDark() {
  return document.documentElement.classList.contains("dark");
}

/** Applies the theme of the link, of an earlier visit or of the system. */
export function applyTheme() {
  const wish = now().theme || remembered();
  const dark = wish ? wish === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.classList.toggle("dark", dark);
}

/** A button that switches the theme. */
export function themeButton() {
  return button("light / dark", () => {
    const theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem(STORE, theme);
    } catch {
      // A page without storage keeps the theme in its address.
    }
    go({ theme });
  }, { class: "quiet" });
}
