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

/** JSON of a request, or an Error with what the server says. */
export async function request(path, options) {
  const response = await fetch(path, options);
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(body.error ?? `${response.status}`), { status: response.status });
  return body;
}

export const post = (path, body) =>
  request(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

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

/** A button that shows that its work goes on. */
export function worker(key, work) {
  const button = el("button", { type: "button", dataset: { word: key } });
  button.onclick = async () => {
    button.disabled = true;
    button.textContent = word("working");
    try { await work(); trouble(null); } catch (error) { trouble(error); } finally {
      button.disabled = false;
      button.textContent = word(key);
    }
  };
  return button;
}
