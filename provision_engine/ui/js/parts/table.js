// The rows of the list: a table on wide screens, cards on phones (see list.css).
import { html } from "../html.js";
import { useNow } from "../clock.js";
import { age, moment, secondsSince, shortName, sizes } from "../format.js";
import { toRuntime } from "../router.js";
import { nextSort } from "../sorting.js";
import { canNeverStart, detailOf, flavourOf, reasonOf, ROLE_NAMES, roles, stateOf } from "../states.js";
import { CopyButton, Status } from "./basics.js";
import { leaseText } from "./lease.js";
import { Menu } from "./menu.js";
import { itemsFor } from "./runtime-menu.js";

const COLUMNS = ["Name", "Owner", "State", "Endpoint", "Size", "Lease", "Age"];
const UNSORTED = ["Endpoint"];

// CSS changes the display of the elements, which removes their roles; so they are explicit.
/** `hasOwners`: are they the runtimes of all users? */
export function Table({ runtimes, hasOwners, selected, select, sort, onSort }) {
  const ids = runtimes.map((runtime) => runtime.ID);
  const areAll = ids.every((id) => selected.has(id)), isSome = ids.some((id) => selected.has(id));
  return html`<div class="card table-card"><table class="runtimes" id="runtimes" role="table" aria-label="Runtimes">
    <thead role="rowgroup"><tr role="row">
      <th role="columnheader" scope="col" class="check-cell"><label class="pick"><input type="checkbox" aria-label="Select this page" checked=${areAll}
        indeterminate=${isSome && !areAll} onChange=${(event) => select(ids, event.target.checked)} /></label></th>
      ${COLUMNS.filter((text) => hasOwners || text !== "Owner").map((text) => html`<${Column} text=${text} sort=${sort} onSort=${onSort} />`)}
      <th role="columnheader" scope="col" class="col-menu"><span class="unseen">Actions</span></th></tr></thead>
    <tbody role="rowgroup">
    ${runtimes.map((runtime) => html`<${Row} key=${runtime.ID} runtime=${runtime} hasOwners=${hasOwners} isSelected=${selected.has(runtime.ID)} select=${select} />`)}
  </tbody></table></div>`;
}

function Column({ text, sort, onSort }) {
  const name = text.toLowerCase(), direction = { [name]: "ascending", [`-${name}`]: "descending" }[sort];
  return html`<th role="columnheader" scope="col" class="col-${name}" aria-sort=${direction}>
    ${UNSORTED.includes(text) ? text : html`<button type="button" class="sort" onClick=${() => onSort(nextSort(sort, name))}>${text}
      ${direction && html`<span aria-hidden="true">${direction === "ascending" ? "↑" : "↓"}</span>`}</button>`}</th>`;
}

function Row({ runtime, hasOwners, isSelected, select }) {
  const now = useNow();
  const created = secondsSince(runtime.CREATED, now);
  return html`<tr role="row" data-id=${runtime.ID} class="${isSelected ? "selected" : ""} ${runtime.PHASE === "STANDBY" ? "standby" : ""}">
    <td role="cell" class="check-cell"><label class="pick"><input type="checkbox" checked=${isSelected} aria-label="Select ${runtime.NAME}"
      onChange=${(event) => select([runtime.ID], event.target.checked)} /></label></td>
    <td role="cell" class="name"><a href=${toRuntime(runtime.ID)} title=${runtime.NAME}>${shortName(runtime.NAME)}</a>
      <span class="sub">${flavourOf(runtime)} · ${runtime.ID}${runtime.PHASE === "STANDBY" && html` <span class="tag">Standby</span>`}</span></td>
    ${hasOwners && html`<td role="cell" class="owner" data-label="Owner" title=${runtime.OWNER}>${runtime.OWNER || "–"}</td>`}
    <td role="cell" class="state"><${State} runtime=${runtime} /></td>
    <td role="cell" class="endpoint" data-label="Endpoint">${roles(runtime).map((role) => html`<${Endpoint} role=${role} runtime=${runtime} />`)}</td>
    <td role="cell" class="size" data-label="Size">${roles(runtime).map((role) => html`<div class="line">${sizes(runtime[role])}</div>`)}</td>
    <td role="cell" class="lease" data-label="Lease">${leaseText(runtime, now)}</td>
    <td role="cell" class="age" data-label="Age" title=${runtime.CREATED ? moment(runtime.CREATED) : ""}>${created === null ? "–" : age(created)}</td>
    <td role="cell" class="menu-cell"><${Menu} label="Actions for ${runtime.NAME}" items=${itemsFor(runtime)} /></td>
  </tr>`;
}

function State({ runtime }) {
  const state = stateOf(runtime);
  const worst = roles(runtime).find((role) => runtime[role].STATE === state);
  const reason = reasonOf(runtime[worst]);
  const role = reason && roles(runtime).length > 1 ? `${ROLE_NAMES[worst]}: ` : "";
  return html`<${Status} state=${state} />
    ${reason && html`<span class="sub reason ${canNeverStart(runtime[worst]) ? "bad" : ""}" title=${detailOf(runtime[worst])}>${role}${reason}</span>`}`;
}

function Endpoint({ role, runtime }) {
  const address = runtime[role].ENDPOINT;
  const label = roles(runtime).length > 1 ? `${ROLE_NAMES[role]} ` : "";
  return html`<div class="line">${address ? html`<code title="${label}${address}">${address}</code>
    <${CopyButton} text=${address} label="Copy ${address}" />` : html`<span class="quiet">–</span>`}</div>`;
}
