// The steps of the creates that this page requested, to a fraction of a second.
// OpenNebula itself stores whole seconds only.
import { RUNTIME, RUNTIMES } from "./api.js";
import { put } from "./runtimes.js";
import { session } from "./session.js";
import { functions, isMoving, roles, stepOf } from "./states.js";
import { createStore } from "./store.js";

const PAUSE_MS = 300;
const RETRY_MS = 2000;

/** Runtime id → {askedAt, endedAt, steps: {FAAS: [{step, at}]}}; milliseconds of this page. */
export const creations = createStore(new Map());

/** Follow a new runtime until no function is moving. */
export async function follow(runtime, askedAt) {
  const { client } = session.get();
  if (isTold(runtime)) note(runtime, askedAt);
  while (isMoving(runtime) && session.get().client === client) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    try {
      runtime = (await client.get(`${RUNTIMES}/${runtime.ID}`))[RUNTIME];
    } catch (error) {
      if (!error.isRetryable) return;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      continue;
    }
    if (isTold(runtime)) note(runtime, askedAt);
    if (session.get().client === client) put(runtime);
  }
}

/** Does the engine report the step of each function? */
function isTold(runtime) {
  return functions(runtime).every((it) => stepOf(it) !== null) && (creations.get().has(runtime.ID) || isMoving(runtime));
}

function note(runtime, askedAt) {
  const known = creations.get().get(runtime.ID) || { askedAt, endedAt: null, steps: {} };
  const now = performance.now();
  const steps = {};
  for (const role of roles(runtime)) {
    const before = known.steps[role] || [];
    const step = stepOf(runtime[role]);
    const isNew = !before.length || before[before.length - 1].step !== step;
    steps[role] = isNew ? [...before, { step, at: before.length ? now : askedAt }] : before;
  }
  const endedAt = isMoving(runtime) ? null : known.endedAt || now;
  creations.set(new Map(creations.get()).set(runtime.ID, { askedAt, endedAt, steps }));
}
