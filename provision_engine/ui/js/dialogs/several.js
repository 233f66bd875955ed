// Change several runtimes at once, after a confirmation.
import { html, useState } from "../html.js";
import { actOnAll, destroy, recover, resume, suspend } from "../actions.js";
import { plural, shortName } from "../format.js";
import { notify, notifyError } from "../messages.js";
import { Dialog } from "../parts/dialog.js";

const NAMES_SHOWN = 6;
const ACTIONS = {
  suspend: { act: suspend, verb: "Suspend", done: "suspended", text: "Their VMs keep disks and addresses, and use no CPU and memory:" },
  resume: { act: resume, verb: "Resume", done: "resumed", text: "Their VMs run again:" },
  recover: { act: (id) => recover(id), verb: "Recover", done: "recovered",
    text: "Their VMs are resumed or started again if possible; otherwise new VMs replace them:" },
  delete: { act: destroy, verb: "Delete", done: "deleted", text: "They are removed with their VMs and everything on the disks:", isDangerous: true },
};

export function SeveralDialog({ action, runtimes, onDone }) {
  const [doneCount, setDone] = useState(0);
  const { act, verb, done, text, isDangerous } = ACTIONS[action];

  async function actAndReport() {
    const failures = await actOnAll(act, runtimes, setDone);
    const count = runtimes.length - failures.length;
    if (count) notify(`${plural(count, "runtime")} ${isDangerous ? "" : "being "}${done}`);
    for (const { runtime, error } of failures) notifyError(`${shortName(runtime.NAME)} is not ${done}`, error);
    onDone();
  }
  return html`<${Dialog} title="${verb} ${plural(runtimes.length, "runtime")}?" act=${actAndReport} submit="${verb} ${runtimes.length}"
    busyText="${doneCount} of ${runtimes.length}…" cancel=${isDangerous ? "Keep" : "Cancel"} isDangerous=${isDangerous}>
    <p>${text}</p>
    <ul class="names">${runtimes.slice(0, NAMES_SHOWN).map((runtime) => html`<li>${shortName(runtime.NAME)} <span class="quiet">${runtime.ID}</span></li>`)}
      ${runtimes.length > NAMES_SHOWN && html`<li class="quiet">and ${plural(runtimes.length - NAMES_SHOWN, "other")}</li>`}</ul>
  <//>`;
}
