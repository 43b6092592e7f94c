// Real applications with the routers that people use.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { buildSync } from "esbuild";
import { rig, running } from "./support/browser.js";
import { sleep } from "./support/server.js";
import { page as html } from "./support/site.js";

const it = rig();
const bundles = {};

before(() => {
  for (const name of ["history", "hash"]) {
    const built = buildSync({
      entryPoints: [new URL(`apps/${name}.js`, import.meta.url).pathname],
      bundle: true, write: false, minify: true, format: "iife",
      define: { "process.env.NODE_ENV": '"production"', __VUE_OPTIONS_API__: "true", __VUE_PROD_DEVTOOLS__: "false", __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: "false" },
    });
    bundles[name] = built.outputFiles[0].text;
  }
});

const app = (name, attributes) => ({
  "/app.js": { headers: { "Content-Type": "text/javascript" }, body: bundles[name] },
  "": html('<div id="app"></div><script src="/app.js"></script>', `<script async src="/djaffar/djaffar.js" ${attributes}></script>`),
});
const views = (rows) => rows.filter(({ name }) => !name).map(({ path, referer }) => [path, referer]);

async function clicks(page, ...ids) {
  for (const id of ids) {
    await page.click(`#${id}`);
    await sleep(60);
  }
}

/** With the Navigation API, and as a browser without it. */
for (const older of [false, true]) {
  const kind = older ? "wrapped history" : "the Navigation API";
  const open = async (name, attributes, path) => {
    if (older) await it.context.addInitScript(() => delete window.navigation);
    it.site.pages = app(name, attributes);
    const page = await it.open(path);
    await page.waitForSelector("h1");
    if (older) await page.waitForFunction(() => history.pushState.name !== "pushState");
    return page;
  };

  test(`React Router in the History API, by ${kind}`, async () => {
    const page = await open("history", "", "/");
    await clicks(page, "item", "same", "sort", "anchor", "home", "item", "buy");
    await page.goBack();
    await sleep(100);
    await clicks(page, "home");
    const rows = await it.server.stored(7);
    assert.deepEqual(views(rows), [["/", ""], ["/item/7", "/"], ["/", "/item/7"], ["/item/7", "/"], ["/thanks", "/item/7"], ["/", "/thanks"]]);
    const bought = rows.find(({ name }) => name);
    assert.deepEqual([bought.name, bought.properties, bought.path], ["checkout", { total: 12 }, "/item/7"]);
    // A reload, deep in the application.
    await page.goto(it.site.url("/item/9"));
    await running(page);
    await it.server.stored(8);
  });

  test(`React Router: what redirects is followed, by ${kind}`, async () => {
    const page = await open("history", "", "/");
    await clicks(page, "old");
    await page.waitForFunction(() => location.pathname === "/item/8");
    await sleep(300);
    const paths = views(await it.server.activities()).map(([path]) => path);
    assert.equal(paths.at(0), "/");
    assert.equal(paths.at(-1), "/item/8");
  });

  test(`Vue Router in the hash, by ${kind}`, async () => {
    const page = await open("hash", "data-hash", "/dashboard#/");
    await clicks(page, "item", "item", "old", "guarded", "sorted", "home");
    await page.goBack();
    await sleep(100);
    const rows = views(await it.server.stored(7));
    assert.deepEqual(rows.map(([path]) => path), ["/dashboard#/", "/dashboard#/item/7", "/dashboard#/item/8", "/dashboard#/login",
      "/dashboard#/item/9?sort=price", "/dashboard#/", "/dashboard#/item/9?sort=price"]);
    assert.deepEqual(rows.map(([, referer]) => referer).slice(1), rows.map(([path]) => path).slice(0, -1));
  });
}
