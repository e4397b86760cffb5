"use strict";
// The page can be read without this: it sorts and filters tables, colours verdicts, unfolds models.
const VERDICTS = /^(reproduced|holds|higher|lower|does not hold|holds for some seeds|not tested|depends on .*)$/;
const words = new Intl.Collator("en", { numeric: true });
const text = (cell) => cell.textContent.trim();
const number = (cell) => Number(text(cell).replace(/[,%\s]/g, "").replace("−", "-"));
const isEmpty = (cell) => ["", "nan", "None", "–"].includes(text(cell));
const spans = (row) => [...row.cells].some((cell) => cell.colSpan > 1 || cell.rowSpan > 1);

function sort(table, head) {
  const upwards = head.getAttribute("aria-sort") !== "ascending";
  for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
  const cell = (row) => row.cells[head.cellIndex];
  const compare = head.classList.contains("number")
    ? (a, b) => number(cell(a)) - number(cell(b))
    : (a, b) => words.compare(text(cell(a)), text(cell(b)));
  const [rows, empty] = [false, true].map((is) => [...table.tBodies[0].rows].filter((row) => isEmpty(cell(row)) === is));
  rows.sort((a, b) => (upwards ? compare(a, b) : compare(b, a)));
  table.tBodies[0].append(...rows, ...empty);
}

for (const table of document.querySelectorAll("main table:has(thead)")) {
  const rows = [...(table.tBodies[0]?.rows ?? [])];
  if (rows.some(spans)) continue;
  for (const head of [...table.tHead.rows].filter((row) => !spans(row)).flatMap((row) => [...row.cells])) {
    const column = rows.map((row) => row.cells[head.cellIndex]).filter((cell) => cell && !isEmpty(cell));
    const longest = Math.max(0, ...column.map((cell) => text(cell).length));
    const numeric = longest > 0 && !column.some((cell) => Number.isNaN(number(cell)));
    for (const cell of [head, ...column]) cell.classList.add(numeric ? "number" : longest > 90 ? "long" : "word");
    if (!numeric) head.style.setProperty("--width", `${Math.ceil(longest / 5)}ch`);
    // the rows of a table that has no name for them are facts: nothing to sort but numbers
    if (rows.length < 2 || !text(head) || !(numeric || text(head.parentElement.cells[0]))) continue;
    const button = document.createElement("button");
    button.onclick = () => sort(table, head);
    button.append(...head.childNodes);
    head.append(button);
  }
  if (rows.length < 12 || !table.tHead.querySelector("th:first-child button")) continue;
  const box = Object.assign(document.createElement("input"), { type: "search", placeholder: "filter rows" });
  box.setAttribute("aria-label", "Filter the rows of the table that follows");
  const differs = (row) => !row.textContent.toLowerCase().includes(box.value.toLowerCase());
  box.oninput = () => rows.forEach((row) => (row.hidden = differs(row)));
  table.parentElement.before(box);
}
const judged = [...document.querySelectorAll("main :is(td, th)")].filter((cell) => VERDICTS.test(text(cell)));
for (const cell of judged) cell.className += ` verdict ${text(cell)}`;

const contents = document.querySelector("nav details");
function reveal() { // unfold the model that a link leads to, fold the contents that cover a narrow page
  contents.open = false;
  const target = document.getElementById(location.hash.slice(1));
  target?.querySelector(":scope > details")?.setAttribute("open", "");
  target?.scrollIntoView();
}
contents.onclick = (event) => event.target.closest("a") && setTimeout(reveal);
addEventListener("hashchange", reveal);
reveal();
const unfold = document.getElementById("unfold");
if (unfold) unfold.onclick = () => {
  const open = document.querySelector(".model > details:not([open])") !== null;
  for (const model of document.querySelectorAll(".model > details")) model.open = open;
};
unfold?.removeAttribute("hidden");
