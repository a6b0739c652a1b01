// Paper to draw on, by mouse, touch, pen or keyboard.

import { el } from "./parts.js";
import { word } from "./words.js";

const SIDE = 280;
const PEN = 20;

/**
 * `onChange(pad)` is called while and after something is drawn. `box` shows where a digit of MNIST would be; `erase`
 * adds a second tool. `onFile(file)` takes pictures.
 */
export function makePad({ onChange, onFile, box = false, erase = false }) {
  const canvas = el("canvas", { width: SIDE, height: SIDE, tabIndex: 0, dataset: { label: "padLabel" } });
  canvas.setAttribute("role", "application");
  const paper = canvas.getContext("2d", { willReadFrequently: true });
  const frame = el("div", { className: "pad" }, canvas);
  let strokes = [];
  let current = null;
  let cursor = null;
  let erasing = false;
  let line = null;
  let pointer = null;
  let picture = null;

  const ink = (context, erased) => {
    context.lineCap = context.lineJoin = "round";
    for (const stroke of strokes) {
      if (stroke.erase !== erased) continue;
      context.lineWidth = erased ? 2 * PEN : PEN;
      context.beginPath();
      stroke.points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      if (stroke.points.length === 1) context.lineTo(stroke.points[0][0] + 0.01, stroke.points[0][1]);
      context.stroke();
    }
  };

  const paint = () => {
    paper.fillStyle = "#fff";
    paper.fillRect(0, 0, SIDE, SIDE);
    if (picture) {
      const scale = Math.min(SIDE / picture.width, SIDE / picture.height);
      const [w, h] = [picture.width * scale, picture.height * scale];
      paper.drawImage(picture, (SIDE - w) / 2, (SIDE - h) / 2, w, h);
    }
    if (box) {
      paper.strokeStyle = "#b8b8c0";
      paper.lineWidth = 1;
      paper.setLineDash([4, 4]);
      paper.strokeRect(40.5, 40.5, 200, 200);
      if (line !== null) { paper.beginPath(); paper.moveTo(0, line * SIDE + 0.5); paper.lineTo(SIDE, line * SIDE + 0.5); paper.stroke(); }
      paper.setLineDash([]);
    }
    paper.strokeStyle = "#000";
    ink(paper, false);
    paper.strokeStyle = "rgba(36, 87, 197, .45)";
    ink(paper, true);
    if (cursor) {
      paper.strokeStyle = current ? "#c33" : "#2457c5";
      paper.lineWidth = 2;
      paper.beginPath();
      paper.arc(cursor[0], cursor[1], PEN / 2 + 2, 0, 7);
      paper.stroke();
    }
  };

  const changed = () => { paint(); onChange(pad); };
  const at = (event) => {
    const place = canvas.getBoundingClientRect();
    return [event.clientX - place.left, event.clientY - place.top].map((v, i) => (v / (i ? place.height : place.width)) * SIDE);
  };
  const begin = (point) => { current = { erase: erasing, points: [point] }; strokes.push(current); };

  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || !event.isPrimary || event.button !== 0) return;
    pointer = event.pointerId;
    picture = null;
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    cursor = null;
    begin(at(event));
    changed();
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer || !current) return;
    for (const part of event.getCoalescedEvents?.() ?? [event]) current.points.push(at(part));
    changed();
  });
  const lift = (event) => {
    if (event.pointerId !== pointer) return;
    pointer = current = null;
    changed();
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("blur", () => { if (cursor) { cursor = current = null; paint(); } });

  canvas.addEventListener("keydown", (event) => {
    if (pointer !== null) return;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in moves) {
      const far = event.shiftKey ? SIDE / 10 : SIDE / 28;
      const from = cursor ?? [SIDE / 2, SIDE / 2];
      cursor = from.map((v, i) => Math.min(SIDE, Math.max(0, v + far * moves[event.key][i])));
      if (current) { current.points.push(cursor); changed(); } else paint();
    } else if (event.key === " ") {
      cursor ??= [SIDE / 2, SIDE / 2];
      picture = null;
      if (current) current = null; else begin(cursor);
      pad.say(word(current ? "penDown" : "penUp"));
      changed();
    } else if (event.key === "Delete" || event.key === "Backspace") pad.clear();
    else if (event.key === "z" && (event.ctrlKey || event.metaKey)) pad.undo();
    else return;
    event.preventDefault();
  });

  if (onFile) {
    frame.addEventListener("dragover", (event) => { event.preventDefault(); frame.classList.add("over"); });
    frame.addEventListener("dragleave", () => frame.classList.remove("over"));
    frame.addEventListener("drop", (event) => {
      event.preventDefault();
      frame.classList.remove("over");
      const [file] = event.dataTransfer.files;
      if (file) onFile(file);
    });
  }

  const pad = {
    canvas,
    say: () => {},
    isEmpty: () => strokes.length === 0,
    clear() { strokes = []; current = picture = null; changed(); },
    undo() { strokes.pop(); current = picture = null; changed(); },
    setErasing(on) { erasing = on; },
    /** A line across, at this share of the height. */
    setLine(share) { line = share; paint(); },
    /** A picture instead of strokes, for the eye. */
    show(image) {
      strokes = []; current = cursor = null;
      picture = image;
      paint();
    },
    /** What is drawn, as a PNG without marks. */
    /** The strokes as a picture, black on white; white on black for models whose images are mostly dark. */
    png: (dark) => new Promise((done) => pad.plain(false, dark).toBlob(done, "image/png")),
    /** The strokes alone, or those of the eraser, black on white, or the other way round. */
    plain(erased, dark = false) {
      const plain = el("canvas", { width: SIDE, height: SIDE });
      const context = plain.getContext("2d", { willReadFrequently: true });
      context.fillStyle = dark ? "#000" : "#fff";
      context.fillRect(0, 0, SIDE, SIDE);
      context.strokeStyle = dark ? "#fff" : "#000";
      ink(context, erased);
      return plain;
    },
    /** Ink of each of `side` x `side` cells, 0-255, row by row. */
    cells(side, erased = false) {
      const { data } = pad.plain(erased).getContext("2d").getImageData(0, 0, SIDE, SIDE);
      const size = SIDE / side;
      const cells = new Array(side * side).fill(0);
      for (let y = 0; y < SIDE; y++) {
        for (let x = 0; x < SIDE; x++) {
          cells[Math.floor(y / size) * side + Math.floor(x / size)] += 255 - data[4 * (y * SIDE + x)];
        }
      }
      return cells.map((sum) => Math.min(255, Math.round(sum / (size * size))));
    },
    frame,
  };
  pad.tools = el("div", { className: "row" },
    el("button", { type: "button", onclick: () => pad.clear(), dataset: { word: "clear" } }),
    el("button", { type: "button", onclick: () => pad.undo(), dataset: { word: "undo" } }));
  if (erase) {
    const tool = el("button", { type: "button", ariaPressed: "false", dataset: { word: "brush" } });
    tool.onclick = () => { erasing = !erasing; tool.ariaPressed = String(erasing); };
    pad.tools.append(tool);
  }
  if (onFile) {
    const input = el("input", { type: "file", accept: "image/png,image/jpeg", className: "hidden", id: "file" });
    input.onchange = () => { if (input.files[0]) onFile(input.files[0]); input.value = ""; };
    const label = el("label", { className: "file", htmlFor: "file", dataset: { word: "open" } });
    pad.tools.append(input, label);
  }
  paint();
  return pad;
}

