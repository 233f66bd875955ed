// Toasts, and announcements for screen readers.
import { createStore } from "./store.js";

const SHOWN_MS = 8000;

export const toasts = createStore([]);
let lastId = 0;

/** A success disappears by itself; an error stays until it is closed. */
export function notify(text, { href = null, link = "View", isError = false, detail = "" } = {}) {
  const id = ++lastId;
  toasts.set([...toasts.get(), { id, text, href, link, isError, detail }]);
  if (!isError) setTimeout(() => dismiss(id), SHOWN_MS);
}

export function notifyError(text, error) {
  notify(text, { isError: true, detail: error.message });
}

export function dismiss(id) {
  toasts.set(toasts.get().filter((toast) => toast.id !== id));
}

/** Only for screen readers. */
export const announcement = createStore("");

export function announce(text) {
  announcement.set(text);
}
