"use strict";
// The page can be read without this: it sorts tables, unfolds chapters and folds the contents.

const NUMBER = /^[-+−]?(\d{1,3}(,\d{3})+|\d*)(\.\d+)?(e[-+]?\d+)?\s*%?$/i;
const words = new Intl.Collator("en", { numeric: true });

function number(text) {
  if (!/\d/.test(text) || !NUMBER.test(text)) return NaN;
  return Number(text.replace(/[,%\s]/g, "").replace("−", "-"));
}

function cellTexts(rows, column) {
  const empty = new Set(["nan", "None", "–"]);
  const texts = rows.map((row) => row.cells[column].textContent.trim());
  return texts.map((text) => (empty.has(text) ? "" : text));
}

function isNumeric(texts) {
  const filled = texts.filter((text) => text);
  return filled.length > 0 && filled.every((text) => !Number.isNaN(number(text)));
}

// rows in order of a column; empty cells come last, upwards and downwards
function sorted(rows, column, sign) {
  const texts = cellTexts(rows, column);
  const compare = isNumeric(texts)
    ? (a, b) => number(texts[a]) - number(texts[b])
    : (a, b) => words.compare(texts[a], texts[b]);
  const filled = [...rows.keys()].filter((i) => texts[i]);
  const blank = [...rows.keys()].filter((i) => !texts[i]);
  filled.sort((a, b) => sign * compare(a, b));
  return [...filled, ...blank].map((i) => rows[i]);
}

function sort(table, header) {
  const upwards = header.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", upwards ? "ascending" : "descending");
  const body = table.tBodies[0];
  body.append(...sorted([...body.rows], header.cellIndex, upwards ? 1 : -1));
}

function giveButton(table, header) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  button.addEventListener("click", () => sort(table, header));
  header.append(button);
}

const spans = (cell) => cell.colSpan > 1 || cell.rowSpan > 1;

function makeSortable(table) {
  const rows = [...(table.tBodies[0]?.rows ?? [])];
  if (!table.tHead || rows.length < 2 || rows.some((row) => [...row.cells].some(spans))) return;
  for (const heads of [...table.tHead.rows].filter((row) => ![...row.cells].some(spans))) {
    const ofRows = heads.cells[0].textContent.trim(); // without it the rows are facts with names
    for (const header of heads.cells) {
      if (!rows.every((row) => row.cells[header.cellIndex])) continue;
      const numeric = isNumeric(cellTexts(rows, header.cellIndex));
      if (header.textContent.trim() && (ofRows || numeric)) giveButton(table, header);
      if (!numeric) continue;
      for (const row of [heads, ...rows]) row.cells[header.cellIndex].classList.add("number");
    }
  }
}

// a link into a folded chapter unfolds it
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = target?.querySelector(":scope > details") ?? target?.closest("main details");
  if (!folded) return;
  folded.open = true;
  target.scrollIntoView();
}

function followContents() {
  const contents = document.querySelector("nav details");
  const narrow = matchMedia("(max-width: 60rem)");
  const fit = () => (contents.open = !narrow.matches);
  fit();
  narrow.addEventListener("change", fit);
  contents.addEventListener("click", (event) => {
    if (!event.target.closest("a")) return;
    fit();
    setTimeout(reveal); // also where the address already has this hash
  });
}

function unfoldOnDemand() {
  const models = [...document.querySelectorAll(".model details")];
  const button = document.getElementById("unfold");
  const label = () => {
    const all = models.every((model) => model.open);
    if (button) button.textContent = all ? "fold all" : "unfold all";
  };
  for (const model of models) model.addEventListener("toggle", label);
  button?.addEventListener("click", () => {
    const open = !models.every((model) => model.open);
    for (const model of models) model.open = open;
  });
  if (button) button.hidden = false;
}

function unfoldInPrint() {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("main details:not([open])")];
    for (const folded of opened) folded.open = true;
  });
  addEventListener("afterprint", () => {
    for (const folded of opened) folded.open = false;
  });
}

for (const table of document.querySelectorAll("main table")) makeSortable(table);
followContents();
unfoldOnDemand();
unfoldInPrint();
addEventListener("hashchange", reveal);
reveal();
