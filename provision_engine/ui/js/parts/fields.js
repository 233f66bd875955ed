// Form fields: a label, a control, a hint, an error in place.
import { html, useId } from "../html.js";
import { megabytes } from "../format.js";

/** `control` gets the attributes that connect it to its label, hint and error. */
export function Field({ label, hint, error, isOptional, control }) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return html`<div class="field ${error ? "wrong" : ""}">
    <label for=${id}>${label}${isOptional && html` <span class="quiet">optional</span>`}</label>
    ${control({ id, "aria-describedby": described || undefined, "aria-invalid": error ? "true" : undefined })}
    ${hint && html`<p class="hint" id="${id}-hint">${hint}</p>`}
    ${error && html`<p class="error" id="${id}-error">${error}</p>`}
  </div>`;
}

export function TextField({ value, onInput, label, hint, error, isOptional, ...rest }) {
  return html`<${Field} label=${label} hint=${hint} error=${error} isOptional=${isOptional}
    control=${(tied) => html`<input type="text" ...${rest} ...${tied} value=${value}
      onInput=${(event) => onInput(event.target.value)} />`} />`;
}

export function SelectField({ value, onChange, options, label, hint, error, ...rest }) {
  return html`<${Field} label=${label} hint=${hint} error=${error}
    control=${(tied) => html`<select ...${rest} ...${tied} value=${value}
      onChange=${(event) => onChange(event.target.value)}>
      ${options.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}
    </select>`} />`;
}

export const SIZES = [
  { member: "CPU", label: "CPU", unit: "", format: String },
  { member: "MEMORY", label: "Memory", unit: "MB", format: megabytes },
  { member: "DISK_SIZE", label: "Disk", unit: "MB", format: megabytes },
];

/** The three sizes of one function. `hints` and `errors` by member; `minimum` likewise. */
export function SizeFields({ role, legend, values, placeholders = {}, hints = {}, errors = {}, minimum = {}, onInput }) {
  return html`<fieldset class="sizes"><legend>${legend}</legend>
    ${SIZES.map(({ member, label, unit }) => html`<${Field} label=${unit ? `${label}, ${unit}` : label} hint=${hints[member]} error=${errors[member]}
      control=${(tied) => html`<input type="number" inputmode="numeric" step="1"
        name="${role}.${member}" min=${minimum[member] || 1} value=${values[member] ?? ""}
        placeholder=${placeholders[member] ?? ""} ...${tied}
        onInput=${(event) => onInput(member, event.target.value)} />`} />`)}
  </fieldset>`;
}

/** Only what was filled in and differs, as numbers. */
export function changedSizes(values, before = {}) {
  const filled = SIZES.map(({ member }) => [member, values[member]]).filter(([, text]) => text !== undefined && text !== "");
  return Object.fromEntries(filled.map(([member, text]) => [member, Number(text)]).filter(([member, size]) => size !== before[member]));
}
