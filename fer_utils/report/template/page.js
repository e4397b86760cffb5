"use strict";
// The page can be read without this: it tidies, sorts and filters tables and unfolds chapters.
// rows from which a table is folded, one of verdicts is folded, a table has a box to filter
const LONG = 12, VERDICT_ROWS = 25, FILTERED = 12;
const SHARE = /accuracy|recall|precision|\bf1|f1-score|\bgap\b|\bgain\b|^(low|high|mean|deviation|min|max)$/i;
const VERDICTS = { reproduced: "holds", holds: "holds", yes: "holds", higher: "higher", lower: "lower", no: "lower", "does not hold": "lower" };
const words = new Intl.Collator("en", { numeric: true });
const text = (cell) => cell.textContent.trim();
const number = (cell) => Number(text(cell).replace(/[,%\s]/g, "").replace("−", "-"));
const isEmpty = (cell) => ["", "nan", "None", "–", "NaN"].includes(text(cell));
const spans = (row) => [...row.cells].some((cell) => cell.colSpan > 1 || cell.rowSpan > 1);
const make = (name, properties, ...content) => {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...content);
  return node;
};

// pandas puts the name of the rows into a second head, and some columns have the names of code
function tidy(table) {
  const [head, second] = table.tHead.rows;
  if (second) {
    [...head.cells].forEach((cell, i) => text(cell) || cell.replaceChildren(text(second.cells[i])));
    second.remove();
  }
  const rows = [...table.tBodies[0].rows];
  const name = (i) => (head.cells[i] ? text(head.cells[i]) : "");
  for (const cell of head.cells) if (/^\w+_\w+$/.test(text(cell))) cell.textContent = text(cell).replaceAll("_", " ");
  [...head.cells].forEach((cell, i) => {
    const column = rows.map((row) => row.cells[i]).filter((each) => !isEmpty(each));
    const shares = column.length && column.every((each) => /^-?(0\.\d{3,}|1\.0{3,})$/.test(text(each)));
    if (!shares || !SHARE.test(name(i))) return;
    for (const each of column) each.textContent = (100 * number(each)).toFixed(1);
    cell.textContent += " (%)";
  });
  for (let i = head.cells.length - 2; i > 0; i--) {
    if (!/\blow\b/.test(name(i)) || !/\bhigh\b/.test(name(i + 1))) continue;
    for (const row of [head, ...rows]) {
      const ends = [row.cells[i], row.cells[i + 1]];
      ends[0].textContent = row === head ? "95 % interval" : ends.filter((end) => !isEmpty(end)).map(text).join(" to ");
      ends[1].remove();
    }
  }
  const accuracy = [...head.cells].findIndex((cell) => /^accuracy\b/.test(text(cell)));
  if (accuracy > 1) { // right after the name of the model
    const order = [...head.cells].map((_, i) => i);
    const moved = order.splice(accuracy, name(accuracy + 1) === "95 % interval" ? 2 : 1);
    order.splice(1, 0, ...moved);
    for (const row of [head, ...rows]) {
      const cells = [...row.cells];
      row.append(...order.map((i) => cells[i]));
    }
  }
  for (const row of rows) if ([...row.querySelectorAll("td")].every(isEmpty)) row.remove();
}

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
  if (!table.tBodies[0] || [...table.rows].some(spans)) continue;
  tidy(table);
  let box = table.parentElement; // scrolls where the table is wider than the page
  if (!box.matches(".output")) {
    box = make("div", { className: "output" });
    table.before(box);
    box.append(table);
  }
  const rows = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells];
  for (const [i, head] of heads.entries()) {
    const column = rows.map((row) => row.cells[i]).filter((cell) => cell && !isEmpty(cell));
    const longest = Math.max(0, ...column.map((cell) => text(cell).length));
    const numeric = longest > 0 && !column.some((cell) => Number.isNaN(number(cell)));
    for (const cell of [head, ...column]) cell.classList.add(numeric ? "number" : longest > 90 ? "long" : "word");
    if (!numeric) head.style.setProperty("--width", `${Math.ceil(longest / 5)}ch`);
    if (["verdict", "inside"].includes(text(head)))
      for (const cell of column) cell.className += ` verdict ${VERDICTS[text(cell)] ?? ""}`;
    // the rows of a table that has no name for them are facts: nothing to sort but numbers
    if (rows.length < 2 || !text(head) || !(numeric || text(heads[0]))) continue;
    head.append(make("button", { type: "button", onclick: () => sort(table, head) }, ...head.childNodes));
  }
  if (rows.length >= FILTERED) {
    const filter = make("input", { type: "search", placeholder: "filter rows" });
    filter.setAttribute("aria-label", "Filter the rows of the table that follows");
    const differs = (row) => !row.textContent.toLowerCase().includes(filter.value.toLowerCase());
    filter.oninput = () => rows.forEach((row) => (row.hidden = differs(row)));
    box.before(filter);
    if (rows.length > (heads.some((head) => text(head) === "verdict") ? VERDICT_ROWS : LONG)) {
      const fold = make("details", {}, make("summary", {}, `${rows.length} rows: ${heads.map(text).filter(Boolean).join(", ")}`));
      filter.before(fold);
      fold.append(filter, box);
    }
  }
}
// who has no mouse scrolls a wide table with the arrow keys
function reachable() {
  for (const box of document.querySelectorAll(".output, .words:has(> table), pre.drawn")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("resize", reachable);
document.addEventListener("toggle", reachable, true);
reachable();

const contents = document.querySelector("nav details");
function reveal() { // unfold what a link leads into, fold the contents that cover a narrow page
  contents.open = false;
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let node = target; node; node = node.parentElement) if (node.matches("details")) node.open = true;
  target?.querySelector(":scope > details")?.setAttribute("open", "");
  target?.scrollIntoView();
}
contents.onclick = (event) => event.target.closest("a") && setTimeout(reveal);
addEventListener("hashchange", reveal);
if (location.hash) reveal();
const unfold = document.getElementById("unfold");
if (unfold) unfold.onclick = () => {
  const open = document.querySelector(".model > details:not([open])") !== null;
  for (const model of document.querySelectorAll(".model > details")) model.open = open;
};
unfold?.removeAttribute("hidden");
