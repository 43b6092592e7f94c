// The page of a server that runs alone: shows what the tracker logged of it.
"use strict";

const state = document.querySelector("#state");
const table = document.querySelector("table");
const columns = ["date", "path", "referer", "name", "user", "ip_address"];

// Rows are stored a moment after the 204: ask until there are more than before.
async function show(more) {
  for (let attempt = 0; attempt < 40; attempt++) {
    const answer = await fetch("/recent.json");
    const rows = await answer.json();
    if (!answer.ok) {
      throw new Error(rows.detail);
    }
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
    ? "None is stored yet: does an add-on of this browser block the tracker, or is the database busy? The server's log tells."
    : "Newest first.";
}

let shown = 0;
async function update() {
  try {
    shown = await show(Math.min(shown, 19));
  } catch (error) {
    state.textContent = `It did not work: ${error.message}.`;
  }
}

document.querySelector("#again").addEventListener("click", () => {
  if (!window.djaffar) {
    state.textContent = "An add-on of this browser blocks the tracker.";
    return;
  }
  window.djaffar.log("button");
  update();
});
update();
