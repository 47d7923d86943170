// Paints labels, not colours: each pixel of the canvas is one pixel of the mask and holds one label.
// The value is {labels, sector}, each a text with a character per pixel, row by row (see labels.py).
const root = element.querySelector(".painter");
const { rows, columns } = root.dataset;
const colours = JSON.parse(root.dataset.colours); // [outside, inside, structure 1, ...]
const H = Number(rows), W = Number(columns);
let labels = new Uint8Array(H * W), sector = "";
let label = 1, radius = 2, filling = false, at = null;
const done = [], undone = [];

const text = () => String.fromCharCode(...labels.map((id) => id + 48));
const set = (from) => { for (let i = 0; i < labels.length; i++) labels[i] = from.charCodeAt(i) - 48; };

function show() {
  const context = element.querySelector("canvas").getContext("2d");
  const picture = context.createImageData(W, H);
  for (let i = 0; i < labels.length; i++) {
    const inside = sector[i] === "1";
    const colour = labels[i] ? colours[labels[i] + 1] : colours[inside ? 1 : 0];
    const light = labels[i] && !inside ? 0.35 : 1; // what lies outside of the sector is cut when a frame is drawn
    for (let c = 0; c < 3; c++) picture.data[4 * i + c] = colour[c] * light;
    picture.data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  for (const swatch of element.querySelectorAll("[data-label]"))
    swatch.setAttribute("aria-checked", String(Number(swatch.dataset.label) === label));
  element.querySelector("[data-tool=fill]").setAttribute("aria-pressed", String(filling));
  element.querySelector("[data-tool=undo]").disabled = !done.length;
  element.querySelector("[data-tool=redo]").disabled = !undone.length;
}

function take() { // what Python says
  const value = props.value;
  if (!value || value.labels.length !== labels.length) return;
  if (value.labels !== text()) { done.length = undone.length = 0; set(value.labels); }
  sector = value.sector;
  show();
}

function give() { // what the user painted
  props.value = { labels: text(), sector };
  show();
  trigger("input");
}

function place(event) {
  const box = element.querySelector("canvas").getBoundingClientRect();
  return [(event.clientX - box.left) / box.width * W, (event.clientY - box.top) / box.height * H];
}

function stamp([x, y]) {
  const reach = radius - 0.5;
  for (let row = Math.floor(y - radius); row <= y + radius; row++)
    for (let column = Math.floor(x - radius); column <= x + radius; column++) {
      const near = Math.hypot(row + 0.5 - y, column + 0.5 - x) <= reach || (row === Math.floor(y) && column === Math.floor(x));
      if (near && row >= 0 && row < H && column >= 0 && column < W) labels[row * W + column] = label;
    }
}

function stroke(to) {
  const steps = Math.ceil(2 * Math.hypot(to[0] - at[0], to[1] - at[1])) || 1;
  for (let i = 1; i <= steps; i++) stamp([at[0] + (to[0] - at[0]) * i / steps, at[1] + (to[1] - at[1]) * i / steps]);
  at = to;
  show();
}

function fill([x, y]) { // the connected region of one label under the pointer
  const start = Math.floor(y) * W + Math.floor(x), old = labels[start], waiting = [start];
  if (old === label || !(start >= 0 && start < labels.length)) return;
  while (waiting.length) {
    const i = waiting.pop();
    if (labels[i] !== old) continue;
    labels[i] = label;
    if (i % W) waiting.push(i - 1);
    if (i % W < W - 1) waiting.push(i + 1);
    if (i >= W) waiting.push(i - W);
    if (i < W * (H - 1)) waiting.push(i + W);
  }
}

function back(from, to) {
  if (!from.length) return;
  to.push(text());
  set(from.pop());
  give();
}

element.addEventListener("pointerdown", (event) => {
  if (event.target.tagName !== "CANVAS" || event.button) return;
  event.preventDefault();
  event.target.setPointerCapture(event.pointerId);
  done.push(text());
  undone.length = 0;
  at = place(event);
  if (filling) fill(at); else stroke(at);
  show();
});
element.addEventListener("pointermove", (event) => { if (at && !filling) stroke(place(event)); });
for (const end of ["pointerup", "pointercancel"])
  element.addEventListener(end, () => {
    if (!at) return;
    at = null;
    if (done[done.length - 1] === text()) done.pop(); else give();
    show();
  });
element.addEventListener("click", (event) => {
  const chosen = event.target.closest("[data-label]"), tool = event.target.closest("[data-tool]")?.dataset.tool;
  if (chosen) label = Number(chosen.dataset.label);
  if (tool === "fill") filling = !filling;
  if (tool === "undo") back(done, undone);
  if (tool === "redo") back(undone, done);
  show();
});
element.addEventListener("input", (event) => { if (event.target.type === "range") radius = Number(event.target.value); });
watch("value", take);
take();
