// The sequence of the list: what failed is first, then the newest, or by a column. Pure.
import { functions, severityOf, stateOf } from "./states.js";

const KEYS = {
  name: (runtime) => runtime.NAME,
  owner: (runtime) => runtime.OWNER || "",
  state: (runtime) => severityOf(runtime),
  size: (runtime) => functions(runtime).reduce((sum, it) => sum + it.MEMORY, 0),
  lease: (runtime) => Date.parse((runtime.LEASE || {}).EXPIRES) || Infinity,
  age: (runtime) => -runtime.ID,
};
const failedFirst = (runtime) => (stateOf(runtime) === "ERROR" ? 0 : 1);

/** Of runtimes that are newest first. `sort` names a column, with "-" in front for descending. */
export function sorted(runtimes, sort = "") {
  const [sign, column] = sort.startsWith("-") ? [-1, sort.slice(1)] : [1, sort];
  const key = KEYS[column] || failedFirst;
  const keyed = runtimes.map((runtime) => ({ runtime, value: key(runtime) }));
  return keyed.sort((one, other) => sign * compare(one.value, other.value)).map(({ runtime }) => runtime);
}

function compare(one, other) {
  if (typeof one === "string") return one.localeCompare(other, "en", { numeric: true });
  return one === other ? 0 : one < other ? -1 : 1;
}

/** The sort that follows when a column's header is pressed: ascending, descending, none. */
export function nextSort(sort, column) {
  return { [column]: `-${column}`, [`-${column}`]: "" }[sort] ?? column;
}
