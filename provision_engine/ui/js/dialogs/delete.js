// Delete one runtime or many, after a confirmation.
import { html, useState } from "../html.js";
import { destroy, destroyAll } from "../actions.js";
import { plural, shortName } from "../format.js";
import { notify, notifyError } from "../messages.js";
import { go, route } from "../router.js";
import { Dialog } from "../parts/dialog.js";

const NAMES_SHOWN = 6;

export function DeleteDialog({ runtimes, onDone = () => {} }) {
  const [doneCount, setDone] = useState(0);
  const [only] = runtimes, isOne = runtimes.length === 1;

  async function act() {
    if (isOne) await destroy(only.ID);
    else report(await destroyAll(runtimes, setDone));
    if (isOne) notify(`${shortName(only.NAME)} is deleted`);
    if (route.get().view === "runtime") go("#/");
    onDone();
  }
  function report(failures) {
    const count = runtimes.length - failures.length;
    if (count) notify(`${plural(count, "runtime")} deleted`);
    for (const { runtime, error } of failures) notifyError(`${shortName(runtime.NAME)} is not deleted`, error);
  }
  return html`<${Dialog} title=${isOne ? `Delete ${shortName(only.NAME)}?` : `Delete ${plural(runtimes.length, "runtime")}?`} act=${act}
    submit=${isOne ? "Delete" : `Delete ${runtimes.length}`} busyText=${isOne ? "Deleting…" : `${doneCount} of ${runtimes.length}…`} cancel="Keep" isDangerous>
    ${isOne ? html`<p><strong class="wrap">${only.NAME}</strong> (${only.ID}) is removed with its VMs and everything on their disks.</p>`
      : html`<p>They are removed with their VMs and everything on the disks:</p>
        <ul class="names">${runtimes.slice(0, NAMES_SHOWN).map((runtime) => html`<li>${shortName(runtime.NAME)} <span class="quiet">${runtime.ID}</span></li>`)}
          ${runtimes.length > NAMES_SHOWN && html`<li class="quiet">and ${plural(runtimes.length - NAMES_SHOWN, "other")}</li>`}</ul>`}
  <//>`;
}
