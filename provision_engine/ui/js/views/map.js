// The map of all devices that have sent their location.
import { html, useEffect, useRef } from "../html.js";
import { plural, shortName } from "../format.js";
import { clusters, placeOf } from "../places.js";
import { route, toRuntime } from "../router.js";
import { runtimes, watchList } from "../runtimes.js";
import { sorted } from "../sorting.js";
import { stateOf } from "../states.js";
import { useStore } from "../store.js";
import { Empty, Status, Title } from "../parts/basics.js";
import { WorldMap } from "../parts/world-map.js";

const MAX_LISTED = 50;

export function MapView() {
  const { all } = useStore(runtimes), { parameters } = useStore(route);
  useEffect(watchList, []);
  const places = clusters(all || []);
  const near = places.find((place) => parameters.near === place.cell);
  const listed = sorted(near ? near.runtimes : places.flatMap((place) => place.runtimes));
  const list = useRef();
  useEffect(() => near && list.current.scrollIntoView({ block: "nearest" }), [parameters.near]);
  return html`<main><div class="title-row"><${Title} text="Map" />
      <span class="quiet">${all && plural(listed.length, "device")}${near ? html` here · <a href="#/map">all</a>` : ""}</span></div>
    ${all && !places.length ? html`<${Empty} icon="box" title="No device has sent its location">
        <p>A runtime appears here when <code>DEVICE_INFO.GEOGRAPHIC_LOCATION</code> holds coordinates, such as <code>40.4168, -3.7038</code>.</p><//>`
      : html`<div class="card big-map"><${WorldMap} places=${places} /></div>
        <ul class="places card" ref=${list}>${listed.slice(0, MAX_LISTED).map((runtime) => {
          const { latitude, longitude } = placeOf(runtime);
          return html`<li><a href=${toRuntime(runtime.ID)} title=${runtime.NAME}>${shortName(runtime.NAME)}</a>
            <span class="quiet">${latitude}, ${longitude}</span><${Status} state=${stateOf(runtime)} /></li>`;
        })}
        ${listed.length > MAX_LISTED && html`<li class="quiet">and ${listed.length - MAX_LISTED} more</li>`}</ul>`}
  </main>`;
}
