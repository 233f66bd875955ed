// The curl command of each action.
import { html, useState } from "../html.js";
import { commands } from "../curl.js";
import { session } from "../session.js";
import { useStore } from "../store.js";
import { CopyButton } from "./basics.js";

export function Commands({ runtime }) {
  const { user } = useStore(session);
  const [name, setName] = useState("Read");
  const all = commands(runtime, user, location.origin);
  const shown = all.find((command) => command.name === name);
  return html`<section class="card" aria-labelledby="commands-title"><header><h2 id="commands-title">From a shell</h2></header>
    <div class="tabs" role="group" aria-label="Command">${all.map((command) => html`<button type="button" class="tab"
      aria-pressed=${command.name === name} onClick=${() => setName(command.name)}>${command.name}</button>`)}</div>
    <div class="code-box"><pre tabindex="0" role="region" aria-label="Command"><code>${shown.text}</code></pre><${CopyButton} text=${shown.text} label="Copy the command" /></div>
  </section>`;
}
