// What all views use: elements, requests, pixels.

import { word } from "./words.js";

/** An element with properties and children. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "dataset") Object.assign(element.dataset, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

/** Whether motion is to be spared. */
export const reduced = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** An Error with what the server says. */
const refused = (response, body) => Object.assign(new Error(body.error ?? `${response.status}`), { status: response.status });

/** JSON of a request, or an Error. */
export async function request(path, options) {
  const response = await fetch(path, options);
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw refused(response, body);
  return body;
}

const sent = (body, signal) =>
  ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });

export const post = (path, body, signal) => request(path, sent(body, signal));

/** As `post`, of what is told while it is made: `news(event)` is called for each event before the whole answer. */
export async function stream(path, body, signal, news) {
  const response = await fetch(path, sent({ ...body, stream: true }, signal));
  if (!response.ok) throw refused(response, await response.json().catch(() => ({})));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(word("cutOff"));
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (!data) continue;
      const told = JSON.parse(data);
      if (told.error) throw new Error(told.error);
      if (told.made) { reader.cancel(); return told.made; }
      news(told);
    }
  }
}

/** Shows what went wrong, or that nothing does. */
export function trouble(error) {
  const place = document.getElementById("trouble");
  place.hidden = !error;
  place.textContent = error ? error.message ?? String(error) : "";
}

/** For those who hear the page. */
export const say = (text) => { document.getElementById("said").textContent = text; };

/**
 * Does `work` now, or as soon as what it did before is done; of several wishes in between only the last counts.
 */
export function latest(work) {
  let busy = false;
  let next = null;
  return async function run(...args) {
    if (busy) { next = args; return; }
    busy = true;
    try { await work(...args); } finally {
      busy = false;
      if (next) { const again = next; next = null; run(...again); }
    }
  };
}

/** A function that gives red, green and blue of a pixel of an image: of one channel, or of three, one after the other. */
export function colours(values, [height, width]) {
  const area = height * width;
  return values.length === 3 * area
    ? (i) => [values[i], values[area + i], values[2 * area + i]]
    : (i) => [values[i], values[i], values[i]];
}

/** Draws an image, 0-255, row by row, on a canvas of that size; `colour` gives red, green and blue of a pixel. */
export function paint(canvas, pixels, [height, width], colour = null) {
  const of = colours(pixels, [height, width]);
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i += 1) {
    image.data.set([...(colour ? colour(pixels[i], i) : of(i)), 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

/** Images as one grid, row by row. */
export function paintGrid(canvas, images, [height, width]) {
  const across = Math.ceil(Math.sqrt(images.length));
  const down = Math.ceil(images.length / across);
  const all = new Array(across * width * down * height).fill([0, 0, 0]);
  images.forEach((image, n) => {
    const of = colours(image, [height, width]);
    const [top, left] = [Math.floor(n / across) * height, (n % across) * width];
    for (let i = 0; i < height * width; i += 1) {
      all[(top + Math.floor(i / width)) * across * width + left + (i % width)] = of(i);
    }
  });
  paint(canvas, all, [down * height, across * width], (pixel) => pixel);
}

/** A button for `work(signal)`, which stops it while it goes on. */
export function worker(key, work) {
  const button = el("button", { type: "button", dataset: { word: key } });
  const show = (key, busy) => {
    button.dataset.word = key;
    button.textContent = word(key);
    button.setAttribute("aria-busy", String(busy));
  };
  let going = null;
  button.onclick = async () => {
    if (going) { going.abort(); return; }
    going = new AbortController();
    show("stop", true);
    try { await work(going.signal); trouble(null); } catch (error) {
      if (error.name !== "AbortError") trouble(error);
    } finally {
      going = null;
      show(key, false);
    }
  };
  return button;
}

/** What a model is, and how well it did where it was tested. */
export function about(model) {
  const line = el("p", { className: "hint" }, `${model.net} · ${model.objective}`);
  const of = { images: "tested", texts: "testedTexts", words: "testedWords" }[model.classifies];
  if (of && model.test_accuracy !== null) {
    line.append(` · ${(100 * model.test_accuracy).toFixed(2)}\u00a0% `, el("span", { dataset: { word: of } }));
  }
  return line;
}

/** Classes with their probabilities: `{ parts, show(label, probabilities), blank(text) }`. */
export function bars(classes) {
  const label = el("div", { className: "label" });
  const note = el("p", { className: "hint" });
  const list = el("div", { className: "bars" });
  const rows = classes.map((name) => {
    const row = { name: el("span", { textContent: name }), fill: el("i"), share: el("span", { className: "share" }) };
    list.append(row.name, el("div", { className: "bar" }, row.fill), row.share);
    return row;
  });
  return {
    parts: [label, note, list],
    show(likeliest, probabilities, remark = "") {
      const most = Math.max(...probabilities);
      label.textContent = likeliest;
      label.className = `label${likeliest.length > 3 ? " long" : ""}${most < 0.5 ? " doubt" : ""}`;
      note.textContent = remark;
      rows.forEach((row, i) => {
        const p = probabilities[i];
        row.fill.style.width = `${100 * p}%`;
        row.share.textContent = `${(100 * p).toFixed(1)} %`;
        row.name.className = p === most ? "most" : "";
      });
    },
    blank(text) {
      label.textContent = "";
      note.textContent = text;
      rows.forEach((row) => { row.fill.style.width = "0"; row.share.textContent = ""; row.name.className = ""; });
    },
  };
}
