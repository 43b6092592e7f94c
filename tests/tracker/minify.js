// Makes what is served of the tracker's source: without comments, white space and long local names.
//
//   node tests/tracker/minify.js           writes assets/tracker/*.min.js
//
// A test compares, so that nobody serves what nobody can read.

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { transformSync } from "esbuild";

const FOLDER = new URL("../../assets/tracker/", import.meta.url);
export const FILES = ["djaffar", "more"];

export const read = (name) => readFileSync(new URL(name, FOLDER), "utf8");

export const minified = (name) =>
  transformSync(read(`${name}.js`), { minify: true, target: "es2022", legalComments: "none" }).code;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const name of FILES) writeFileSync(new URL(`${name}.min.js`, FOLDER), minified(name));
}
