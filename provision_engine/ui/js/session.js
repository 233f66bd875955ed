// The session. The password stays in this tab's sessionStorage until the tab closes or, if the
// user chooses so, in memory only.
import { basicAuthorization, createClient, RUNTIMES } from "./api.js";
import { createStore } from "./store.js";

const KEY = "provision-engine.session";
const LOGGED_OUT = { user: null, client: null, isAdministrator: false, flavours: [], message: "" };

export const session = createStore(LOGGED_OUT);

/** Raises ApiError if OpenNebula rejects the user or is unreachable. */
export async function logIn(user, password, mustRemember) {
  const authorization = basicAuthorization(user, password);
  await start(user, authorization);
  if (mustRemember) sessionStorage.setItem(KEY, JSON.stringify({ user, authorization }));
}

/** Continue the session stored in this tab. False without one. Raises ApiError. */
export async function resume() {
  const remembered = JSON.parse(sessionStorage.getItem(KEY) || "null");
  if (!remembered) return false;
  try {
    await start(remembered.user, remembered.authorization);
  } catch (error) {
    if (error.status === 401) sessionStorage.removeItem(KEY);
    throw error;
  }
  return true;
}

export function logOut(message = "") {
  sessionStorage.removeItem(KEY);
  session.set({ ...LOGGED_OUT, message });
}

/** Read the flavours again. Raises ApiError. */
export async function refreshFlavours() {
  const { client } = session.get();
  const flavours = await client.get("/flavours");
  if (session.get().client === client) session.patch({ flavours });
  return flavours;
}

async function start(user, authorization) {
  const client = createClient(authorization);
  const [flavours, isAdministrator] = await Promise.all([client.get("/flavours"), maySeeAll(client)]);
  session.set({ user, client, isAdministrator, flavours, message: "" });
}

/** Does the engine show this user the runtimes of all users? */
function maySeeAll(client) {
  return client.get(`${RUNTIMES}?all=true&limit=1`).then(() => true, () => false);
}
