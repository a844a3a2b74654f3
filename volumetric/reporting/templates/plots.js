"use strict";
// Plots in SVG, from the page's data. A plot is drawn for the width it has, and again when that changes.

const DATA = JSON.parse(document.getElementById("data").textContent);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function shape(tag, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

const MANY = Object.keys(DATA.table.spreads).length > 0; // subjects: then spreads are drawn, not points

const isNumber = (value) => value !== null && Number.isFinite(Number(value));

function show(value, unit = "") {
  if (value === null || value === undefined || Number.isNaN(Number(value))) return "–";
  const number = Number(value);
  if (!Number.isFinite(number)) return number > 0 ? "∞" : "−∞";
  if (unit === "count") return number.toLocaleString("en").replaceAll(",", " ");
  return number.toFixed(unit === "dB" || Math.abs(number) >= 10 ? 2 : 3).replace("-", "−");
}

function metricCalled(name) {
  return DATA.table.metrics.find((metric) => metric.name === name);
}

function whatItIs(metric) {
  const unit = { dB: "in dB", intensity: "in reference units", 1: "a pure number" }[metric.unit] ?? metric.unit;
  const better = { higher: "higher is better", lower: "lower is better", zero: "nearer to 0 is better" }[metric.better];
  return [metric.label, [unit, better].filter(Boolean).join(", "), metric.formula, metric.source && `Source: ${metric.source}`]
    .filter(Boolean).join("\n");
}

function quantile(sorted, q) {
  const at = (sorted.length - 1) * q, below = Math.floor(at);
  return sorted[below] + (at - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

function axis(values, from, to, margin = 0.05, spacing = 90) {
  let low = Math.min(...values), high = Math.max(...values);
  const pad = (high - low) * margin || Math.abs(high) * 0.1 || 1;
  low -= pad;
  high += pad;
  const at = (value) => from + ((value - low) / (high - low)) * (to - from);
  const rough = (high - low) / Math.max(2, Math.abs(to - from) / spacing), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= 0.75 * rough);
  const ticks = [];
  for (let n = Math.ceil(low / step); n * step <= high; n++) ticks.push(n * step);
  const decimals = Math.max(0, Math.min(6, -Math.floor(Math.log10(step))));
  return { at, ticks: ticks.map((value) => [value, (Math.abs(value) < step / 1e6 ? 0 : value).toFixed(decimals).replace("-", "−")]) };
}

function canvas(holder, height, label) {
  const width = Math.max(280, holder.clientWidth || 900);
  const made = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, tabindex: 0 });
  return [made, width];
}

const tip = document.getElementById("tip");

function showTip(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(innerWidth - box.width - 8, x - box.width / 2))}px`;
  tip.style.top = `${y - box.height - 12 > 0 ? y - box.height - 12 : y + 18}px`;
}

function hideTip() {
  tip.hidden = true;
}

/** Points that name their subject: by pointer, or by arrow keys while the plot has the focus. */
function nameable(made, dots, textOf) {
  let current = -1;
  const light = (dot) => {
    made.querySelectorAll(".on").forEach((other) => other.classList.remove("on"));
    if (!dot) return hideTip();
    made.querySelectorAll(`[data-subject="${dot.dataset.subject}"]`).forEach((same) => same.classList.add("on"));
    const box = dot.getBoundingClientRect();
    showTip(textOf(dot), box.left + box.width / 2, box.top);
  };
  made.addEventListener("pointerover", (event) => light(event.target.closest(".dot")));
  made.addEventListener("pointerleave", () => light(null));
  made.addEventListener("blur", () => light(null));
  made.addEventListener("click", (event) => {
    const dot = event.target.closest(".dot");
    if (dot) goToSubject(Number(dot.dataset.subject));
  });
  made.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (step && dots.length) {
      current = (current + step + dots.length) % dots.length;
      light(dots[current]);
      event.preventDefault();
    } else if (event.key === "Enter" && current >= 0) {
      goToSubject(Number(dots[current].dataset.subject));
    } else if (event.key === "Escape") {
      light(null);
    }
  });
}

/** A method's values, and their spread; no spread without a finite value. */
function rowOf(method, values) {
  const sorted = values.filter(isNumber).map(Number).sort((a, b) => a - b);
  if (!sorted.length) return { method, values };
  const [q1, median, q3] = [0.25, 0.5, 0.75].map((q) => quantile(sorted, q));
  const inside = sorted.filter((value) => value >= q1 - 1.5 * (q3 - q1) && value <= q3 + 1.5 * (q3 - q1));
  return { method, values, spread: { n: sorted.length, least: sorted[0], q1, median, q3, most: sorted.at(-1), low: inside[0], high: inside.at(-1) } };
}

function drawDistribution(holder, metricName, region) {
  const metric = metricCalled(metricName);
  const methods = MANY ? Object.keys(DATA.table.spreads) : DATA.table.methods;
  const at = (tree, method) => ((tree[method] ?? {})[region] ?? {})[metricName];
  const rows = methods
    .map((method) => (MANY ? { method, values: [], spread: at(DATA.table.spreads, method) } : rowOf(method, at(DATA.table.values, method) ?? [])))
    .filter((row) => row.spread);
  if (!rows.length) {
    holder.replaceChildren(element("p", { class: "empty" }, "No subject has a finite value of this metric in this region."));
    return;
  }
  const narrow = holder.clientWidth < 620, gutter = narrow ? 8 : 236, pitch = narrow ? 84 : 62, top = narrow ? 20 : 4;
  const height = top + rows.length * pitch + 40;
  const [made, width] = canvas(holder, height, `${metric.label} of every subject and method in ${region}. Arrow keys name the subjects.`);
  const x = axis(rows.flatMap(({ spread }) => [spread.least, spread.most]), gutter + 8, width - 16);
  for (const [value, label] of x.ticks) {
    made.append(shape("line", { class: "grid", x1: x.at(value), x2: x.at(value), y1: 0, y2: height - 32 }));
    made.append(shape("text", { x: x.at(value), y: height - 12, "text-anchor": "middle" }, label));
  }
  const dots = [];
  rows.forEach((row, index) => {
    const middle = top + index * pitch + pitch / 2, box = middle - 13, strip = middle + 13; // box above, points below
    const group = shape("g", { class: row.method === "model" ? "" : "rest" });
    const { n, q1, median, q3, low, high, least, most, counts } = row.spread;
    group.append(shape("text", { class: "label", x: narrow ? gutter : gutter - 12, y: narrow ? middle - 30 : middle + 4, "text-anchor": narrow ? "start" : "end" },
      row.method.replaceAll("_", " ")));
    group.lastChild.append(shape("tspan", { dx: 10 }, show(median, metric.unit)));
    if (n > 2) {
      group.append(shape("line", { class: "whisker", x1: x.at(low), x2: x.at(high), y1: box, y2: box }));
      group.append(shape("rect", { class: "box", x: x.at(q1), width: Math.max(1, x.at(q3) - x.at(q1)), y: box - 8, height: 16, rx: 3 }));
    }
    group.append(shape("line", { class: "middle", x1: x.at(median), x2: x.at(median), y1: box - 8, y2: box + 8 }));
    (counts ?? []).forEach((count, bin) => {
      const [left, right] = [bin, bin + 1].map((edge) => x.at(least + ((most - least) * edge) / counts.length));
      const tall = (26 * count) / Math.max(...counts);
      if (count) group.append(shape("rect", { class: "bin", x: left, width: Math.max(1, right - left), y: strip + 13 - tall, height: tall }));
    });
    row.values.forEach((value, subject) => {
      if (!isNumber(value)) return;
      const spread = n > 2 ? (((subject * 0.618034) % 1) - 0.5) * 24 : 0; // golden ratio: even and repeatable
      const dot = shape("circle", { class: "dot", cx: x.at(Number(value)), cy: strip + spread, r: n > 60 ? 3.2 : 4.6, "data-subject": subject, "data-method": row.method });
      group.append(dot);
      if (index === 0) dots.push([Number(value), dot]);
    });
    made.append(group);
  });
  holder.replaceChildren(made);
  nameable(made, dots.sort((a, b) => a[0] - b[0]).map(([, dot]) => dot), ({ dataset }) => {
    const value = DATA.table.values[dataset.method][region][metricName][dataset.subject];
    return `${DATA.table.subjects[dataset.subject].name}\n${dataset.method.replaceAll("_", " ")}: ${show(value, metric.unit)}${metric.unit === "dB" ? " dB" : ""}`;
  });
}

function frame(holder, height, label, xs, ys, xLabel) {
  const [made, width] = canvas(holder, height, label);
  const x = axis(xs, 52, width - 12), y = axis(ys, height - 44, 8, 0.1, 45);
  for (const [value, text] of y.ticks) {
    made.append(shape("line", { class: "grid", x1: 52, x2: width - 12, y1: y.at(value), y2: y.at(value) }));
    made.append(shape("text", { x: 46, y: y.at(value) + 4, "text-anchor": "end" }, text));
  }
  for (const [value, text] of x.ticks) made.append(shape("text", { x: x.at(value), y: height - 26, "text-anchor": "middle" }, text));
  made.append(shape("text", { x: (52 + width - 12) / 2, y: height - 6, "text-anchor": "middle" }, xLabel));
  return [made, width, x, y];
}

/** Squares of 6 pixels, the darker the more points lie in them; returns no points. */
function drawDensity(made, points) {
  const counts = new Map();
  for (const point of points) {
    const square = point.map((place) => Math.floor(place / 6) * 6).join();
    counts.set(square, (counts.get(square) ?? 0) + 1);
  }
  const most = Math.max(...counts.values());
  for (const [square, count] of counts) {
    const [left, upper] = square.split(",");
    made.append(shape("rect", { class: "bin", x: left, y: upper, width: 6, height: 6, "fill-opacity": 0.15 + 0.85 * (count / most) }));
  }
  return [];
}

function drawAgreement(holder, agreement) {
  const { means, differences, bias, lower, upper } = agreement;
  const lines = [bias, lower, upper].filter(isNumber);
  const label = `Bland-Altman plot of ${agreement.label}: mean difference ${show(bias)}, limits ${show(lower)} to ${show(upper)}`;
  const plot = element("div");
  holder.replaceChildren(element("figcaption", {}, `${agreement.label} `, element("span", {}, `bias ${show(bias)}, limits ${show(lower)} to ${show(upper)}`)), plot);
  const [made, width, x, y] = frame(plot, 250, label, means, [...differences, ...lines, 0], "mean of truth and prediction");
  made.append(shape("line", { class: "zero", x1: 52, x2: width - 12, y1: y.at(0), y2: y.at(0) }));
  lines.forEach((value, index) => made.append(shape("line", { class: index ? "limit" : "bias", x1: 52, x2: width - 12, y1: y.at(value), y2: y.at(value) })));
  const dots = MANY ? drawDensity(made, means.map((mean, index) => [x.at(mean), y.at(differences[index])])) : means.map((mean, index) => {
    const subject = DATA.table.subjects.findIndex(({ name }) => name === agreement.subjects[index]);
    const dot = shape("circle", { class: "dot", cx: x.at(mean), cy: y.at(differences[index]), r: means.length > 60 ? 3.2 : 4.6, "data-subject": subject, "data-index": index });
    made.append(dot);
    return dot;
  });
  plot.append(made);
  nameable(made, dots, ({ dataset }) => `${agreement.subjects[dataset.index]}\nprediction − truth: ${show(differences[dataset.index])}`);
}

function drawCurves(holder, panel, steps, over = "step") {
  const plot = element("div");
  const isSecond = (name) => panel.series.findIndex((series) => series.name === name) > 0;
  const ends = panel.series.map(({ name, values }) => [name, `${name} ${show(values.filter(isNumber).at(-1), panel.unit)}`]);
  holder.replaceChildren(element("figcaption", {}, `${panel.title} `, ...ends.map(([name, text]) => element("span", { class: isSecond(name) ? "key second" : "key" }, text))), plot);
  const finite = panel.series.flatMap(({ values }) => values.filter(isNumber).map(Number));
  const [made, , x, y] = frame(plot, 230, `${panel.title} over ${over}: ${ends.map(([, text]) => text).join(", ")}`, steps.filter(isNumber).map(Number), finite, over);
  for (const { name, values } of panel.series) {
    const second = isSecond(name) ? " second" : "";
    const points = values.map((value, index) => [value, steps[index]]).filter(([value]) => isNumber(value)).map(([value, step]) => [x.at(step), y.at(Number(value))]);
    made.append(shape("polyline", { class: `curve${second}`, points: points.map((point) => point.join()).join(" ") }));
    if (points.length < 30) points.forEach(([cx, cy]) => made.append(shape("circle", { class: `dot${second}`, cx, cy, r: 3 })));
  }
  plot.append(made);
}
