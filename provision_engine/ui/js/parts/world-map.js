// The map of devices. Each pin links to its runtime, or to all of them if there are several.
import { html } from "../html.js";
import { toRuntime } from "../router.js";
import { STATES, stateOf } from "../states.js";

/** `places`: [{cell, latitude, longitude, runtimes}]. */
export function WorldMap({ places }) {
  return html`<div class="map"><div class="world"><img src="/ui/land.svg" alt="" width="720" height="360" />
    ${places.map((place) => html`<${Pin} place=${place} />`)}</div></div>`;
}

function Pin({ place: { cell, latitude, longitude, runtimes } }) {
  const at = { left: `${((longitude + 180) / 360) * 100}%`, top: `${((90 - latitude) / 180) * 100}%` };
  const [first] = runtimes, isMany = runtimes.length > 1;
  const failed = runtimes.filter((it) => stateOf(it) === "ERROR");
  const tone = STATES[stateOf(failed[0] || first)].tone;
  const label = !isMany ? first.NAME
    : `${runtimes.length} runtimes near ${latitude}, ${longitude}${failed.length ? `, ${failed.length} with an error` : ""}`;
  return html`<a class="pin ${tone} ${isMany ? "many" : ""}" style=${at} href=${isMany ? `#/map?near=${cell}` : toRuntime(first.ID)}
    title=${label} aria-label=${label}>${isMany ? `${failed.length ? `${failed.length}/` : ""}${runtimes.length}` : ""}</a>`;
}
