// The frame of every dialog: title, form, error, buttons.
import { html, useId, useLayoutEffect, useRef, useState } from "../html.js";
import { closeDialog } from "../dialogs.js";
import { BusyButton } from "./basics.js";
import { Icon } from "./icons.js";

/**
 * `act` is called when the form is submitted; the dialog closes when it is done, and stays with
 * the error that it raises. `explain` may turn the error into other text.
 */
export function Dialog({ title, act, submit, busyText, explain, cancel = "Cancel", isDangerous, isBlocked, isWide, children }) {
  const frame = useRef(), id = useId();
  const [state, setState] = useState({ isBusy: false, error: null });

  useLayoutEffect(() => {
    const element = frame.current;
    element.showModal();
    return () => element.close();
  }, []);

  async function onSubmit(event) {
    event.preventDefault();
    if (state.isBusy) return;
    setState({ isBusy: true, error: null });
    try {
      await act();
      closeDialog();
    } catch (error) {
      setState({ isBusy: false, error });
    }
  }
  function onCancel(event) {
    event.preventDefault();
    if (!state.isBusy) closeDialog();
  }
  const tone = isDangerous ? "danger" : "primary";
  return html`<dialog ref=${frame} class=${isWide ? "wide" : ""} aria-labelledby="${id}-title" onCancel=${onCancel}>
    <form class="dialog" onSubmit=${onSubmit}>
      <header><h2 id="${id}-title">${title}</h2>
        <button type="button" class="icon-button" aria-label="Close" onClick=${onCancel}><${Icon} name="close" /></button></header>
      <div class="dialog-body">${children}</div>
      <p class="error dialog-error" role="alert" hidden=${!state.error}>${state.error && (explain ? explain(state.error) : state.error.message)}</p>
      <footer>
        <button type="button" class="plain" onClick=${onCancel} disabled=${state.isBusy}>${cancel}</button>
        <${BusyButton} type="submit" class=${tone} isBusy=${state.isBusy} busyText=${busyText} disabled=${isBlocked}>${submit}<//>
      </footer>
    </form>
  </dialog>`;
}
