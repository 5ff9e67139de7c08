"use strict";
// Sorting: a click on a column's button, or Enter or Space on it, sorts the rows; again, the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const rows = [...body.rows].map((row) => [keyOf(row.cells[column]), row]);
      rows.sort(([a], [b]) => compare(a, b, direction));
      body.append(...rows.map(([, row]) => row));
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    });
  });
}

// The exact number of a cell's first figure; null where it was not measured; the text where there is no figure.
function keyOf(cell) {
  const holder = cell.querySelector("[data-sort], [data-value]");
  if (holder) return Number(holder.dataset.sort ?? JSON.parse(holder.dataset.value));
  return cell.querySelector(".none") ? null : cell.textContent.trim();
}

function compare(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null); // not measured: last, both ways
  if (typeof a === "number" && typeof b === "number") return direction * (a === b ? 0 : a < b ? -1 : 1);
  return direction * String(a).localeCompare(String(b), undefined, { numeric: true });
}

// What is folded away on a screen is printed.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const one of folded) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of folded) one.open = false;
});
