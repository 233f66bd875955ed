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
    // What was read last stays visible, as the list does.
  }
}

export async function readConfiguration() {
  try {
    configuration.set(await createClient().get("/server/config"));
  } catch {
    // The defaults of the forms do without it.
  }
}
