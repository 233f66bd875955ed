// Keys that work wherever nothing is being typed.
import { dialog, openDialog } from "./dialogs.js";
import { go, route } from "./router.js";
import { session } from "./session.js";

export const SHORTCUTS = [
  { key: "/", text: "Search the list", act: search },
  { key: "n", text: "New runtime", act: () => openDialog("create") },
  { key: "?", text: "Show these keys", act: () => openDialog("shortcuts") },
];

addEventListener("keydown", (event) => {
  const found = SHORTCUTS.find(({ key }) => key === event.key);
  const isTyping = event.target.closest("input, select, textarea, [role=menu]");
  if (!found || isTyping || event.ctrlKey || event.altKey || event.metaKey) return;
  if (dialog.get() || !session.get().user) return;
  event.preventDefault();
  found.act();
});

function search() {
  if (route.get().view !== "list") go("#/");
  // The view is rendered after this event.
  setTimeout(() => document.getElementById("search")?.focus(), 50);
}
