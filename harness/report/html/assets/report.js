// Theme, and the sorting and filtering of the comparison table. No library, no network.
"use strict";

(function theme() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const store = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
                  set: (v) => { try { localStorage.setItem("theme", v); } catch { /* a file may have no storage */ } } };
  if (store.get()) root.dataset.theme = store.get();
  button.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    store.set(root.dataset.theme);
    document.dispatchEvent(new Event("themechange"));
  });
})();

(function grid() {
  const table = document.getElementById("grid");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const name = document.getElementById("filter-name");
  const resolved = document.getElementById("filter-resolved");
  const by = document.getElementById("sort-by");
  const count = document.getElementById("filter-count");
  let column = -1, direction = "descending";

  function value(row, index) {
    const cell = row.cells[index];
    const text = by.value === "d" && cell.dataset.d !== undefined ? cell.dataset.d : cell.dataset.v;
    if (text === undefined || text === "") return null;
    const number = Number(text);
    return Number.isNaN(number) ? text : number;
  }

  function compare(a, b) {
    const x = value(a, column), y = value(b, column);
    // What is missing stands last in either direction.
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return direction === "ascending" ? order : -order;
  }

  function sort() {
    const sorted = column < 0 ? rows : rows.slice().sort((a, b) => compare(a, b) || rows.indexOf(a) - rows.indexOf(b));
    body.append(...sorted);
  }

  function filter() {
    const wanted = name.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.dataset.name.toLowerCase().includes(wanted) || (resolved.checked && row.dataset.resolved !== "1");
      shown += !row.hidden;
    }
    count.textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
  }

  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button.sort");
    if (!button) return;
    const chosen = Number(button.dataset.column);
    const isName = rows.length && typeof value(rows[0], chosen) === "string";
    direction = chosen === column ? (direction === "descending" ? "ascending" : "descending") : (isName ? "ascending" : "descending");
    column = chosen;
    heads.forEach((head, i) => head.setAttribute("aria-sort", i === column ? direction : "none"));
    sort();
  });
  by.addEventListener("change", sort);
  name.addEventListener("input", filter);
  resolved.addEventListener("change", filter);
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
