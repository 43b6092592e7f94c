// The rest of Djaffar's tracker, loaded by djaffar.js where it is asked for (`data-more`) and where
// the browser has no Navigation API. docs/tracker.md lists what each word of `data-more` logs. Must
// not know: how an activity is kept and sent (djaffar.js).

/** @typedef {import("./index").Properties} Properties */
/** @typedef {import("./index").Settings} Settings */
/**
 * What djaffar.js lends.
 * @typedef {object} Tracker
 * @property {Settings} settings
 * @property {(name: string, properties?: Properties) => void} record
 * @property {() => void} view
 * @property {() => void} seen  Instead of `view`, where this one is logged already.
 * @property {(url: string) => string} plain  The URL without its query, unless that is asked for.
 * @property {(name: keyof Settings) => boolean} is
 */

const FILES =
  /\.(7z|apk|avi|csv|deb|dmg|docx?|epub|exe|gz|iso|jar|mov|mp[34]|msi|od[pst]|pdf|pptx?|rar|rpm|rtf|tar|tgz|txt|wav|xlsx?|xz|zip)$/i;
/** So many errors of one page are logged. */
const ERRORS = 10;

/**
 * Begins what is asked for.
 * @param {Tracker} tracker
 * @returns {() => void} To be called when a view ends.
 */
export default (tracker) => {
  const { settings, record, plain } = tracker;
  /** @param {string} word */
  const asked = (word) => String(settings.more).split(/[\s,]+/).includes(word);

  const [page] = /** @type {PerformanceNavigationTiming[]} */ (
    performance.getEntriesByType("navigation"));
  if (settings.views == "later") {
    // Named in the answer to this very request, not in one that the browser had kept (a service
    // worker's always look kept). Plain http shows no timing: there the site is believed.
    const timing = page?.serverTiming;
    const fresh = page?.transferSize || page?.workerStart;
    const told = fresh && timing?.some(({ name }) => name == "djaffar");
    told || !timing ? tracker.seen() : tracker.view();
  }
  if (tracker.is("views") && !window.navigation) routes(tracker.view);
  if (asked("outbound") || asked("downloads")) {
    on("click auxclick", (event) => {
      if (event.button > 1) return;
      const link = event.composedPath().find((/** @type {Element} */ node) => node.matches?.("a[href]"));
      if (!link) return;
      const url = plain(link.href);
      if (asked("downloads") && (link.hasAttribute("download") || FILES.test(link.pathname))) {
        record("download", { url });
      } else if (asked("outbound") && /^http/.test(url) && link.host != location.host) {
        record("outbound", { url });
      }
    });
  }
  if (asked("forms")) {
    // Attributes: a field called "id" or "action" hides the form's own properties.
    on("submit", ({ target }) => {
      const form = target.getAttribute("id") || target.getAttribute("name") || "";
      record("form", { form, action: plain(target.getAttribute("action") || "") });
    });
  }
  if (asked("errors")) errors(tracker);
  if (asked("404") && page?.responseStatus == 404) record("404");
  return asked("time") || asked("scroll") ? attention(tracker, asked("time"), asked("scroll")) : () => {};
};

/** No error of ours reaches the page. @param {string} names @param {(event: any) => void} work */
const on = (names, work) => {
  for (const name of names.split(" ")) {
    addEventListener(name, (event) => {
      try {
        work(event);
      } catch {}
    }, { capture: true, passive: true });
  }
};

/** Browsers without a Navigation API. @param {() => void} view */
const routes = (view) => {
  for (const name of /** @type {const} */ (["pushState", "replaceState"])) {
    const original = history[name];
    history[name] = function (...given) {
      original.apply(this, given);
      view();
    };
  }
  on("popstate hashchange", () => view());
  // What happened while this file was on its way.
  view();
};

/** @param {Tracker} tracker */
const errors = ({ record, plain }) => {
  let logged = 0;
  /** @param {unknown} message @param {string} [source] @param {number} [line] */
  const failed = (message, source, line) => {
    if (logged++ < ERRORS) record("error", { message: String(message).slice(0, 500), source, line });
  };
  on("error", (event) => {
    // Without a message: a picture or a script that did not load.
    if (event.message) failed(event.message, plain(event.filename), event.lineno);
  });
  on("unhandledrejection", ({ reason }) => failed(reason?.message || reason));
};

/**
 * How long the page was seen and had the focus, and how far it was scrolled; logged when the view
 * ends or the page is hidden, for the time since then.
 * @param {Tracker} tracker
 * @param {boolean} time
 * @param {boolean} scroll
 */
const attention = ({ record }, time, scroll) => {
  let spent = 0;
  let since = 0;
  let attentive = false;
  let deepest = 0;
  let path = location.href;

  // Not by the clock of the day: that may be set.
  const tick = () => {
    const now = performance.now();
    if (attentive) spent += now - since;
    since = now;
    attentive = !document.hidden && document.hasFocus();
  };
  const measure = () => {
    const { scrollHeight } = document.documentElement;
    deepest = Math.max(deepest, Math.min(100, Math.round((100 * (scrollY + innerHeight)) / scrollHeight)));
  };
  on("focus blur visibilitychange pageshow", tick);
  on("scroll load", measure);
  tick();
  measure();

  return () => {
    tick();
    if (spent < 100) return;
    const seconds = Math.round(spent / 100) / 10;
    record("leave", { ...(time && { seconds }), ...(scroll && { percent: deepest }) });
    spent = 0;
    if (path != location.href) deepest = 0;
    path = location.href;
  };
};
