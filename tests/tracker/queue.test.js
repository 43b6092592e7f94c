// What the server does not take at once: kept, sent later, counted where there is no room.

import assert from "node:assert/strict";
import { test } from "node:test";
import { log, queue, rig } from "./support/browser.js";
import { empty, exactly } from "./support/exactly.js";
import { sleep, until } from "./support/server.js";
import { answers, cuts } from "./support/site.js";

const it = rig();

test("offline for a minute", async () => {
  const page = await it.open();
  await it.server.stored(1);
  await it.context.setOffline(true);
  const ids = [];
  const end = Date.now() + 60_000;
  while (Date.now() < end) {
    ids.push(...(await log(page, 2)));
    await sleep(2_000);
  }
  assert.equal(await queue(page), ids.length);
  assert.equal((await it.server.activities()).length, 1);
  await it.context.setOffline(false);
  // Not by the timer of the back-off, which waits longer by now: the browser says that it is online.
  await exactly(it, ids, "test", 10);
  await empty(page);
  // Dates are those of the moment, not of the sending.
  const dates = (await it.server.activities()).map(({ date }) => Date.parse(date.replace(" ", "T") + "Z"));
  assert.ok(Math.max(...dates) - Math.min(...dates) > 55_000);
});

test("500 activities while the server answers 503", async () => {
  const page = await it.open();
  await it.server.stored(1);
  it.site.fault = answers(503, { "Retry-After": "1" });
  const ids = [];
  for (let n = 0; n < 10; n++) ids.push(...(await log(page, 50)));
  await until(() => it.site.posts.length >= 3, "it tries again");
  assert.equal(await queue(page), 500);
  // Not once for each activity.
  assert.ok(it.site.posts.length < 10, `${it.site.posts.length} requests`);
  it.site.fault = null;
  await exactly(it, ids);
  await empty(page);
  assert.ok(it.site.batches().every((batch) => batch.length <= 100));
});

test("a full queue drops the oldest, and the count is sent and kept", async () => {
  const page = await it.open();
  await it.server.stored(1);
  it.site.fault = answers(503);
  const ids = [];
  for (let n = 0; n < 11; n++) ids.push(...(await log(page, 100)));
  assert.equal(await queue(page), 1000);
  assert.equal(await page.evaluate(() => localStorage.djaffarDropped), "100");
  // Also by the next page, when this one is closed before it could be sent.
  await page.close();
  it.site.fault = null;
  const next = await it.open("/next");
  // Its own view needed a place too.
  await exactly(it, ids.slice(101));
  const counts = async () => (await it.server.activities()).filter(({ name }) => name === "dropped");
  await until(async () => (await counts()).length, "the count");
  assert.deepEqual((await counts()).map((row) => row.properties), [{ count: 101 }]);
  await empty(next);
  assert.equal(await next.evaluate(() => localStorage.djaffarDropped), undefined);
});

test("Retry-After is honoured, by every tab and page", async () => {
  const page = await it.open();
  await it.server.stored(1);
  it.site.fault = answers(429, { "Retry-After": "4" });
  const ids = await log(page, 1);
  await until(() => it.site.posts.length === 2, "the refusal");
  const refused = it.site.posts[1].at;
  it.site.fault = null;
  ids.push(...(await log(page, 1)));
  const other = await it.open("/other");
  ids.push(...(await log(other, 1)));
  await other.goto(it.site.url("/third"));
  await exactly(it, ids);
  const next = it.site.posts[2].at - refused;
  assert.ok(next >= 4000 && next < 8000, `${next} ms`);
});

test("Retry-After as a date", async () => {
  const page = await it.open();
  await it.server.stored(1);
  // To the second, as dates in headers are.
  const until_date = new Date(Math.ceil(Date.now() / 1000) * 1000 + 4000);
  it.site.fault = answers(503, { "Retry-After": until_date.toUTCString() });
  const ids = await log(page, 1);
  await until(() => it.site.posts.length === 2, "the refusal");
  it.site.fault = null;
  await exactly(it, ids);
  const late = it.site.posts[2].at - until_date.getTime();
  assert.ok(late > -50 && late < 3000, `${late} ms after the date`);
});

test("what the server cannot read costs no other activity its place", async () => {
  const page = await it.open();
  await it.server.stored(1);
  const ids = await page.evaluate(() => [
    djaffar.log("test"), djaffar.log("deep", { a: { b: { c: { d: { e: 1 } } } } }), djaffar.log("test"),
    djaffar.log("surrogate", { text: "\ud800" }), djaffar.log("test")]);
  await exactly(it, [ids[0], ids[2], ids[4]]);
  await empty(page);
  assert.equal(it.said.filter((text) => text.startsWith("djaffar:")).length, 1, String(it.said));
});

test("back-off doubles, with jitter", async () => {
  const page = await it.open();
  await it.server.stored(1);
  it.site.fault = cuts;
  await log(page, 1);
  // Chromium itself sends once more what was cut before an answer: pauses count from the last.
  await until(() => it.site.posts.length >= 1 && pauses().length >= 3, "three pauses", 40);
  const [first, second, third] = pauses();
  assert.ok(first >= 1 && first < 3 && second >= 2 && second < 5 && third >= 4 && third < 9, String(pauses()));
});
const pauses = () => {
  const times = it.site.posts.slice(1).map(({ at }) => at / 1000);
  return times.slice(1).map((time, n) => time - times[n]).filter((pause) => pause > 0.5);
};

for (const status of [400, 403, 404, 413]) {
  test(`${status} drops it, with one warning`, async () => {
    const page = await it.open();
    await it.server.stored(1);
    it.site.fault = answers(status);
    await log(page, 3);
    await empty(page);
    await log(page, 3);
    await empty(page);
    it.site.fault = null;
    await exactly(it, await log(page, 1, "later"), "later");
    assert.equal(it.said.filter((text) => text.startsWith("djaffar:")).length, 1, String(it.said));
    assert.equal((await it.server.activities()).length, 2);
  });
}

test("a page of somebody else that says 200 is no acknowledgement", async () => {
  const page = await it.open();
  await it.server.stored(1);
  it.site.fault = (_, response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<h1>Log in to our wifi</h1>");
  const ids = await log(page, 3);
  await sleep(300);
  it.site.fault = null;
  await exactly(it, ids);
});
