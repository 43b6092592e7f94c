// Nothing lost, nothing doubled, whatever breaks: the server, the network, tabs, storage, clocks.

import assert from "node:assert/strict";
import { test } from "node:test";
import { log, rig, running } from "./support/browser.js";
import { empty, exactly } from "./support/exactly.js";
import { sleep, until } from "./support/server.js";
import { answers, cuts, loses, page as html } from "./support/site.js";

const it = rig();

test("the server is killed in mid-flight, five times", async () => {
  const page = await it.open();
  await it.server.stored(1);
  const ids = [];
  for (let n = 0; n < 5; n++) {
    ids.push(...(await log(page, 20)));
    const killed = it.server.kill();
    ids.push(...(await log(page, 20)));
    await killed;
    ids.push(...(await log(page, 20)));
    await it.server.begin();
  }
  await exactly(it, ids);
  await empty(page);
});

test("answers are lost on their way: sent again, stored once", async () => {
  const page = await it.open();
  await it.server.stored(1);
  let number = 0;
  it.site.fault = (request, response, forward) => (number++ < 3 ? loses(request, response, forward) : forward());
  const ids = await log(page, 30);
  await empty(page);
  await exactly(it, ids);
  const sent = it.site.batches().flat().filter(({ name }) => name === "test");
  assert.ok(sent.length > 30, "it was sent again");
});

test("ten tabs at once, with a server that comes and goes: one tab sends at a time", async () => {
  // Nobody sleeps on the lock here: on a busy machine a tab may wait for longer than for one that does.
  await it.context.addInitScript(() => {
    const timeout = AbortSignal.timeout;
    AbortSignal.timeout = (time) => timeout.call(AbortSignal, time === 9e3 ? 6e4 : time);
  });
  const pages = await Promise.all(Array.from({ length: 10 }, (_, n) => it.open(`/tab/${n}`)));
  await it.server.stored(10);
  let now = 0;
  let most = 0;
  it.site.fault = (request, response, forward) => {
    most = Math.max(most, ++now);
    response.on("finish", () => now--);
    forward();
  };
  const ids = (await Promise.all(pages.map((page) => log(page, 20)))).flat();
  it.site.fault = answers(503);
  ids.push(...(await Promise.all(pages.map((page) => log(page, 20)))).flat());
  await sleep(500);
  it.site.fault = (request, response, forward) => {
    most = Math.max(most, ++now);
    response.on("finish", () => now--);
    forward();
  };
  await exactly(it, ids);
  await empty(pages[0]);
  assert.equal(most, 1, "requests at once");
});

test("without locks (plain http) tabs take turns by a lease", async () => {
  const pages = await Promise.all(Array.from({ length: 5 }, (_, n) => it.open(`/tab/${n}`, "shop.example")));
  assert.equal(await pages[0].evaluate(() => isSecureContext || "locks" in navigator), false);
  const ids = (await Promise.all(pages.map((page) => log(page, 20)))).flat();
  await exactly(it, ids);
  await empty(pages[0]);
  // A page that leaves takes its lease along. What one process of the browser stores, another one sees a
  // moment later.
  const isLeased = () => pages[0].evaluate(() => "djaffarLease" in localStorage);
  await pages[1].evaluate(() => (localStorage.djaffarLease = Date.now()));
  await until(isLeased, "the lease, in another tab", 10);
  await pages[1].goto("about:blank");
  await until(async () => !(await isLeased()), "no lease", 10);
  // A tab that went away with its lease holds up nobody for long, nor does a clock that was set.
  await pages[0].evaluate(() => (localStorage.djaffarLease = Date.now() - 41_000));
  const more = await log(pages[0], 1);
  await exactly(it, [...ids, ...more]);
  await pages[0].evaluate(() => (localStorage.djaffarLease = Date.now() + 86_400_000));
  await exactly(it, [...ids, ...more, ...(await log(pages[0], 1))]);
});

test("a tab that sleeps on its lock holds up nobody for long", async () => {
  const [asleep, page] = [await it.open("/asleep"), await it.open("/awake")];
  await it.server.stored(2);
  await asleep.evaluate(() => {
    const name = `djaffar ${new URL("/djaffar/log/", location.href)} `;
    navigator.locks.request(name, () => new Promise(() => {}));
  });
  await exactly(it, await log(page, 3), "test", 20);
});

test("the tab is closed while the server is away: the next page sends it", async () => {
  const first = await it.open("/first");
  await it.server.stored(1);
  it.site.fault = cuts;
  const ids = await log(first, 25);
  await sleep(300);
  await first.close();
  it.site.fault = null;
  const next = await it.open("/next");
  await exactly(it, ids);
  await empty(next);
});

test("a server that never answers is given up, and asked again", async () => {
  await it.context.addInitScript(() => {
    const timeout = AbortSignal.timeout;
    AbortSignal.timeout = (time) => timeout.call(AbortSignal, time === 3e4 ? 500 : time);
  });
  const page = await it.open();
  await it.server.stored(1);
  it.site.fault = () => {};
  const ids = await log(page, 2);
  await sleep(300);
  it.site.fault = null;
  await exactly(it, ids);
});

test("storage that throws, that is full, that is switched off", async () => {
  const breaks = {
    throws: 'Object.defineProperty(window, "localStorage", { get() { throw new DOMException("no", "SecurityError") } })',
    full: 'for (let size = 4e6; size >= 1; size = size >> 1) try { for (;;) localStorage["x" + Math.random()] = "x".repeat(size) } catch {}',
  };
  let ids = [];
  for (const [name, work] of Object.entries(breaks)) {
    const context = await it.browser.newContext();
    const page = await context.newPage();
    await page.addInitScript(work);
    page.on("pageerror", (error) => it.errors.push(String(error)));
    await page.goto(it.site.url(`/${name}`));
    await running(page);
    ids.push(...(await log(page, 2)));
    it.site.fault = cuts;
    ids.push(...(await log(page, 2)));
    await sleep(300);
    it.site.fault = null;
    await exactly(it, ids);
    await context.close();
  }
  it.site.pages["/off"] = html("", '<script async src="/djaffar/djaffar.js" data-storage="off"></script>');
  const page = await it.open("/off");
  it.site.fault = cuts;
  ids.push(...(await log(page, 2)));
  assert.equal(await page.evaluate(() => localStorage.length), 0);
  await sleep(300);
  it.site.fault = null;
  await exactly(it, ids);
});

test("a clock that jumps: nothing waits for longer than an hour ahead, and dates are put right", async () => {
  const page = await it.open();
  await it.server.stored(1);
  // Left behind by a page whose clock was a year ahead.
  await page.evaluate(() => (localStorage.djaffarAfter = Date.now() + 3.1e10));
  const wrong = await page.evaluate(() => {
    const real = Date.now;
    window.ahead = 3.1e10;
    window.Date = class extends Date { constructor(...given) { given.length ? super(...given) : super(real() + window.ahead) } static now() { return real() + window.ahead } };
    return djaffar.log("test", { clock: "a year ahead" });
  });
  await page.evaluate(() => (window.ahead = 0));
  const right = await log(page, 1);
  await page.evaluate(() => (localStorage.djaffarAfter = "nonsense"));
  await page.evaluate(() => djaffar.log("nudge"));
  await exactly(it, [wrong, ...right]);
});
