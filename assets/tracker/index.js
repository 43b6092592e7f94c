// `import { start, log } from "djaffar"`: the tracker for applications that bundle it. The same
// djaffar.js as in the script tag; where a server renders, every call does nothing.

import "./before.js";
import "./djaffar.js";

const call = (name, given) => globalThis.window?.djaffar?.[name]?.(...given);

export const start = (settings = {}) => {
  // Not copied: `token` may be a getter.
  const endpoint = settings.endpoint || "/djaffar/log/";
  call("start", [Object.create(settings, { endpoint: { value: endpoint } })]);
};
export const log = (...given) => call("log", given);
export const view = (...given) => call("view", given);
export const optOut = () => call("optOut", []);
export const optIn = () => call("optIn", []);
