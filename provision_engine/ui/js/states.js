// The meaning of states and reasons: tables by the engine's codes. Pure.

export const ROLES = ["FAAS", "DAAS"];
export const ROLE_NAMES = { FAAS: "Function", DAAS: "Data" };

export const STATES = {
  RUNNING: { label: "Running", tone: "good" },
  PENDING: { label: "Pending", tone: "busy" },
  UPDATING: { label: "Updating", tone: "change" },
  SUSPENDED: { label: "Suspended", tone: "idle" },
  ERROR: { label: "Error", tone: "bad" },
};

// The state of a runtime is the first of these that one of its functions has.
const WORST_FIRST = ["ERROR", "PENDING", "UPDATING", "SUSPENDED", "RUNNING"];

const REASONS = {
  ORDERED: "Ordered",
  DEPLOYING: "Being deployed",
  REPLACING: "A new VM takes its place",
  WAITING: "Waiting for its turn",
  NO_MATCHING_HOST: "No host satisfies its requirements",
  NO_CAPACITY: "Waiting for free capacity",
  HELD: "Held back in OpenNebula",
  CLONING: "Cloning disks",
  TRANSFER: "Copying disks to the host",
  BOOT: "Booting",
  NOT_READY: "Booted, not ready yet",
  NOT_ANSWERING: "Booted, not answering yet",
  CHANGING: "Being changed",
  SUSPENDED: "Suspended",
  STOPPED: "Stopped outside the engine",
  POWERED_OFF: "Powered off outside the engine",
  UNDEPLOYED: "Undeployed outside the engine",
  BOOT_FAILED: "Failed to boot",
  TRANSFER_FAILED: "Disks could not be copied",
  UNREACHABLE: "Host unreachable, or the VM crashed",
  FAILED: "Failed",
  QUOTA: "The quota is used up",
  DEPLOY_FAILED: "Deployment failed",
  SERVICE_GONE: "Its service no longer exists",
  GONE: "Its VM no longer exists",
  ENDING: "Being removed",
};

// The step of a create in which a function with this reason is.
const STEPS_OF_REASONS = {
  ORDERED: "ORDER", DEPLOYING: "ORDER", REPLACING: "ORDER", WAITING: "SCHEDULE", NO_MATCHING_HOST: "SCHEDULE",
  NO_CAPACITY: "SCHEDULE", HELD: "SCHEDULE", CLONING: "SCHEDULE", TRANSFER: "COPY",
  BOOT: "BOOT", NOT_READY: "READY", NOT_ANSWERING: "READY",
};

const WAITING_FOR_HOST = ["WAITING", "NO_MATCHING_HOST", "NO_CAPACITY"];

export function roles(runtime) {
  return ROLES.filter((role) => runtime[role]);
}

export function functions(runtime) {
  return roles(runtime).map((role) => runtime[role]);
}

export function stateOf(runtime) {
  const states = functions(runtime).map((it) => it.STATE);
  return WORST_FIRST.find((state) => states.includes(state)) || states[0];
}

/** 0 for the worst state. */
export function severityOf(runtime) {
  return WORST_FIRST.indexOf(stateOf(runtime));
}

export function isMoving(runtime) {
  return ["PENDING", "UPDATING"].some((state) => functions(runtime).some((it) => it.STATE === state));
}

export function flavourOf(runtime) {
  return functions(runtime).map((it) => it.FLAVOUR).join("-");
}

/** Why a function is not running, in a few words; empty while it runs. */
export function reasonOf(it) {
  if (it.STATE === "RUNNING") return "";
  if (it.STATE === "ERROR" && it.REASON_CODE === "SUSPENDED") return "Suspended outside the engine";
  return REASONS[it.REASON_CODE] || detailOf(it);
}

/** The engine's own text about it. */
export function detailOf(it) {
  return it.ERROR || it.REASON || "";
}

/** Will a function never start as it is, however long one waits? */
export function canNeverStart(it) {
  return it.STATE === "PENDING" && it.REASON_CODE === "NO_MATCHING_HOST";
}

/** The step of the create in which a function is; null if the engine does not report it. */
export function stepOf(it) {
  if (it.STATE === "PENDING") return STEPS_OF_REASONS[it.REASON_CODE] || null;
  return it.STATE === "RUNNING" ? "RUNNING" : it.STATE;
}

/** Is every function that does not run waiting for a host? Then other requirements may help. */
function isWaitingForHost(runtime) {
  return functions(runtime).every((it) => it.STATE === "RUNNING" || WAITING_FOR_HOST.includes(it.REASON_CODE));
}

/** Which changes the engine accepts now, and why not the others. */
export function abilities(runtime) {
  const state = stateOf(runtime);
  const moving = isMoving(runtime) ? "Wait until no function is pending or updating" : "";
  const failed = state === "ERROR" ? "Recover the runtime first" : "";
  const suspended = state === "SUSPENDED" ? "Resume the runtime first" : "";
  return {
    resize: moving || failed || suspended,
    lease: failed,
    edit: failed || suspended || (isWaitingForHost(runtime) ? "" : moving),
    suspend: moving || failed || suspended,
    resume: state === "SUSPENDED" ? "" : "Only a suspended runtime can be resumed",
    recover: state === "ERROR" ? "" : "Only a runtime in error needs this",
  };
}
