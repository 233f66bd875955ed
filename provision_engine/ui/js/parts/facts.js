// Scheduling, and the device's information about itself.
import { html } from "../html.js";
import { openDialog } from "../dialogs.js";
import { abilities } from "../states.js";

const LABELS = {
  POLICY: "Policy", REQUIREMENTS: "Requirements", LATENCY_TO_PE: "Latency to the engine", GEOGRAPHIC_LOCATION: "Location",
};

export function Facts({ runtime }) {
  const { SCHEDULING = {}, DEVICE_INFO = {} } = runtime;
  const whyNot = abilities(runtime).edit;
  return html`<section class="card" aria-labelledby="facts-title">
    <header><h2 id="facts-title">Scheduling and device</h2>
      <button type="button" class="link" disabled=${Boolean(whyNot)} title=${whyNot} onClick=${() => openDialog("edit", { runtime })}>Edit</button></header>
    <dl class="facts">
      <${Fact} name="POLICY" value=${SCHEDULING.POLICY} isCode />
      <${Fact} name="REQUIREMENTS" value=${SCHEDULING.REQUIREMENTS} isCode />
      ${Object.entries(DEVICE_INFO).map(([name, value]) => html`<${Fact} name=${name} value=${name === "LATENCY_TO_PE" ? `${value} s` : value} />`)}
      <${Fact} name="Service" value=${runtime.SERVICE_ID} />
    </dl>${whyNot && html`<p class="hint">To edit: ${whyNot.toLowerCase()}.</p>`}</section>`;
}

function Fact({ name, value, isCode }) {
  const shown = value === undefined || value === "" ? html`<span class="quiet">–</span>` : isCode ? html`<code>${value}</code>` : String(value);
  return html`<div><dt>${LABELS[name] || name}</dt><dd>${shown}</dd></div>`;
}
