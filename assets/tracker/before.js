// In a bundle, the running script is the application's and no tag of ours: djaffar.js waits for
// `start()`.
if (typeof window != "undefined") {
  const { q } = (window.djaffar ||= /** @type {any} */ ({ q: [] }));
  if (q) q.wait = true;
}
