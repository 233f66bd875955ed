// Addresses within the page: #/, #/runtimes/12, #/flavours, #/map, each with parameters.
import { createStore } from "./store.js";

export const route = createStore(parse(location.hash));

addEventListener("hashchange", () => route.set(parse(location.hash)));

export function parse(hash) {
  const url = new URL(hash.replace(/^#/, "") || "/", "http://page");
  const parameters = Object.fromEntries(url.searchParams);
  const [, view = "", id = ""] = url.pathname.split("/");
  if (view === "runtimes" && /^\d+$/.test(id)) return { view: "runtime", id: Number(id), parameters };
  if (view === "flavours" || view === "map") return { view, parameters };
  return { view: "list", parameters };
}

export const toList = (parameters = {}) => {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));
  return query.size ? `#/?${query}` : "#/";
};
export const toRuntime = (id) => `#/runtimes/${id}`;

export function go(hash) {
  location.hash = hash;
}

/** Change the parameters without a new entry in the history. */
export function replace(hash) {
  history.replaceState(null, "", hash);
  route.set(parse(hash));
}
