// How numbers, times and texts are written, and cells and lists filled.
//
// Text from outside (a client's answer, an nsqd's address) goes in by textContent alone, so it is never markup.
// Cells are changed in place, so that what a reader has selected, or a button that has the focus, stays so.

export const element = (id) => document.getElementById(id);
export const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en-GB", { notation: "compact", maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const clockOfMinutes = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const DAY_MS = 86_400_000;

export const timeOf = (ms) => clock.format(new Date(ms));
export const minuteOf = (ms) => clockOfMinutes.format(new Date(ms));

// A time as an ISO text; with its date if it is not of the last day.
export function momentOf(text, nowMs) {
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) return String(text);
  return Math.abs(nowMs - ms) < DAY_MS / 2 ? timeOf(ms) : date.format(new Date(ms));
}

export const counted = (count, one, many = `${one}s`) => `${whole.format(count)} ${count === 1 ? one : many}`;

export function size(bytes) {
  if (bytes < 1e6) return `${whole.format(Math.ceil(bytes / 1e3))} kB`;
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)} MB`;
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

export function duration(seconds) {
  if (seconds > 0 && seconds < 0.001) return `${Number((seconds * 1e3).toPrecision(2))} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${whole.format(Math.floor(hours / 24))} days`;
}

// A bound, such as of a histogram: 0.25 s is "250 ms", 60 s is "1 min".
export function bound(seconds) {
  if (seconds < 1) return `${Number((seconds * 1e3).toPrecision(3))} ms`;
  if (seconds < 120) return `${Number(seconds.toPrecision(3))} s`;
  return seconds < 7200 ? `${Number((seconds / 60).toPrecision(3))} min` : `${Number((seconds / 3600).toPrecision(3))} h`;
}

// A number where there is little room: 1,234,567 is "1.23m".
export const brief = (value) =>
  (value < 100 ? String(Number(value.toPrecision(3))) : value < 10_000 ? whole.format(value) : short.format(value));

export const percent = (share) => `${share < 0.1 ? (share * 100).toFixed(1) : whole.format(share * 100)} %`;

// --- Texts, cells and lists ---------------------------------------------------------------

export const write = (id, text) => setText(element(id), text);

export function setText(node, text) {
  const shown = printable(String(text));
  if (node.textContent !== shown) node.textContent = shown;
}

// Controls, line breaks and marks of writing direction as escapes: nothing hides, or turns what follows around.
const printable = (text) => text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu,
  (one) => `\\u{${one.codePointAt(0).toString(16)}}`);

export const number = (text) => ({ text, kind: "number" });

// Children of a list, one for each thing. `make` makes one, `fill` fills it.
export function list(parent, things, make, fill) {
  while (parent.children.length > things.length) parent.lastElementChild.remove();
  things.forEach((thing, n) => {
    if (parent.children.length <= n) parent.append(make());
    fill(parent.children[n], thing);
  });
}

export function table(id, rows) {
  list(element(id), rows, () => document.createElement("tr"),
    (row, cells) => list(row, cells, newCell, fillCell));
}

function newCell() {
  const cell = document.createElement("td");
  cell.append(document.createElement("span"));
  return cell;
}

// `note`: a text below. `button`: of a button, which says in its data what it is for.
function fillCell(cell, { text = "", note, state = "", depth = 0, kind = "", button }) {
  if (cell.className !== kind) cell.className = kind;
  setText(cell.firstChild, text);
  second(cell, "p", note, (one) => setText(one, note));
  second(cell, "button", button, (one) => {
    one.type = "button";
    one.dataset.child = button.child;
    one.dataset.choices = button.choices.join(" ");
    setText(one, button.text);
    one.setAttribute("aria-label", `${button.text} ${button.child}`);
  });
  cell.dataset.state = state;
  cell.dataset.depth = depth;
}

function second(cell, name, wanted, fill) {
  let found = cell.querySelector(name);
  if (wanted === undefined) {
    found?.remove();
    return;
  }
  if (!found) {
    found = document.createElement(name);
    cell.append(found);
  }
  fill(found);
}

// A list of terms: `pairs` of a name and a text.
export function facts(id, pairs) {
  list(element(id), pairs, () => {
    const pair = document.createElement("div");
    pair.append(document.createElement("dt"), document.createElement("dd"));
    return pair;
  }, (pair, [name, text]) => {
    setText(pair.firstChild, name);
    setText(pair.lastChild, text);
  });
}
