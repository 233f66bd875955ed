// One runtime with its timeline, refreshed while its page is shown.
import { RUNTIME, RUNTIMES } from "./api.js";
import { observed } from "./connection.js";
import { poll } from "./poll.js";
import { find, put, remove } from "./runtimes.js";
import { logOut, session } from "./session.js";
import { functions, isMoving, ROLE_NAMES, roles, STATES } from "./states.js";
import { createStore } from "./store.js";

const MOVING_PAUSE_MS = 1000;
const PAUSE_MS = 3000;
const MAX_EVENTS = 50;

const NOTHING = { runtime: null, steps: null, events: [], error: null };

/** `error`: why the runtime cannot be shown. `events`: changes that this page has seen. */
export const current = createStore(NOTHING);

/** Read a runtime until the returned function is called. Until the first response, the list's is shown. */
export function watchRuntime(id) {
  let etag = null, latest = null, timelineOf = null;
  current.set({ ...NOTHING, runtime: find(id) });

  async function refresh() {
    const { client } = session.get();
    try {
      const headers = etag ? { "If-None-Match": etag } : {};
      const response = await observed(() => client.call("GET", `${RUNTIMES}/${id}`, { headers }));
      if (response.status !== 304) {
        etag = response.headers.get("ETag");
        latest = response.data[RUNTIME];
      }
      // Also after a 304: an older state, of a list that was late, may be shown meanwhile.
      if (current.get().runtime !== latest) {
        put(latest);
        show(latest);
      }
      await refreshTimeline(client);
    } catch (error) {
      if (error.status === 401) logOut("OpenNebula no longer accepts this password.");
      else if ([400, 403, 404].includes(error.status)) fail(error);
    }
    const { runtime } = current.get();
    return runtime && isMoving(runtime) ? MOVING_PAUSE_MS : PAUSE_MS;
  }

  // The steps of a create change only while its VMs do.
  async function refreshTimeline(client) {
    const version = JSON.stringify(functions(current.get().runtime).map((it) => [it.VM_ID, it.STATE, it.SINCE]));
    if (version === timelineOf) return;
    const { STEPS } = await client.get(`${RUNTIMES}/${id}/timeline`);
    timelineOf = version;
    current.patch({ steps: STEPS });
  }

  function fail(error) {
    if (error.status === 404) remove(id);
    current.patch({ error });
  }

  return poll(refresh);
}

/** Show a runtime, and record what has changed since it was last shown. */
export function show(runtime) {
  const { runtime: before, events } = current.get();
  const changes = before && before.ID === runtime.ID ? differences(before, runtime) : [];
  const at = new Date().toISOString();
  const noted = [...changes.map((text) => ({ at, text })), ...events].slice(0, MAX_EVENTS);
  current.patch({ runtime, events: noted, error: null });
}

/** The changes worth showing to people. Pure. */
export function differences(before, after) {
  const changes = [];
  for (const role of roles(after)) {
    const [old, now] = [before[role] || {}, after[role]];
    if (old.STATE !== now.STATE) changes.push({ role, text: STATES[now.STATE].label });
    if (old.VM_ID !== undefined && old.VM_ID !== now.VM_ID) changes.push({ role, text: `new VM, ${now.VM_ID}` });
    if (["CPU", "MEMORY", "DISK_SIZE"].some((name) => old[name] !== now[name])) changes.push({ role, text: "resized" });
  }
  const texts = changes.map(({ role, text }) => `${ROLE_NAMES[role]}: ${text}`);
  if (JSON.stringify(before.LEASE) !== JSON.stringify(after.LEASE)) texts.push("Lease changed");
  if (before.NAME !== after.NAME) texts.push(`Renamed to ${after.NAME}`);
  return texts;
}
