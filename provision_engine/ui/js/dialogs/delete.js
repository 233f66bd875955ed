// Delete a runtime, after a confirmation.
import { html } from "../html.js";
import { destroy } from "../actions.js";
import { shortName } from "../format.js";
import { notify } from "../messages.js";
import { go, route } from "../router.js";
import { Dialog } from "../parts/dialog.js";

export function DeleteDialog({ runtime }) {
  async function act() {
    await destroy(runtime.ID);
    notify(`${shortName(runtime.NAME)} is deleted`);
    if (route.get().view === "runtime") go("#/");
  }
  return html`<${Dialog} title="Delete ${shortName(runtime.NAME)}?" act=${act} submit="Delete" busyText="Deleting…" cancel="Keep" isDangerous>
    <p><strong class="wrap">${runtime.NAME}</strong> (${runtime.ID}) is removed with its VMs and everything on their disks.</p>
  <//>`;
}
