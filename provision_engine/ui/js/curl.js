// The command for each action, to paste into a shell. Pure.
import { roles } from "./states.js";

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** [{name, text}] for a runtime; curl asks for the password. */
export function commands(runtime, user, origin) {
  const address = `${origin}/serverless-runtimes/${runtime.ID}`;
  const curl = (rest) => `curl -u ${quote(user)} ${rest}`;
  const send = (method, body) =>
    `-X ${method} -H 'Content-Type: application/json' \\\n  -d ${quote(JSON.stringify({ SERVERLESS_RUNTIME: body }))} \\\n  ${address}`;
  const sizes = Object.fromEntries(
    roles(runtime).map((role) => [role, { CPU: runtime[role].CPU, MEMORY: runtime[role].MEMORY }]),
  );
  return [
    { name: "Read", text: curl(address) },
    { name: "Wait", text: curl(quote(`${address}?wait=60`)) },
    { name: "Resize", text: curl(send("PUT", sizes)) },
    { name: "Renew", text: curl(send("PUT", { LEASE: { TTL: (runtime.LEASE || {}).TTL || 3600 } })) },
    { name: "Suspend", text: curl(`-X POST ${address}/suspend`) },
    { name: "Resume", text: curl(`-X POST ${address}/resume`) },
    { name: "Recover", text: curl(`-X POST ${quote(`${address}/recover?wait=60`)}`) },
    { name: "Timeline", text: curl(`${address}/timeline`) },
    { name: "Delete", text: curl(`-X DELETE ${address}`) },
  ];
}

/** The command that creates what the body describes. */
export function createCommand(body, user, origin) {
  return `curl -u ${quote(user)} -X POST -H 'Content-Type: application/json' \\\n`
    + `  -H "Idempotency-Key: $(uuidgen)" \\\n  -d ${quote(JSON.stringify(body))} \\\n  ${origin}/serverless-runtimes`;
}
