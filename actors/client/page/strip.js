// The strip of publishes: one mark each, newest right, as tall as it has videos, drawn by its trigger.
//
// A canvas, as marks that move would be layout that moves. A slider below reads one mark, by keyboard too. When
// there are more publishes than marks fit, a line below the marks has all that the page knows, the late ones red.

import { clock, counted, whole, write } from "./words.js";

const KEPT_MAX = 2000; // As many as the client keeps.
const PITCH = 5;
const MARK = 4;
const FLAGS = 10; // The heights of the rows: flags of late totals, marks, a gap, all publishes.
const MARKS = 60;
const GAP = 8;
const ALL = 14;
const COLOURS = {
  realtime: "--accent", deadline: "--sky", overdue: "--warm", drain: "--ink-soft", republish: "--good",
  late: "--bad", lateGround: "--bad-ground", line: "--line", all: "--grey", ink: "--ink",
};

export class Strip {
  #marks = []; // { number, atMs, trigger, videos, late, excused }, oldest first
  #chosen = null; // The number of the mark that is read; null: the newest.
  #wanted = true;
  #of = 1; // The videos of the widest publish.
  #total = 0;
  #canvas = document.getElementById("strip");
  #slider = document.getElementById("strip-at");

  constructor() {
    const again = () => { this.#wanted = true; this.#drawNow(); };
    new ResizeObserver(again).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    this.#slider.addEventListener("input", () => this.#choose(Number(this.#slider.value)));
    this.#canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.#canvas.addEventListener("pointerdown", (event) => this.#point(event));
    this.#canvas.addEventListener("pointerleave", () => this.#choose(this.#marks.length - 1));
  }

  // Publishes after those that the page has, or the last ones again.
  take(marks) {
    if (marks.length === 0) return;
    const [first, newest] = [marks[0][0], marks.at(-1)[0]];
    const last = this.#marks.at(-1)?.number ?? 0;
    if (newest < last || first > last + 1) this.#marks = []; // Another client, or publishes were missed.
    for (const [number, atMs, trigger, videos, late, excused] of marks) {
      if (number <= (this.#marks.at(-1)?.number ?? 0)) continue;
      this.#marks.push({ number, atMs, trigger, videos, late, excused });
      this.#wanted = true;
    }
    this.#marks.splice(0, this.#marks.length - KEPT_MAX);
    if (this.#chosen !== null && this.#chosen < (this.#marks[0]?.number ?? 0)) this.#chosen = null;
  }

  // `of`: the most videos in a publish.
  draw(of, total) {
    this.#wanted ||= of !== this.#of || total !== this.#total;
    [this.#of, this.#total] = [of, total];
    this.#drawNow();
  }

  #choose(at) {
    this.#chosen = at >= this.#marks.length - 1 ? null : this.#marks[at].number;
    this.#wanted = true;
    this.#drawNow();
  }

  #point({ offsetX }) {
    const { begin, end } = this.#window();
    const at = end - 1 - Math.floor((this.#canvas.clientWidth - offsetX) / PITCH);
    if (at >= begin) this.#choose(at);
  }

  #at() {
    const found = this.#chosen === null ? -1 : this.#marks.findIndex(({ number }) => number === this.#chosen);
    return found < 0 ? this.#marks.length - 1 : found;
  }

  // The marks that are drawn: the newest, or those around the one that is read.
  #window() {
    const fit = Math.max(1, Math.floor(this.#canvas.clientWidth / PITCH));
    const newest = this.#marks.length;
    const at = this.#at();
    const end = at >= newest - fit ? newest : Math.min(newest, at + 1 + Math.floor(fit / 2));
    return { begin: Math.max(0, end - fit), end };
  }

  #drawNow() {
    if (!this.#wanted) return;
    this.#wanted = false;
    const { begin, end } = this.#window();
    this.#say(begin, end);
    const width = this.#canvas.clientWidth;
    const height = FLAGS + MARKS + GAP + ALL;
    const scale = devicePixelRatio;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    const pen = this.#canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const colours = Object.fromEntries(
      Object.entries(COLOURS).map(([name, variable]) => [name, style.getPropertyValue(variable)]));
    pen.fillStyle = colours.line;
    pen.fillRect(0, FLAGS + MARKS, width, 1);
    for (let at = begin; at < end; at += 1) this.#drawMark(pen, colours, at, width - (end - at) * PITCH);
    if (this.#marks.length > end - begin) this.#drawAll(pen, colours, width, begin, end);
  }

  #drawMark(pen, colours, at, x) {
    const mark = this.#marks[at];
    const height = Math.max(2, Math.round(Math.min(1, mark.videos / this.#of) * MARKS));
    const top = FLAGS + MARKS - height;
    if (mark.late) {
      pen.fillStyle = colours.lateGround;
      pen.fillRect(x - 1, FLAGS, MARK + 1, MARKS);
    }
    pen.fillStyle = pen.strokeStyle = colours[mark.trigger];
    PAINT[mark.trigger](pen, x, top, height);
    if (mark.late) flag(pen, colours.late, x + MARK / 2, mark.late > mark.excused);
    if (this.#chosen === mark.number) {
      pen.strokeStyle = colours.ink;
      pen.strokeRect(x - 1.5, FLAGS - 0.5, MARK + 2, MARKS + 2);
    }
  }

  // All marks, narrower than a pixel each if need be; the late ones can be seen all the same.
  #drawAll(pen, colours, width, begin, end) {
    const top = FLAGS + MARKS + GAP;
    const each = width / this.#marks.length;
    pen.fillStyle = colours.all;
    this.#marks.forEach(({ videos }, at) => {
      const height = Math.max(1, Math.min(1, videos / this.#of) * ALL);
      pen.fillRect(at * each, top + ALL - height, Math.max(each, 0.5), height);
    });
    pen.fillStyle = colours.late;
    this.#marks.forEach(({ late }, at) => late && pen.fillRect(at * each - 1, top, Math.max(each, 3), ALL));
    pen.strokeStyle = colours.ink;
    pen.strokeRect(begin * each + 0.5, top - 1.5, Math.max(3, (end - begin) * each - 1), ALL + 2);
  }

  #say(begin, end) {
    const { length } = this.#marks;
    const at = this.#at();
    const late = this.#marks.filter((mark) => mark.late).length;
    this.#slider.max = Math.max(0, length - 1);
    this.#slider.value = at;
    this.#slider.disabled = length === 0;
    const text = length ? described(this.#marks[at], this.#of) : "none yet";
    write("strip-says", (this.#chosen === null && length ? "Newest: " : "") + text);
    this.#slider.setAttribute("aria-valuetext", text);
    write("strip-note", `one mark each, newest right; as tall as it has videos, 1 to ${this.#of}`);
    this.#canvas.setAttribute("aria-label", length
      ? `The last ${counted(end - begin, "publish", "publishes")} of ${whole.format(this.#total)}, ` +
        `one mark each, as tall as it has videos. Of the last ${whole.format(length)}, ${whole.format(late)} ` +
        "had late totals."
      : "No publishes yet");
  }
}

// Each trigger has a shape too, for whoever does not see its colour.
const PAINT = {
  realtime: (pen, x, y, height) => pen.fillRect(x, y, MARK, height),
  deadline: (pen, x, y, height) => pen.strokeRect(x + 0.5, y + 0.5, MARK - 1, height - 1),
  overdue: (pen, x, y, height) => rows(pen, x, y, height, 2, 4),
  drain: (pen, x, y, height) => pen.fillRect(x + 1, y, 2, height),
  republish: (pen, x, y, height) => rows(pen, x, y, height, 1, 2),
};

function rows(pen, x, y, height, thick, apart) {
  for (let from = 0; from < height; from += apart) {
    pen.fillRect(x, y + from, MARK, Math.min(thick, height - from));
  }
}

function flag(pen, colour, x, isFull) {
  pen.beginPath();
  pen.moveTo(x - 4, 1);
  pen.lineTo(x + 4, 1);
  pen.lineTo(x, FLAGS - 1);
  pen.closePath();
  pen.fillStyle = pen.strokeStyle = colour;
  if (isFull) pen.fill();
  else pen.stroke();
}

function described({ number, atMs, trigger, videos, late, excused }, of) {
  const found = `publish ${whole.format(number)}, ${clock(atMs)}, ${trigger}, ${videos} of ${of} videos`;
  if (!late) return found;
  const why = excused === late ? ", none by the service" : excused ? `, ${excused} of them not by the service` : "";
  return `${found}, ${whole.format(late)} late${why}`;
}
