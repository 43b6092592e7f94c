// Declared clicks, and what is logged where `data-more` asks for it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { rig } from "./support/browser.js";
import { sleep, until } from "./support/server.js";
import { page as html } from "./support/site.js";

const it = rig();
const tag = (more) => `<script async src="/djaffar/djaffar.js" data-more="${more}"></script>`;
const named = (rows) => rows.filter(({ name }) => name).map(({ name, properties }) => [name, properties]);

/** A page with what it asks for, once it is there. */
async function open(body, more, path = "/") {
  it.site.pages[path] = typeof body === "string" ? html(body, tag(more)) : body;
  const answered = it.context.waitForEvent("response", (response) => response.url().endsWith("/more.js"));
  const page = await it.open(path);
  await (await answered).finished();
  await page.waitForFunction(() => new Promise((done) => setTimeout(() => done(true), 100)));
  return page;
}

test("a declared click, wherever in the element, also in a shadow root", async () => {
  it.site.pages["/"] = html(`<button data-djaffar-click="buy"><b>buy</b></button><p>none</p><div id="host" data-djaffar-click="host"></div>
    <script>host.attachShadow({ mode: "open" }).innerHTML = "<i>in</i><u data-djaffar-click='deep'>deep</u>"</script>`);
  const page = await it.open();
  for (const what of ["b", "p", "#host i", "#host u"]) await page.click(what);
  assert.deepEqual(named(await it.server.stored(4)).map(([name]) => name), ["buy", "host", "deep"]);
});

test("nothing of it without being asked, and more.js is not even loaded", async () => {
  it.site.pages["/"] = html('<a href="http://elsewhere.example/" onclick="event.preventDefault()">x</a>');
  const asked = [];
  it.context.on("request", (request) => asked.push(request.url()));
  const page = await it.open();
  await page.click("a");
  await page.evaluate(() => setTimeout(() => { throw new Error("the page's own") }));
  await sleep(500);
  await it.server.stored(1);
  assert.ok(asked.every((url) => !url.endsWith("more.js")));
  it.errors.length = 0;
});

test("outbound links and downloads", async () => {
  const page = await open(`<script>addEventListener("click", (event) => event.preventDefault())</script>
    <a id="out" href="http://elsewhere.example/deep?token=1#x">out</a> <a id="in" href="/inside">in</a>
    <a id="pdf" href="/files/Report.PDF?v=2">pdf</a> <a id="named" href="/export" download>export</a>
    <a id="mail" href="mailto:jeff@example.com">mail</a> <a id="far" href="http://elsewhere.example/x.zip">zip</a>`, "outbound downloads");
  for (const id of ["out", "in", "pdf", "named", "mail", "far"]) await page.click(`#${id}`);
  await page.click("#out", { button: "middle" });
  await page.click("#out", { button: "right" });
  const site = it.site.url("");
  assert.deepEqual(named(await it.server.stored(6)), [
    ["outbound", { url: "http://elsewhere.example/deep" }],
    ["download", { url: `${site}/files/Report.PDF` }],
    ["download", { url: `${site}/export` }],
    ["download", { url: "http://elsewhere.example/x.zip" }],
    ["outbound", { url: "http://elsewhere.example/deep" }],
  ]);
});

test("an outbound link that really leaves", async () => {
  const page = await open(`<a href="http://localhost:${it.site.port}/left">out</a>`, "outbound");
  await page.click("a");
  await page.waitForURL("**/left");
  const rows = await it.server.stored(3);
  assert.equal(named(rows).length, 1);
});

test("forms: which one, never what is in it", async () => {
  const page = await open(`<form id="search" action="/find?all=1"><input name="id" value="secret"><input name="action" value="secret"><button>go</button></form>`, "forms");
  await page.click("button");
  await page.waitForURL("**/find**");
  const rows = await it.server.stored(3);
  assert.deepEqual(named(rows), [["form", { form: "search", action: "/find" }]]);
  assert.ok(!it.site.posts.some(({ body }) => body.includes("secret")));
});

test("errors of the page, at most ten, and no pictures", async () => {
  const page = await open('<img src="data:,none">', "errors");
  await page.evaluate(() => {
    setTimeout(() => { throw new TypeError("x is not y") });
    Promise.reject(new Error("nobody caught it"));
  });
  await until(() => it.errors.length >= 2, "two errors");
  await page.evaluate(() => { for (let n = 0; n < 20; n++) Promise.reject(n) });
  const rows = named(await it.server.stored(11));
  const messages = rows.map(([name, { message }]) => (assert.equal(name, "error"), message));
  assert.ok(messages.some((text) => text.includes("x is not y")) && messages.includes("nobody caught it"), String(messages));
  assert.ok(rows.find(([, { message }]) => message.includes("x is not y"))[1].line > 0);
  await until(() => it.errors.length >= 22, "the page's own errors are still the page's");
  it.errors.length = 0;
});

test("404 pages", async () => {
  await open({ status: 404, body: html("", tag("404")) }, "404", "/gone");
  const rows = await it.server.stored(2);
  assert.deepEqual(named(rows), [["404", null]]);
  await open("", "404", "/there");
  await sleep(300);
  await it.server.stored(3);
});

test("time by visible and focused time, and scroll depth, for each view", async () => {
  const page = await open('<div style="height: 4000px">long</div>', "time scroll");
  await page.evaluate(() => scrollTo(0, 1500));
  await sleep(1200);
  await page.evaluate(() => history.pushState({}, "", "/second"));
  // In the background nothing is counted.
  await page.evaluate(() => {
    Object.defineProperty(Document.prototype, "hidden", { get: () => window.away, configurable: true });
    window.away = true;
    document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
  });
  await sleep(1500);
  await page.evaluate(() => {
    window.away = false;
    document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
  });
  await sleep(700);
  await page.close({ runBeforeUnload: false });
  await it.open("/after");
  const leaves = async () => (await it.server.activities()).filter(({ name }) => name === "leave");
  await until(async () => (await leaves()).length >= 2, "both are logged", 10, async () =>
    JSON.stringify(await it.server.activities()));
  await sleep(300);
  const [first, ...second] = await leaves();
  assert.deepEqual([first.path, second.map(({ path }) => path).every((path) => path === "/second")], ["/", true]);
  assert.ok(first.properties.seconds >= 1 && first.properties.seconds < 6, JSON.stringify(first.properties));
  assert.ok(first.properties.percent >= 40 && first.properties.percent <= 70, JSON.stringify(first.properties));
  const spent = second.reduce((sum, { properties }) => sum + properties.seconds, 0);
  assert.ok(spent >= 0.5 && spent < 1.5, `${spent} seconds on /second`);
});
