// Small components that all views use.
import { html, useEffect, useRef, useState } from "../html.js";
import { announce } from "../messages.js";
import { STATES } from "../states.js";
import { Icon } from "./icons.js";

export function Status({ state }) {
  const { label, tone } = STATES[state] || { label: state, tone: "idle" };
  return html`<span class="status ${tone}"><span class="dot"></span>${label}</span>`;
}

/** The heading of a view: focused when the view opens, so that screen readers start there. */
export function Title({ text, children }) {
  const heading = useRef();
  useEffect(() => {
    document.title = `${text} · Provisioning Engine`;
  }, [text]);
  useEffect(() => heading.current.focus({ preventScroll: true }), []);
  return html`<h1 ref=${heading} tabindex="-1" title=${text}>${children || text}</h1>`;
}

export function CopyButton({ text, label }) {
  const [isCopied, setCopied] = useState(false);
  async function copy(event) {
    event.stopPropagation();
    await copyText(text);
    announce("Copied");
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  }
  return html`<button type="button" class="icon-button small" onClick=${copy}
    title=${isCopied ? "Copied" : label} aria-label=${label}>
    <${Icon} name=${isCopied ? "check" : "copy"} /></button>`;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS a page may not use the clipboard by itself, but may copy a selection.
    const field = document.createElement("textarea");
    field.value = text;
    (document.querySelector("dialog[open]") || document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}

export function Meter({ label, used, limit, format = String }) {
  const share = limit === null ? null : Math.min(1, limit > 0 ? used / limit : 1);
  const tone = share === null || share < 0.8 ? "" : share < 1 ? "near" : "full";
  return html`<div class="meter ${tone}">
    <span class="meter-label">${label}</span>
    <span class="meter-value">${format(used)}${limit !== null && html`<span class="limit"> of ${format(limit)}</span>`}</span>
    ${share !== null && html`<span class="track"><span class="fill" style=${{ width: `${share * 100}%` }}></span></span>`}
  </div>`;
}

export function Empty({ icon, title, children }) {
  return html`<div class="empty"><span class="empty-icon"><${Icon} name=${icon} /></span>
    <h2>${title}</h2>${children}</div>`;
}

/** A button that shows when its action is in progress. */
export function BusyButton({ isBusy, busyText, children, ...rest }) {
  return html`<button ...${rest} disabled=${rest.disabled || isBusy} aria-busy=${isBusy}>
    ${isBusy ? html`<span class="spinner"></span>${busyText}` : children}</button>`;
}
