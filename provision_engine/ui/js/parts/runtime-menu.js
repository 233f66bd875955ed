// The actions of one runtime: the same in the list and on its own page.
import { resume, suspend } from "../actions.js";
import { openDialog } from "../dialogs.js";
import { shortName } from "../format.js";
import { notify, notifyError } from "../messages.js";
import { go, toRuntime } from "../router.js";
import { abilities, stateOf } from "../states.js";

export function itemsFor(runtime, isOnOwnPage = false) {
  const can = abilities(runtime), state = stateOf(runtime);
  const dialogItem = (label, icon, kind, whyNot) => ({ label, icon, whyNot, act: () => openDialog(kind, { runtime }) });
  return [
    !isOnOwnPage && { label: "Open", icon: "right", act: () => go(toRuntime(runtime.ID)) },
    dialogItem("Resize…", "resize", "resize", can.resize),
    runtime.LEASE && dialogItem("Renew lease…", "clock", "lease", can.lease),
    !runtime.LEASE && dialogItem("Set a lease…", "clock", "lease", can.lease),
    dialogItem("Edit…", "edit", "edit", can.edit),
    state === "SUSPENDED"
      ? { label: "Resume", icon: "play", act: () => run(resume, runtime, "is being resumed") }
      : { label: "Suspend", icon: "pause", whyNot: can.suspend, act: () => run(suspend, runtime, "is being suspended") },
    state === "ERROR" && dialogItem("Recover…", "retry", "recover", ""),
    { ...dialogItem("Delete…", "trash", "delete", ""), isDangerous: true },
  ].filter(Boolean);
}

async function run(action, runtime, done) {
  const name = shortName(runtime.NAME);
  try {
    await action(runtime.ID);
    notify(`${name} ${done}`, { href: toRuntime(runtime.ID) });
  } catch (error) {
    notifyError(`${name}: that did not work`, error);
  }
}
