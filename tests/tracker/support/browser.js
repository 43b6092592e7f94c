// Debian's Chromium, driven by Playwright.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, afterEach } from "node:test";
import { chromium } from "playwright-core";
import { Server } from "./server.js";
import { Site } from "./site.js";

export const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  // A name that is no secure context.
  "--host-resolver-rules=MAP shop.example 127.0.0.1"];

const options = () => ({
  executablePath: process.env.CHROMIUM,
  args: FLAGS,
  // Playwright takes the cache away that browsers have.
  ignoreDefaultArgs: ["--disable-back-forward-cache"],
});

const launch = () => chromium.launch(options());

/** A browser whose user allows cookies of other sites; Chromium by itself does not any more. */
export async function allowing(folder) {
  mkdirSync(join(folder, "Default"));
  const profile = { cookie_controls_mode: 0, block_third_party_cookies: false };
  writeFileSync(join(folder, "Default/Preferences"), JSON.stringify({ profile }));
  return chromium.launchPersistentContext(folder, options());
}

/** Gives each test of a file a server, a site in front of it and an empty profile. */
export function rig(...options) {
  const rig = {};
  before(async () => (rig.browser = await launch()));
  after(() => rig.browser?.close());
  beforeEach(async () => {
    rig.server = await Server.start(...options);
    rig.site = await Site.start(rig.server);
    rig.context = await rig.browser.newContext();
    rig.errors = [];
    rig.said = [];
    rig.context.on("weberror", (error) => rig.errors.push(String(error.error())));
    rig.context.on("console", (message) => rig.said.push(message.text()));
  });
  afterEach(async () => {
    await rig.context?.close();
    rig.site?.stop();
    await rig.server?.stop();
    // Whatever a test does: no error of ours reaches the page.
    if (rig.errors.length) throw new Error(rig.errors.join("\n"));
  });
  /** A page of the site, with the tracker running. */
  rig.open = async (path = "/", host) => {
    const page = await rig.context.newPage();
    await page.goto(rig.site.url(path, host));
    await running(page);
    return page;
  };
  return rig;
}

export const running = (page) => page.waitForFunction(() => window.djaffar?.log && !window.djaffar.q);

/** Logs so many; the ids. */
export const log = (page, count, name = "test") =>
  page.evaluate(([count, name]) => Array.from({ length: count }, (_, n) => djaffar.log(name, { n })), [count, name]);

/** What is in the page's queue. */
export const queue = (page) =>
  page.evaluate(() => Object.keys(localStorage).filter((name) => name.startsWith("djaffar http")).length);
