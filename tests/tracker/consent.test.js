// Whether anything is sent at all.

import assert from "node:assert/strict";
import { test } from "node:test";
import { log, queue, rig } from "./support/browser.js";
import { sleep } from "./support/server.js";
import { cuts, page as html } from "./support/site.js";

const it = rig();
const tag = (attributes) => `<script async src="/djaffar/djaffar.js" ${attributes}></script>`;
const signal = (name, value) => it.context.addInitScript(
  ([name, value]) => Object.defineProperty(Navigator.prototype, name, { get: () => value, configurable: true }), [name, value]);

async function nothing(page) {
  await sleep(500);
  assert.equal(it.site.posts.length, 0);
  assert.deepEqual(await page.evaluate(() => Object.keys(localStorage)), []);
}

for (const [name, value] of [["globalPrivacyControl", true], ["doNotTrack", "1"]]) {
  test(`${name} is honoured: nothing is sent, and nothing kept`, async () => {
    await signal(name, value);
    const page = await it.open();
    assert.equal(await page.evaluate(() => djaffar.log("x")), undefined);
    await nothing(page);
    await page.evaluate(() => djaffar.optIn());
    await it.server.stored(1);
    // Of this site's own: remembered, on every page.
    await it.open("/next");
    await it.server.stored(2);
  });

  test(`${name} where the site says otherwise`, async () => {
    await signal(name, value);
    it.site.pages["/"] = html("", tag('data-consent="given"'));
    await it.open();
    await it.server.stored(1);
  });
}

test("doNotTrack 0 and unspecified are no refusal", async () => {
  await signal("doNotTrack", "unspecified");
  await it.open();
  await it.server.stored(1);
});

test("consent that is asked for first", async () => {
  it.site.pages[""] = html("", tag('data-consent="ask"'));
  const page = await it.open("/");
  await log(page, 3);
  await nothing(page);
  await page.evaluate(() => djaffar.optIn());
  const [row] = await it.server.stored(1);
  assert.deepEqual([row.path, row.name], ["/", ""]);
  await it.open("/next");
  await it.server.stored(2);
});

test("optOut is remembered, empties the queue, and holds in every tab at once", async () => {
  const [page, other] = [await it.open("/"), await it.open("/other")];
  await it.server.stored(2);
  it.site.fault = cuts;
  await log(page, 5);
  await page.evaluate(() => djaffar.optOut());
  assert.equal(await queue(page), 0);
  // As soon as the browser has told the other tab.
  const told = (tab, choice) => tab.waitForFunction((choice) => localStorage.djaffarConsent === choice, choice);
  await told(other, "out");
  assert.deepEqual(await log(other, 1), [undefined]);
  it.site.fault = null;
  await it.open("/third");
  await sleep(3000);
  await it.server.stored(2);
  await other.evaluate(() => djaffar.optIn());
  await told(page, "given");
  await log(page, 1);
  await it.server.stored(3);
});
