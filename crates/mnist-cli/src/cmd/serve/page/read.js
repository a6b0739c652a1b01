// Texts: the class of each, or the punctuation that belongs into it, while one writes.

import { about, bars, el, latest, post, say, trouble } from "./parts.js";
import { word } from "./words.js";

/** Most characters of a text. */
const MOST = 10000;

/** Whether a model tells something of texts. */
export const reads = (model) => model.classifies === "texts" || model.classifies === "words";

/** A text, and a card for each of the models. */
export function readView(place, models) {
  if (!models.length) { place.append(el("p", { dataset: { word: "noReader" } })); return; }
  const text = el("textarea", { rows: 4, maxLength: MOST, spellcheck: false, dataset: { label: "text" } });
  const kinds = { texts: whole, words };
  const cards = models.map((model) => {
    const kind = kinds[model.classifies](model);
    const card = el("article", { className: "card", dataset: { model: model.name } },
      el("h2", { textContent: model.name }), about(model), ...kind.parts);
    return { model, card, ...kind };
  });
  const asks = cards.map((c) => latest(async () => {
    if (!text.value.trim()) { c.blank(word("nothingWritten")); return; }
    try {
      const { answers: [answer] } = await post("/api/predict", { model: c.model.name, text: text.value });
      c.show(answer);
      trouble(null);
      say(`${c.model.name}: ${answer.label ?? answer.text}`);
    } catch (error) {
      if (error.status === 422) c.blank(error.message); else trouble(error);
    }
  }));
  const ask = () => asks.forEach((one) => one());
  text.oninput = ask;
  addEventListener("language", ask);
  place.append(
    el("label", {}, el("span", { className: "hint", dataset: { word: "readHint" } }), text),
    el("div", { className: "cards" }, ...cards.map((c) => c.card)));
  ask();
}

/** Of a text as a whole. */
function whole(model) {
  const classes = bars(model.classes);
  return {
    parts: classes.parts,
    blank: classes.blank,
    show({ label, probabilities, cut }) {
      const remark = cut ? word("cut").replace("{tokens}", cut.tokens).replace("{read}", cut.read) : "";
      classes.show(label, probabilities, remark);
    },
  };
}

/** Of the words of a text: what belongs behind each; how sure that is, where one points. */
function words() {
  const note = el("p", { className: "hint" });
  const out = el("pre");
  return {
    parts: [note, out],
    blank(text) { note.textContent = text; out.replaceChildren(); },
    show(answer) {
      note.textContent = "";
      out.replaceChildren(...answer.words.flatMap(({ word, mark, probability }) => {
        const title = `${(100 * probability).toFixed(1)} %`;
        return [word, el("b", { className: "mark", textContent: mark, title }), " "];
      }));
    },
  };
}
