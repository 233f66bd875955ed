// The current time, once for the whole page, for everything that counts seconds.
import { createStore, useStore } from "./store.js";

const now = createStore(Date.now());
setInterval(() => now.set(Date.now()), 1000);

export function useNow() {
  return useStore(now);
}
