// The caller's quota, and the engine's configuration: limits that the page shows.
import { createClient } from "./api.js";
import { session } from "./session.js";
import { createStore } from "./store.js";

export const quota = createStore(null);
export const configuration = createStore({});

/** Read the quota again. */
export async function refreshQuota() {
  const { client } = session.get();
  if (!client) return;
  try {
    const read = await client.get("/quota");
    if (session.get().client === client) quota.set(read);
  } catch {
    // The last values stay visible, as those of the list do.
  }
}

export async function readConfiguration() {
  try {
    configuration.set(await createClient().get("/server/config"));
  } catch {
    // The forms then have no defaults.
  }
}
