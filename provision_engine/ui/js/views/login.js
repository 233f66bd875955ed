// The login form.
import { html, useState } from "../html.js";
import { logIn, session } from "../session.js";
import { useStore } from "../store.js";
import { BusyButton } from "../parts/basics.js";
import { TextField } from "../parts/fields.js";

export function Login({ failure }) {
  const { message } = useStore(session);
  const [user, setUser] = useState("");
  const [password, setPassword] = useState("");
  const [mustRemember, setRemember] = useState(true);
  const [state, setState] = useState({ isBusy: false, error: failure });

  async function onSubmit(event) {
    event.preventDefault();
    setState({ isBusy: true, error: null });
    try {
      await logIn(user, password, mustRemember);
    } catch (error) {
      setState({ isBusy: false, error });
    }
  }
  const failureText = state.error ? explain(state.error) : message;
  return html`<main class="login"><form class="card" id="login" onSubmit=${onSubmit}>
    <img src="/ui/icon.svg" alt="" width="44" height="44" />
    <h1>Log in</h1>
    <p class="quiet">Use your OpenNebula user.</p>
    <p class="error" role="alert" id="login-error" hidden=${!failureText}>${failureText}</p>
    <${TextField} label="User" name="username" value=${user} onInput=${setUser} required autofocus
      autocomplete="username" autocapitalize="none" spellcheck=${false} />
    <${TextField} label="Password" name="password" type="password" value=${password} onInput=${setPassword}
      required autocomplete="current-password" />
    <label class="check"><input type="checkbox" name="remember" checked=${mustRemember}
      onChange=${(event) => setRemember(event.target.checked)} />
      <span>Stay logged in until this tab closes<span class="hint">Otherwise the password is forgotten when the page is reloaded.</span></span></label>
    <${BusyButton} type="submit" class="primary" isBusy=${state.isBusy} busyText="Logging in…">Log in<//>
  </form></main>`;
}

function explain(error) {
  return error.status === 401 ? "OpenNebula does not know this user and password." : error.message;
}
