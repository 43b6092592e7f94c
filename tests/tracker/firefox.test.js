// Debian's Firefox, driven by Puppeteer over WebDriver BiDi: sending, queue and routes.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import puppeteer from "puppeteer-core";
import { log, queue, running } from "./support/browser.js";
import { empty, exactly } from "./support/exactly.js";
import { Server, sleep, until } from "./support/server.js";
import { answers, page as html, Site } from "./support/site.js";

const it = {};
const skip = !process.env.FIREFOX;
before(async () => {
  if (!skip) it.browser = await puppeteer.launch({ browser: "firefox", executablePath: process.env.FIREFOX, headless: true });
});
after(() => it.browser?.close());
beforeEach(async () => {
  it.server = await Server.start();
  it.site = await Site.start(it.server);
  it.context = await it.browser?.createBrowserContext();
  it.errors = [];
});
afterEach(async () => {
  await it.context?.close();
  it.site.stop();
  await it.server.stop();
  assert.deepEqual(it.errors, []);
});

async function open(path = "/") {
  const page = await it.context.newPage();
  page.on("pageerror", (error) => it.errors.push(String(error)));
  await page.goto(it.site.url(path));
  await running(page);
  return page;
}
const views = (rows) => rows.map(({ path, referer }) => [path, referer]);

test("Firefox: one tag logs the view, a call logs what it says", { skip }, async () => {
  const page = await open("/cart?coupon=secret");
  assert.match(await page.evaluate(() => navigator.userAgent), /Firefox/);
  const [id] = await log(page, 1, "checkout");
  const rows = await it.server.stored(2);
  assert.deepEqual(rows.map(({ path, name }) => [path, name]), [["/cart", ""], ["/cart", "checkout"]]);
  assert.equal(rows[1].event_id, id.replaceAll("-", ""));
  assert.equal(new Set(rows.map(({ session_id }) => session_id)).size, 1);
  assert.ok(it.site.posts.every(({ method, headers }) => method === "POST" && headers["content-type"].startsWith("text/plain")));
  assert.equal(await queue(page), 0);
});

test("Firefox: 500 activities while the server answers 503, and a server that is killed", { skip }, async () => {
  const page = await open();
  await it.server.stored(1);
  it.site.fault = answers(503, { "Retry-After": "1" });
  const ids = [];
  for (let n = 0; n < 10; n++) ids.push(...(await log(page, 50)));
  await until(() => it.site.posts.length >= 2, "it tries again");
  assert.equal(await queue(page), 500);
  it.site.fault = null;
  await it.server.kill();
  await sleep(500);
  await it.server.begin();
  ids.push(...(await log(page, 10)));
  await exactly(it, ids);
  await empty(page);
});

test("Firefox: a page closed at once after the call, and the way out", { skip }, async () => {
  const ids = [];
  for (let n = 0; n < 5; n++) {
    const page = await open();
    ids.push(await page.evaluate((n) => djaffar.log("test", { n }), n));
    await page.close();
  }
  it.site.pages["/leaving"] = html('<a href="/next">next</a><script>addEventListener("pagehide", () => { localStorage.id = djaffar.log("test") })</script>');
  const page = await open("/leaving");
  await Promise.all([page.waitForNavigation(), page.click("a")]);
  await running(page);
  ids.push(await page.evaluate(() => localStorage.id));
  await exactly(it, ids);
});

test("Firefox: ten tabs", { skip }, async () => {
  const pages = [];
  for (let n = 0; n < 10; n++) pages.push(await open(`/tab/${n}`));
  it.site.fault = answers(503);
  const ids = (await Promise.all(pages.map((page) => log(page, 10)))).flat();
  await sleep(300);
  it.site.fault = null;
  await exactly(it, ids);
  await empty(pages[0]);
});

for (const older of [false, true]) {
  test(`Firefox: routes, ${older ? "by wrapped history" : "by the Navigation API where there is one"}`, { skip }, async () => {
    const prepare = older ? "<script>delete window.navigation</script>" : "";
    it.site.pages["/"] = html('<p id="there">there</p>', `${prepare}<script async src="/djaffar/djaffar.js" data-hash></script>`);
    const page = await open("/");
    if (older) await page.waitForFunction(() => history.pushState.name !== "pushState");
    for (const step of ["history.pushState({}, '', '/a?q=1')", "history.replaceState({ n: 1 }, '')", "history.pushState({}, '', '/b')",
      "history.back()", "location.hash = '#there'", "location.hash = '#/route'", "location.hash = '#/route'"]) {
      await page.evaluate(step);
      await sleep(100);
    }
    const rows = await it.server.stored(5);
    assert.deepEqual(views(rows), [["/", ""], ["/a", "/"], ["/b", "/a"], ["/a", "/b"], ["/a#/route", "/a"]]);
  });
}

test("Firefox: Global Privacy Control is honoured", { skip }, async () => {
  it.site.pages["/"] = html("", '<script>Object.defineProperty(navigator, "globalPrivacyControl", { value: true })</script><script async src="/djaffar/djaffar.js"></script>');
  const page = await open();
  await sleep(500);
  assert.equal(it.site.posts.length, 0);
  await page.evaluate(() => djaffar.optIn());
  await it.server.stored(1);
});
