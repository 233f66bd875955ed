// The bar at the top: views, theme, the user.
import { html, useState } from "../html.js";
import { openDialog } from "../dialogs.js";
import { route } from "../router.js";
import { logOut, session } from "../session.js";
import { useStore } from "../store.js";
import { chosen, toggle } from "../theme.js";
import { Icon } from "./icons.js";

const VIEWS = [["list", "#/", "Runtimes"], ["flavours", "#/flavours", "Flavours"], ["map", "#/map", "Map"]];

export function Header({ version }) {
  const { user } = useStore(session);
  const { view } = useStore(route);
  const current = view === "runtime" ? "list" : view;
  return html`<header class="top">
    <a class="brand" href="#/"><img src="/ui/icon.svg" alt="" width="28" height="28" />
      <span class="brand-name">Provisioning Engine</span> <span class="version">${version}</span></a>
    ${user && html`<nav aria-label="Views">${VIEWS.map(([name, href, text]) => html`
      <a href=${href} aria-current=${name === current ? "page" : undefined}>${text}</a>`)}</nav>`}
    <div class="top-end">
      <a class="api-link" href="/docs">API</a>
      ${user && html`<button type="button" class="icon-button keys" aria-label="Keys" title="Keys (?)" onClick=${() => openDialog("shortcuts")}>?</button>`}
      <${ThemeButton} />
      ${user && html`<span class="user" title="Logged in as ${user}">${user}</span>
        <button type="button" class="plain small" id="logout" onClick=${() => logOut()}>Log out</button>`}
    </div>
  </header>`;
}

function ThemeButton() {
  const [theme, setTheme] = useState(chosen());
  const label = `Theme: ${theme}`;
  return html`<button type="button" class="icon-button" aria-label=${label} title=${label}
    onClick=${() => setTheme(toggle())}><${Icon} name=${theme} /></button>`;
}
