// The flavours that the user can deploy, and what prevents the others.
import { html, useEffect, useState } from "../html.js";
import { openDialog } from "../dialogs.js";
import { sizes } from "../format.js";
import { refreshFlavours, session } from "../session.js";
import { ROLE_NAMES, ROLES } from "../states.js";
import { useStore } from "../store.js";
import { Empty, Title } from "../parts/basics.js";
import { Icon } from "../parts/icons.js";

export function Flavours() {
  const { flavours } = useStore(session);
  const [failure, setFailure] = useState(null);
  useEffect(() => {
    refreshFlavours().then(() => setFailure(null), setFailure);
  }, []);
  return html`<main><div class="title-row"><${Title} text="Flavours" /></div>
    <p class="quiet lead">The flavours of your user, with their default sizes.</p>
    ${failure && html`<p class="error" role="alert">${failure.message}</p>`}
    ${flavours.length ? html`<ul class="flavours">${sorted(flavours).map((flavour) => html`<${Flavour} flavour=${flavour} />`)}</ul>`
      : html`<${Empty} icon="box" title="No flavours"><p>No flow template is shared with your user. Ask the operator of this cloud.</p><//>`}
  </main>`;
}

const sorted = (flavours) => [...flavours].sort((one, other) => other.DEPLOYABLE - one.DEPLOYABLE);

function Flavour({ flavour }) {
  const { FLAVOURS, FLOW_TEMPLATE, OWNER, DEPLOYABLE, FINDINGS } = flavour;
  return html`<li class="card flavour">
    <header><h2>${FLAVOURS}</h2>${DEPLOYABLE
      ? html`<button type="button" class="plain small" aria-label="Create ${FLAVOURS}" onClick=${() => openDialog("create", { flavour: FLAVOURS })}><${Icon} name="plus" />Create</button>`
      : html`<span class="status bad"><span class="dot"></span>Not deployable</span>`}</header>
    <dl class="facts">${ROLES.filter((role) => flavour[role]).map((role) => html`<div><dt>${ROLE_NAMES[role]}</dt><dd>${sizes(flavour[role])}</dd></div>`)}
      <div><dt>Flow template</dt><dd>${FLOW_TEMPLATE}${OWNER && html` of ${OWNER}`}</dd></div></dl>
    ${FINDINGS.map(({ TEXT, HINT, FATAL }) => html`<div class="finding ${FATAL ? "bad" : "busy"}"><${Icon} name="warn" /><p>${TEXT}<span class="quiet">${HINT}</span></p></div>`)}
  </li>`;
}
