// How times and widths are spread: a bar for each bucket, and a sentence that says what they mean. Empty buckets are
// shown too, so that nothing jumps when one fills.

import { bound, brief, counted, element, list, setText, whole } from "./words.js";

const SPREADS = [
  { title: "Pending videos by time to their deadline", of: pending },
  { title: "Realtime: from the arrival of a play to the client", of: histogram("realtime_latency_s", bound, "video") },
  { title: "Deadlines: time left when the client had the total", of: histogram("deadline_slack_s", bound, "video") },
  { title: "A publish: from sending it to its answer", of: histogram("publish_duration_s", bound, "attempt") },
  { title: "A commit of a store", of: histogram("commit_duration_s", bound, "commit") },
  { title: "Videos in a publish", of: histogram("batch_width", String, "publish", "publishes") },
];

export function showSpreads(status) {
  list(element("spreads"), SPREADS, newSpread, (figure, { title, of }) => fillSpread(figure, title, of(status)));
}

function newSpread() {
  const figure = document.createElement("figure");
  figure.append(document.createElement("h3"), document.createElement("p"), document.createElement("ul"));
  figure.children[1].className = "sum";
  figure.children[2].className = "bars";
  return figure;
}

// `bars`: a name and a count each. `words`: what they come to.
function fillSpread(figure, title, { bars, words }) {
  const [heading, sum, rows] = figure.children;
  setText(heading, title);
  setText(sum, words);
  const most = Math.max(1, ...bars.map(({ count }) => count));
  list(rows, bars, newBar, (row, { name, count }) => {
    const [label, line, value] = row.children;
    setText(label, name);
    line.firstChild.style.width = `${(100 * count / most).toFixed(1)}%`;
    setText(value, whole.format(count));
  });
}

function newBar() {
  const row = document.createElement("li");
  for (const name of ["name", "line", "count"]) {
    const span = document.createElement("span");
    span.className = name;
    row.append(span);
  }
  row.children[1].append(document.createElement("i"));
  return row;
}

function pending({ pending_by_deadline: steps }) {
  if (steps === undefined) return { bars: [], words: "this service does not tell it" };
  const bars = steps.map(({ within_s: withinS, videos }) => ({
    name: withinS === null ? "later" : withinS <= 0 ? "due" : `in ${bound(withinS)}`, count: videos }));
  const all = bars.reduce((total, { count }) => total + count, 0);
  return { bars, words: all ? `${counted(all, "video")} to publish` : "no video waits" };
}

function histogram(key, unit, one, many) {
  return ({ histograms = {} }) => {
    const told = histograms[key];
    if (told === undefined) return { bars: [], words: "this service does not tell it" };
    const { le, counts, count, sum } = told;
    const bars = counts.map((inIt, n) => ({ name: n < le.length ? within(le[n], unit) : `> ${unit(le.at(-1))}`, count: inIt }));
    if (count === 0) return { bars, words: "none since the start" };
    const mean = unit === String ? (sum / count).toFixed(1) : unit(sum / count);
    const at = (share) => upTo(le, counts, share * count, unit);
    const words = `${brief(count)} ${count === 1 ? one : many ?? `${one}s`}; mean ${mean}; half ${at(0.5)}, 99 % ${at(0.99)}`;
    return { bars, words };
  };
}

const within = (most, unit) => (most === 0 ? "none" : `≤ ${unit(most)}`);

// Below which bound this many lie.
function upTo(le, counts, wanted, unit) {
  let seen = 0;
  for (let n = 0; n < le.length; n += 1) {
    seen += counts[n];
    if (seen >= wanted) return le[n] === 0 ? "none" : `up to ${unit(le[n])}`;
  }
  return `over ${unit(le.at(-1))}`;
}
