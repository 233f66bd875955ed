// One function of a runtime: state, address, sizes.
import { html } from "../html.js";
import { useNow } from "../clock.js";
import { duration, megabytes, moment, secondsSince } from "../format.js";
import { canNeverStart, detailOf, reasonOf, ROLE_NAMES } from "../states.js";
import { CopyButton, Status } from "./basics.js";

export function FunctionCard({ role, runtime }) {
  const now = useNow(), it = runtime[role], detail = detailOf(it);
  // What requires action is already at the top of the page.
  const reason = it.STATE === "ERROR" || canNeverStart(it) ? "" : reasonOf(it);
  const since = secondsSince(it.SINCE, now);
  return html`<section class="card function" aria-labelledby="title-${role}">
    <header><h2 id="title-${role}">${ROLE_NAMES[role]} <span class="quiet">${it.FLAVOUR}</span></h2>
      <span class="card-state"><${Status} state=${it.STATE} />${since !== null && html`<span class="quiet" title=${moment(it.SINCE)}>for ${duration(since)}</span>`}</span></header>
    ${reason && html`<p class="reason-line">${reason}${detail && detail !== reason && html`<span class="quiet"> ${detail}</span>`}</p>`}
    <div class="endpoint-box"><span class="label">Endpoint</span>
      ${it.ENDPOINT ? html`<code>${it.ENDPOINT}</code><${CopyButton} text=${it.ENDPOINT} label="Copy the endpoint" />`
        : html`<span class="quiet">None yet</span>`}</div>
    <dl class="stats">
      <div><dt>CPU</dt><dd>${it.CPU} ${it.CPU === 1 ? "core" : "cores"}</dd></div>
      <div><dt>Memory</dt><dd>${megabytes(it.MEMORY)}</dd></div>
      <div><dt>Disk</dt><dd>${megabytes(it.DISK_SIZE)}</dd></div>
      <div><dt>VM</dt><dd>${it.VM_ID ?? "–"}</dd></div>
    </dl>
  </section>`;
}
