// The open dialog: {kind, …its subject}, or null.
import { createStore } from "./store.js";

export const dialog = createStore(null);

export function openDialog(kind, members = {}) {
  dialog.set({ kind, ...members });
}

export function closeDialog() {
  dialog.set(null);
}
