// The page of a server that runs alone: logs itself, then shows what was stored.
"use strict";

const prefix = document.body.dataset.prefix;
const state = document.querySelector("#state");
const table = document.querySelector("table");
const columns = ["date", "path", "referer", "name", "user", "ip_address"];

async function log(name) {
  const body = new URLSearchParams({
    date: new Date().toISOString(),
    path: location.pathname,
    referer: document.referrer,
    name,
  });
  const answer = await fetch(prefix + "log/", { method: "POST", body, keepalive: true });
  if (answer.status !== 204) throw new Error(`the server answered ${answer.status}`);
}

// Rows are stored a moment after the 204: ask until there are more than before.
async function show(more) {
  for (let attempt = 0; attempt < 40; attempt++) {
    const rows = await (await fetch("/recent.json")).json();
    if (rows.length > more || attempt === 39) {
      draw(rows);
      return rows.length;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function draw(rows) {
  const lines = rows.map((row) => {
    const line = document.createElement("tr");
    for (const [index, column] of columns.entries()) {
      const cell = document.createElement("td");
      cell.textContent = row[column] ?? "";
      cell.title = cell.textContent;
      cell.dataset.label = table.tHead.rows[0].cells[index].textContent;
      line.append(cell);
    }
    return line;
  });
  table.tBodies[0].replaceChildren(...lines);
  table.hidden = rows.length === 0;
  state.textContent = rows.length === 0
    ? "None is stored yet: is the database busy? The server's log tells."
    : "Newest first.";
}

let shown = 0;
async function logAndShow(name) {
  try {
    await log(name);
    shown = await show(Math.min(shown, 19));
  } catch (error) {
    state.textContent = `It did not work: ${error.message}.`;
  }
}

document.querySelector("#again").addEventListener("click", () => logAndShow("button"));
logAndShow("");
