// A button that opens a menu, with the usual keys.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../html.js";
import { Icon } from "./icons.js";

/** `items`: [{label, icon, act, isDangerous, whyNot}]; false ones are left out. */
export function Menu({ label, items, className = "icon-button", children }) {
  const [isOpen, setOpen] = useState(false);
  const button = useRef(), list = useRef();

  useLayoutEffect(() => {
    if (!isOpen) return;
    const { bottom } = list.current.getBoundingClientRect();
    list.current.classList.toggle("above", bottom > innerHeight && innerWidth >= 700);
    entries(list)[0].focus({ preventScroll: true });
  }, [isOpen]);
  useEffect(() => {
    if (!isOpen) return undefined;
    const close = (event) => list.current.parentElement.contains(event.target) || setOpen(false);
    document.addEventListener("pointerdown", close);
    return () => document.removeEventListener("pointerdown", close);
  }, [isOpen]);

  function close() {
    setOpen(false);
    button.current.focus();
  }
  function choose(item) {
    if (item.whyNot) return;
    close();
    item.act();
  }
  function onKeyDown(event) {
    const all = entries(list), at = all.indexOf(document.activeElement);
    const targets = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 };
    if (event.key in targets) all.at(targets[event.key] % all.length).focus();
    else if (event.key === "Escape") close();
    else if (event.key === "Tab") setOpen(false);
    else return;
    if (event.key !== "Tab") event.preventDefault();
  }
  return html`<div class="menu">
    <button type="button" class=${className} ref=${button} aria-label=${label} aria-haspopup="menu"
      aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>${children || html`<${Icon} name="more" />`}</button>
    ${isOpen && html`<div class="menu-shade"></div>
      <div class="menu-list" role="menu" aria-label=${label} ref=${list} onKeyDown=${onKeyDown}>
        ${items.filter(Boolean).map((item) => html`<button type="button" role="menuitem" tabindex="-1"
          class=${item.isDangerous ? "dangerous" : ""} aria-disabled=${Boolean(item.whyNot)}
          onClick=${() => choose(item)}>
          <${Icon} name=${item.icon} /><span>${item.label}${item.whyNot && html`<span class="hint">${item.whyNot}</span>`}</span></button>`)}
      </div>`}
  </div>`;
}

const entries = (list) => [...list.current.querySelectorAll('[role="menuitem"]')];
