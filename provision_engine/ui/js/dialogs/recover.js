// Recover what failed.
import { html, useState } from "../html.js";
import { recover } from "../actions.js";
import { shortName } from "../format.js";
import { notify } from "../messages.js";
import { toRuntime } from "../router.js";
import { detailOf, functions, reasonOf } from "../states.js";
import { Dialog } from "../parts/dialog.js";

export function RecoverDialog({ runtime }) {
  const [mustReplace, setReplace] = useState(false);
  const failed = functions(runtime).find((it) => it.STATE === "ERROR");

  async function act() {
    await recover(runtime.ID, mustReplace);
    notify(`${shortName(runtime.NAME)} is being recovered`, { href: toRuntime(runtime.ID) });
  }
  return html`<${Dialog} title="Recover ${shortName(runtime.NAME)}" act=${act} submit="Recover" busyText="Recovering…">
    ${failed && html`<p><strong>${reasonOf(failed)}</strong>${detailOf(failed) !== reasonOf(failed) && html`<br /><span class="quiet">${detailOf(failed)}</span>`}</p>`}
    <p>Its VM is resumed or started again if possible; otherwise a new VM replaces it. Id and name stay the same.</p>
    ${runtime.DAAS && html`<label class="check"><input type="checkbox" name="replace" checked=${mustReplace} onChange=${(event) => setReplace(event.target.checked)} />
      <span>Also replace the data VM<span class="hint">What is on its disk is lost.</span></span></label>`}
  <//>`;
}
