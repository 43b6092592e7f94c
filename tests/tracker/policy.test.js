// Strict policies of the page, and of those who frame it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { log, rig } from "./support/browser.js";
import { until } from "./support/server.js";
import { page as html } from "./support/site.js";

const it = rig();

const POLICIES = {
  "own files only": ["default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'", ""],
  "a nonce": ["default-src 'none'; script-src 'nonce-abc'; connect-src 'self'", 'nonce="abc"'],
  "strict-dynamic": ["script-src 'nonce-abc' 'strict-dynamic'; object-src 'none'; connect-src 'self'", 'nonce="abc"'],
  "Trusted Types, and none allowed": ["script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'", ""],
};

for (const [name, [policy, attributes]] of Object.entries(POLICIES)) {
  test(`with a policy: ${name}`, async () => {
    const tag = `<script async src="/djaffar/djaffar.js" ${attributes} data-more="time outbound"></script>`;
    it.site.pages["/"] = { headers: { "Content-Security-Policy": policy }, body: html("<h1>x</h1>", tag) };
    const answered = it.context.waitForEvent("response", (response) => response.url().endsWith("/more.js"));
    const page = await it.open("/");
    await (await answered).finished();
    await log(page, 2);
    await page.evaluate(() => history.pushState({}, "", "/second"));
    const seen = async () => (await it.server.activities()).filter(({ name }) => name !== "leave");
    await until(async () => (await seen()).length === 4, "two views and two named ones");
    assert.ok((await seen()).some(({ path }) => path === "/second"));
    assert.deepEqual(it.said, []);
  });
}
