// Create a runtime: flavour, sizes, lease, scheduling; checked by a dry run while the user types.
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { create, dryRun, newKey } from "../actions.js";
import { RUNTIME } from "../api.js";
import { follow } from "../creations.js";
import { createCommand } from "../curl.js";
import { fieldOf } from "../errors.js";
import { duration, megabytes, shortName } from "../format.js";
import { notify } from "../messages.js";
import { configuration, quota, refreshQuota } from "../quota.js";
import { toRuntime } from "../router.js";
import { refreshFlavours, session } from "../session.js";
import { ROLE_NAMES, ROLES } from "../states.js";
import { useStore } from "../store.js";
import { CopyButton } from "../parts/basics.js";
import { Dialog } from "../parts/dialog.js";
import { changedSizes, SelectField, SizeFields, SIZES, TextField } from "../parts/fields.js";
import { Icon } from "../parts/icons.js";

const TYPING_MS = 400;
const LEASES = [600, 3600, 8 * 3600, 86400, 7 * 86400];
const QUOTA_OF = { CPU: "CPU", MEMORY: "MEMORY", DISK_SIZE: "SYSTEM_DISK_SIZE" };
const PATHS = ["NAME", "SCHEDULING.POLICY", "SCHEDULING.REQUIREMENTS", "DEVICE_INFO.GEOGRAPHIC_LOCATION", "LEASE.TTL",
  ...ROLES.flatMap((role) => SIZES.map(({ member }) => `${role}.${member}`))];

export function CreateDialog({ flavour: preset }) {
  const { flavours, user } = useStore(session), { lease: leases } = useStore(configuration);
  const usable = flavours.filter((it) => it.DEPLOYABLE);
  const [form, setForm] = useState({ flavour: preset || (usable[0] || {}).FLAVOURS, sizes: {}, name: "", lease: "", policy: "", requirements: "", location: "" });
  const key = useRef(newKey());   // one for the dialog: however often it is sent, it creates one runtime
  const flavour = usable.find((it) => it.FLAVOURS === form.flavour);
  const body = useMemo(() => (flavour ? toBody(flavour, form) : null), [flavour, form]);
  const check = useDryRun(body);
  const set = (members) => setForm((before) => ({ ...before, ...members }));
  const errorOf = (path) => (check.field === path ? textAfter(check.error.detail, path) : null);

  useEffect(() => {
    refreshFlavours().catch(() => {});   // those read at the login are used
    refreshQuota();
  }, []);

  async function act() {
    const askedAt = performance.now();
    const runtime = await create(body, key.current);
    notify(`${shortName(runtime.NAME)} is being created`, { href: toRuntime(runtime.ID) });
    follow(runtime, askedAt);
  }
  if (!usable.length) return html`<${NothingUsable} />`;
  return html`<${Dialog} title="New runtime" act=${act} submit="Create" busyText="Creating…" explain=${explain} isWide isBlocked=${!flavour}>
    <div class="two"><${SelectField} label="Flavour" id="create-flavour" name="flavour" value=${form.flavour}
        options=${usable.map((it) => [it.FLAVOURS, it.FLAVOURS])} onChange=${(value) => set({ flavour: value, sizes: {} })} />
      <${TextField} label="Name" isOptional name="name" maxlength="128" value=${form.name} placeholder="${form.flavour}-…" error=${errorOf("NAME")}
        autocomplete="off" onInput=${(name) => set({ name })} /></div>
    ${flavour && ROLES.filter((role) => flavour[role]).map((role) => html`<${Sizes} role=${role} flavour=${flavour} form=${form} set=${set} errorOf=${errorOf} />`)}
    <${SelectField} label="Lease" name="lease" value=${form.lease} error=${errorOf("LEASE.TTL")} options=${leaseOptions(leases || {})}
      hint="OpenNebula deletes the runtime when the lease is over." onChange=${(lease) => set({ lease })} />
    <details class="more"><summary><${Icon} name="chevron" />Scheduling and device</summary>
      <${TextField} label="Requirements" isOptional name="requirements" maxlength="4096" spellcheck=${false} value=${form.requirements} placeholder="FREE_CPU > 100"
        hint="An expression that a host must satisfy." error=${errorOf("SCHEDULING.REQUIREMENTS")} onInput=${(requirements) => set({ requirements })} />
      <${TextField} label="Policy" isOptional name="policy" maxlength="4096" spellcheck=${false} value=${form.policy} placeholder="FREE_CPU"
        hint="How the hosts are ranked." error=${errorOf("SCHEDULING.POLICY")} onInput=${(policy) => set({ policy })} />
      <${TextField} label="Location" isOptional name="location" maxlength="4096" value=${form.location} placeholder="40.4168, -3.7038"
        hint="Coordinates show up on the map." error=${errorOf("DEVICE_INFO.GEOGRAPHIC_LOCATION")} onInput=${(location) => set({ location })} />
    </details>
    <${Check} check=${check} flavour=${flavour} form=${form} />
    ${body && html`<details class="more"><summary><${Icon} name="chevron" />The same from a shell</summary>
      <div class="code-box"><pre tabindex="0" role="region" aria-label="Command"><code>${createCommand(body, user, location.origin)}</code></pre><${CopyButton} text=${createCommand(body, user, location.origin)} label="Copy the command" /></div></details>`}
  <//>`;
}

function Sizes({ role, flavour, form, set, errorOf }) {
  const used = useStore(quota), { capacity } = useStore(configuration);
  const values = form.sizes[role] || {}, defaults = flavour[role];
  const hints = Object.fromEntries(SIZES.map(({ member, format }) => [member, hintOf(member, format, values, defaults, used, capacity)]));
  const errors = Object.fromEntries(SIZES.map(({ member }) => [member, errorOf(`${role}.${member}`)]));
  const onInput = (member, text) => set({ sizes: { ...form.sizes, [role]: { ...values, [member]: text } } });
  return html`<${SizeFields} role=${role} legend=${flavour.DAAS ? `${ROLE_NAMES[role]} · ${defaults.FLAVOUR}` : "Size"} values=${values} placeholders=${defaults}
    hints=${hints} errors=${errors} onInput=${onInput} />`;
}

/** The default, the rest of the quota, and the maximum of a running VM. */
function hintOf(member, format, values, defaults, used, capacity) {
  const { LIMIT = null, USED = 0 } = (used || {})[QUOTA_OF[member]] || {};
  if (LIMIT !== null) return `${format(Math.max(0, LIMIT - USED))} left in the quota`;
  const { mult } = (capacity || {})[member.toLowerCase()] || {}, size = Number(values[member]) || defaults[member];
  return !mult ? "Can only grow" : size > 0 ? `Can grow to ${format(size * mult)}` : null;
}

function Check({ check, flavour, form }) {
  if (check.error && !check.field) return html`<div class="finding bad" id="check" role="status"><${Icon} name="warn" /><p>${check.error.message}</p></div>`;
  if (check.error) return html`<p class="check-line bad-text" id="check" role="status">Fix the fields marked in red.</p>`;
  if (!check.plan || check.isBusy) return html`<p class="check-line quiet" id="check" role="status">${check.isBusy ? "Checking…" : ""}</p>`;
  const warnings = check.plan.WARNINGS || [];
  return html`<div id="check" role="status"><p class="check-line good-text"><${Icon} name="check" />Can be created, from flow template ${check.plan.FLOW_TEMPLATE} of ${check.plan.OWNER}</p>
    <p class="hint">It starts once a host has room for ${needs(flavour, form)}; until then it stays pending.</p>
    ${warnings.map((warning) => html`<div class="finding busy"><${Icon} name="warn" /><p>${warning.TEXT || warning.CODE}</p></div>`)}</div>`;
}

/** What its hosts must have free, since a dry run does not know the hosts: `2 CPU and 128 MB`. */
function needs(flavour, form) {
  return ROLES.filter((role) => flavour[role]).map((role) => {
    const { CPU, MEMORY } = { ...flavour[role], ...changedSizes(form.sizes[role] || {}) };
    return `${CPU} CPU and ${megabytes(MEMORY)}`;
  }).join(", and one for ");
}

function NothingUsable() {
  return html`<${Dialog} title="New runtime" submit="See why" act=${async () => { location.hash = "#/flavours"; }}>
    <p>There is no flavour that you can deploy.</p><//>`;
}

/** The engine's check of a body, requested when the user has stopped typing. */
function useDryRun(body) {
  const [check, setCheck] = useState({ isBusy: true, plan: null, error: null, field: null });
  const text = JSON.stringify(body);
  useEffect(() => {
    if (!body) return undefined;
    let isCurrent = true;
    setCheck((before) => ({ ...before, isBusy: true }));
    const timer = setTimeout(async () => {
      const next = { isBusy: false, plan: null, error: null, field: null };
      try {
        next.plan = await dryRun(body);
      } catch (error) {
        // Others are not about the body.
        if (!error.isRetryable) Object.assign(next, { error, field: fieldOf(error, PATHS) });
      }
      if (isCurrent) setCheck(next);
    }, TYPING_MS);
    return () => {
      isCurrent = false;
      clearTimeout(timer);
    };
  }, [text]);
  return check;
}

function toBody(flavour, form) {
  const runtime = { NAME: form.name };
  for (const role of ROLES.filter((name) => flavour[name])) {
    runtime[role] = { FLAVOUR: flavour[role].FLAVOUR, ...changedSizes(form.sizes[role] || {}) };
  }
  const scheduling = filled({ POLICY: form.policy, REQUIREMENTS: form.requirements });
  const device = filled({ GEOGRAPHIC_LOCATION: form.location });
  if (scheduling) runtime.SCHEDULING = scheduling;
  if (device) runtime.DEVICE_INFO = device;
  if (form.lease) runtime.LEASE = { TTL: Number(form.lease) };
  if (!form.name) delete runtime.NAME;
  return { [RUNTIME]: runtime };
}

function filled(members) {
  const found = Object.entries(members).filter(([, value]) => value.trim());
  return found.length ? Object.fromEntries(found) : null;
}

function leaseOptions({ default_seconds: usual, max_seconds: longest }) {
  const untouched = usual || longest ? `Default: ${duration(Math.min(usual || Infinity, longest || Infinity))}` : "None: until it is deleted";
  return [["", untouched], ...LEASES.filter((ttl) => !longest || ttl <= longest).map((ttl) => [String(ttl), duration(ttl)])];
}

function textAfter(detail, path) {
  return detail.slice(detail.indexOf(`${path}:`) + path.length + 1).trim();
}

function explain(error) {
  if (error.status === 409) return "An earlier attempt from this dialog did create a runtime, and this one differs. Close the dialog to see it.";
  if (error.isUncertain) return `${error.message}. It may have been created all the same. Creating again from this dialog is safe: it makes one runtime only.`;
  return error.message;
}
