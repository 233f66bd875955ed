// Line icons, 16 × 16, drawn for this page.
import { html } from "../html.js";

const PATHS = {
  more: "M3 8h.01M8 8h.01M13 8h.01",
  plus: "M8 3v10M3 8h10",
  copy: "M6 6V3h7v7h-3M3 6h7v7H3z",
  check: "M3 8.5 6.5 12 13 4.5",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM14 14l-3.4-3.400",
  close: "M4 4l8 8M12 4l-8 8",
  left: "M10 3 5 8l5 5",
  right: "M6 3l5 5-5 5",
  trash: "M3 4.500h10M6 4.500V3h4v1.500M4.500 4.500 5 13.500h6l.5-9",
  resize: "M9.500 2.500h4v4M6.500 13.500h-4v-4M13.500 2.500 9 7M2.500 13.500 7 9",
  clock: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 5v3.200l2 1.500",
  pause: "M5.500 3.500v9M10.500 3.500v9",
  play: "M5 3.500v9l7-4.500z",
  retry: "M13 8a5 5 0 1 1-1.600-3.700M13 2.500v2.800h-2.800",
  edit: "M3 13l.6-2.800L10.800 3l2.200 2.200-7.200 7.200z",
  warn: "M8 2.500 14.500 13.500h-13zM8 6.800v3M8 11.700v.01",
  box: "M8 2 13.500 5v6L8 14 2.500 11V5zM2.500 5 8 8l5.500-3M8 8v6",
  system: "M2.500 3.500h11v7.500h-11zM6 13.500h4",
  light: "M8 10.800a2.800 2.800 0 1 0 0-5.600 2.800 2.800 0 0 0 0 5.600zM8 1.500V3M8 13v1.500M1.500 8H3M13 8h1.500M3.400 3.400l1 1M11.600 11.600l1 1M3.400 12.600l1-1M11.600 4.400l1-1",
  dark: "M13.500 9.500A6 6 0 0 1 6.500 2.500a6 6 0 1 0 7 7z",
  chevron: "M4 6l4 4 4-4",
};

export function Icon({ name }) {
  return html`<svg class="icon ${name}" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"
    focusable="false"><path d=${PATHS[name]} /></svg>`;
}
