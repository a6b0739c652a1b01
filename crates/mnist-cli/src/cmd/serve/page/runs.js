// Curves of all runs, live.

import { el, request, trouble } from "./parts.js";
import { word } from "./words.js";

const COLOURS = ["#2457c5", "#c5482a", "#2f8f57", "#8b4bc0", "#b88a1b", "#1b93a8", "#c04b86", "#6f7480"];
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [900, 420, 64, 34];

/** Milliseconds after which it is looked again. */
const RETRY = 5000;

/** `runs[name]` = measurements in the order of steps. */
const runs = new Map();
const hidden = new Set();
let rows = [];

const value = () => document.getElementById("value");
const colour = (name) => COLOURS[[...runs.keys()].sort().indexOf(name) % COLOURS.length];
const number = (v) => (Math.abs(v) >= 1000 || (v !== 0 && Math.abs(v) < 0.001) ? v.toExponential(1) : String(+v.toPrecision(3)));

/** Listens while the view is to be seen: browsers have few connections for all their tabs together. */
export function watchRuns() {
  value().onchange = draw;
  document.getElementById("log").onchange = draw;
  addEventListener("language", () => { table(); draw(); });
  const view = document.getElementById("runs");
  let events = null;
  const look = () => {
    const seen = !view.hidden && document.visibilityState === "visible";
    if (seen && !events) events = listen(() => { events = null; setTimeout(look, RETRY); });
    if (!seen && events) { events.close(); events = null; }
    if (seen) load();
  };
  new MutationObserver(look).observe(view, { attributes: true, attributeFilter: ["hidden"] });
  document.addEventListener("visibilitychange", look);
  addEventListener("pagehide", () => { events?.close(); events = null; });
  addEventListener("pageshow", look);
  // Figures at the end of a run come with no measurement.
  setInterval(() => { if (events) load(); }, RETRY);
  look();
}

/** A connection over which news of runs come; `ended()` is called when the server refuses it. */
function listen(ended) {
  const live = document.getElementById("live");
  const say = (key) => { live.dataset.word = key; live.textContent = word(key); };
  const events = new EventSource("/api/runs/events");
  let again = true;
  events.onopen = () => { again = true; say("live"); };
  events.onerror = () => {
    say("away");
    if (events.readyState === EventSource.CLOSED) ended();
  };
  let drawing = null;
  events.onmessage = ({ data }) => {
    // A connection begins with all that there is.
    if (again) { runs.clear(); again = false; }
    const news = JSON.parse(data);
    if (news.again || !runs.has(news.run)) runs.set(news.run, []);
    const lines = runs.get(news.run);
    news.lines.forEach((line) => lines.push(line));
    drawing ??= setTimeout(() => { drawing = null; names(); draw(); table(); }, 150);
  };
  return events;
}

async function load() {
  try { rows = await request("/api/runs"); table(); } catch (error) { trouble(error); }
}

/** The values that there are, validation first. */
function names() {
  const found = new Set();
  for (const lines of runs.values()) {
    for (const line of lines) Object.keys(line.values).forEach((name) => found.add(`${line.split} ${name}`));
  }
  const before = value().value || "valid accuracy";
  const all = [...found].sort((a, b) => b.startsWith("valid") - a.startsWith("valid") || a.localeCompare(b));
  const known = [...value().options].map((option) => option.value);
  if (all.join() === known.join()) return;
  value().replaceChildren(...all.map((name) => el("option", { value: name, textContent: name.replaceAll("_", " ") })));
  value().value = all.includes(before) ? before : all[0];
}

const svg = (tag, attributes, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([key, v]) => element.setAttribute(key, v));
  element.append(...children);
  return element;
};

function ticks(low, high, count = 5) {
  const raw = (high - low) / count || 1;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((f) => f * size).find((s) => s >= raw);
  const first = Math.ceil(low / step);
  const last = Math.min(first + 2 * count, Math.floor(high / step + 1e-6));
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
}

function draw() {
  const [split, ...rest] = (value().value || " ").split(" ");
  const name = rest.join(" ");
  const log = document.getElementById("log").checked;
  const curves = [...runs].filter(([run]) => !hidden.has(run)).map(([run, lines]) => [run,
    lines.filter((line) => line.split === split && name in line.values)
      .map((line) => [line.step, line.values[name]])
      .filter(([, v]) => Number.isFinite(v) && (!log || v > 0))
      .map(([x, v]) => [x, log ? Math.log10(v) : v])]).filter(([, points]) => points.length);
  const place = document.getElementById("chart");
  if (!curves.length) { place.replaceChildren(el("p", { className: "hint", textContent: word("noRuns") })); return; }
  const points = curves.flatMap(([, points]) => points);
  const right = points.reduce((most, [x]) => Math.max(most, x), 1);
  const low = points.reduce((least, [, y]) => Math.min(least, y), Infinity);
  const high = points.reduce((most, [, y]) => Math.max(most, y), -Infinity);
  const flat = high - low < 1e-9 * Math.abs(high);
  const room = (flat ? Math.abs(high) || 1 : high - low) * 0.05;
  const [bottom, top] = [low - room, high + room];
  const px = (x) => LEFT + (x / right) * (WIDTH - LEFT - 16);
  const py = (y) => HEIGHT - BOTTOM - ((y - bottom) / (top - bottom)) * (HEIGHT - BOTTOM - 12);
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": value().value });
  for (const y of ticks(bottom, top)) {
    const label = svg("text", { x: LEFT - 8, y: py(y) + 4, "text-anchor": "end" }, number(log ? 10 ** y : y));
    chart.append(svg("line", { class: "axis", x1: LEFT, x2: WIDTH - 16, y1: py(y), y2: py(y) }), label);
  }
  for (const x of ticks(0, right, 8)) {
    chart.append(svg("text", { x: px(x), y: HEIGHT - 14, "text-anchor": "middle" }, number(x)));
  }
  chart.append(svg("text", { x: WIDTH - 16, y: HEIGHT - 1, "text-anchor": "end" }, word("step")));
  for (const [run, points] of curves) {
    const d = points.map(([x, y], i) => `${i ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("");
    const [x, y] = points.at(-1);
    const dot = svg("circle", { cx: px(x), cy: py(y), r: 3.5 });
    dot.style.fill = colour(run);
    const path = svg("path", { d }, svg("title", {}, run));
    path.style.stroke = colour(run);
    chart.append(path, dot);
  }
  place.replaceChildren(chart);
}

function table() {
  const head = ["run", "objective", "net", "epochs", "test", "seconds"].map((key) => el("th", { scope: "col", textContent: word(key) }));
  const body = rows.map((row) => {
    const box = el("input", { type: "checkbox", checked: !hidden.has(row.name) });
    box.onchange = () => { if (box.checked) hidden.delete(row.name); else hidden.add(row.name); draw(); };
    const key = el("span", { className: "key" });
    if (runs.has(row.name)) key.style.background = colour(row.name);
    const last = runs.get(row.name)?.findLast((line) => line.split === "valid")?.epoch ?? 0;
    const cells = [
      el("label", { className: "check" }, box, key, row.name), row.objective, row.net, `${last}/${row.epochs}`,
      row.test_accuracy === null ? "–" : `${(100 * row.test_accuracy).toFixed(2)} %`,
      row.train_seconds === null ? "–" : row.train_seconds.toFixed(0),
    ];
    return el("tr", {}, ...cells.map((cell) => el("td", {}, cell)));
  });
  const place = document.getElementById("run-table");
  place.replaceChildren(el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body));
}
