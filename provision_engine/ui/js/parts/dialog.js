// The frame of every dialog: title, form, error, buttons.
import { html, useId, useLayoutEffect, useRef, useState } from "../html.js";
import { closeDialog } from "../dialogs.js";
import { BusyButton } from "./basics.js";
import { Icon } from "./icons.js";

/**
 * `act` is called when the form is submitted; the dialog closes when it is done, and stays with
 * the error that it raises until something else is entered. `explain` may turn the error into
 * other text. Esc and the cross ask once before they discard what was entered.
 */
export function Dialog({ title, act, submit, busyText, explain, cancel = "Cancel", isDangerous, isBlocked, isWide, children }) {
  const frame = useRef(), isFilled = useRef(false), id = useId();
  const [state, setState] = useState({ isBusy: false, error: null });
  const [isAsking, setAsking] = useState(false);

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
  function onInput() {
    isFilled.current = true;
    setAsking(false);
    if (state.error) setState({ isBusy: false, error: null });
  }
  function onCancel(event) {
    event.preventDefault();
    if (state.isBusy) return;
    if (isFilled.current && !isAsking) setAsking(true);
    else closeDialog();
  }
  // A browser closes a dialog at the second Esc, whatever the page says.
  function onClose() {
    if (!frame.current) return;   // closed by the page itself
    if (state.isBusy) frame.current.showModal();
    else closeDialog();
  }
  const tone = isDangerous ? "danger" : "primary";
  return html`<dialog ref=${frame} class=${isWide ? "wide" : ""} aria-labelledby="${id}-title" onCancel=${onCancel} onClose=${onClose}>
    <form class="dialog" onSubmit=${onSubmit} onInput=${onInput}>
      <header><h2 id="${id}-title">${title}</h2>
        <button type="button" class="icon-button" aria-label="Close" onClick=${onCancel}><${Icon} name="close" /></button></header>
      <div class="dialog-body">${children}</div>
      <p class="error dialog-error" role="alert" hidden=${!state.error}>${state.error && (explain ? explain(state.error) : state.error.message)}</p>
      <p class="dialog-note" role="alert" hidden=${!isAsking}>${isAsking && "Discard what you have entered? Esc again discards it."}</p>
      <footer>
        ${cancel && html`<button type="button" class="plain" onClick=${closeDialog} disabled=${state.isBusy}>${isAsking ? "Discard" : cancel}</button>`}
        <${BusyButton} type="submit" class=${tone} isBusy=${state.isBusy} busyText=${busyText} disabled=${isBlocked}>${submit}<//>
      </footer>
    </form>
  </dialog>`;
}
