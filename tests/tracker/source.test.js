// What is served is what is written, small, and typed; and the package that npm gets.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { constants, gzipSync } from "node:zlib";
import { buildSync } from "esbuild";
import { publint } from "publint";
import { rig } from "./support/browser.js";
import { sleep } from "./support/server.js";
import { page as html } from "./support/site.js";
import { FILES, minified, read } from "./minify.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const assets = join(here, "../../assets/tracker");
const it = rig();
let folder;
let packed;

/** An empty project with the package installed from the file that npm would publish. */
before(() => {
  folder = mkdtempSync(join(tmpdir(), "djaffar-npm-"));
  mkdirSync(join(folder, "package"));
  cpSync(assets, join(folder, "package"), { recursive: true });
  cpSync(join(here, "../../LICENSE"), join(folder, "package/LICENSE"));
  const out = execFileSync("npm", ["pack", "--silent", "--pack-destination", folder], { cwd: join(folder, "package"), encoding: "utf8" });
  packed = join(folder, out.trim());
  writeFileSync(join(folder, "package.json"), '{"type": "module"}');
  execFileSync("npm", ["install", "--silent", "--offline", "--no-audit", "--no-fund", packed], { cwd: folder });
});
after(() => rmSync(folder, { recursive: true, force: true }));

const run = (program, ...given) => {
  try {
    return execFileSync(program, given, { cwd: here, encoding: "utf8", stdio: "pipe" });
  } catch (error) {
    throw new Error(error.stdout + error.stderr);
  }
};
const tool = (name) => join(here, "node_modules/.bin", name);

for (const name of FILES) {
  test(`${name}.min.js is ${name}.js: run tests/tracker/minify.js after a change`, () => {
    assert.equal(read(`${name}.min.js`), minified(name));
  });
}

test("at most 2 KB gzipped, counted on what is served, compressed and not", async () => {
  for (const name of ["djaffar.js", "more.js"]) {
    const served = Buffer.from(await (await fetch(it.site.url(`/djaffar/${name}`), { headers: { "Accept-Encoding": "identity" } })).arrayBuffer());
    assert.equal(served.toString(), read(name.replace(".js", ".min.js")));
    const size = gzipSync(served, { level: constants.Z_BEST_COMPRESSION }).length;
    const compressed = await fetch(it.site.url(`/djaffar/${name}`), { headers: { "Accept-Encoding": "gzip" } });
    assert.equal(compressed.headers.get("content-encoding"), "gzip");
    assert.equal(await compressed.text(), served.toString());
    console.log(`${name}: ${served.length} bytes, ${size} gzipped`);
    assert.ok(size <= 2048, `${name}: ${size} bytes`);
  }
});

test("no unload, no cookie, nothing that a policy forbids", () => {
  for (const name of FILES) {
    const text = read(`${name}.min.js`);
    for (const word of ["beforeunload", '"unload', " unload", ".cookie", "eval(", "innerHTML", "document.write", "Function("]) {
      assert.ok(!text.includes(word), `${name} has ${word}`);
    }
  }
});

test("the source is typed: tsc --checkJs --strict", () => {
  run(tool("tsc"), "-p", "tsconfig.json");
});

test("the package: publint and arethetypeswrong have nothing to say", async () => {
  const { messages } = await publint({ pkgDir: join(folder, "node_modules/djaffar"), strict: true });
  assert.deepEqual(messages, []);
  const said = run(tool("attw"), packed, "--profile", "esm-only", "--no-color", "--exclude-entrypoints", "./djaffar.js", "./djaffar.min.js", "./more.js");
  assert.match(said, /node16 \(from ESM\).*🟢/);
});

test("the package in Node, where a server renders: every call does nothing", () => {
  const program = 'import * as d from "djaffar"; d.start({}); d.log("x"); d.view(); d.optOut(); d.optIn(); console.log(Object.keys(d).sort().join())';
  const said = execFileSync(process.execPath, ["--input-type=module", "-e", program], { cwd: folder, encoding: "utf8" });
  assert.equal(said.trim(), "log,optIn,optOut,start,view");
});

for (const format of ["iife", "esm"]) {
  test(`the package in an application bundled by esbuild (${format})`, async () => {
    writeFileSync(join(folder, "app.js"), `
      import { log, start } from "djaffar";
      let token = "";
      start({ get token() { return token }, more: ["time"], hash: false });
      window.id = log("bundled", { n: 1 });`);
    buildSync({ absWorkingDir: folder, entryPoints: ["app.js"], bundle: true, format, outdir: "out", splitting: format === "esm" });
    const files = run("ls", join(folder, "out")).trim().split("\n");
    for (const file of files) {
      it.site.pages[`/assets/${file}`] = { headers: { "Content-Type": "text/javascript" }, body: execFileSync("cat", [join(folder, "out", file)], { encoding: "utf8" }) };
    }
    it.site.pages["/"] = html("", format === "esm" ? '<script type="module" src="/assets/app.js"></script>' : '<script src="/assets/app.js"></script>');
    const page = await it.open("/");
    const rows = await it.server.stored(2);
    assert.deepEqual(rows.map(({ name, path }) => [name, path]), [["", "/"], ["bundled", "/"]]);
    assert.equal((await page.evaluate(() => window.id)).replaceAll("-", ""), rows[1].event_id);
    await sleep(100);
    rmSync(join(folder, "out"), { recursive: true });
  });
}

test("under another name and prefix, as block lists make it needed", async () => {
  await it.server.end("SIGTERM");
  it.server.options.push("--prefix=/shop/", "--tracker-name=cart.js");
  await it.server.begin();
  const [found, gone] = await Promise.all(["/shop/cart.js", "/shop/djaffar.js"].map((path) => fetch(`http://127.0.0.1:${it.server.port}${path}`)));
  assert.deepEqual([found.status, gone.status], [200, 404]);
  const page = await it.context.newPage();
  await page.goto(`http://127.0.0.1:${it.server.port}/djaffar-less`);
  await page.setContent(html("", '<script async src="/shop/cart.js" data-more="time"></script>'));
  await it.server.stored(1);
});
