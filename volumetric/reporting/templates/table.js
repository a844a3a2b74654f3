"use strict";
// The table of every subject: choice of method and region, filter of rows, sorting by columns.

const table = { method: DATA.table.methods[0], region: DATA.region, key: "", descending: false, words: [], page: 0 };
const PAGE_ROWS = 200;

function tableColumns() {
  const values = (DATA.table.values[table.method] ?? {})[table.region] ?? {};
  const metrics = DATA.table.metrics.filter(({ name }) => values[name]?.some((value) => value !== null));
  const columns = metrics.map((metric) => ({ key: metric.name, label: metric.label, unit: metric.unit, about: whatItIs(metric), cells: values[metric.name] }));
  if (values.num_voxels) columns.push({ key: "num_voxels", label: "Voxels", unit: "count", about: "Voxels of the region", cells: values.num_voxels });
  const numeric = (cells) => cells.every((cell) => cell === "" || isNumber(cell));
  for (const [name, cells] of Object.entries(DATA.table.covariates)) {
    columns.push({ key: `covariate ${name}`, label: name.replaceAll("_", " "), about: "From the manifest", text: true, numeric: numeric(cells), cells });
  }
  return columns;
}

function compare(a, b, descending) {
  const [left, right] = [a, b].map((value) => (value === null || value === "" || Number.isNaN(value) ? undefined : value));
  if (left === undefined || right === undefined) return (left === undefined) - (right === undefined); // missing values come last
  const order = typeof left === "string" ? left.localeCompare(right, "en", { numeric: true }) : left - right;
  return descending ? -order : order;
}

/** Draws the page of the table that was chosen, or the one with the subject `index`. */
function drawTable(index) {
  const columns = tableColumns();
  const holder = document.getElementById("subject-table");
  const header = element("tr");
  for (const column of [{ key: "", label: "Subject", text: true, about: "" }, ...columns]) {
    const button = element("button", { type: "button" }, column.label);
    if (column.about) button.dataset.tip = column.about;
    button.addEventListener("click", () => {
      table.descending = table.key === column.key && !table.descending;
      table.key = column.key;
      table.page = 0;
      drawTable();
      holder.querySelector("th[aria-sort] button").focus({ preventScroll: true });
    });
    const cell = element("th", { scope: "col", class: column.text && !column.numeric ? "" : "num" }, button);
    if (table.key === column.key) cell.setAttribute("aria-sort", table.descending ? "descending" : "ascending");
    header.append(cell);
  }
  holder.tHead.replaceChildren(header);

  const sorted = columns.find(({ key }) => key === table.key);
  const textOf = (index) => [DATA.table.subjects[index].name, ...Object.values(DATA.table.covariates).map((cells) => cells[index])].join(" ").toLowerCase();
  const sortBy = (index) => (sorted ? (sorted.text && !sorted.numeric ? sorted.cells[index] : sorted.cells[index] === "" || sorted.cells[index] === null ? null : Number(sorted.cells[index])) : DATA.table.subjects[index].name);
  const rows = DATA.table.subjects.map((_, index) => index)
    .filter((index) => table.words.every((word) => textOf(index).includes(word)))
    .sort((a, b) => DATA.table.subjects[a].failed - DATA.table.subjects[b].failed || compare(sortBy(a), sortBy(b), table.descending) || a - b);

  const pages = Math.max(1, Math.ceil(rows.length / PAGE_ROWS));
  if (index !== undefined) table.page = Math.floor(rows.indexOf(index) / PAGE_ROWS);
  table.page = Math.min(table.page, pages - 1);
  const first = table.page * PAGE_ROWS;
  drawPages(pages);

  holder.tBodies[0].replaceChildren(...rows.slice(first, first + PAGE_ROWS).map((index) => {
    const subject = DATA.table.subjects[index];
    const name = subject.shown ? element("button", { type: "button", class: "link" }, subject.name) : subject.name;
    if (subject.shown) name.addEventListener("click", () => goToSubject(index));
    const row = element("tr", { "data-subject": index }, element("th", { scope: "row" }, name));
    if (subject.failed) {
      row.append(element("td", { class: "failed", colspan: Math.max(1, columns.length) }, `failed: ${subject.error}`));
    } else {
      for (const column of columns) row.append(element("td", { class: column.text && !column.numeric ? "" : "num" }, column.text ? column.cells[index] : show(column.cells[index], column.unit)));
    }
    return row;
  }));

  const foot = element("tr", {}, element("th", { scope: "row" }, "Mean"));
  for (const column of columns) {
    const finite = rows.map((index) => column.cells[index]).filter((value) => value !== "" && isNumber(value)).map(Number);
    const mean = finite.length ? finite.reduce((sum, value) => sum + value, 0) / finite.length : null;
    const text = column.text ? "" : show(column.unit === "count" && mean !== null ? Math.round(mean) : mean, column.unit);
    foot.append(element("td", { class: "num" }, text));
  }
  holder.tFoot.replaceChildren(foot);
  document.getElementById("table-count").textContent = `${rows.length} of ${DATA.table.subjects.length} subjects`;
}

function drawPages(pages) {
  const holder = document.getElementById("table-pages");
  holder.hidden = pages < 2;
  const turn = (label, by) => {
    const button = element("button", { type: "button" }, label);
    button.disabled = table.page + by < 0 || table.page + by >= pages;
    button.addEventListener("click", () => ((table.page += by), drawTable()));
    return button;
  };
  holder.replaceChildren(turn("Previous rows", -1), element("span", {}, `page ${table.page + 1} of ${pages}`), turn("Next rows", 1));
}
