// Numbers and times as people read them. Pure.

const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/i;
const UUID_SHOWN = 8;

/** Seconds in the largest unit, or the two largest: `42s`, `5m`, `1h 12m`, `3d 4h`. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const index = Math.max(0, UNITS.findIndex(([, size]) => whole >= size));
  if (whole === 0) return "0s";
  const [unit, size] = UNITS[index];
  const rest = whole % size;
  const [smaller, smallerSize] = UNITS[index + 1] || ["", Infinity];
  const second = Math.floor(rest / smallerSize);
  const isExact = unit === "m" && whole >= 600;
  return second && !isExact ? `${Math.floor(whole / size)}${unit} ${second}${smaller}` : `${Math.floor(whole / size)}${unit}`;
}

/** Seconds in the largest unit only: `42s`, `5m`, `1h`, `3d`. */
export function age(seconds) {
  return duration(seconds).split(" ")[0];
}

/** Milliseconds to a tenth of a second, if that is meaningful. */
export function precise(ms) {
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)}s` : duration(ms / 1000);
}

/** Milliseconds that are known to the second only: `<1s`, `4s`. */
export function coarse(ms) {
  return ms < 1000 ? "<1s" : duration(ms / 1000);
}

/** `128 MB`, `1 GB`, `1.5 GB`, `2 TB`. */
export function megabytes(mb) {
  if (mb < 1024) return `${mb} MB`;
  const [size, unit] = mb < 1024 * 1024 ? [mb / 1024, "GB"] : [mb / 1024 / 1024, "TB"];
  return `${Number(size.toFixed(1))} ${unit}`;
}

/** `1 CPU · 128 MB · 1 GB`. */
export function sizes({ CPU, MEMORY, DISK_SIZE }) {
  return `${CPU} CPU · ${megabytes(MEMORY)} · ${megabytes(DISK_SIZE)}`;
}

/** A name with its UUID, if it contains one, shortened. */
export function shortName(name) {
  return name.replace(UUID, (uuid) => `${uuid.slice(0, UUID_SHOWN)}…`);
}

/** Seconds from a time (RFC 3339) until now; null without one. */
export function secondsSince(time, now = Date.now()) {
  return time ? (now - Date.parse(time)) / 1000 : null;
}

/** A time in the user's time zone. */
export function moment(time) {
  return new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

export function clock(time) {
  return new Date(time).toLocaleTimeString(undefined, { timeStyle: "medium" });
}

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}
