// The page of one runtime, with its own URL.
import { html, useEffect } from "../html.js";
import { openDialog } from "../dialogs.js";
import { moment, secondsSince, shortName, age } from "../format.js";
import { current, show, watchRuntime } from "../runtime.js";
import { lastSeen } from "../runtimes.js";
import { abilities, canNeverStart, detailOf, flavourOf, functions, reasonOf, stateOf } from "../states.js";
import { useStore } from "../store.js";
import { useNow } from "../clock.js";
import { CopyButton, Empty, Status, Title } from "../parts/basics.js";
import { Commands } from "../parts/commands.js";
import { Facts } from "../parts/facts.js";
import { FunctionCard } from "../parts/function-card.js";
import { Icon } from "../parts/icons.js";
import { LeaseCard } from "../parts/lease-card.js";
import { Menu } from "../parts/menu.js";
import { itemsFor } from "../parts/runtime-menu.js";
import { Events, Timeline } from "../parts/timeline.js";
import { WorldMap } from "../parts/world-map.js";
import { placeOf } from "../places.js";

export function RuntimeView({ id }) {
  const { runtime, steps, events, error } = useStore(current);
  useEffect(() => watchRuntime(id), [id]);
  useEffect(() => lastSeen.subscribe((seen) => {
    if (seen && seen.ID === id && seen !== current.get().runtime) show(seen);
  }), [id]);

  if (error) return html`<${Missing} id=${id} error=${error} />`;
  if (!runtime || runtime.ID !== id) {
    return html`<main><${Back} /><div class="card loading" aria-busy="true"><span class="unseen">Loading</span>
      <div class="skeleton"></div><div class="skeleton"></div><div class="skeleton"></div></div></main>`;
  }
  const place = placeOf(runtime);
  return html`<main class="detail">
    <${Back} />
    <${Heading} runtime=${runtime} />
    <${Problem} runtime=${runtime} />
    <div class="columns">
      <div class="column">
        ${["FAAS", "DAAS"].filter((role) => runtime[role]).map((role) => html`<${FunctionCard} role=${role} runtime=${runtime} />`)}
        <${Timeline} runtime=${runtime} steps=${steps} />
        <${Commands} runtime=${runtime} />
      </div>
      <div class="column side">
        <${LeaseCard} runtime=${runtime} />
        <${Facts} runtime=${runtime} />
        ${place && html`<section class="card map-card" aria-labelledby="place-title"><header><h2 id="place-title">Location</h2></header>
          <${WorldMap} places=${[{ ...place, runtimes: [runtime] }]} /></section>`}
        <${Events} runtime=${runtime} steps=${steps} events=${events} />
      </div>
    </div>
  </main>`;
}

function Back() {
  return html`<a class="back" href="#/"><${Icon} name="left" />Runtimes</a>`;
}

function Heading({ runtime }) {
  const now = useNow();
  const items = itemsFor(runtime, true), can = Object.fromEntries(items.map((item) => [item.label, item]));
  const shown = ["Resume", "Resize…", "Suspend"].filter((label) => can[label] && !can[label].whyNot).slice(0, 2);
  return html`<div class="heading">
    <div class="heading-text">
      <div class="heading-name"><${Title} text=${runtime.NAME}>${shortName(runtime.NAME)}<//><${Status} state=${stateOf(runtime)} /></div>
      <p class="quiet heading-facts"><span>${flavourOf(runtime)}</span><span>ID ${runtime.ID} <${CopyButton} text=${String(runtime.ID)} label="Copy the id" /></span>
        ${runtime.CREATED && html`<span title=${moment(runtime.CREATED)}>created ${age(secondsSince(runtime.CREATED, now))} ago</span>`}
        ${runtime.PHASE === "STANDBY" && html`<span class="tag">Standby</span>`}</p>
    </div>
    <div class="heading-actions">
      ${shown.map((label) => html`<button type="button" class="plain" onClick=${can[label].act}><${Icon} name=${can[label].icon} />${label.replace("…", "")}</button>`)}
      <button type="button" class="plain dangerous" onClick=${can["Delete…"].act}><${Icon} name="trash" />Delete</button>
      <${Menu} label="More actions" className="plain icon-only" items=${items.filter((item) => !shown.includes(item.label) && !item.isDangerous)} />
    </div>
  </div>`;
}

/** What is wrong, and what to do about it. */
function Problem({ runtime }) {
  const failed = functions(runtime).find((it) => it.STATE === "ERROR");
  const stuck = functions(runtime).find(canNeverStart);
  const it = failed || stuck;
  if (!it) return null;
  const detail = detailOf(it), whyNot = abilities(runtime).edit;
  return html`<div class="problem ${failed ? "bad" : "busy"}" role="group" aria-label="Problem"><${Icon} name="warn" />
    <div><strong>${reasonOf(it)}</strong>${detail && detail !== reasonOf(it) && html`<p>${detail}</p>`}
      ${!failed && html`<p>It stays pending until the requirements change or such a host appears.</p>`}</div>
    ${failed ? html`<button type="button" class="primary" onClick=${() => openDialog("recover", { runtime })}>Recover</button>`
      : html`<button type="button" class="primary" disabled=${Boolean(whyNot)} title=${whyNot} onClick=${() => openDialog("edit", { runtime })}>Edit requirements</button>`}
  </div>`;
}

function Missing({ id, error }) {
  return html`<main><${Back} /><div class="unseen"><${Title} text="Runtime ${id}" /></div>
    <${Empty} icon=${error.status === 404 ? "box" : "warn"} title=${error.status === 404 ? `There is no runtime ${id}` : error.title}>
      <p>${error.status === 404 ? "It was deleted, its lease is over, or it belongs to another user." : error.detail}</p>
      <a class="button plain" href="#/">All runtimes</a><//></main>`;
}
