// Messages that stay visible whatever view is shown.
import { html } from "../html.js";
import { announcement, dismiss, toasts } from "../messages.js";
import { useStore } from "../store.js";
import { Icon } from "./icons.js";

export function Toasts() {
  const shown = useStore(toasts), said = useStore(announcement);
  return html`<div class="toasts" role="status" aria-live="polite">
      ${shown.map((toast) => html`<div key=${toast.id} class="toast ${toast.isError ? "bad" : "good"}">
        <${Icon} name=${toast.isError ? "warn" : "check"} />
        <div class="toast-text"><p>${toast.text}</p>${toast.detail && html`<p class="quiet">${toast.detail}</p>`}</div>
        ${toast.href && html`<a href=${toast.href} onClick=${() => dismiss(toast.id)}>${toast.link}</a>`}
        <button type="button" class="icon-button small" aria-label="Dismiss" onClick=${() => dismiss(toast.id)}><${Icon} name="close" /></button>
      </div>`)}
    </div>
    <p class="unseen" role="status" aria-live="polite">${said}</p>`;
}
