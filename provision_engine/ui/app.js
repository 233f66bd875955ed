// The page for a person. It asks the same API as any device, with the user's own credentials,
// which are kept in a variable of this page and nowhere else.
"use strict";

const LOOK_MS = 2000;            // between looks at all runtimes
const WATCH_MS = 300;            // between looks at a runtime that this page has created
const RUNTIMES = "/serverless-runtimes";
const ROLES = ["FAAS", "DAAS"];
const SIZES = [["CPU", "Cores"], ["MEMORY", "Memory, MB"], ["DISK_SIZE", "Disk, MB"]];

let authorization = null;        // of the user who is logged in
let flavours = [];
let timer = null;
let lookNumber = 0;              // answers that were overtaken by newer ones are dropped
const rows = new Map();          // runtime id → what is shown of it
const observed = new Map();      // runtime id → the steps of a create that this page has seen

const $ = (id) => document.getElementById(id);

// ---- small helpers ---------------------------------------------------------------------

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;  // spares screen readers
}

function show(element, text) {
  setText(element, text || "");
  element.hidden = !text;
}

function tell(text) {
  $("news").textContent = text;
}

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

function precise(ms) {
  return ms < 10000 ? `${(ms / 1000).toFixed(1)} s` : duration(ms / 1000);
}

// ---- the API ---------------------------------------------------------------------------

class Failure extends Error {
  constructor(status, text, retryable) {
    super(text);
    this.status = status;
    this.retryable = retryable;
  }
}

async function ask(method, path, body, headers = {}) {
  const options = { method, headers: { ...headers }, cache: "no-store", credentials: "omit" };
  if (authorization) options.headers.Authorization = authorization;
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Failure(0, "The engine cannot be reached.", true);
  }
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  throw await failure(answer);
}

async function failure(answer) {
  let text = `${answer.status} ${answer.statusText}`;
  try {
    const told = await answer.json();
    text = `${told.error}: ${explained(told.message)}`;
  } catch {
    // No JSON: not from the engine, and so the status has to do.
  }
  return new Failure(answer.status, text, [429, 502, 503, 504].includes(answer.status));
}

function explained(message) {
  if (typeof message === "string") return message;
  if (Array.isArray(message)) {
    const errors = message.filter((entry) => entry.severity === "E");
    return (errors.length ? errors : message).map((entry) => entry.message || "").join("\n");
  }
  return Object.entries(message).map(([name, text]) => `${name}: ${typeof text === "string" ? text : JSON.stringify(text)}`).join("\n");
}

function basic(user, password) {
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

// ---- logging in and out ----------------------------------------------------------------

async function login(event) {
  event.preventDefault();
  const user = $("login-user").value, password = $("login-password");
  const button = event.submitter || $("login-form").querySelector("button");
  button.disabled = true;
  show($("login-error"), "");
  authorization = basic(user, password.value);
  try {
    flavours = await ask("GET", "/flavours");
  } catch (error) {
    authorization = null;
    show($("login-error"), error.status === 401 ? "OpenNebula does not know this user and password." : error.message);
    password.select();
    password.focus();
    return;
  } finally {
    button.disabled = false;
  }
  password.value = "";
  setText($("user"), user);
  $("login").hidden = true;
  $("work").hidden = $("session").hidden = false;
  $("main").focus();
  await look();
}

function logout(reason = "") {
  authorization = null;
  clearTimeout(timer);
  lookNumber += 1;
  for (const row of rows.values()) row.body.remove();
  rows.clear();
  observed.clear();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  $("work").hidden = $("session").hidden = true;
  $("login").hidden = false;
  show($("trouble"), "");
  show($("login-error"), reason);
  $("login-user").focus();
}

// ---- the table -------------------------------------------------------------------------

async function look() {
  clearTimeout(timer);
  const number = ++lookNumber;
  try {
    const found = await ask("GET", RUNTIMES);
    if (number !== lookNumber || !authorization) return;
    showAll(found.map((entry) => entry.SERVERLESS_RUNTIME));
    show($("trouble"), "");
    $("runtimes").classList.remove("stale");
  } catch (error) {
    if (number !== lookNumber || !authorization) return;
    if (error.status === 401) return logout("OpenNebula does not accept the password any more.");
    show($("trouble"), `${error.message.replace(/[.\s]*$/, ".")} What is shown may be old; trying again.`);
    $("runtimes").classList.add("stale");
  }
  timer = setTimeout(look, LOOK_MS);
}

function showAll(runtimes) {
  const ids = new Set(runtimes.map((runtime) => runtime.ID));
  for (const [id, row] of rows) {
    if (!ids.has(id)) {
      row.body.remove();
      rows.delete(id);
    }
  }
  for (const runtime of runtimes) showOne(runtime);
  setText($("count"), runtimes.length ? `${runtimes.length}` : "");
  $("runtimes").hidden = !runtimes.length;
  $("runtimes").parentElement.hidden = !runtimes.length;
  $("empty").hidden = runtimes.length > 0;
  showPlaces(runtimes);
}

function showOne(runtime) {
  const row = rows.get(runtime.ID) || addRow(runtime);
  const before = row.runtime;
  row.runtime = runtime;
  setText(row.name, runtime.NAME);
  row.parts.forEach((part) => showPart(part, runtime[part.role]));
  row.recover.hidden = !row.parts.some((part) => runtime[part.role].STATE === "ERROR");
  const busy = row.parts.some((part) => ["PENDING", "UPDATING"].includes(runtime[part.role].STATE));
  row.resize.disabled = busy || !row.recover.hidden;
  showClock(row);
  if (before) announce(before, runtime);
}

function announce(before, runtime) {
  for (const role of ROLES) {
    if (runtime[role] && before[role] && runtime[role].STATE !== before[role].STATE) {
      tell(`${runtime.NAME}: ${role} is ${runtime[role].STATE}`);
    }
  }
}

function addRow(runtime) {
  const row = { id: runtime.ID, name: make("strong"), parts: [], asked: null };
  const roles = ROLES.filter((role) => runtime[role]);
  row.parts = roles.map((role) => newPart(role, roles.length > 1));
  row.lease = make("span");
  row.leaseBar = make("progress", { max: 1, hidden: true });
  row.leaseBar.setAttribute("aria-hidden", "true");
  row.age = make("td", { className: "nowrap" });
  row.detail = make("td", { colSpan: 7 });
  row.times = make("tr", { className: "times", hidden: true }, row.detail);
  // One line for each function; what belongs to the runtime spans all of them.
  const spanning = (kind, ...children) => make("td", { className: kind, rowSpan: roles.length }, ...children);
  const lines = row.parts.map((part) => make("tr", {}, part.state, part.endpoint, part.size));
  lines[0].prepend(spanning("name", row.name, make("span", { className: "why" }, `${runtime.ID} · ${flavourOf(runtime)}`)));
  lines[0].append(spanning("nowrap", row.lease, row.leaseBar), row.age, spanning("", actions(row)));
  row.age.rowSpan = roles.length;
  row.body = make("tbody", {}, ...lines, row.times);
  row.body.dataset.id = runtime.ID;
  $("runtimes").append(row.body);
  rows.set(runtime.ID, row);
  learnAge(row);
  if (observed.has(runtime.ID)) toggleTimes(row, true);
  return row;
}

function flavourOf(runtime) {
  return ROLES.filter((role) => runtime[role]).map((role) => runtime[role].FLAVOUR).join("-");
}

function newPart(role, isOneOfTwo) {
  const part = { role, badge: make("span"), why: make("span", { className: "why" }) };
  const label = () => (isOneOfTwo ? [make("span", { className: "role" }, role), " "] : []);
  part.state = make("td", { className: "state" }, ...label(), part.badge, part.why);
  part.address = make("code");
  part.copy = make("button", { type: "button", className: "plain small", hidden: true }, "Copy");
  part.copy.addEventListener("click", () => copy(part.address.textContent, part.copy));
  part.endpoint = make("td", {}, make("div", { className: "endpoint" }, part.address, part.copy));
  part.size = make("td", { className: "size" });
  return part;
}

function showPart(part, seen) {
  setText(part.badge, seen.STATE);
  part.badge.className = `badge ${seen.STATE}`;
  setText(part.why, seen.ERROR || seen.REASON || "");
  setText(part.address, seen.ENDPOINT || "");
  part.copy.hidden = !seen.ENDPOINT;
  part.copy.setAttribute("aria-label", `Copy ${seen.ENDPOINT}`);
  setText(part.size, `${seen.CPU} ${seen.CPU === 1 ? "core" : "cores"}, ${seen.MEMORY} MB, disk ${seen.DISK_SIZE} MB`);
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS a page may not use the clipboard by itself; a selection may be copied.
    const field = make("textarea", { value: text });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  setText(button, "Copied");
  tell(`${text} is copied`);
  setTimeout(() => setText(button, "Copy"), 1500);
}

function actions(row) {
  const button = (text, kind, act) => {
    const made = make("button", { type: "button", className: `small ${kind}` }, text);
    made.addEventListener("click", () => act(row));
    return made;
  };
  row.timesButton = button("Times", "plain", (it) => toggleTimes(it));
  row.timesButton.setAttribute("aria-expanded", "false");
  row.resize = button("Resize", "plain", openResize);
  row.renew = button("Renew", "plain", openRenew);
  row.recover = button("Recover", "plain", recover);
  const all = [row.timesButton, row.resize, row.renew, row.recover, button("Delete", "danger", openDelete)];
  for (const made of all) made.setAttribute("aria-describedby", describe(row));
  return make("div", { className: "actions" }, ...all);
}

function describe(row) {
  row.name.id = `name-${row.id}`;
  return row.name.id;
}

function showClock(row) {
  const lease = row.runtime.LEASE, now = Date.now();
  const left = lease && lease.EXPIRES ? (Date.parse(lease.EXPIRES) - now) / 1000 : null;
  setText(row.lease, left === null ? (lease ? "begins with the VM" : "none") : left > 0 ? `${duration(left)} left` : "over");
  row.leaseBar.hidden = left === null;
  if (left !== null) row.leaseBar.value = Math.min(1, Math.max(0, left / lease.TTL));
  setText(row.age, row.asked ? duration((now - row.asked) / 1000) : "");
}

// ---- the timeline of a create ----------------------------------------------------------

const STEPS = {
  SERVICE: "service", VM: "VM", SCHEDULED: "scheduled", COPIED: "disks copied",
  BOOTED: "booted", READY: "ready",
};

// What goes on after each step.
const DOING = {
  VM: "waiting for a host", SCHEDULED: "copying disks", COPIED: "booting", BOOTED: "getting ready",
};

async function learnAge(row) {
  try {
    const told = await ask("GET", `${RUNTIMES}/${row.id}/timeline`);
    row.steps = told.STEPS;
    if (told.STEPS.length) row.asked = Date.parse(told.STEPS[0].AT);
  } catch {
    row.steps = null;  // asked again when somebody wants to see it
  }
  if (row.runtime) showClock(row);
  return row.steps;
}

async function toggleTimes(row, force) {
  const open = force === undefined ? row.times.hidden : force;
  row.times.hidden = !open;
  row.timesButton.setAttribute("aria-expanded", String(open));
  if (open) {
    if (!observed.has(row.id)) await learnAge(row);
    showTimes(row);
  }
}

function showTimes(row) {
  const seen = observed.get(row.id);
  const spans = seen ? spansSeen(seen) : spansKnown(row.steps || []);
  const total = spans.reduce((sum, span) => sum + span.ms, 0);
  const note = seen ? `${precise(total)} in all, as seen from here` : "to the second, as OpenNebula remembers it";
  const bar = make("div", { className: "bar" });
  bar.setAttribute("aria-hidden", "true");
  const list = make("ol", { className: "steps" });
  spans.forEach((span, index) => {
    const colour = span.isOpen ? "" : `c${index % 5}`;
    const piece = make("span", { className: colour });
    piece.style.flexGrow = String(span.ms || 1);
    bar.append(piece);
    list.append(make("li", { className: colour }, `${span.text} ${precise(span.ms)}`));
  });
  if (!spans.length) list.append(make("li", {}, "Nothing is known of its making."));
  list.append(make("li", { className: "quiet" }, note));
  row.detail.replaceChildren(bar, list);
}

function spansSeen(seen) {
  const spans = seen.slice(1).map((step, index) => ({ text: step.text, ms: step.at - seen[index].at }));
  if (seen.doing) spans.push({ text: `${seen.doing}…`, ms: performance.now() - seen[seen.length - 1].at, isOpen: true });
  return spans;
}

function spansKnown(steps) {
  const spans = [];
  for (let index = 1; index < steps.length; index++) {
    const role = steps[index].FUNCTION === "DAAS" ? "DAAS " : "";
    spans.push({ text: role + STEPS[steps[index].STEP], ms: Date.parse(steps[index].AT) - Date.parse(steps[index - 1].AT) });
  }
  return spans;
}

// What a function is doing, from what the engine says of it.
function phase(seen) {
  if (seen.STATE === "RUNNING") return "READY";
  if (seen.STATE !== "PENDING") return seen.STATE;
  const why = seen.REASON || "";
  if (/has not reported/.test(why)) return "BOOTED";
  if (/BOOT/.test(why)) return "COPIED";
  if (/PROLOG|LCM_INIT/.test(why)) return "SCHEDULED";
  return "VM";
}

// Looks at a new runtime until it is ready, and notes when it came how far.
async function watch(id, askedAt, answeredAt) {
  const order = ["VM", "SCHEDULED", "COPIED", "BOOTED", "READY"];
  const seen = [{ text: "asked", at: askedAt }, { text: "service and VM", at: answeredAt }];
  let reached = 0;
  observed.set(id, seen);
  while (authorization) {
    let runtime;
    try {
      runtime = (await ask("GET", `${RUNTIMES}/${id}`)).SERVERLESS_RUNTIME;
    } catch (error) {
      if (!error.retryable) return;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      continue;
    }
    const now = performance.now();
    const phases = ROLES.filter((role) => runtime[role]).map((role) => phase(runtime[role]));
    const slowest = Math.min(...phases.map((name) => order.indexOf(name)));
    if (phases.includes("ERROR")) seen.push({ text: "failed", at: now });
    else if (slowest > reached) seen.push({ text: STEPS[order[slowest]], at: now });
    reached = Math.max(reached, slowest);
    const ended = phases.includes("ERROR") || slowest === order.length - 1;
    seen.doing = ended ? null : DOING[order[reached]];
    showOne(runtime);
    const row = rows.get(id);
    if (row && !row.times.hidden) showTimes(row);
    if (ended) return;
    await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
  }
}

// ---- where the devices are -------------------------------------------------------------

// "40.4, -3.7", "40.4 -3.7", "{'lat': 40.4, 'lon': -3.7}", "POINT(-3.7 40.4)".
function coordinates(text) {
  const numbers = (text || "").match(/-?\d+(?:\.\d+)?/g);
  if (!numbers || numbers.length !== 2) return null;
  let [latitude, longitude] = numbers.map(Number);
  if (/point|lon\w*\W+-?[\d.]+.*lat/i.test(text)) [latitude, longitude] = [longitude, latitude];
  const words = text.replace(/lat(itude)?|lon(g|gitude)?|point|[\d\s.,;:°'"{}()[\]+-]/gi, "");
  if (words || Math.abs(latitude) > 90 || Math.abs(longitude) > 180) return null;
  return { latitude, longitude };
}

function showPlaces(runtimes) {
  const found = runtimes
    .map((runtime) => ({ runtime, at: coordinates((runtime.DEVICE_INFO || {}).GEOGRAPHIC_LOCATION) }))
    .filter((place) => place.at);
  const key = JSON.stringify(found.map((place) => [place.runtime.ID, place.runtime.NAME, place.at]));
  $("map-section").hidden = !found.length;
  if ($("map").dataset.key === key) return;
  $("map").dataset.key = key;
  for (const pin of $("map").querySelectorAll(".pin")) pin.remove();
  $("places").replaceChildren();
  for (const { runtime, at } of found) {
    const pin = make("span", { className: "pin", title: runtime.NAME });
    pin.style.left = `${((at.longitude + 180) / 360) * 100}%`;
    pin.style.top = `${((90 - at.latitude) / 180) * 100}%`;
    $("map").append(pin);
    $("places").append(make("li", {}, `${runtime.NAME}: ${at.latitude}, ${at.longitude}`));
  }
}

// ---- dialogues -------------------------------------------------------------------------

function open(dialog, act) {
  const form = dialog.querySelector("form"), submit = form.querySelector("[type=submit]");
  const error = form.querySelector(".error");
  show(error, "");
  form.onsubmit = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    show(error, "");
    try {
      await act();
      dialog.close();
    } catch (problem) {
      show(error, problem.message);
    } finally {
      submit.disabled = false;
    }
  };
  dialog.showModal();
}

function sizeFields(role, values, fill) {
  const fields = SIZES.map(([name, text]) => {
    const field = make("input", { type: "number", min: 1, name: `${role}.${name}`, step: 1 });
    if (fill) field.value = values[name];
    else field.placeholder = values[name];
    return make("label", {}, text, field);
  });
  return make("fieldset", {}, make("legend", {}, `${role}: ${values.FLAVOUR}`), ...fields);
}

// Only what was filled in and differs.
function sizesOf(place, role, values) {
  const sizes = {};
  for (const [name] of SIZES) {
    const text = place.querySelector(`[name="${role}.${name}"]`).value;
    if (text !== "" && Number(text) !== values[name]) sizes[name] = Number(text);
  }
  return sizes;
}

async function openCreate() {
  try {
    flavours = await ask("GET", "/flavours");
  } catch (error) {
    show($("trouble"), error.message);
    return;
  }
  const usable = flavours.filter((flavour) => flavour.DEPLOYABLE);
  const chosen = $("create-flavour").value;
  $("create-flavour").replaceChildren(...usable.map((flavour) => make("option", {}, flavour.FLAVOURS)));
  if (usable.some((flavour) => flavour.FLAVOURS === chosen)) $("create-flavour").value = chosen;
  showUnusable(flavours.filter((flavour) => !flavour.DEPLOYABLE));
  showSizes();
  open($("create"), create);
  if (!usable.length) show($("create").querySelector(".error"), "There is no flavour that you can deploy.");
}

function showUnusable(unusable) {
  $("unusable").hidden = !unusable.length;
  setText($("unusable").querySelector("summary"), `Flavours that you cannot deploy (${unusable.length})`);
  $("unusable").querySelector("ul").replaceChildren(...unusable.map((flavour) => {
    const why = flavour.FINDINGS.filter((finding) => finding.FATAL).map((finding) => finding.TEXT).join("; ");
    return make("li", {}, make("strong", {}, flavour.FLAVOURS), `: ${why}`);
  }));
}

function chosenFlavour() {
  return flavours.find((flavour) => flavour.FLAVOURS === $("create-flavour").value);
}

function showSizes() {
  const flavour = chosenFlavour();
  const roles = flavour ? ROLES.filter((role) => flavour[role]) : [];
  $("create-sizes").replaceChildren(...roles.map((role) => sizeFields(role, flavour[role], false)));
}

async function create() {
  const flavour = chosenFlavour(), runtime = {};
  for (const role of ROLES.filter((name) => flavour[name])) {
    runtime[role] = { FLAVOUR: flavour[role].FLAVOUR, ...sizesOf($("create-sizes"), role, {}) };
  }
  runtime.NAME = $("create-name").value;
  runtime.SCHEDULING = { POLICY: $("create-policy").value, REQUIREMENTS: $("create-requirements").value };
  runtime.DEVICE_INFO = { GEOGRAPHIC_LOCATION: $("create-location").value };
  if ($("create-lease").value) runtime.LEASE = { TTL: Number($("create-lease").value) };
  const askedAt = performance.now();
  // The key makes sure that a broken connection does not make two of them.
  const key = { "Idempotency-Key": `ui-${crypto.getRandomValues(new Uint32Array(4)).join("-")}` };
  const made = (await ask("POST", RUNTIMES, { SERVERLESS_RUNTIME: runtime }, key)).SERVERLESS_RUNTIME;
  tell(`${made.NAME} is being made`);
  $("create-form").reset();
  showSizes();
  watch(made.ID, askedAt, performance.now());
  await look();
}

function openResize(row) {
  const roles = row.parts.map((part) => part.role);
  setText($("resize-title"), `Resize ${row.runtime.NAME}`);
  $("resize-sizes").replaceChildren(...roles.map((role) => sizeFields(role, row.runtime[role], true)));
  const shown = row.runtime;
  open($("resize"), async () => {
    const change = {};
    for (const role of roles) {
      const sizes = sizesOf($("resize-sizes"), role, shown[role]);
      if (Object.keys(sizes).length) change[role] = { FLAVOUR: "", ...sizes };
    }
    if (!Object.keys(change).length) return;
    await ask("PUT", `${RUNTIMES}/${row.id}`, { SERVERLESS_RUNTIME: change });
    tell(`${shown.NAME} is resized`);
    await look();
  });
}

function openRenew(row) {
  const ttl = row.runtime.LEASE ? row.runtime.LEASE.TTL : 3600;
  setText($("renew-title"), `Renew the lease of ${row.runtime.NAME}`);
  $("renew-minutes").value = Math.max(1, Math.round(ttl / 60));
  open($("renew"), async () => {
    const seconds = Number($("renew-minutes").value) * 60;
    await ask("PUT", `${RUNTIMES}/${row.id}`, { SERVERLESS_RUNTIME: { LEASE: { TTL: seconds } } });
    tell(`The lease of ${row.runtime.NAME} is renewed`);
    await look();
  });
}

async function recover(row) {
  row.recover.disabled = true;
  try {
    await ask("POST", `${RUNTIMES}/${row.id}/recover`);
    tell(`${row.runtime.NAME} is being recovered`);
    await look();
  } catch (error) {
    show($("trouble"), `${row.runtime.NAME}: ${error.message}`);
  } finally {
    row.recover.disabled = false;
  }
}

function openDelete(row) {
  setText($("delete-what"), `${row.runtime.NAME} (${row.id}) and its VMs are removed, with all that is on their disks.`);
  open($("delete"), async () => {
    try {
      await ask("DELETE", `${RUNTIMES}/${row.id}`);
    } catch (error) {
      if (error.status !== 404) throw error;  // gone already, which was wanted
    }
    tell(`${row.runtime.NAME} is deleted`);
    await look();
    $("new").focus();
  });
}

// ---- life of the page ------------------------------------------------------------------

$("login-form").addEventListener("submit", login);
$("logout").addEventListener("click", () => logout());
$("new").addEventListener("click", openCreate);
$("create-flavour").addEventListener("change", showSizes);
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
setInterval(() => rows.forEach((row) => row.runtime && showClock(row)), 1000);
document.addEventListener("visibilitychange", () => {
  if (!authorization) return;
  if (document.hidden) clearTimeout(timer);
  else look();
});
ask("GET", "/server/version").then((version) => setText($("version"), version), () => {});
