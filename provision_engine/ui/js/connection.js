// Is the page up to date? The banner uses only this.
import { createStore } from "./store.js";

/** `askedAt`: start of the read in progress. `failure`: why the last one failed. */
export const connection = createStore({ askedAt: null, freshAt: null, failure: null });

/** Run one read and record its outcome. Raises what the read raises. */
export async function observed(read) {
  const askedAt = Date.now();
  connection.patch({ askedAt });
  try {
    const result = await read();
    connection.set({ askedAt: null, freshAt: Date.now(), failure: null });
    return result;
  } catch (failure) {
    // An error about this runtime (404, 412) is a response of a backend that works.
    const isDown = failure.status === 0 || failure.status >= 429;
    connection.patch({ askedAt: null, failure: isDown ? failure : null });
    throw failure;
  }
}

export function forget() {
  connection.set({ askedAt: null, freshAt: null, failure: null });
}
