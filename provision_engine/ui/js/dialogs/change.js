// Change a runtime: sizes, name, scheduling and location, lease.
import { html, useState } from "../html.js";
import { update } from "../actions.js";
import { fieldOf } from "../errors.js";
import { duration, moment, shortName } from "../format.js";
import { notify } from "../messages.js";
import { configuration } from "../quota.js";
import { toRuntime } from "../router.js";
import { isMoving, ROLE_NAMES, roles } from "../states.js";
import { useStore } from "../store.js";
import { Dialog } from "../parts/dialog.js";
import { changedSizes, SelectField, SizeFields, TextField } from "../parts/fields.js";

const UNITS = [["60", "minutes"], ["3600", "hours"], ["86400", "days"]];

function done(runtime, text) {
  notify(`${shortName(runtime.NAME)} ${text}`, { href: toRuntime(runtime.ID) });
}

export function ResizeDialog({ runtime }) {
  const [sizes, setSizes] = useState(Object.fromEntries(roles(runtime).map((role) => [role, { ...runtime[role] }])));
  const changed = roles(runtime).map((role) => [role, changedSizes(sizes[role], runtime[role])]).filter(([, it]) => Object.keys(it).length);

  async function act() {
    await update(runtime.ID, Object.fromEntries(changed.map(([role, it]) => [role, { FLAVOUR: "", ...it }])));
    done(runtime, "is resized");
  }
  return html`<${Dialog} title="Resize ${shortName(runtime.NAME)}" act=${act} submit="Resize" busyText="Resizing…" isBlocked=${!changed.length}>
    <p class="quiet">The VMs go on running. Disks can only grow.</p>
    ${roles(runtime).map((role) => html`<${SizeFields} role=${role} legend=${runtime.DAAS ? `${ROLE_NAMES[role]} · ${runtime[role].FLAVOUR}` : "Size"} values=${sizes[role]}
      minimum=${{ DISK_SIZE: runtime[role].DISK_SIZE }}
      onInput=${(member, text) => setSizes({ ...sizes, [role]: { ...sizes[role], [member]: text } })} />`)}
  <//>`;
}

export function EditDialog({ runtime }) {
  const { SCHEDULING = {}, DEVICE_INFO = {}, NAME } = runtime;
  const before = { name: NAME, policy: SCHEDULING.POLICY || "", requirements: SCHEDULING.REQUIREMENTS || "", location: DEVICE_INFO.GEOGRAPHIC_LOCATION || "" };
  const [form, setForm] = useState(before);
  const [failure, setFailure] = useState({});
  const field = (name, path, label, rest = {}) => html`<${TextField} label=${label} name=${name} value=${form[name]} spellcheck=${false}
    error=${failure.path === path ? failure.text : null} onInput=${(text) => setForm({ ...form, [name]: text })} ...${rest} />`;

  async function act() {
    try {
      await update(runtime.ID, changes(before, form, DEVICE_INFO, isMoving(runtime)));
    } catch (error) {
      setFailure({ path: fieldOf(error, ["NAME", "SCHEDULING.POLICY", "SCHEDULING.REQUIREMENTS", "DEVICE_INFO.GEOGRAPHIC_LOCATION"]), text: error.detail });
      throw error;
    }
    done({ ...runtime, NAME: form.name }, "is changed");
  }
  const isSame = JSON.stringify(before) === JSON.stringify(form);
  return html`<${Dialog} title="Edit ${shortName(NAME)}" act=${act} submit="Save" busyText="Saving…" isBlocked=${isSame}>
    ${field("name", "NAME", "Name", { maxlength: 128, required: true })}
    ${field("requirements", "SCHEDULING.REQUIREMENTS", "Requirements", { hint: "An expression that a host must satisfy, such as FREE_CPU > 100." })}
    ${field("policy", "SCHEDULING.POLICY", "Policy", { hint: "How the hosts are ranked, such as FREE_CPU." })}
    ${field("location", "DEVICE_INFO.GEOGRAPHIC_LOCATION", "Location", { hint: "Coordinates show up on the map." })}
  <//>`;
}

/** While functions wait for a host, the engine accepts only changes that name the scheduling. */
function changes(before, form, device, isWaiting) {
  const members = {};
  if (form.name !== before.name) members.NAME = form.name;
  if (isWaiting || form.policy !== before.policy || form.requirements !== before.requirements) {
    members.SCHEDULING = { POLICY: form.policy, REQUIREMENTS: form.requirements };
  }
  if (form.location !== before.location) members.DEVICE_INFO = { ...device, GEOGRAPHIC_LOCATION: form.location };
  return members;
}

export function LeaseDialog({ runtime }) {
  const { lease } = useStore(configuration);
  const ttl = (runtime.LEASE || {}).TTL || 3600;
  const fitting = [...UNITS].reverse().find(([seconds]) => ttl % Number(seconds) === 0) || UNITS[0];
  const [unit, setUnit] = useState(fitting[0]);
  const [count, setCount] = useState(String(Math.max(1, Math.round(ttl / Number(fitting[0])))));
  const seconds = Number(count) * Number(unit), longest = (lease || {}).max_seconds;

  async function act() {
    const changed = await update(runtime.ID, { LEASE: { TTL: seconds } });
    const until = (changed.LEASE || {}).EXPIRES;
    done(runtime, until ? `lives until ${moment(until)}` : "has a new lease");
  }
  return html`<${Dialog} title=${runtime.LEASE ? "Renew the lease" : "Set a lease"} act=${act} submit=${runtime.LEASE ? "Renew" : "Set"} busyText="Saving…">
    <p class="quiet">Counted from now. OpenNebula deletes ${shortName(runtime.NAME)} when it is over.${longest ? ` At most ${duration(longest)}.` : ""}</p>
    <div class="two"><${TextField} label="Duration" name="duration" type="number" inputmode="numeric" min="1" required value=${count} onInput=${setCount} />
      <${SelectField} label="Unit" name="unit" value=${unit} options=${UNITS} onChange=${setUnit} /></div>
  <//>`;
}

export function LiftDialog({ runtime }) {
  async function act() {
    await update(runtime.ID, { LEASE: null });
    done(runtime, "lives until it is deleted");
  }
  return html`<${Dialog} title="Remove the lease?" act=${act} submit="Remove the lease" busyText="Removing…">
    <p>${shortName(runtime.NAME)} then runs, and counts against the quota, until it is deleted.</p><//>`;
}
