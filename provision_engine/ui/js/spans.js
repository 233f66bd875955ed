// From the steps of a create to bars: [{role, spans: [{step, startMs, endMs, isOpen}]}]. Pure.

const MOVING = ["ORDER", "SCHEDULE", "COPY", "BOOT", "READY"];
// The activity that follows each step stored by OpenNebula.
const AFTER = { ASKED: "ORDER", SERVICE: "ORDER", VM: "SCHEDULE", SCHEDULED: "COPY" };

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

/** Of the engine's timeline. */
export function known(steps, roles) {
  if (!steps.length) return [];
  const began = Date.parse(steps[0].AT);
  return roles.map((role) => {
    const own = steps.filter((step) => !step.FUNCTION || step.FUNCTION === role);
    const spans = [];
    for (let index = 0; index + 1 < own.length; index += 1) {
      const step = AFTER[own[index].STEP];
      const [startMs, endMs] = [own[index], own[index + 1]].map(({ AT }) => Date.parse(AT) - began);
      const last = spans[spans.length - 1];
      if (last && last.step === step) last.endMs = endMs;
      else spans.push({ step, startMs, endMs, isOpen: false });
    }
    return { role, spans };
  });
}
