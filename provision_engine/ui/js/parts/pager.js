// The shown page of the list, and links to the others.
import { html } from "../html.js";
import { Icon } from "./icons.js";

export function Pager({ page, pages, size, count, go }) {
  const first = (page - 1) * size + 1, last = Math.min(count, page * size);
  return html`<nav class="pager" aria-label="Pages">
    <span>${first.toLocaleString("en")}–${last.toLocaleString("en")} of ${count.toLocaleString("en")}</span>
    ${pages > 1 && html`<button type="button" class="plain small" disabled=${page === 1} onClick=${() => go(page - 1)}><${Icon} name="left" />Previous</button>
      <button type="button" class="plain small" disabled=${page === pages} onClick=${() => go(page + 1)}>Next<${Icon} name="right" /></button>`}
  </nav>`;
}
