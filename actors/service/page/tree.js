// The processes as the supervision tree has them, and a timeline of their restarts.

import { counted, duration, element, list, momentOf, number, percent, setText, size, table, timeOf, whole, write } from "./words.js";

const TIMELINE_MS = 3_600_000;
const OFTEN_MS = 60_000;
const OFTEN = 3;  // restarts of a child within that time
const RESTARTS_SHOWN = 5;

export function showTree(status) {
  const isActing = status.actions_allowed === true;
  element("act-column").hidden = !isActing;
  table("children-rows", rows(status, isActing));
  showRestarts(status);
}

// The supervisor, then each child below the supervisor that it belongs to.
function rows(status, isActing) {
  const workers = new Map(status.children.map((one) => [one.id, one]));
  const supervisors = new Map(status.supervisors.map((one) => [one.id, one]));
  const found = [process("supervisor", 0, { state: "running", incarnation: 1, ...status.supervisor })];
  const add = (id, depth) => {
    for (const child of supervisors.get(id).children) {
      if (supervisors.has(child)) {
        found.push(nested(supervisors.get(child), depth));
        add(child, depth + 1);
      } else if (workers.has(child)) {
        found.push(process(child, depth, workers.get(child)));
      }
    }
  };
  add("root", 1);
  if (!isActing) return found;
  return found.map((cells, n) => [...cells, n === 0 ? { kind: "act" } : act(cells[0].text, workers, supervisors)]);
}

// A supervisor is no process, so there is nothing to kill. What is stopped may be about to be started again.
function act(child, workers, supervisors) {
  const { state } = workers.get(child) ?? supervisors.get(child);
  const choices = state === "stopped" ? ["restart", "terminate"] : workers.has(child) ? ["kill", "terminate"] : ["terminate"];
  return { kind: "act", button: { text: "Act on", child, choices } };
}

function nested({ id, state, strategy, max_restarts: restarts, max_seconds: seconds }, depth) {
  const rules = `${strategy}, ${counted(restarts, "restart")} in ${seconds} s`;
  return [{ text: id, depth }, { text: state, state }, number(""), number(""), { text: rules }, ...Array(5).fill(number(""))];
}

function process(id, depth, one) {
  const isThere = one.pid !== null;
  return [
    { text: id, depth },
    { text: one.loading ? `${one.state}: ${one.loading}` : one.state, state: one.state },
    number(`#${one.incarnation}`),
    number(isThere ? duration(one.uptime_s) : ""),
    { text: exit(one) },
    number(isThere ? String(one.pid) : ""),
    number(isThere ? size(one.memory_bytes) : ""),
    number(isThere ? cpu(one) : ""),
    number(one.mailbox_bytes === undefined ? "" : one.mailbox_bytes ? size(one.mailbox_bytes) : "empty"),
    number(one.store_bytes ? size(one.store_bytes) : ""),
  ];
}

function exit({ last_exit: last, came_back_ms: backMs, strategy }) {
  if (!last) return strategy ?? "";
  const back = backMs === null ? "" : `, back in ${whole.format(backMs)} ms`;
  if (typeof last === "string") return last + back;
  return `${last.how}, ${duration(last.ago_s)} ago${back}`;
}

const cpu = ({ cpu_share: share, cpu_s: seconds }) =>
  (share === undefined || share === null ? `${seconds.toFixed(1)} s` : percent(share));

// --- Restarts -----------------------------------------------------------------------------

function showRestarts({ restarts, now_ms: nowMs }) {
  element("restarts").hidden = restarts === undefined;
  if (restarts === undefined) return;
  const recent = restarts
    .map((one) => ({ ...one, ms: Date.parse(one.at) }))
    .filter(({ ms }) => nowMs - ms < TIMELINE_MS)
    .sort((one, other) => other.ms - one.ms);
  showRestarting(recent.filter(({ ms }) => nowMs - ms < OFTEN_MS));
  const isSome = recent.length > 0;
  write("restarts-none", isSome ? "" : "none");
  for (const id of ["timeline", "timeline-ends", "restarts-list"]) element(id).hidden = !isSome;
  const children = [...new Set(recent.map(({ child }) => child))].sort();
  list(element("timeline"), children, newTrack, (track, child) => fillTrack(track, child, recent, nowMs));
  table("restarts-rows", recent.slice(0, RESTARTS_SHOWN).map((one) => [
    { text: momentOf(one.at, nowMs) },
    { text: `${one.child}#${one.incarnation}` },
    { text: one.how, kind: "words" },
  ]));
}

// A child that comes back each time, and ends again, looks well in the table.
function showRestarting(latest) {
  const times = new Map();
  for (const { child } of latest) times.set(child, (times.get(child) ?? 0) + 1);
  const often = [...times].filter(([, count]) => count >= OFTEN).map(([child, count]) => `${child} ${count} times`);
  element("restarting").hidden = often.length === 0;
  write("restarting", `Started again in the last minute: ${often.join(", ")}. The last exit and the log say why.`);
}

function newTrack() {
  const track = document.createElement("li");
  for (const name of ["name", "line", "count"]) {
    const span = document.createElement("span");
    span.className = name;
    track.append(span);
  }
  return track;
}

function fillTrack(track, child, recent, nowMs) {
  const [name, line, count] = track.children;
  const mine = recent.filter((one) => one.child === child);
  setText(name, child);
  setText(count, counted(mine.length, "restart"));
  list(line, mine, () => document.createElement("i"), (mark, one) => {
    mark.style.left = `${(100 * (1 - (nowMs - one.ms) / TIMELINE_MS)).toFixed(2)}%`;
    mark.title = `${timeOf(one.ms)}: ${one.how}`;
  });
}
