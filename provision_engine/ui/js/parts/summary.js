// One line above the list: the numbers by state, and the usage of the quota.
import { html, useEffect } from "../html.js";
import { megabytes } from "../format.js";
import { quota, refreshQuota } from "../quota.js";
import { STATES, stateOf } from "../states.js";
import { useStore } from "../store.js";
import { Meter } from "./basics.js";

const QUOTA_PAUSE_MS = 15_000;
const METERS = [
  { member: "VMS", label: "VMs" }, { member: "CPU", label: "CPU" },
  { member: "MEMORY", label: "Memory", format: megabytes },
  { member: "SYSTEM_DISK_SIZE", label: "Disk", format: megabytes },
];

export function Summary({ all, state, onState }) {
  const used = useStore(quota);
  useEffect(() => {
    refreshQuota();
    const timer = setInterval(() => document.hidden || refreshQuota(), QUOTA_PAUSE_MS);
    return () => clearInterval(timer);
  }, [all.length]);
  const counts = Object.keys(STATES).map((name) => [name, all.filter((it) => stateOf(it) === name).length]);
  return html`<section class="summary card" aria-label="Summary">
    <div class="counts">
      ${counts.map(([name, count]) => html`<button type="button" class="count ${STATES[name].tone} ${count ? "" : "none"}"
        aria-pressed=${state === name} onClick=${() => onState(state === name ? "" : name)}>
        <span class="number">${count.toLocaleString("en")}</span><span class="label"><span class="dot"></span>${STATES[name].label}</span></button>`)}
    </div>
    ${used && html`<div class="meters">${METERS.filter(({ member }) => used[member]).map(({ member, label, format }) => html`
      <${Meter} label=${label} used=${used[member].USED} limit=${used[member].LIMIT} format=${format} />`)}</div>`}
  </section>`;
}
