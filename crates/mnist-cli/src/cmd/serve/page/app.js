// The page: which view is open, and the view in which one draws.

import { makers } from "./make.js";
import { makePad } from "./pad.js";
import { about, bars, colours, el, latest, paint, request, say, trouble } from "./parts.js";
import { readView, reads } from "./read.js";
import { watchRuns } from "./runs.js";
import { otherLanguage, theme, translate, word } from "./words.js";

const models = await request("/api/models").catch((error) => { trouble(error); return []; });
const classifiers = models.filter((model) => model.classifies === "images");

/** Most bytes of a picture that the server takes. */
const MOST_BYTES = 8 << 20;

/** A card of a classifier: `show(answer)`, `blank(text)`. */
function card(model) {
  const classes = bars(model.classes);
  const seen = el("canvas", { width: 28, height: 28 });
  const heat = el("canvas", { width: 28, height: 28 });
  const heatFigure = el("figure", {}, heat, el("figcaption", { dataset: { word: "heat" } }));
  const card = el("article", { className: "card", dataset: { model: model.name } },
    el("h2", { textContent: model.name }), about(model), ...classes.parts,
    el("div", { className: "seen" },
      el("figure", {}, seen, el("figcaption", { dataset: { word: "seen" } })), heatFigure));

  return {
    card,
    model,
    show(answer) {
      classes.show(answer.label, answer.probabilities);
      paint(seen, answer.seen, model.size);
      heatFigure.hidden = !answer.heat;
      if (answer.heat) {
        const strongest = answer.heat.reduce((most, value) => Math.max(most, Math.abs(value)), 0.02);
        const seenColours = colours(answer.seen, model.size);
        paint(heat, answer.heat, model.size, (value, i) => {
          const share = Math.min(1, Math.abs(value) / strongest);
          const [red, green, blue] = seenColours(i);
          const grey = (red + green + blue) * 0.15;
          const mix = (to) => grey + (to - grey) * share;
          return value >= 0 ? [mix(235), mix(60), mix(45)] : [mix(60), mix(110), mix(235)];
        });
      }
    },
    blank(text) {
      classes.blank(text);
      paint(seen, new Array(model.size[0] * model.size[1]).fill(0), model.size);
      heatFigure.hidden = true;
    },
  };
}

function drawView() {
  const answers = document.getElementById("answers");
  if (!classifiers.length) { answers.append(el("p", { dataset: { word: "noClassifier" } })); return; }
  const cards = classifiers.map(card);
  answers.append(...cards.map((c) => c.card));
  const wantsHeat = document.getElementById("heat");
  let file = null;

  const asks = cards.map((c) => latest(async (body) => {
    if (!body) { c.blank(word("nothingYet")); return; }
    const path = `/api/predict?model=${encodeURIComponent(c.model.name)}&heat=${wantsHeat.checked}`;
    try {
      const { answers: [answer] } = await request(path, { method: "POST", headers: { "content-type": body.type }, body });
      c.show(answer);
      trouble(null);
      say(`${c.model.name}: ${answer.label}, ${Math.round(100 * Math.max(...answer.probabilities))} %`);
    } catch (error) {
      if (error.status === 422) c.blank(error.message); else trouble(error);
    }
  }));
  const ask = latest(async () => {
    const drawn = new Map();
    for (const dark of new Set(cards.map((c) => c.model.dark))) drawn.set(dark, pad.isEmpty() ? null : await pad.png(dark));
    // A file may have been dropped meanwhile.
    asks.forEach((one, i) => one(file ?? (pad.isEmpty() ? null : drawn.get(cards[i].model.dark))));
  });
  const pad = makePad({
    onChange: () => { file = null; ask(); },
    onFile: async (dropped) => {
      if (dropped.size > MOST_BYTES) { trouble(new Error(`${dropped.name}: > ${MOST_BYTES >> 20} MiB`)); return; }
      try {
        pad.show(await createImageBitmap(dropped));
      } catch { /* the server says what is wrong with it */ }
      file = dropped;
      ask();
    },
  });
  pad.say = say;
  document.getElementById("pad").append(pad.frame, pad.tools);
  wantsHeat.onchange = ask;
  addEventListener("language", ask);
  ask();
}

function tabs() {
  const views = ["draw", "read", "make", "runs"];
  const buttons = views.map((name) => {
    const button = el("button", { type: "button", id: `tab-${name}`, dataset: { word: name } });
    button.setAttribute("role", "tab");
    button.setAttribute("aria-controls", name);
    button.onclick = () => { location.hash = name; };
    return button;
  });
  document.getElementById("tabs").append(...buttons);
  document.getElementById("tabs").onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) buttons[(buttons.indexOf(document.activeElement) + step + views.length) % views.length].focus();
  };
  const open = () => {
    const wanted = location.hash.slice(1);
    const name = views.includes(wanted) ? wanted : classifiers.length ? "draw" : models.some(reads) ? "read" : models.length ? "make" : "runs";
    views.forEach((view, i) => {
      document.getElementById(view).hidden = view !== name;
      buttons[i].setAttribute("aria-selected", String(view === name));
    });
  };
  addEventListener("hashchange", open);
  open();
}

drawView();
readView(document.getElementById("read"), models.filter(reads));
makers(document.getElementById("make"), models);
watchRuns();
tabs();
theme();
document.getElementById("language").onclick = () => { otherLanguage(); dispatchEvent(new Event("language")); };
translate();
document.body.dataset.ready = "true";
