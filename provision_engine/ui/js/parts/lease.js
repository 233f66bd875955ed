// The remaining time of a lease.
import { html } from "../html.js";
import { duration, secondsSince } from "../format.js";

/** Seconds until the lease ends; null without an end. */
export function secondsLeft(runtime, now) {
  const since = secondsSince((runtime.LEASE || {}).EXPIRES, now);
  return since === null ? null : -since;
}

export function leaseText(runtime, now) {
  if (!runtime.LEASE) return html`<span class="quiet">None</span>`;
  const left = secondsLeft(runtime, now);
  if (left === null) return html`${duration(runtime.LEASE.TTL)}`;
  if (left <= 0) return html`<span class="bad-text">Over</span>`;
  return html`<span class=${isEnding(runtime, left) ? "bad-text" : ""}>${duration(left)} left</span>`;
}

/** The last tenth, and no more than an hour. */
export function isEnding(runtime, left) {
  return left < Math.min(3600, runtime.LEASE.TTL / 10);
}
