"use strict";
// Controls of the page: theme, tooltips, subject tabs, and the drawing of table and plots.

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, label]) => element("option", { value }, label)));
  select.value = chosen;
}

function openSubject(number) {
  const panels = [...document.querySelectorAll(".subject")];
  panels.forEach((panel, index) => (panel.hidden = index !== number));
  document.querySelectorAll("[role=tab]").forEach((tab) => {
    const chosen = tab.id === `tab-${number}`;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen || (number >= document.querySelectorAll("[role=tab]").length && tab.id === "tab-0") ? 0 : -1;
  });
  const any = document.getElementById("any-subject");
  if (any) any.value = number;
}

/** Scrolls to the images of a subject, or to its row where it has none. */
function goToSubject(index) {
  const { name, shown } = DATA.table.subjects[index];
  const number = [...document.querySelectorAll(".subject")].findIndex((panel) => panel.dataset.subject === name);
  if (shown && number >= 0) {
    openSubject(number);
    document.getElementById("subjects").scrollIntoView();
    return;
  }
  document.getElementById("table-filter").value = "";
  table.words = [];
  drawTable(index);
  const row = document.querySelector(`#subject-table tr[data-subject="${index}"]`);
  row.classList.add("on");
  row.scrollIntoView({ block: "center" });
}

function prepareTheme() {
  const button = document.getElementById("theme"), root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const say = () => button.setAttribute("aria-pressed", isDark());
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    say();
  });
  system.addEventListener("change", say);
  say();
}

function prepareTips() {
  const at = (event) => event.target.closest?.("[data-tip]");
  const open = (event) => {
    const target = at(event);
    if (!target) return;
    const box = target.getBoundingClientRect();
    target.setAttribute("aria-describedby", "tip");
    showTip(target.dataset.tip, box.left + box.width / 2, box.top);
  };
  const close = (event) => {
    at(event)?.removeAttribute("aria-describedby");
    if (at(event)) hideTip();
  };
  for (const name of ["pointerover", "focusin"]) document.addEventListener(name, open);
  for (const name of ["pointerout", "focusout"]) document.addEventListener(name, close);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
  document.addEventListener("scroll", hideTip, true);
}

function prepareTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => openSubject(index));
    tab.addEventListener("keydown", (event) => {
      const next = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      const tab = tabs[(next + tabs.length) % tabs.length];
      tab.focus();
      tab.click();
    });
  });
  document.getElementById("any-subject")?.addEventListener("change", (event) => openSubject(Number(event.target.value)));
}

function prepareTable() {
  const method = document.getElementById("table-method"), region = document.getElementById("table-region");
  options(method, DATA.table.methods.map((name) => [name, name.replaceAll("_", " ")]), table.method);
  options(region, DATA.table.regions.map((name) => [name, name]), table.region);
  method.addEventListener("change", () => ((table.method = method.value), drawTable()));
  region.addEventListener("change", () => ((table.region = region.value), drawTable()));
  document.getElementById("table-filter").addEventListener("input", (event) => {
    table.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    table.page = 0;
    drawTable();
  });
  drawTable();
}

function preparePlots() {
  const metric = document.getElementById("distribution-metric"), region = document.getElementById("distribution-region");
  const plot = document.getElementById("distribution-plot"), training = document.getElementById("training-plots");
  const agreement = document.getElementById("agreement-plots"), uncertainty = document.getElementById("uncertainty-plots");
  const distribution = () => {
    const [label, unit] = whatItIs(metricCalled(metric.value)).split("\n");
    document.getElementById("distribution-what").textContent = `${label} in ${region.value}: ${unit}`;
    drawDistribution(plot, metric.value, region.value);
  };
  const figures = (holder, count) => holder && holder.append(...Array.from({ length: count }, () => element("figure")));
  if (metric) {
    options(metric, DATA.table.metrics.map(({ name, label }) => [name, label]), DATA.table.metrics[0]?.name);
    options(region, DATA.table.regions.map((name) => [name, name]), DATA.region);
    metric.addEventListener("change", distribution);
    region.addEventListener("change", distribution);
  }
  figures(training, DATA.curves.panels.length);
  figures(agreement, DATA.agreements.length);
  figures(uncertainty, DATA.sparsification.panels.length);
  let width = 0;
  const draw = () => {
    if (document.body.clientWidth === width) return;
    width = document.body.clientWidth;
    if (metric && DATA.table.metrics.length) distribution();
    DATA.curves.panels.forEach((panel, index) => drawCurves(training.children[index], panel, DATA.curves.steps));
    DATA.sparsification.panels.forEach((panel, index) => drawCurves(uncertainty.children[index], panel, DATA.sparsification.steps, "percent left out"));
    DATA.agreements.forEach((one, index) => drawAgreement(agreement.children[index], one));
  };
  new ResizeObserver(draw).observe(document.body);
  draw();
}

// Paper has no folds: everything is unfolded before printing.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((folded) => (folded.open = true)));

prepareTheme();
prepareTips();
prepareTabs();
prepareTable();
preparePlots();
prepareViewers();
