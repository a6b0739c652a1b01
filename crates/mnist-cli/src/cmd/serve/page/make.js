// What generative models make: sliders of a code, new images, completions, repainting, text.

import { makePad } from "./pad.js";
import { about, el, latest, paint, paintGrid, post, reduced, say, stream, trouble, worker } from "./parts.js";

const SLIDERS = 8;
/** Completions that are made at once. */
const COMPLETIONS = 4;

const seed = () => Math.floor(Math.random() * 2 ** 31);

/** A number from the standard normal distribution. */
const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

/** A card for each model that makes something. */
export function makers(place, models) {
  const able = models.filter((model) => model.makes);
  if (!able.length) place.append(el("p", { dataset: { word: "noMaker" } }));
  const kinds = { codes, upper: tokens, parts: tokens, text };
  for (const model of able) {
    place.append(el("article", { className: "card", dataset: { model: model.name } },
      el("h2", { textContent: model.name }),
      about(model),
      kinds[model.makes.from](model)));
  }
}

let sliders = 0;

/** A slider with a name and its value. */
function slider(name, { min, max, step, value }, onInput) {
  const number = el("span", { textContent: value });
  const input = el("input", { type: "range", min, max, step, value });
  // By its element, so that a change of language is heard too.
  name.id = `slider-${sliders += 1}`;
  input.setAttribute("aria-labelledby", name.id);
  const show = () => { number.textContent = Number(input.value).toFixed(step < 1 ? 2 : 0); };
  input.oninput = () => { show(); onInput(Number(input.value)); };
  show();
  return { parts: [name, input, number], set(value) { input.value = value; show(); }, get: () => Number(input.value) };
}

function temperature() {
  const name = el("span", { dataset: { word: "temperature" }, textContent: "temperature" });
  return slider(name, { min: 0, max: 2, step: 0.05, value: 1 }, () => {});
}

/** Images from codes. */
function codes(model) {
  const { width, order } = model.makes;
  const code = new Array(width).fill(0);
  const image = el("canvas", { className: "small large" });
  const draw = latest(async () => {
    try {
      const { images: [pixels], size } = await post("/api/generate", { model: model.name, code });
      paint(image, pixels, size);
      trouble(null);
    } catch (error) { trouble(error); }
  });
  const sliders = order.map((number) => {
    const name = el("span", { textContent: `z${number + 1}` });
    return { number, ...slider(name, { min: -3, max: 3, step: 0.05, value: 0 }, (v) => { code[number] = v; draw(); }) };
  });
  const set = (value) => {
    sliders.forEach((s) => { code[s.number] = value(); s.set(code[s.number]); });
    draw();
  };
  const heat = temperature();
  const grid = el("canvas", { className: "samples" });
  const samples = worker("samples", async (signal) => {
    const made = await post("/api/generate", { model: model.name, n: 64, seed: seed(), temperature: heat.get() }, signal);
    paintGrid(grid, made.images, made.size);
  });
  const list = (some) => el("div", { className: "sliders" }, ...some.flatMap((s) => s.parts));
  const left = el("div", {}, image,
    el("div", { className: "row" },
      el("button", { type: "button", onclick: () => set(normal), dataset: { word: "newCode" } }),
      el("button", { type: "button", onclick: () => set(() => 0), dataset: { word: "mean" } })),
    el("div", { className: "row" }, samples),
    el("div", { className: "sliders" }, ...heat.parts),
    el("div", { className: "grid" }, grid));
  const right = el("div", {}, el("p", { className: "hint", dataset: { word: "telling" } }), list(sliders.slice(0, SLIDERS)));
  if (width > SLIDERS) {
    right.append(el("details", {}, el("summary", { dataset: { word: "all" } }), list(sliders.slice(SLIDERS))));
  }
  draw();
  return el("div", { className: "maker" }, left, right);
}

/** Images from a part of one: its upper rows, or all but what was erased. */
function tokens(model) {
  const { from, patch: [tall] } = model.makes;
  const [height, width] = model.size;
  const pad = makePad({ onChange: () => {}, box: true, erase: from === "parts" });
  pad.say = say;
  const rows = slider(el("span", { dataset: { word: "given" }, textContent: "rows" }),
    { min: 0, max: height, step: tall, value: Math.floor(height / 2 / tall) * tall }, (v) => pad.setLine(v / height));
  if (from === "upper") pad.setLine(rows.get() / height);
  const heat = temperature();
  const results = el("div", { className: "results" });

  const go = worker(from === "upper" ? "complete" : "repaint", async (signal) => {
    // Pixels of cells as wide as the model's, whatever the size of the paper.
    const image = pad.cells(width);
    const marks = from === "parts" ? pad.cells(width, true) : null;
    const erased = image.map((_, i) => (marks ? marks[i] > 20 : Math.floor(i / width) >= rows.get()));
    const wish = { model: model.name, n: COMPLETIONS, seed: seed(), temperature: heat.get(), image, erased };
    const shown = growing(COMPLETIONS, image, erased, model);
    results.replaceChildren(...shown.canvases);
    const { images } = await stream("/api/generate", wish, signal, (news) => {
      if (news.patches && !reduced()) shown.found(news.patches);
    });
    shown.whole(images);
  });
  const hint = el("p", { className: "hint", dataset: { word: `${from}Hint` } });
  const sliders = el("div", { className: "sliders" }, ...(from === "upper" ? rows.parts : []), ...heat.parts);
  return el("div", { className: "maker" },
    el("div", {}, pad.frame, pad.tools), el("div", {}, hint, sliders, el("div", { className: "row" }, go), results));
}

/** Images whose erased patches are found one after the other: `{ canvases, found(patches), whole(images) }`. */
function growing(count, image, erased, { size: [height, width], makes: { patch: [tall, wide] } }) {
  const across = width / wide;
  const patchOf = (i) => Math.floor(Math.floor(i / width) / tall) * across + Math.floor((i % width) / wide);
  const unknown = new Set();
  erased.forEach((e, i) => { if (e) unknown.add(patchOf(i)); });
  const all = Array.from({ length: count }, () => ({ canvas: el("canvas", { className: "small" }), pixels: [...image], known: new Set() }));
  const show = ({ canvas, pixels, known }) => paint(canvas, pixels, [height, width], (p, i) => {
    const patch = patchOf(i);
    if (!unknown.has(patch)) return [p, p, p];
    return known.has(patch) ? [p, p, Math.min(255, p + 40)] : [60, 60, 70];
  });
  all.forEach(show);
  return {
    canvases: all.map(({ canvas }) => canvas),
    found(patches) {
      for (const { image, patch, pixels } of patches) {
        const [top, left] = [Math.floor(patch / across) * tall, (patch % across) * wide];
        pixels.forEach((p, i) => { all[image].pixels[(top + Math.floor(i / wide)) * width + left + (i % wide)] = p; });
        all[image].known.add(patch);
      }
      all.forEach(show);
    },
    whole(images) {
      all.forEach((one, i) => { one.pixels = images[i]; one.known = unknown; show(one); });
    },
  };
}

/** Text from its beginning. */
function text(model) {
  const prompt = el("textarea", { rows: 3, maxLength: 2000, dataset: { label: "prompt" } });
  const heat = temperature();
  const out = el("pre");
  const go = worker("goOn", async (signal) => {
    const begun = prompt.value;
    const show = (made) => {
      const found = made.replace(/^\n/, "");
      const given = found.startsWith(begun) ? begun : "";
      out.replaceChildren(el("span", { className: "given", textContent: given }), found.slice(given.length));
      return found;
    };
    let grown = "";
    const wish = { model: model.name, prompt: begun, seed: seed(), temperature: heat.get() };
    const { texts: [made] } = await stream("/api/generate", wish, signal, (news) => {
      grown = news.texts ? news.texts[0] : grown + news.more[0];
      if (!reduced()) show(grown);
    });
    say(show(made));
  });
  return el("div", {}, el("label", {}, el("span", { className: "hint", dataset: { word: "prompt" } }), prompt),
    el("div", { className: "sliders" }, ...heat.parts), el("div", { className: "row" }, go), out);
}
