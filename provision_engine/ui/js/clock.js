// The current time for what counts seconds, once for the whole page.
import { createStore, useStore } from "./store.js";

const now = createStore(Date.now());
setInterval(() => now.set(Date.now()), 1000);

export function useNow() {
  return useStore(now);
}
