// The ids in the database are exactly the ids that were made.

import assert from "node:assert/strict";
import { queue } from "./browser.js";
import { bare, sleep, until } from "./server.js";

/** The ids of the rows of that name are these, each once. */
export async function exactly(it, ids, name = "test", seconds = 60) {
  const stored = async () =>
    (await it.server.activities()).filter((row) => row.name === name).map((row) => row.event_id);
  await until(async () => (await stored()).length >= ids.length, `${ids.length} stored`, seconds,
    async () => (await stored()).length);
  await sleep(200);
  assert.deepEqual((await stored()).sort(), bare(ids));
}

export const empty = (page) => until(async () => (await queue(page)) === 0, "an empty queue");
