// Djaffar's tracker: <script async src="/djaffar/djaffar.js"></script> logs every view of a page.
//
// It runs as it is here. What is served is the same program without comments, white space and long
// names (djaffar.min.js beside it, made by tests/tracker/minify.js), because a page pays for its bytes:
// at most 2 KB gzipped. docs/tracker.md has every setting and each byte that is sent. Must not know:
// what is opt-in (more.js).
//
// The way of an activity: `record` puts it into the queue (localStorage, one key each: tabs cannot
// overwrite each other's), `flush` sends the queue, one tab at a time, and only an answer of the
// server takes it out again. What is sent twice has the same event_id, and is stored once.

/** @typedef {import("./index").Settings} Settings */
/** @typedef {import("./index").Properties} Properties */

(() => {
  // Where a server renders, and where the tracker is there already. `q`: calls from before it came.
  if (typeof document == "undefined" || (window.djaffar && !window.djaffar.q)) return;

  /** @type {Settings} */
  let settings;
  /** @type {Record<string, any>} Where the queue is: localStorage, or this page's memory. */
  let store = {};
  /** @type {string} */
  let url;
  /** @type {string} Begins the name of all that is kept: sites with two endpoints keep them apart. */
  let key;
  /** @type {string | undefined} The path of the last view. */
  let last;
  /** @type {string} */
  let referer;
  /** @type {() => void} What more.js does when a view ends. */
  let leave;
  /** @type {number | undefined} */
  let timer;
  /** @type {unknown} */
  let warned;
  let busy = false;
  let count = 0;
  let failures = 0;
  let quiet = 0;

  /** Once a page. @param {...unknown} what */
  const warn = (...what) => (warned ||= !(/** @type {any} */ (console.warn("djaffar:", ...what))));

  /**
   * No error of ours reaches the page.
   * @template {unknown[]} A, R
   * @param {(...given: A) => R} work
   * @returns {(...given: A) => R | undefined}
   */
  const safe = (work) => (...given) => {
    try {
      return work(...given);
    } catch (error) {
      warn(error);
    }
  };

  /** @param {string} name @param {(event: any) => unknown} work */
  const on = (name, work) => addEventListener(name, safe(work), true);

  /** @param {keyof Settings} name @param {string} [standard] */
  const is = (name, standard) => !/off|false/.test(/** @type {string} */ (settings[name] ?? standard));

  /** No room: the page goes on with a copy in its memory. @param {string} name @param {unknown} value */
  const put = (name, value) => {
    try {
      store[name] = value;
    } catch {
      store = { ...store, [name]: value };
    }
  };

  /** @param {string} name */
  const forget = (name) => delete store[name];

  /** The queue, the oldest first: a UUIDv7 begins with its time. */
  const kept = () => Object.keys(store).filter((name) => name.startsWith(key)).sort();

  const refused = () => {
    const signals = /** @type {any} */ (navigator);
    const choice = store.djaffarConsent || settings.consent;
    return choice != "given" &&
      (/ask|out/.test(choice) || signals.globalPrivacyControl || signals.doNotTrack == 1);
  };

  /** @param {string} name @param {Properties} [properties] @param {string} [path] */
  const record = (name, properties, path = last ?? here()) => {
    if (refused()) return;
    // UUIDv7: the time, the version, a counter (which keeps the order within a millisecond), the
    // variant, and chance.
    const event_id = ((BigInt(Date.now()) << 80n) | (BigInt(0x7000 + (count++ & 4095)) << 64n) |
      (2n << 62n) | (crypto.getRandomValues(new BigUint64Array(1))[0] >> 2n))
      .toString(16).padStart(32, "0").replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
    const text = JSON.stringify({ event_id, date: new Date(), path, referer, name, properties });
    // A body of this and 9,000 characters more stays below 64 KiB in any script.
    if (text.length > 12500) return void warn("too large", name);
    // The whole list costs time: only where so many names are in the store that it may be full.
    for (const name of store.length < 1e3 ? [] : kept().slice(0, -999)) {
      forget(name);
      put("djaffarDropped", 1 + (+store.djaffarDropped || 0));
    }
    put(key + event_id, text);
    queueMicrotask(flush);
    return event_id;
  };

  /** The body with as many as may be sent at once; those are taken off the list. @param {string[]} names */
  const take = (names) => {
    let body = "";
    while (names[0] && body.length < 9000) {
      const text = store[/** @type {string} */ (names.shift())];
      // Without one: another tab had it.
      if (text) body += `${body && ","}${text.slice(0, -1)},"sent_at":${JSON.stringify(new Date())}}`;
    }
    return `[${body}]`;
  };

  /** Sends the first of the queue; true when the server has them, or will never take them. */
  const send = async () => {
    const names = kept();
    const rest = [...names];
    let answer;
    try {
      answer = await fetch(url, {
        method: "POST",
        body: take(rest),
        keepalive: true,
        credentials: /** @type {RequestCredentials} */ (settings.credentials || "include"),
        headers: settings.token ? { Authorization: settings.token } : {},
        signal: AbortSignal.timeout(3e4),
      });
      // Not by its status alone: a portal or a proxy says 200 as well.
      const errors = /^4(?!08|29)/.test(/** @type {any} */ (answer.status))
        ? [answer.status, await answer.text()]
        : (await answer.json()).rejected;
      errors[0] && warn(...errors);
      names.slice(0, names.length - rest.length).map(forget);
      failures = 0;
      return true;
    } catch {
      const step = Math.min(2 ** failures++, 300);
      // Seconds or a date.
      const after = /** @type {any} */ (answer?.headers.get("Retry-After"));
      const asked = Math.min(+after || (Date.parse(after) - Date.now()) / 1e3 || 0, 3e3);
      quiet = Date.now() + 1e3 * (Math.max(asked, step) + step * Math.random());
      if (answer) put("djaffarAfter", quiet);
    }
  };

  // Never over an hour: a clock was set.
  const wait = () => (Math.max(quiet, store.djaffarAfter || 0) - Date.now()) % 36e5 || 0;

  const drain = async () => {
    while (kept()[0]) if (!(await send())) return;
    const count = +store.djaffarDropped;
    forget("djaffarDropped");
    if (count) record("dropped", { count });
  };

  const flush = async () => {
    clearTimeout(timer);
    if (busy || refused()) return;
    busy = true;
    if (wait() <= 0) {
      try {
        await navigator.locks.request(key, { signal: AbortSignal.timeout(9e3) }, drain);
      } catch {
        // No locks (plain http), or another tab sleeps on its lock: a lease of forty seconds.
        if (!(Math.abs(Date.now() - store.djaffarLease) < 4e4)) {
          put("djaffarLease", Date.now());
          await drain();
          forget("djaffarLease");
        }
      }
    }
    busy = false;
    if (wait() > 0 || kept()[0]) timer = setTimeout(flush, Math.max(wait(), 1e3));
  };

  // The page may be going: what is not acknowledged is sent once more, and stays in the queue.
  const out = () => {
    leave?.();
    forget("djaffarLease");
    const names = settings.token || settings.credentials || wait() > 0 ? [] : kept();
    while (names[0] && navigator.sendBeacon(url, take(names)));
  };

  /** @param {string} url */
  const plain = (url) => (is("query", "off") ? url : url.split(/[?#]/)[0]).slice(0, 2e3);

  const here = () => {
    const { pathname, search, hash } = location;
    const path = plain(pathname + search);
    if (!hash || !is("hash", "off")) return path;
    // A hash that is an anchor of this page is no route.
    const [id] = new URLSearchParams(hash.slice(1)).keys();
    if (!document.getElementById(id)) return (path + hash).slice(0, 2e3);
    return last?.startsWith(path + "#") ? last : path;
  };

  const view = safe((/** @type {string | undefined} */ path = here()) => {
    if (path == last || refused()) return;
    leave?.();
    referer = last ?? plain(document.referrer);
    return record("", undefined, (last = path));
  });

  const seen = () => (last = here());

  const begin = safe(() => {
    const later = settings.views == "later";
    if (is("views")) {
      // Else the server may have logged this one, which more.js finds out.
      later || view();
      on("pageshow", (event) => event.persisted && view((last = undefined)));
      window.navigation?.addEventListener("currententrychange", () => view());
    }
    on("click", (event) => {
      const clicked = event.composedPath().find((/** @type {any} */ node) => node.dataset?.djaffarClick);
      if (clicked) record(clicked.dataset.djaffarClick);
    });
    on("pagehide", out);
    on("visibilitychange", () => (document.hidden ? out() : flush()));
    on("online", () => /** @type {any} */ (flush)((quiet = 0)));
    // What some sites ask for, and what some browsers need.
    if (settings.more || !window.navigation || later) {
      import("./more.js")
        .then((more) => (leave = more.default({ settings, record, view, plain, is, seen })))
        .catch(warn);
    }
    early.push = /** @type {any} */ ((/** @type {Parameters<typeof record>} */ given) => record(...given));
    early.map(early.push);
    flush();
  });

  const start = safe((/** @type {Settings} */ given) => {
    if (settings || !location.host) return;
    settings = given;
    url = new URL(given.endpoint || "log/", given.endpoint ? location.href : given.src).href;
    key = `djaffar ${url} `;
    try {
      if (is("storage")) store = localStorage;
    } catch {}
    // A page that is only prepared is no view yet.
    /** @type {any} */ (document).prerendering ? on("prerenderingchange", begin) : begin();
  });

  const choose = safe((/** @type {string} */ choice) => {
    put("djaffarConsent", choice);
    if (choice == "given") return view();
    kept().map(forget);
  });

  /** @type {any[] & {wait?: boolean}} */
  const early = window.djaffar?.q || [];
  window.djaffar = {
    start,
    view,
    log: /** @type {any} */ (safe((...given) => early.push(given))),
    optOut: () => choose("out"),
    optIn: () => choose("given"),
  };
  const script = /** @type {HTMLScriptElement | null} */ (document.currentScript);
  // In a bundle, the script is not ours: npm's index.js says so.
  if (script && !early.wait) start({ src: script.src, ...script.dataset });
})();
