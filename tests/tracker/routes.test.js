// What is a view, and what is its path and referer.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import puppeteer from "puppeteer-core";
import { FLAGS, rig, running } from "./support/browser.js";
import { sleep, until } from "./support/server.js";
import { page as html } from "./support/site.js";

const it = rig();
const tag = (attributes) => `<script async src="/djaffar/djaffar.js" ${attributes}></script>`;
const views = (rows) => rows.map(({ path, referer }) => [path, referer]);
const settle = () => sleep(20);

/** As a browser that has no Navigation API (Firefox before 147, Safari before 26.2). */
const older = () => delete window.navigation;

for (const [kind, prepare] of [["the Navigation API", null], ["wrapped history", older]]) {
  test(`History routes, by ${kind}`, async () => {
    if (prepare) await it.context.addInitScript(prepare);
    it.site.pages["/"] = html('<a id="to" href="#there">there</a><p id="there">there</p>');
    const page = await it.open("/");
    assert.equal(await page.evaluate(() => "navigation" in window), !prepare);
    if (prepare) await until(() => it.site.gets.length + 1 && page.evaluate(() => history.pushState.name !== "pushState"), "more.js");
    const steps = [
      () => history.pushState({}, "", "/a?q=1"),
      () => history.pushState({}, "", "/a?q=2#x"),
      () => history.replaceState({ scroll: 1 }, ""),
      () => history.pushState({}, "", "/b"),
      () => history.replaceState({}, "", "/c"),
      () => history.back(),
      () => document.querySelector("#to").click(),
    ];
    for (const step of steps) {
      await page.evaluate(step);
      await settle();
      await sleep(60);
    }
    const rows = await it.server.stored(5);
    assert.deepEqual(views(rows), [["/", ""], ["/a", "/"], ["/b", "/a"], ["/c", "/b"], ["/a", "/c"]]);
  });

  test(`hash routes, by ${kind}`, async () => {
    if (prepare) await it.context.addInitScript(prepare);
    it.site.pages["/"] = html('<p id="details">details</p><p id="ä b">odd</p>', tag("data-hash"));
    const page = await it.open("/#/start");
    if (prepare) await until(() => page.evaluate(() => history.pushState.name !== "pushState"), "more.js");
    for (const hash of ["#/cart", "#details", "#/cart", "#%C3%A4%20b", "#/50%", "#/pay?step=2", "#/pay?step=2"]) {
      await page.evaluate((hash) => (location.hash = hash), hash);
      await settle();
      await sleep(60);
    }
    const rows = await it.server.stored(4);
    assert.deepEqual(views(rows), [["/#/start", ""], ["/#/cart", "/#/start"], ["/#/50%", "/#/cart"], ["/#/pay?step=2", "/#/50%"]]);
  });
}

test("a hash that is an anchor is no part of the first path; without data-hash no hash is", async () => {
  it.site.pages["/hash"] = html('<p id="details">', tag("data-hash"));
  await it.open("/hash#details");
  await it.server.stored(1);
  await it.open("/plain#/cart");
  assert.deepEqual(views(await it.server.stored(2)), [["/hash", ""], ["/plain", ""]]);
});

test("the query string only if it is asked for, also of the referer", async () => {
  it.site.pages["/open"] = html('<a href="/asked?b=2">next</a>');
  it.site.pages["/asked"] = html('<a href="/last">next</a>', tag("data-query"));
  it.site.pages["/last"] = html("");
  const page = await it.open("/open?token=secret");
  await page.click("a");
  await running(page);
  await it.server.stored(2);
  await page.click("a");
  await running(page);
  const rows = await it.server.stored(3);
  const site = it.site.url("");
  assert.deepEqual(views(rows), [["/open", ""], ["/asked?b=2", `${site}/open?token=secret`], ["/last", `${site}/asked`]]);
});

test("a page from the back-forward cache counts once each time it is shown", async () => {
  it.site.pages["/"] = html('<a href="/next">next</a><script>addEventListener("pageshow", (event) => { window.kept = event.persisted })</script>');
  const page = await it.open("/");
  await it.server.stored(1);
  await page.click("a");
  await running(page);
  await it.server.stored(2);
  await page.evaluate(() => history.back());
  // A page that is just changing is none yet.
  await until(() => page.evaluate(() => window.kept).catch(() => false), "the page comes from the cache: nothing of ours may keep it out");
  const rows = await it.server.stored(3);
  assert.deepEqual(rows.map(({ path }) => path), ["/", "/next", "/"]);
  // And it works on.
  await page.evaluate(() => djaffar.log("still here"));
  await it.server.stored(4);
});

test("a prerendered page counts when it is shown, once", async () => {
  it.site.pages["/"] = html(`<a href="/next">next</a><script>
    const rules = document.createElement("script");
    rules.type = "speculationrules";
    rules.textContent = JSON.stringify({ prerender: [{ urls: ["/next"], eagerness: "immediate" }] });
    document.head.append(rules);</script>`);
  it.site.pages["/next"] = html(`<script>
    const tell = () => fetch("/told?" + performance.getEntriesByType("navigation")[0].activationStart);
    document.prerendering ? document.addEventListener("prerenderingchange", tell) : tell();</script>`);
  // Playwright's page does not outlive the exchange of its target; Puppeteer's does.
  const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });
  try {
    const page = await browser.newPage();
    await page.goto(it.site.url("/"));
    await until(() => it.site.gets.some(({ url }) => url === "/next"), "the browser prepares the page");
    await sleep(1500);
    assert.equal((await it.server.stored(1))[0].path, "/");
    await page.click("a");
    const rows = await it.server.stored(2);
    assert.deepEqual(rows.map(({ path }) => path), ["/", "/next"]);
    const told = () => it.site.gets.map(({ url }) => url).find((url) => url.startsWith("/told?"));
    await until(told, "the page is shown");
    assert.ok(+told().slice(6) > 0, "it was prerendered");
  } finally {
    await browser.close();
  }
});

test("views by hand", async () => {
  it.site.pages["/"] = html("", tag('data-views="off"'));
  const page = await it.open("/");
  await page.evaluate(() => {
    history.pushState({}, "", "/silent");
    djaffar.view("/virtual");
    djaffar.view("/virtual");
    djaffar.view();
    djaffar.log("named", {}, "/elsewhere");
  });
  const rows = await it.server.stored(3);
  assert.deepEqual(rows.map(({ path, name }) => [path, name]), [["/virtual", ""], ["/silent", ""], ["/elsewhere", "named"]]);
});

/** Until more.js has run, which finds out whether the server has logged the view. */
const decided = async (page) => {
  const loaded = () => performance.getEntriesByType("resource").some(({ name }) => name.endsWith("more.js"));
  await page.waitForFunction(loaded);
  await page.waitForTimeout(100);
};

test("the first view left to a server that has logged it", async () => {
  const headers = { "Server-Timing": 'djaffar;desc="id"' };
  it.site.pages["/"] = { headers, body: html("", tag('data-views="later"')) };
  const page = await it.open("/");
  await decided(page);
  await page.evaluate(() => {
    djaffar.log("named");
    history.pushState({}, "", "/next");
  });
  const rows = await it.server.stored(2);
  assert.deepEqual(rows.map(({ path, referer, name }) => [path, referer, name]), [["/", "", "named"], ["/next", "/", ""]]);
});

test("no view is left to a server that has not logged it: an error, or what the browser had kept", async () => {
  const later = tag('data-views="later"');
  it.site.pages["/gone"] = { status: 404, headers: { "Server-Timing": 'db;dur="2"' }, body: html("", later) };
  const headers = { "Server-Timing": 'djaffar;desc="id"', "Cache-Control": "private, max-age=600" };
  const body = html('<a href="/b">b</a><a href="/a">a</a>', later);
  it.site.pages["/a"] = it.site.pages["/b"] = { headers, body };
  const page = await it.open("/gone");
  await it.server.stored(1);
  await page.goto(it.site.url("/a"));
  await decided(page);
  for (const link of ["b", "a"]) {
    await page.getByText(link, { exact: true }).click();
    await page.waitForURL(it.site.url(`/${link}`));
    await decided(page);
  }
  assert.equal(it.site.gets.filter(({ url }) => url == "/a").length, 1, "the second from the cache");
  const rows = await it.server.stored(2);
  assert.deepEqual(rows.map(({ path }) => path), ["/gone", "/a"]);
});

test("a page with <base>, and an endpoint that is named", async () => {
  const base = '<base href="https://elsewhere.example/deep/">';
  it.site.pages["/"] = html("", `${base}<script async src="${it.site.url("/djaffar/djaffar.js")}"></script>`);
  await it.open("/");
  it.site.pages["/named"] = html("", `${base}<script async src="${it.site.url("/djaffar/djaffar.js")}" data-endpoint="/djaffar/log/"></script>`);
  await it.open("/named");
  await it.server.stored(2);
});

test("data: and file: pages log nothing", async () => {
  const script = readFileSync(new URL("../../assets/tracker/djaffar.min.js", import.meta.url), "utf8");
  const body = html("", `<script data-endpoint="${it.site.url("/djaffar/log/")}">${script}</script>`);
  const folder = mkdtempSync(join(tmpdir(), "djaffar-"));
  const file = join(folder, "page.html");
  writeFileSync(file, body);
  it.site.pages["/inline"] = body;
  try {
    for (const url of [`data:text/html,${encodeURIComponent(body)}`, `file://${file}`]) {
      const page = await it.context.newPage();
      await page.goto(url);
      await running(page);
      await page.evaluate(() => djaffar.log("x"));
      await sleep(300);
      assert.equal(it.site.posts.length, 0);
    }
    // The same on a page of a site does.
    await it.open("/inline");
    await it.server.stored(1);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a long path is cut, not refused", async () => {
  await it.open("/" + "x".repeat(3000));
  const [row] = await it.server.stored(1);
  assert.equal(row.path.length, 2000);
});

test("what the page itself does with history goes on working, and failing", async () => {
  await it.context.addInitScript(older);
  const page = await it.open("/");
  await until(() => page.evaluate(() => history.pushState.name !== "pushState"), "more.js");
  const said = await page.evaluate(() => {
    history.pushState({ n: 1 }, "", "/x");
    try {
      history.pushState({}, "", "https://elsewhere.example/");
    } catch (error) {
      return [history.state.n, error.name];
    }
  });
  assert.deepEqual(said, [1, "SecurityError"]);
});
