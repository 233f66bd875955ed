// The caller's runtimes, or all users', newest first, refreshed while the list is shown.
import { nextLink, RUNTIME, RUNTIMES } from "./api.js";
import { observed } from "./connection.js";
import { poll, pollNow } from "./poll.js";
import { logOut, session } from "./session.js";
import { createStore } from "./store.js";

const PAUSE_MS = 2000;
const PAGE_SIZE = 500;
const MAX_LOADED = 2000;

/** `all` is null until the first response. `isCut`: there are more than were read. */
const NOTHING = { all: null, isCut: false, showsStandby: false, showsAllUsers: false };
export const runtimes = createStore(NOTHING);

/** The runtime of the last response, for views of a single one. */
export const lastSeen = createStore(null);

let generation = 0;   // responses to reads that started before a change are dropped

/** Read the list until the returned function is called. */
export function watchList() {
  return poll(refresh);
}

/** Also list standby runtimes, or those of all users: {showsStandby, showsAllUsers}. */
export function showAlso(members) {
  runtimes.patch(members);
  generation += 1;
  pollNow();
}

/** The runtime as the list last knew it; null if it did not. */
export function find(id) {
  return (runtimes.get().all || []).find((it) => it.ID === id) || null;
}

/** Show the runtime of a response. */
export function put(runtime) {
  const { all } = runtimes.get();
  generation += 1;
  lastSeen.set(runtime);
  if (all === null) return;
  const others = all.filter((it) => it.ID !== runtime.ID);
  // Only lists of all users name the owners.
  const { OWNER } = find(runtime.ID) || {};
  runtimes.patch({ all: sorted([...others, OWNER ? { OWNER, ...runtime } : runtime]) });
}

export function remove(id) {
  const { all } = runtimes.get();
  generation += 1;
  if (all !== null) runtimes.patch({ all: all.filter((it) => it.ID !== id) });
}

export function forgetAll() {
  generation += 1;
  runtimes.set(NOTHING);
}

async function refresh() {
  const { client } = session.get();
  if (!client) return PAUSE_MS;
  const began = generation;
  try {
    const { all, isCut } = await observed(() => readAll(client));
    if (began === generation && session.get().client === client) runtimes.patch({ all, isCut });
  } catch (error) {
    if (error.status === 401) logOut("OpenNebula no longer accepts this password.");
    if (error.status === 403) runtimes.patch({ showsAllUsers: false });   // no administrator any more
  }
  return PAUSE_MS;
}

async function readAll(client) {
  const { showsStandby, showsAllUsers } = runtimes.get();
  const more = `${showsStandby ? "&standby=true" : ""}${showsAllUsers ? "&all=true" : ""}`;
  let path = `${RUNTIMES}?order=desc&limit=${PAGE_SIZE}${more}`;
  const all = [];
  while (path && all.length < MAX_LOADED) {
    const { data, headers } = await client.call("GET", path);
    all.push(...data.map((entry) => entry[RUNTIME]));
    path = nextLink(headers);
  }
  return { all: sorted(all), isCut: Boolean(path) };
}

const sorted = (list) => list.sort((one, other) => other.ID - one.ID);
