// Calls a function repeatedly while the page is visible.

const SHARE_OF_TIME = 8;     // a poll takes at most about a ninth of the time
const MAX_PAUSE_MS = 30_000;
const active = new Set();

/** Read at once whatever is being polled, because something has changed. */
export function pollNow() {
  for (const once of active) once();
}

/** Poll until the returned function is called. `read` resolves to the pause in milliseconds. */
export function poll(read) {
  let timer = null, isStopped = false, isReading = false, mustRepeat = false;

  async function once() {
    clearTimeout(timer);
    if (isReading) {
      mustRepeat = true;
      return;
    }
    isReading = true;
    const began = performance.now();
    const pauseMs = await read();
    const tookMs = performance.now() - began;
    isReading = false;
    if (isStopped) return;
    if (mustRepeat) {
      mustRepeat = false;
      once();
    } else if (!document.hidden) {
      timer = setTimeout(once, Math.min(MAX_PAUSE_MS, Math.max(pauseMs, tookMs * SHARE_OF_TIME)));
    }
  }

  const look = () => (document.hidden ? clearTimeout(timer) : once());
  document.addEventListener("visibilitychange", look);
  active.add(once);
  once();
  return () => {
    isStopped = true;
    active.delete(once);
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}
