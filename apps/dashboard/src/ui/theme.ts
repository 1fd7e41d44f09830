import { useSyncExternalStore } from "react";

export type Theme = "auto" | "light" | "dark";

const KEY = "fulcrum.theme";
const CHANGED = "fulcrum:theme";
const system = matchMedia("(prefers-color-scheme: dark)");

export function storedTheme(): Theme {
  const stored = localStorage.getItem(KEY);
  return stored === "light" || stored === "dark" ? stored : "auto";
}

/** The stylesheet goes by `data-theme` on the root, which is always light or dark. */
export function applyTheme(): void {
  document.documentElement.dataset.theme = shownTheme();
}

export function setTheme(theme: Theme): void {
  localStorage.setItem(KEY, theme);
  applyTheme();
  window.dispatchEvent(new Event(CHANGED));
}

function shownTheme(): "light" | "dark" {
  const stored = storedTheme();
  if (stored !== "auto") return stored;
  return system.matches ? "dark" : "light";
}

function subscribe(changed: () => void): () => void {
  const follow = () => {
    applyTheme();
    changed();
  };
  system.addEventListener("change", follow);
  window.addEventListener(CHANGED, follow);
  return () => {
    system.removeEventListener("change", follow);
    window.removeEventListener(CHANGED, follow);
  };
}

/** What is chosen, and what is shown: charts are painted anew when it changes. */
export function useTheme(): { chosen: Theme; shown: "light" | "dark" } {
  const key = useSyncExternalStore(subscribe, () => `${storedTheme()} ${shownTheme()}`);
  const [chosen, shown] = key.split(" ") as [Theme, "light" | "dark"];
  return { chosen, shown };
}
