// The live page. Owns what is on the screen; knows only what the events say.
//
// An event lays changes over what the page has; what is drawn is decided once a frame, whatever
// came in between. Rows belong to videos and move with them, so that a change can be seen.

import { compare } from "./economy.js";
import { Lists } from "./lists.js";
import { SILENCE_MAX_MS, Stream } from "./stream.js";
import { Strip } from "./strip.js";
import {
  ago, counted, duration, mean, oneDecimal, percent, plain, setText, sum, whole, write,
} from "./words.js";

const ROWS_MAX = 300;
const ASK_AFTER_MS = 150; // While somebody types, the client is not asked for each letter.
const FLASH_MS = 1200;

const element = (id) => document.getElementById(id);
const stillness = matchMedia("(prefers-reduced-motion: reduce)");

// The videos that the client has told of: those with the most plays, and each that changed or was sought since.
const videos = new Map(); // GUID -> { id, digits, plays, publishedAtMs, row, flash }
let ordered = [];
let changed = new Set();
let report = null;
let mostDrawn = 0; // The bars are drawn against it.
let countedPlays = null; // By the service, if one tells the client.
let lastMinute = 0;
const strip = new Strip();
const lists = new Lists();
let clockAheadMs = 0; // Of this browser against the client, so that "5 s ago" is right.
let frame = 0;

// --- Events -------------------------------------------------------------------------------

// A tab that is hidden lets the stream go. All tabs that are seen share one, where the browser can.
function seenOrHidden() {
  if (document.hidden) {
    source.leave();
  } else {
    show("connecting", "connecting");
    heardAtMs = performance.now();
    source.join();
  }
}

// Without workers, or where one does not start or ends, the tab opens a stream of its own.
const stream = new Stream(told);
const own = { join: () => stream.open(), leave: () => stream.close() };

function openSource() {
  if (!globalThis.SharedWorker) return own;
  const worker = new SharedWorker("worker.js", { type: "module", name: "playtally" });
  worker.addEventListener("error", doWithoutWorker);
  worker.port.addEventListener("message", ({ data }) => told(...data));
  worker.port.start();
  return { join: () => worker.port.postMessage("seen"), leave: () => worker.port.postMessage("hidden") };
}

function doWithoutWorker() {
  source.leave();
  source = own;
  seenOrHidden();
}

let heardAtMs = performance.now(); // Even a lost stream is heard of: see SILENCE_MAX_MS.

function told(kind, what) {
  heardAtMs = performance.now();
  if (kind === "token") location.reload(); // This gets the form for the token.
  else if (kind === "lost") show("disconnected", ...what);
  else if (!document.hidden) take(JSON.parse(what), kind === "snapshot");
}

function take(event, isSnapshot) {
  show("live", "live");
  clockAheadMs = Date.now() - event.now_ms;
  report = event.report;
  countedPlays = event.counted;
  lastMinute = event.last_minute;
  strip.take(event.marks);
  if (isSnapshot) {
    lists.forget();
    keepOnly(new Set(event.videos.map(([id]) => id)));
    ask();
  }
  event.videos.forEach((row) => put(row, !isSnapshot));
  if (isSnapshot || event.videos.length) sort();
  draw();
}

function put([id, plays, publishedAtMs], isNews) {
  const video = videos.get(id);
  if (video?.plays === plays && video.publishedAtMs === publishedAtMs) return;
  if (video) Object.assign(video, { plays, publishedAtMs });
  else videos.set(id, { id, digits: digitsOf(id), plays, publishedAtMs, row: null, flash: null });
  if (video || isNews) changed.add(id);
}

function keepOnly(kept) {
  for (const [id, video] of videos) {
    if (kept.has(id)) continue;
    video.row?.remove();
    videos.delete(id);
  }
}

function sort() {
  ordered = [...videos.values()].sort((a, b) => b.plays - a.plays || (a.id < b.id ? -1 : 1));
}

function show(state, text, trouble = "") {
  write("trouble", trouble);
  const pill = element("state");
  if (pill.dataset.state === state && pill.textContent === text) return;
  pill.dataset.state = state;
  pill.textContent = text;
}

// --- Drawing ------------------------------------------------------------------------------

function draw() {
  // A hidden page gets no frames; one is pending then, and draws the newest when it is seen.
  if (!frame) frame = requestAnimationFrame(() => { frame = 0; drawNow(); });
}

function drawNow() {
  if (!report) return;
  drawFigures();
  drawTriggers();
  strip.draw(report.promises.batch_size_max, report.publishes.total);
  compare(report);
  lists.show(report);
  element("empty").hidden = videos.size > 0;
  element("totals").hidden = videos.size === 0;
  drawRows();
}

function drawFigures() {
  const { publishes, realtime_latency_ms: realtime, hot_lateness_ms: hot, promises } = report;
  // A play that is published was counted, and the service may not have said so yet.
  writePlays("counted", countedPlays === null ? "–" : sum(Math.max(countedPlays, report.plays)));
  write("counted-note", countedPlays === null ? "no service has told" : "as the service told");
  writePlays("plays", sum(report.plays));
  write("videos", counted(report.videos, "video"));
  write("publishes", whole.format(publishes.total));
  const isAny = publishes.total > 0;
  write("last-minute", isAny ? `${whole.format(lastMinute)} in the last minute` : "none yet");
  write("width", isAny ? oneDecimal.format(report.videos_per_publish.mean) : "–");
  write("plays-per-publish",
    isAny ? `of ${promises.batch_size_max}; ${mean(report.plays_per_publish)} plays in each` : "none yet");
  write("saving", report.saving_percent === null ? "–" : percent(report.saving_percent));
  write("realtime-p50", duration(realtime.p50));
  write("realtime-p99", realtime.count ? `p99 ${duration(realtime.p99)}, from the queue to here` : "none yet");
  write("hot-max", duration(hot.max));
  write("hot-note", `when told; ${promises.deadline_s} s promised` +
    (report.overdue ? `, ${whole.format(report.overdue)} overdue` : "") +
    (report.late ? `, ${whole.format(report.late)} late` : "") +
    (report.late_by_client ? ` (${whole.format(report.late_by_client)} by this client)` : ""));
  const broken = report.promises_broken_total;
  element("promises").dataset.broken = broken ? "yes" : "no";
  write("broken-total", broken ? whole.format(broken) : "none");
  write("broken-note", broken
    ? Object.entries(report.promises_broken_by_promise)
      .filter(([, count]) => count).map(([name]) => plain(name)).join(", ")
    : `${counted(publishes.total, "publish", "publishes")} checked`);
  write("key-text", `under ${whole.format(promises.realtime_below)} plays: published at once`);
}

function writePlays(id, text) {
  write(id, text);
  element(id).dataset.isLong = text.length > 13;
}

function drawTriggers() {
  for (const trigger of ["realtime", "deadline", "overdue", "drain", "republish"]) {
    const count = report.publishes[trigger];
    setText(document.querySelector(`.triggers li.${trigger} b`), whole.format(count));
  }
}

function drawRows() {
  const sought = soughtDigits();
  const found = sought ? ordered.filter((video) => video.digits.startsWith(sought)) : ordered;
  const shown = found.slice(0, ROWS_MAX);
  const body = element("rows");
  const most = ordered.length ? ordered[0].plays : 1;
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--flash");
  let place = body.firstElementChild;
  for (const video of shown) {
    const isNew = video.row === null;
    const isChanged = changed.has(video.id);
    if (isNew) video.row = newRow(video);
    if (video.row === place) place = place.nextElementSibling;
    else body.insertBefore(video.row, place);
    if (isNew || isChanged) drawRow(video);
    if (isNew || isChanged || most !== mostDrawn) drawBar(video, most);
    if (isChanged) flash(video, colour);
  }
  mostDrawn = most;
  while (place) {
    const next = place.nextElementSibling;
    const video = videos.get(place.dataset.id);
    if (video) video.row = null;
    place.remove();
    place = next;
  }
  changed = new Set();
  write("more", more(shown.length, count(found.length, sought)));
}

// How many videos there are, or are found: the client knows it where the page does not have them all.
function count(found, sought) {
  if (!sought) return Math.max(found, report.videos);
  return answered.sought === sought ? Math.max(found, answered.found) : found;
}

// --- Finding ------------------------------------------------------------------------------

let answered = { sought: "", found: 0 };
let asking = 0;
let question = new AbortController();

// A GUID as people write it: in any case, with or without dashes, in braces, or after "urn:uuid:".
const digitsOf = (text) => text.toLowerCase().replace(/^\s*urn:uuid:|[-{}\s]/g, "");

const soughtDigits = () => digitsOf(element("filter").value);

// The client is asked for what the page may not have.
function ask() {
  clearTimeout(asking);
  question.abort();
  const sought = soughtDigits();
  if (!sought || videos.size >= (report?.videos ?? 0)) return;
  asking = setTimeout(async () => {
    question = new AbortController();
    try {
      const answer = await fetch(`videos?start=${encodeURIComponent(sought)}`, { signal: question.signal });
      const { found, videos: rows } = await answer.json();
      if (sought !== soughtDigits()) return;
      answered = { sought, found };
      rows.forEach((row) => put(row, false));
      sort();
      draw();
    } catch (error) {
      if (error.name !== "AbortError") console.info("the client could not be asked:", error);
    }
  }, ASK_AFTER_MS);
}

function newRow(video) {
  const row = document.createElement("tr");
  row.dataset.id = video.id;
  const cell = row.insertCell();
  const guid = cell.appendChild(document.createElement("span"));
  guid.className = "guid";
  guid.title = video.id;
  const dot = guid.appendChild(document.createElement("span"));
  dot.className = "dot";
  dot.setAttribute("role", "img");
  dot.ariaHidden = "true"; // Until its video is found to be published at once.
  guid.append(video.id);
  const track = cell.appendChild(document.createElement("span"));
  track.className = "track";
  track.append(document.createElement("span"));
  row.insertCell().className = "plays";
  row.insertCell().className = "when";
  return row;
}

function drawRow(video) {
  const { row } = video;
  const isRealtime = video.plays < report.promises.realtime_below;
  if (row.classList.contains("realtime") !== isRealtime) {
    row.classList.toggle("realtime", isRealtime);
    const dot = row.querySelector(".dot");
    if (isRealtime) dot.setAttribute("aria-label", "published at once");
    else dot.removeAttribute("aria-label");
    dot.ariaHidden = isRealtime ? null : "true";
  }
  setText(row.cells[1], whole.format(video.plays));
  setText(row.cells[2], since(video.publishedAtMs));
}

function drawBar(video, most) {
  video.row.querySelector(".track span").style.transform = `scaleX(${video.plays / most})`;
}

function flash(video, colour) {
  if (stillness.matches) return;
  video.flash?.cancel();
  video.flash = video.row.animate(
    [{ backgroundColor: colour }, { backgroundColor: "transparent" }],
    { duration: FLASH_MS, easing: "ease-out" },
  );
}

// --- Words --------------------------------------------------------------------------------

const since = (atMs) => ago(Date.now() - clockAheadMs - atMs);

function more(shown, found) {
  const sought = element("filter").value.trim();
  if (sought && found === 0) return `No video starts with “${sought}”.`;
  if (found > shown) {
    return `The ${whole.format(shown)} with the most plays. ${whole.format(found - shown)} more: ` +
      "find one by the start of its GUID.";
  }
  return sought ? `${counted(found, "video")} found` : "";
}

function tick() {
  if (!document.hidden && performance.now() - heardAtMs > 2 * SILENCE_MAX_MS) doWithoutWorker();
  for (const row of element("rows").rows) {
    const video = videos.get(row.dataset.id);
    if (video) setText(row.cells[2], since(video.publishedAtMs));
  }
  document.title = report?.plays ? `${sum(report.plays)} plays · playtally` : "playtally";
}

element("filter").addEventListener("input", () => { ask(); draw(); });
setInterval(tick, 1000);
let source = openSource();
document.addEventListener("visibilitychange", seenOrHidden);
addEventListener("pageshow", seenOrHidden);
addEventListener("pagehide", () => source.leave());
