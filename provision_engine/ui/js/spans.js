// From the steps of a create to bars: [{role, spans: [{step, startMs, endMs, isOpen}]}]. Pure.
import { roles } from "./states.js";

const MOVING = ["ORDER", "SCHEDULE", "COPY", "BOOT", "READY"];
// The activity that follows each step stored by OpenNebula.
const AFTER = { ASKED: "ORDER", SERVICE: "ORDER", VM: "SCHEDULE", SCHEDULED: "COPY", COPIED: "BOOT" };
const SLACK_MS = 5000;   // between two times that OpenNebula stores of one event

/** Of a create that this page has followed. `nowMs` is the end of a step in progress. */
export function seen({ askedAt, endedAt, steps }, nowMs) {
  return Object.entries(steps).map(([role, list]) => ({
    role,
    spans: list
      .map(({ step, at }, index) => {
        const next = list[index + 1];
        const end = next ? next.at : endedAt || nowMs;
        return { step, startMs: at - askedAt, endMs: end - askedAt, isOpen: !next && !endedAt };
      })
      .filter(({ step }) => MOVING.includes(step)),
  }));
}

/** Of the engine's timeline. Functions of `runtime` that are starting are at their last step until `nowMs`. */
export function known(steps, runtime, nowMs) {
  if (!steps.length) return [];
  const began = Date.parse(steps[0].AT);
  return roles(runtime).map((role) => {
    const own = steps.filter((step) => !step.FUNCTION || step.FUNCTION === role);
    const times = own.map(({ AT }) => Date.parse(AT));
    const isOpen = own.length > 0 && isStarting(runtime[role], times.at(-1));
    if (isOpen) times.push(Math.max(nowMs, times.at(-1)));
    const spans = [];
    for (let index = 0; index + 1 < times.length; index += 1) {
      const step = AFTER[own[index].STEP];
      const [startMs, endMs] = [times[index] - began, times[index + 1] - began];
      const last = spans[spans.length - 1];
      if (last && last.step === step) last.endMs = endMs;
      else spans.push({ step, startMs, endMs, isOpen: false });
    }
    if (isOpen) spans.at(-1).isOpen = true;
    return { role, spans };
  });
}

/** Is it pending since its last step, and not since a later resume? */
function isStarting({ STATE, SINCE }, lastMs) {
  return STATE === "PENDING" && (!SINCE || Date.parse(SINCE) <= lastMs + SLACK_MS);
}
