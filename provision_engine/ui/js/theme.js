// Light or dark: the system's setting, or the choice in this browser. Also used by /docs.

const KEY = "provision-engine.theme";
const NEXT = { system: "light", light: "dark", dark: "system" };
const system = matchMedia("(prefers-color-scheme: dark)");

export function chosen() {
  const stored = localStorage.getItem(KEY);
  return stored in NEXT ? stored : "system";
}

export function isDark() {
  return chosen() === "dark" || (chosen() === "system" && system.matches);
}

/** Change from system to light to dark and back; returns the new choice. */
export function toggle() {
  const next = NEXT[chosen()];
  localStorage.setItem(KEY, next);
  apply();
  return next;
}

export function apply() {
  const root = document.documentElement;
  root.dataset.theme = chosen();
  root.classList.toggle("dark-mode", isDark());  // the class that Swagger UI looks at
}

system.addEventListener("change", apply);
apply();
