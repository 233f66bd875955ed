// The actions on a runtime. Each raises ApiError.
import { RUNTIME, RUNTIMES } from "./api.js";
import { pollNow } from "./poll.js";
import { put, remove } from "./runtimes.js";
import { session } from "./session.js";

const AT_ONCE = 4;
const MAX_ATTEMPTS = 4;

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

async function change(method, path, options) {
  const { data } = await session.get().client.call(method, path, options);
  const runtime = data[RUNTIME];
  put(runtime);
  pollNow();
  return runtime;
}

export function create(body, key) {
  return change("POST", RUNTIMES, { body, headers: { "Idempotency-Key": key } });
}

/** The plan of a create with this body; nothing is created. */
export async function dryRun(body) {
  const { data } = await session.get().client.call("POST", `${RUNTIMES}?dry_run=true`, { body });
  return data;
}

/** A key with which repeated creates create only one runtime. */
export function newKey() {
  return `ui-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
}

export function update(id, members) {
  return change("PUT", `${RUNTIMES}/${id}`, { body: { [RUNTIME]: members } });
}

/** Repeat a request while the engine asks for it. */
async function patiently(send) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await send();
    } catch (error) {
      if (![423, 429].includes(error.status) || attempt === MAX_ATTEMPTS) throw error;
      await pause(error.retryAfterSeconds || 1);
    }
  }
}

export function suspend(id) {
  return patiently(() => change("POST", `${RUNTIMES}/${id}/suspend`));
}

export function resume(id) {
  return patiently(() => change("POST", `${RUNTIMES}/${id}/resume`));
}

/** `mustReplace`: even if the data VM loses its disk. */
export function recover(id, mustReplace = false) {
  return patiently(() => change("POST", `${RUNTIMES}/${id}/recover${mustReplace ? "?replace=true" : ""}`));
}

/** Delete; one that is already gone is not an error. */
export async function destroy(id) {
  try {
    await patiently(() => session.get().client.call("DELETE", `${RUNTIMES}/${id}`));
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  remove(id);
  pollNow();
}

/** Act on several, a few at once, and continue after failures, which are returned: [{runtime, error}]. */
export async function actOnAll(action, list, onProgress) {
  const waiting = [...list], failures = [];
  let done = 0;
  async function work() {
    for (let runtime = waiting.shift(); runtime; runtime = waiting.shift()) {
      try {
        await action(runtime.ID);
      } catch (error) {
        failures.push({ runtime, error });
      }
      onProgress(++done);
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return failures;
}
