// The only module that knows which library renders the page.
import { h, render } from "../preact/preact.module.js";
import htm from "../preact/htm.module.js";

export { render };
export {
  useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState,
} from "../preact/hooks.module.js";
export const html = htm.bind(h);
