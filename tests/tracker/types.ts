// What an application may write, and what it may not: checked by tsc, never run.

import { log, optIn, optOut, start, view, type Settings } from "../../assets/tracker/index.js";

const settings: Settings = {
  endpoint: "/djaffar/log/",
  hash: true,
  consent: "ask",
  more: ["time", "scroll"],
  get token() {
    return "Token " + Math.random();
  },
};
start(settings);
start();
const id: string | undefined = log("checkout", { total: 12, items: ["a", "b"] });
view("/cart");
view();
optOut();
optIn();
window.djaffar?.log("checkout", { id });

// @ts-expect-error A name is a text.
log(1);
// @ts-expect-error Properties are an object.
log("checkout", 12);
// @ts-expect-error There is no such setting.
start({ endPoint: "/djaffar/log/" });
// @ts-expect-error There is no such word.
start({ more: ["clicks"] });
