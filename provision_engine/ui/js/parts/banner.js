// Warns that the page is not up to date: the backend is down, or slow to respond.
import { html } from "../html.js";
import { connection } from "../connection.js";
import { duration } from "../format.js";
import { useStore } from "../store.js";
import { useNow } from "../clock.js";
import { Icon } from "./icons.js";

const SLOW_MS = 4000;

export function Banner() {
  const { askedAt, freshAt, failure } = useStore(connection);
  const now = useNow();
  const isSlow = askedAt !== null && now - askedAt > SLOW_MS;
  if (!failure && !isSlow) return null;
  const old = freshAt ? ` What is shown is ${duration((now - freshAt) / 1000)} old.` : "";
  const waited = isSlow ? `No response for ${duration((now - askedAt) / 1000)}` : "";
  const title = failure ? failure.title : waited;
  return html`<section class="banner ${failure ? "bad" : "busy"}" id="banner" aria-label="Connection">
    <${Icon} name="warn" />
    <p><strong role="alert">${title}.</strong> <span>${failure && failure.detail ? `${end(failure.detail)} ` : ""}${old} ${failure ? "Trying again." : "Still waiting."}</span></p>
  </section>`;
}

const end = (text) => (/[.!?]\s*$/.test(text) ? text : `${text}.`);
