// Which field of a form an error of the engine refers to. Pure.

const RUNTIME_PREFIX = "SERVERLESS_RUNTIME.";

/** The engine's messages begin with the path of the member, as in `LEASE.TTL: …`. */
export function fieldOf(error, paths) {
  const detail = error.detail.startsWith(RUNTIME_PREFIX)
    ? error.detail.slice(RUNTIME_PREFIX.length)
    : error.detail;
  return paths.find((path) => detail.startsWith(`${path}:`)) || null;
}
