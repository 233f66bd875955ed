// HTTP calls to the engine that served this page, with the user's own credentials.

export const RUNTIMES = "/serverless-runtimes";
export const RUNTIME = "SERVERLESS_RUNTIME";

const TIMEOUT_MS = 60_000;
const RETRYABLE = [0, 423, 429, 502, 503, 504];

export class ApiError extends Error {
  /** `status` is 0 without a response. `title` and `detail` are the engine's own texts. */
  constructor(status, title, detail = "", retryAfterSeconds = null) {
    super(detail ? `${title}: ${detail}` : title);
    Object.assign(this, { status, title, detail, retryAfterSeconds });
  }

  /** Can the same request succeed later? */
  get isRetryable() {
    return RETRYABLE.includes(this.status);
  }

  /** May the request have been carried out, although it failed here? */
  get isUncertain() {
    return [0, 502, 504].includes(this.status);
  }
}

export function basicAuthorization(user, password) {
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

/** A client with these credentials (none for calls without login). */
export function createClient(authorization = null) {
  /** Returns {status, data, headers}. Raises ApiError. */
  async function call(method, path, { body, headers = {}, timeoutMs = TIMEOUT_MS } = {}) {
    const options = { method, headers: { ...headers }, cache: "no-store", credentials: "omit" };
    if (authorization) options.headers.Authorization = authorization;
    if (body !== undefined) {
      options.headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(body);
    }
    const response = await send(path, options, timeoutMs);
    if (response.status === 304) return { status: 304, data: null, headers: response.headers };
    if (!response.ok) throw await toError(response);
    const data = response.status === 204 ? null : await response.json();
    return { status: response.status, data, headers: response.headers };
  }
  return { call, get: async (path, options) => (await call("GET", path, options)).data };
}

async function send(path, options, timeoutMs) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), timeoutMs);
  try {
    return await fetch(path, { ...options, signal: abort.signal });
  } catch {
    const text = abort.signal.aborted ? "The engine did not respond" : "The engine cannot be reached";
    throw new ApiError(0, text);
  } finally {
    clearTimeout(timer);
  }
}

async function toError(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  try {
    const { error, message } = await response.json();
    return new ApiError(response.status, error, toText(message), retryAfter);
  } catch {
    // Not JSON, so not from the engine: a proxy in front of it.
    return new ApiError(response.status, `${response.status} ${response.statusText}`, "", retryAfter);
  }
}

/** The text of an error's message: a string, an object, or the log of a oneflow service. */
export function toText(message) {
  if (typeof message === "string") return message;
  if (Array.isArray(message)) {
    const errors = message.filter((entry) => entry.severity === "E");
    return (errors.length ? errors : message).map((entry) => entry.message || "").join("\n");
  }
  return Object.entries(message || {})
    .map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join("\n");
}

/** The target of a Link header's rel="next", or null. */
export function nextLink(headers) {
  const found = /<([^>]+)>\s*;\s*rel="?next"?/.exec(headers.get("Link") || "");
  return found ? found[1] : null;
}
