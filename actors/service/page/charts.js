// The charts of the last hour or day, drawn by uPlot from GET /history. Asked for again once there is a new sample.

import { bound, brief, duration, list, minuteOf, percent, setText, size } from "./words.js";

const HEIGHT = 130;
const SPANS_S = { hour: 3600, day: 86_400 };
const seconds = (value) => (value === 0 ? "0" : duration(value));

// `lines`: the series, with their names. `unit` writes a value; `least`: the axis goes at least up to it.
const CHARTS = [
  { title: "Plays a second", lines: { received_per_s: "received", counted_per_s: "counted" } },
  { title: "Publishes a minute, by trigger", lines: Object.fromEntries(
    ["realtime", "deadline", "overdue", "drain", "republish"].map((name) => [`publishes_per_minute_${name}`, name])) },
  { title: "What waits", lines: {
    queue_depth: "messages on the queue", in_flight_messages: "messages in flight", pending_videos: "videos to publish" } },
  { title: "Videos in a publish, mean", lines: { videos_per_publish: "videos" } },
  { title: "How long it takes, mean", unit: seconds, least: 0.01, lines: {
    realtime_latency_s: "realtime, from arrival to the client", publish_duration_s: "a publish", commit_duration_s: "a commit" } },
  { title: "Deadlines: time left at the client, mean", unit: seconds, lines: { deadline_slack_s: "time left" } },
  { title: "Age of the oldest play when it came", unit: seconds, lines: { oldest_age_s: "age" } },
  { title: "Trouble with the client, a minute", lines: {
    failed_per_minute: "failed attempts", rejected_per_minute: "rejected", late_per_minute: "late",
    late_by_client_per_minute: "late by the client" } },
  { title: "Messages that were no new play, a minute", lines: {
    redelivered_per_minute: "redelivered", dead_lettered_per_minute: "not a play" } },
  { title: "Refused videos", lines: { refused_videos: "videos" } },
  { title: "CPU of all processes, of one core", unit: percent, least: 0.01, lines: { cpu_share: "share" } },
  { title: "Memory of all processes", unit: size, least: 1e6, lines: { memory_bytes: "resident" } },
];

export class Charts {
  #place;
  #note;
  #span = "hour";
  #drawn = [];
  #history = null;
  #askedMs = -Infinity;
  #nowMs = 0;
  #asking = null;

  constructor(place, note) {
    this.#place = place;
    this.#note = note;
    list(place, CHARTS, newChart, (figure, { title }) => setText(figure.firstChild, title));
    for (const button of document.querySelectorAll("button[data-span]")) {
      button.addEventListener("click", () => this.#choose(button.dataset.span));
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#drawAnew());
    new ResizeObserver(() => this.#fit()).observe(place);
  }

  // There is a new picture. After a gap, and once a step, there is more to draw.
  note({ now_ms: nowMs, missed_ms: missedMs }) {
    this.#nowMs = nowMs;
    const stepMs = (this.#history?.step_s ?? 10) * 1000;
    const isDue = Math.abs(nowMs - this.#askedMs) >= stepMs || missedMs === null || missedMs > stepMs;
    if (isDue) this.#ask();
  }

  #choose(span) {
    for (const button of document.querySelectorAll("button[data-span]")) {
      button.setAttribute("aria-pressed", button.dataset.span === span);
    }
    this.#span = span;
    this.#ask();
  }

  async #ask() {
    this.#asking?.abort();
    const asking = this.#asking = new AbortController();
    this.#askedMs = this.#nowMs;
    try {
      const answer = await fetch(`history?span=${this.#span}`, { signal: asking.signal, cache: "no-store" });
      if (!answer.ok) throw new Error(`the service answers ${answer.status}`);
      this.#history = await answer.json();
      this.#draw();
    } catch (error) {
      if (error.name === "AbortError") return;
      setText(this.#note, "The charts are not new: the service did not tell its history.");
    }
  }

  #draw() {
    const { times_s: times, series, step_s: stepS, span } = this.#history;
    this.#place.dataset.samples = times.length;
    this.#place.dataset.drawn = span;
    setText(this.#note, times.length > 1 ? `A point each ${bound(stepS)}. A gap: the service did not run.`
      : `The first points come after ${bound(20)}.`);
    const isNew = this.#drawn.length === 0;
    CHARTS.forEach((chart, n) => {
      const data = [times, ...Object.keys(chart.lines).map((name) => series[name] ?? times.map(() => null))];
      const figure = this.#place.children[n];
      if (isNew) this.#drawn.push(this.#make(figure, chart));
      this.#drawn[n].setData(data);
      tellLast(figure, chart, data, span);
    });
  }

  // As far back as there are samples, but a sixth of the span at least: a new service has no empty charts.
  #range() {
    const nowS = this.#nowMs / 1000;
    const spanS = SPANS_S[this.#history.span];
    const firstS = this.#history.times_s[0] ?? nowS;
    return [Math.max(nowS - spanS, Math.min(firstS, nowS - spanS / 6)), nowS];
  }

  #drawAnew() {
    for (const one of this.#drawn) one.destroy();
    this.#drawn = [];
    if (this.#history) this.#draw();
  }

  #fit() {
    this.#drawn.forEach((one, n) => {
      const width = this.#place.children[n].children[1].clientWidth;
      if (width && width !== one.width) one.setSize({ width, height: HEIGHT });
    });
  }

  #make(figure, chart) {
    const [, place] = figure.children;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--ink-soft"), font: "11px system-ui, sans-serif", ticks: { show: false },
      grid: { stroke: colour("--line"), width: 1 } };
    const { unit = brief, least = 1 } = chart;
    return new uPlot({
      width: place.clientWidth || 300,
      height: HEIGHT,
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "operator" }, points: { size: 6 } },
      scales: {
        x: { range: () => this.#range() },
        y: { range: (_, low, high) => [0, Math.max(least, (high ?? 0) * 1.05)] },
      },
      series: [{}, ...Object.keys(chart.lines).map((name, n) => (
        { stroke: colour(`--line-${n + 1}`), width: 1.5, points: { show: true, size: 3, filter: alone } }))],
      axes: [
        { ...axis, size: 22, gap: 4, space: 60, values: (_, splits) => splits.map((at) => minuteOf(at * 1000)) },
        { ...axis, size: 56, space: 30, values: (_, splits) => splits.map((value) => unit(value)) },
      ],
      hooks: { setCursor: [(plot) => tellAt(figure, chart, plot)] },
    }, [[], ...Object.keys(chart.lines).map(() => [])], place);
  }
}

// A point is drawn only where no line leads to it: between two times at which nothing was measured.
function alone(plot, series) {
  const values = plot.data[series];
  const isKnown = (n) => (values[n] ?? null) !== null;
  return [...values.keys()].filter((n) => isKnown(n) && !isKnown(n - 1) && !isKnown(n + 1));
}

function newChart() {
  const figure = document.createElement("figure");
  const place = document.createElement("div");
  place.className = "plot";
  place.setAttribute("role", "img");
  figure.append(document.createElement("h3"), place, document.createElement("ul"));
  figure.lastChild.className = "legend";
  return figure;
}

// The legend says the newest values, or those under the pointer.
function tell(figure, chart, values) {
  const { unit = brief } = chart;
  list(figure.lastChild, Object.values(chart.lines), newKey, (key, name) => setText(key.children[1], name));
  values.forEach((value, n) => setText(figure.lastChild.children[n].children[2],
    value === null || value === undefined ? "–" : unit(value)));
}

function newKey() {
  const key = document.createElement("li");
  key.append(document.createElement("i"), document.createElement("span"), document.createElement("b"));
  return key;
}

function tellAt(figure, chart, plot) {
  const at = plot.cursor.idx;
  const columns = plot.data.slice(1);
  tell(figure, chart, columns.map((one) => (at === null || at === undefined ? one.at(-1) : one[at])));
}

function tellLast(figure, chart, data, span) {
  const { unit = brief } = chart;
  const columns = data.slice(1);
  tell(figure, chart, columns.map((one) => one.at(-1)));
  const words = Object.values(chart.lines).map((name, n) => {
    const known = columns[n].filter((one) => one !== null);
    return known.length ? `${name} ${unit(known.at(-1))}, at most ${unit(Math.max(...known))}` : `${name} not known`;
  });
  figure.children[1].setAttribute("aria-label", `${chart.title}, last ${span}: ${words.join("; ")}`);
}
