// All runtimes: a summary, a search, filters, pages, and changes to several at once.
import { html, useEffect, useMemo, useState } from "../html.js";
import { openDialog } from "../dialogs.js";
import { plural } from "../format.js";
import { configuration } from "../quota.js";
import { replace, route, toList } from "../router.js";
import { runtimes, showAlso, watchList } from "../runtimes.js";
import { session } from "../session.js";
import { sorted } from "../sorting.js";
import { abilities, flavourOf, STATES, stateOf } from "../states.js";
import { useStore } from "../store.js";
import { Empty, Title } from "../parts/basics.js";
import { Icon } from "../parts/icons.js";
import { Pager } from "../parts/pager.js";
import { Summary } from "../parts/summary.js";
import { Table } from "../parts/table.js";

const PAGE_SIZE = 25;
const AT_ONCE = [
  { action: "suspend", label: "Suspend", icon: "pause" },
  { action: "resume", label: "Resume", icon: "play" },
  { action: "recover", label: "Recover", icon: "retry" },
];

/** Those that match the filters. Pure. */
export function matching(all, { q = "", state = "", flavour = "" }) {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  return all.filter((runtime) => (!state || stateOf(runtime) === state)
    && (!flavour || flavourOf(runtime) === flavour)
    && (!words.length || words.every((word) => text(runtime).includes(word))));
}

function text(runtime) {
  const parts = [runtime.NAME, runtime.OWNER, runtime.ID, flavourOf(runtime)];
  for (const role of ["FAAS", "DAAS"]) if (runtime[role]) parts.push(runtime[role].ENDPOINT, `vm${runtime[role].VM_ID}`);
  return parts.join(" ").toLowerCase();
}

export function List() {
  const { all, isCut, showsAllUsers } = useStore(runtimes), { isAdministrator } = useStore(session);
  const { parameters } = useStore(route);
  const { standby } = useStore(configuration);
  const hasStandby = Object.keys(standby?.flavours || {}).length > 0;
  const [selected, setSelected] = useState(new Set());
  useEffect(watchList, []);

  const found = useMemo(() => (all ? sorted(matching(all, parameters), parameters.sort) : []), [all, parameters]);
  const pages = Math.max(1, Math.ceil(found.length / PAGE_SIZE));
  const page = Math.min(pages, Math.max(1, Number(parameters.page) || 1));
  const shown = found.slice((page - 1) * PAGE_SIZE, page * PAGE_SIZE);
  const chosen = found.filter((runtime) => selected.has(runtime.ID));
  const filter = (changes) => replace(toList({ ...parameters, page: "", ...changes }));
  const select = (ids, isSelected) => {
    const next = new Set(selected);
    for (const id of ids) next[isSelected ? "add" : "delete"](id);
    setSelected(next);
  };

  return html`<main>
    <div class="title-row"><${Title} text="Runtimes" />
      <button type="button" class="primary" id="new" onClick=${() => openDialog("create")}><${Icon} name="plus" />New runtime</button></div>
    ${all !== null && all.length > 0 && html`<${Summary} all=${all} state=${parameters.state} onState=${(state) => filter({ state })} />`}
    ${all !== null && (all.length > 0 || hasStandby || isAdministrator) && html`<${Toolbar} all=${all} parameters=${parameters} filter=${filter} hasStandby=${hasStandby} isAdministrator=${isAdministrator} />`}
    ${chosen.length > 0 && html`<${Selection} chosen=${chosen} found=${found} select=${select} />`}
    ${all === null ? html`<${Loading} />`
      : all.length === 0 ? html`<${FirstSteps} />`
        : found.length === 0 ? html`<${NothingFound} />`
          : html`<${Table} runtimes=${shown} hasOwners=${showsAllUsers} selected=${selected} select=${select} sort=${parameters.sort} onSort=${(sort) => filter({ sort })} />
            <${Pager} page=${page} pages=${pages} size=${PAGE_SIZE} count=${found.length}
              go=${(next) => replace(toList({ ...parameters, page: next > 1 ? next : "" }))} />`}
    ${isCut && html`<p class="quiet note">Only the newest ${plural(all.length, "runtime")} are shown and searched; the API lists the older ones.</p>`}
  </main>`;
}

function Toolbar({ all, parameters, filter, hasStandby, isAdministrator }) {
  const { showsStandby, showsAllUsers } = useStore(runtimes);
  const flavours = [...new Set(all.map(flavourOf))].sort();
  return html`<div class="toolbar" role="search">
    <label class="search"><span class="unseen">Search</span><${Icon} name="search" />
      <input type="search" id="search" placeholder="Search name, id or endpoint" value=${parameters.q || ""}
        onInput=${(event) => filter({ q: event.target.value })} /></label>
    <label><span class="unseen">State</span><select id="filter-state" onChange=${(event) => filter({ state: event.target.value })}>
      <option value="">All states</option>
      ${Object.entries(STATES).map(([state, { label }]) => html`<option value=${state} selected=${state === parameters.state}>${label}</option>`)}
    </select></label>
    <label><span class="unseen">Flavour</span><select id="filter-flavour" onChange=${(event) => filter({ flavour: event.target.value })}>
      <option value="">All flavours</option>
      ${flavours.map((flavour) => html`<option value=${flavour} selected=${flavour === parameters.flavour}>${flavour}</option>`)}
    </select></label>
    ${hasStandby && html`<label class="check"><input type="checkbox" id="filter-standby" checked=${showsStandby}
      onChange=${(event) => showAlso({ showsStandby: event.target.checked })} /><span>Show standby</span></label>`}
    ${isAdministrator && html`<label class="check"><input type="checkbox" id="filter-all-users" checked=${showsAllUsers}
      onChange=${(event) => showAlso({ showsAllUsers: event.target.checked })} /><span>All users</span></label>`}
  </div>`;
}

function Selection({ chosen, found, select }) {
  const deselect = (list) => select(list.map((it) => it.ID), false);
  const open = (action, list) => openDialog("several", { action, runtimes: list, onDone: () => deselect(list) });
  return html`<div class="selection" role="region" aria-label="Selection">
    <strong>${chosen.length.toLocaleString("en")} selected</strong>
    ${chosen.length < found.length && html`<button type="button" class="link" onClick=${() => select(found.map((it) => it.ID), true)}>Select all ${found.length.toLocaleString("en")}</button>`}
    <button type="button" class="link" onClick=${() => deselect(found)}>Clear</button>
    <div class="selection-actions">${AT_ONCE.map(({ action, label, icon }) => {
      const able = chosen.filter((runtime) => !abilities(runtime)[action]);
      return able.length > 0 && html`<button type="button" class="plain small" onClick=${() => open(action, able)}><${Icon} name=${icon} />${label} ${able.length}</button>`;
    })}
      <button type="button" class="danger small" id="delete-selected" onClick=${() => open("delete", chosen)}><${Icon} name="trash" />Delete</button></div>
  </div>`;
}

function Loading() {
  return html`<div class="card loading" aria-busy="true"><span class="unseen">Loading the runtimes</span>
    ${[1, 2, 3, 4, 5].map(() => html`<div class="skeleton"></div>`)}</div>`;
}

function NothingFound() {
  return html`<${Empty} icon="search" title="No runtime matches">
    <p>Try another search or state.</p><a class="button plain" href="#/">Clear the filters</a><//>`;
}

function FirstSteps() {
  const { flavours } = useStore(session);
  const usable = flavours.filter((flavour) => flavour.DEPLOYABLE);
  return html`<${Empty} icon="box" title="No runtimes yet">
    <p>A runtime is a function in its own virtual machine, reachable at its own address.
      ${usable.length ? " Choose what to start with; everything else has a default." : " There is no flavour that you can deploy yet."}</p>
    ${usable.length ? html`<div class="first-flavours">${usable.slice(0, 4).map((flavour) => html`<button type="button" class="plain"
      onClick=${() => openDialog("create", { flavour: flavour.FLAVOURS })}>${flavour.FLAVOURS}</button>`)}</div>
      <p class="quiet">From a device: see the <a href="/docs">API</a>.</p>`
      : html`<a class="button plain" href="#/flavours">See why</a>`}
  <//>`;
}
