// The frame around the current view and dialog.
import { html, useEffect, useState } from "./html.js";
import { createClient } from "./api.js";
import { forget } from "./connection.js";
import { creations } from "./creations.js";
import { closeDialog, dialog } from "./dialogs.js";
import { CreateDialog } from "./dialogs/create.js";
import { EditDialog, LeaseDialog, LiftDialog, ResizeDialog } from "./dialogs/change.js";
import { DeleteDialog } from "./dialogs/delete.js";
import { RecoverDialog } from "./dialogs/recover.js";
import { SeveralDialog } from "./dialogs/several.js";
import { ShortcutsDialog } from "./dialogs/shortcuts.js";
import { toasts } from "./messages.js";
import { Banner } from "./parts/banner.js";
import { Header } from "./parts/header.js";
import { Toasts } from "./parts/toasts.js";
import { quota, readConfiguration } from "./quota.js";
import { route } from "./router.js";
import { forgetAll } from "./runtimes.js";
import { resume, session } from "./session.js";
import { useStore } from "./store.js";
import { Flavours } from "./views/flavours.js";
import { List } from "./views/list.js";
import { Login } from "./views/login.js";
import { MapView } from "./views/map.js";
import { RuntimeView } from "./views/runtime.js";

const VIEWS = { list: List, runtime: RuntimeView, flavours: Flavours, map: MapView };
const DIALOGS = {
  create: CreateDialog, resize: ResizeDialog, edit: EditDialog, lease: LeaseDialog, lift: LiftDialog,
  recover: RecoverDialog, delete: DeleteDialog, several: SeveralDialog, shortcuts: ShortcutsDialog,
};

// The data of a user is removed at the logout.
session.subscribe(({ client }) => {
  if (client) return;
  closeDialog();
  forgetAll();
  forget();
  quota.set(null);
  toasts.set([]);
  creations.set(new Map());
});

export function App() {
  const { user } = useStore(session);
  const place = useStore(route), open = useStore(dialog);
  const [version, setVersion] = useState("");
  const [start, setStart] = useState({ isResuming: true, failure: null });
  useEffect(() => {
    createClient().get("/server/version").then(setVersion, () => {});
    readConfiguration();
    resume().then(() => setStart({ isResuming: false, failure: null }), (failure) => setStart({ isResuming: false, failure }));
  }, []);
  useEffect(closeDialog, [place.view, place.id]);
  const View = VIEWS[place.view], Open = open && DIALOGS[open.kind];
  return html`<${Header} version=${version} />
    ${user && html`<${Banner} />`}
    ${start.isResuming ? html`<main aria-busy="true"></main>`
      : user ? html`<${View} key=${`${place.view} ${place.id}`} ...${place} />`
        : html`<${Login} failure=${start.failure} />`}
    ${user && open && html`<${Open} ...${open} />`}
    <${Toasts} />`;
}
