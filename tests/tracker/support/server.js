// A real `djaffar serve` with a database of its own, to be killed and started again.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const PROGRAM = process.env.DJAFFAR;

const READ = `
import json, sqlite3, sys
for line in sys.stdin:
    file, table = json.loads(line)
    database = sqlite3.connect(file, timeout=20)
    database.row_factory = sqlite3.Row
    rows = database.execute("SELECT * FROM " + table).fetchall()
    database.close()
    print(json.dumps([dict(row) for row in rows]), flush=True)
`;

/** Python has SQLite, Node 20 has not. One process reads for all tests of a file, one after the other. */
class Reader {
  constructor() {
    this.child = spawn("python3", ["-c", READ], { stdio: ["pipe", "pipe", "inherit"] });
    this.lines = createInterface(this.child.stdout)[Symbol.asyncIterator]();
    this.last = Promise.resolve();
    for (const handle of [this.child, this.child.stdin, this.child.stdout]) handle.unref();
  }

  /** All rows of a table. */
  read(file, table) {
    this.last = this.last.then(async () => {
      this.child.stdin.write(`${JSON.stringify([file, table])}\n`);
      const { value, done } = await this.lines.next();
      if (done) throw new Error(`${table} of ${file} cannot be read`);
      return JSON.parse(value);
    });
    return this.last;
  }
}

let reader;

export class Server {
  static async start(...options) {
    const server = new Server();
    server.folder = mkdtempSync(join(tmpdir(), "djaffar-"));
    // No limits, as all tests come from one address; what a test says instead counts.
    const standard = ["--rate-limit=0", "--session-rate-limit=0", "--trusted-proxy=127.0.0.1/32"];
    const said = (option) => options.some((other) => other.split("=")[0] === option.split("=")[0]);
    server.options = [...standard.filter((option) => !said(option)), ...options];
    server.port = 0;
    await server.begin();
    return server;
  }

  /** Starts it, again on the same port and the same files. */
  async begin() {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("DJAFFAR")));
    this.child = spawn(PROGRAM, ["serve", `--listen=127.0.0.1:${this.port}`, ...this.options], {
      cwd: this.folder, env, stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    this.child.stderr.on("data", (bytes) => (said += bytes));
    await new Promise((ready, failed) => {
      this.child.stdout.on("data", (bytes) => {
        said += bytes;
        const port = /Endpoint\s+http:\/\/127\.0\.0\.1:(\d+)/.exec(said);
        if (port) ready((this.port = +port[1]));
      });
      this.child.once("exit", () => failed(new Error(`the server did not start: ${said}`)));
    });
  }

  async end(signal) {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, "exit");
    this.child.kill(signal);
    await gone;
  }

  /** As a power cut of the program. */
  kill() {
    return this.end("SIGKILL");
  }

  async stop() {
    await this.end("SIGTERM");
    rmSync(this.folder, { recursive: true, force: true });
  }

  table(name) {
    reader ??= new Reader();
    return reader.read(join(this.folder, "djaffar.sqlite3"), name);
  }

  /** The activities, in the order of their dates. */
  async activities() {
    const rows = await this.table("djaffar_activity");
    for (const row of rows) row.properties = row.properties && JSON.parse(row.properties);
    return rows.sort((a, b) => (a.date + a.event_id < b.date + b.event_id ? -1 : 1));
  }

  /** The activities, once there are so many of them and no more a moment later. */
  async stored(count, seconds = 40) {
    await until(async () => (await this.activities()).length >= count, `${count} activities`, seconds, async () =>
      JSON.stringify((await this.activities()).map(({ path, name }) => [path, name])));
    await sleep(150);
    const rows = await this.activities();
    if (rows.length !== count) throw new Error(`${rows.length} activities, not ${count}: ${JSON.stringify(rows)}`);
    return rows;
  }
}

export const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Waits until it is true. */
export async function until(look, what, seconds = 40, more = () => "") {
  const end = Date.now() + seconds * 1000;
  while (!(await look())) {
    if (Date.now() > end) throw new Error(`never: ${what} ${await more()}`);
    await sleep(30);
  }
}

/** Ids as the database writes them. */
export const bare = (ids) => ids.map((id) => id.replaceAll("-", "")).sort();
