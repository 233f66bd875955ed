// The keys of the page.
import { html } from "../html.js";
import { SHORTCUTS } from "../shortcuts.js";
import { Dialog } from "../parts/dialog.js";

export function ShortcutsDialog() {
  return html`<${Dialog} title="Keys" act=${async () => {}} submit="Close" cancel="">
    <dl class="facts">${[...SHORTCUTS, { key: "Esc", text: "Close a dialog or menu" }].map(({ key, text }) => html`
      <div><dt><kbd>${key}</kbd></dt><dd>${text}</dd></div>`)}</dl><//>`;
}
