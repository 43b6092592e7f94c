// A site on another domain: what each kind needs, as docs/tracker.md says.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { allowing, log, queue, rig, running } from "./support/browser.js";
import { Server, sleep, until } from "./support/server.js";
import { page as html, Site } from "./support/site.js";

const it = rig();

/** The pages are on 127.0.0.1, the endpoint on localhost: two sites for a browser. */
async function shop(attributes, options, work, context = it.context) {
  const pages = await Site.start();
  const server = await Server.start(...options(pages.url(""))).finally(() => pages.http.unref());
  const stats = await Site.start(server);
  const script = stats.url("/djaffar/djaffar.js", "localhost");
  pages.pages[""] = html("", `<script async src="${script}" ${attributes(stats)}></script>`);
  const page = await context.newPage();
  const open = async (path) => {
    await page.goto(pages.url(path));
    await running(page);
    return page;
  };
  try {
    await work({ open, page, server, stats });
  } finally {
    await page.close();
    pages.stop();
    stats.stop();
    await server.stop();
  }
}
const posts = (stats) => stats.posts.map(({ method }) => method);
const listed = (origin) => [`--allowed-origin=${origin}`];
const withCookies = (origin) => [...listed(origin), "--session-cookie-samesite=None", "--session-cookie-secure=true"];

/** Work in a browser whose user allows cookies of other sites. */
async function allowed(work) {
  const folder = mkdtempSync(join(tmpdir(), "djaffar-profile-"));
  const context = await allowing(folder);
  try {
    await work(context);
  } finally {
    await context.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

test("with credentials: allowed_origin and a SameSite=None cookie; one session, no preflight", async () => {
  await allowed((context) => shop(() => "", withCookies, async ({ open, server, stats }) => {
    const page = await open("/first");
    await server.stored(1);
    await open("/second");
    await log(page, 1);
    const rows = await server.stored(3);
    assert.equal(new Set(rows.map(({ session_id }) => session_id)).size, 1);
    assert.ok(rows[0].session_id);
    assert.ok(posts(stats).every((method) => method === "POST"));
    await until(async () => (await queue(page)) === 0, "acknowledged");
  }, context));
});

test("with credentials, in a browser that refuses cookies of other sites: stored, each in a session of its own", async () => {
  await shop(() => "", withCookies, async ({ open, page, server }) => {
    await open("/first");
    await server.stored(1);
    await log(page, 1);
    const rows = await server.stored(2);
    assert.equal(new Set(rows.map(({ session_id }) => session_id)).size, 2);
  });
});

test("without credentials: allowed_origin; no cookie is sent though there is one, no session", async () => {
  const attributes = (stats) => `data-credentials="omit" data-endpoint="${stats.url("/djaffar/log/", "localhost")}?anonymous"`;
  await allowed((context) => shop(attributes, withCookies, async ({ open, page, server, stats }) => {
    // The visitor has a session with the other site already.
    await page.goto(stats.url("/own", "localhost"));
    await running(page);
    await server.stored(1);
    await log(page, 1);
    const own = await server.stored(2);
    assert.ok(stats.posts.at(-1).headers.cookie);
    stats.posts.length = 0;
    await open("/first");
    await server.stored(3);
    await log(page, 1);
    const rows = (await server.stored(4)).slice(2);
    assert.deepEqual([own[0].session_id, ...rows.map(({ session_id }) => session_id)], [own[1].session_id, null, null]);
    assert.equal((await server.table("django_session")).length, 1);
    assert.ok(stats.posts.every(({ method, headers }) => method === "POST" && !headers.cookie));
    await until(async () => (await queue(page)) === 0, "acknowledged");
  }, context));
});

test("an outage is waited out across origins too, for as long as Retry-After says", async () => {
  await shop(() => "", withCookies, async ({ open, server, stats }) => {
    const page = await open("/");
    await server.stored(1);
    const allowed = { "Access-Control-Allow-Origin": await page.evaluate(() => location.origin), "Access-Control-Allow-Credentials": "true" };
    stats.fault = (_, response) => response.writeHead(503, { ...allowed, "Retry-After": "3", "Access-Control-Expose-Headers": "Retry-After" }).end();
    await log(page, 1);
    await until(() => stats.posts.length === 2, "the refusal");
    stats.fault = null;
    await server.stored(2);
    assert.ok(stats.posts[2].at - stats.posts[1].at >= 3000);
  });
});

test("the server's own refusal lets the page read Retry-After", async () => {
  await shop(() => "", (origin) => [...withCookies(origin), "--rate-limit=1"], async ({ open, server }) => {
    const page = await open("/");
    await server.stored(1);
    const seen = await page.evaluate(async (url) => {
      for (let n = 0; n < 30; n++) {
        const answer = await fetch(url, { method: "POST", body: "[]", credentials: "include" });
        if (answer.status === 429) return answer.headers.get("Retry-After");
      }
    }, `http://127.0.0.1:${server.port}/djaffar/log/`);
    assert.match(String(seen), /^[1-5]$/);
  });
});

test("a token goes across origins after a preflight", async () => {
  await shop(() => 'data-token="Token wrong" data-credentials="omit"', listed, async ({ open, stats }) => {
    await open("/");
    await until(() => it.said.some((text) => /401/.test(text)), "the server looked at it", 10, () => it.said);
    assert.deepEqual(posts(stats).slice(0, 2), ["OPTIONS", "POST"]);
    assert.equal(stats.posts[1].headers.authorization, "Token wrong");
  });
});

test("an origin that is not listed: nothing is acknowledged, all is kept", async () => {
  await shop(() => "", () => [], async ({ open, stats }) => {
    const page = await open("/");
    await until(() => stats.posts.length > 0, "a post");
    await sleep(500);
    assert.equal(await queue(page), 1);
  });
});
