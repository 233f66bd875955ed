// The lease: how much is left, and how to renew or remove it.
import { html } from "../html.js";
import { useNow } from "../clock.js";
import { openDialog } from "../dialogs.js";
import { duration, moment } from "../format.js";
import { configuration } from "../quota.js";
import { abilities } from "../states.js";
import { useStore } from "../store.js";
import { isEnding, secondsLeft } from "./lease.js";

export function LeaseCard({ runtime }) {
  const now = useNow(), { lease } = useStore(configuration);
  const whyNot = abilities(runtime).lease, left = secondsLeft(runtime, now);
  const canLift = runtime.LEASE && !(lease && lease.max_seconds);
  return html`<section class="card" aria-labelledby="lease-title"><header><h2 id="lease-title">Lease</h2></header>
    ${!runtime.LEASE ? html`<p class="quiet">No lease: it runs until it is deleted.</p>`
      : left === null ? html`<p>${duration(runtime.LEASE.TTL)}, counted from the start of its VM</p>`
        : html`<p class="lease-left"><strong class=${isEnding(runtime, left) ? "bad-text" : ""}>${left > 0 ? `${duration(left)} left` : "Over"}</strong>
            <span class="quiet">of ${duration(runtime.LEASE.TTL)}</span></p>
          <span class="track"><span class="fill" style=${{ width: `${Math.min(100, Math.max(0, (left / runtime.LEASE.TTL) * 100))}%` }}></span></span>
          <p class="quiet">OpenNebula deletes it at ${moment(runtime.LEASE.EXPIRES)}, even if the engine is down.</p>`}
    <div class="card-actions">
      <button type="button" class="plain small" disabled=${Boolean(whyNot)} title=${whyNot} onClick=${() => openDialog("lease", { runtime })}>${runtime.LEASE ? "Renew" : "Set a lease"}</button>
      ${canLift && html`<button type="button" class="plain small" disabled=${Boolean(whyNot)} title=${whyNot} onClick=${() => openDialog("lift", { runtime })}>Remove</button>`}
    </div>
    ${whyNot && html`<p class="hint">${whyNot}.</p>`}
  </section>`;
}
