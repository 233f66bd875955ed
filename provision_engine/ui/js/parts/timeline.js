// How long each step of a create took, one bar for each function, on one scale.
import { html } from "../html.js";
import { useNow } from "../clock.js";
import { connection } from "../connection.js";
import { creations } from "../creations.js";
import { age, clock, coarse, moment, precise, secondsSince } from "../format.js";
import { ROLE_NAMES, roles } from "../states.js";
import { useStore } from "../store.js";
import { known, seen } from "../spans.js";

const NAMES = {
  ORDER: "Ordering the VM", SCHEDULE: "Waiting for a host", COPY: "Copying disks", BOOT: "Booting", READY: "Getting ready",
};
const EVENTS = {
  ASKED: "Create requested", SERVICE: "Service started", VM: "VM created", SCHEDULED: "Host assigned", COPIED: "Disks on the host",
};

export function Timeline({ runtime, steps }) {
  const creation = useStore(creations).get(runtime.ID);
  const now = useNow(), { failure } = useStore(connection);
  const bars = creation ? seen(creation, performance.now()) : known(steps || [], runtime, now);
  const totalMs = Math.max(1, ...bars.flatMap((bar) => bar.spans.map((span) => span.endMs)));
  const isEmpty = !bars.some((bar) => bar.spans.length);
  const isOpen = bars.some((bar) => bar.spans.some((span) => span.isOpen));
  const format = creation ? precise : coarse;
  const total = isEmpty ? "" : `${format(totalMs)} ${creation ? "as seen from here" : isOpen ? "so far" : "until the boot, to the second"}`;
  return html`<section class="card timeline" aria-labelledby="timeline-title">
    <header><h2 id="timeline-title">Start-up</h2><span class="quiet">${total}</span></header>
    ${steps === null && !creation ? (failure ? html`<p class="quiet">Shown once OpenNebula responds again.</p>` : html`<div class="skeleton"></div>`) : isEmpty ? html`<p class="quiet">OpenNebula remembers nothing of it.</p>`
      : bars.map((bar) => html`<div class="bar-row">${bars.length > 1 && html`<span class="bar-role">${ROLE_NAMES[bar.role]}</span>`}
        <div class="bar" aria-hidden="true">${bar.spans.map((span) => html`<span class="span ${span.step} ${span.isOpen ? "open" : ""}"
          title="${NAMES[span.step]} ${format(span.endMs - span.startMs)}"
          style=${{ left: `${(span.startMs / totalMs) * 100}%`, width: `${((span.endMs - span.startMs) / totalMs) * 100}%` }}></span>`)}</div></div>
        <ul class="steps">${bar.spans.map((span) => html`<li class=${span.step}><span class="swatch"></span>${NAMES[span.step]}
          <span class="number">${format(span.endMs - span.startMs)}</span></li>`)}</ul>`)}
  </section>`;
}

export function Events({ runtime, steps, events }) {
  const now = useNow();
  const isPair = roles(runtime).length > 1;
  const old = (steps || []).map(({ STEP, AT, FUNCTION }) => ({ at: AT, text: `${isPair && FUNCTION ? `${ROLE_NAMES[FUNCTION]}: ` : ""}${EVENTS[STEP] || STEP}` }));
  const all = [...events, ...old.reverse()];
  return html`<section class="card" aria-labelledby="events-title"><header><h2 id="events-title">Events</h2></header>
    ${all.length ? html`<ol class="events">${all.map((event) => html`<li><span class="event-text">${event.text}</span>
      <time datetime=${event.at} title=${moment(event.at)}>${secondsSince(event.at, now) < 86400 ? clock(event.at) : `${age(secondsSince(event.at, now))} ago`}</time></li>`)}</ol>`
      : html`<p class="quiet">Nothing has happened yet.</p>`}
  </section>`;
}
