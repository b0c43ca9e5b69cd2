// The figures and the tables: what is counted, published, refused, stored, and what waits on the queue.

import { counted, duration, element, facts, list, momentOf, number, percent, setText, size, table, whole, write } from "./words.js";

const TRIGGERS = ["realtime", "deadline", "overdue", "drain", "republish"];
const ROWS_MAX = 12;

export function showFigures(status) {
  write("progress", progress(status));
  element("progress").dataset.done = status.caught_up;
  showPaused(status.paused);
  showNumbers(status);
  showClient(status);
  list(element("triggers"), TRIGGERS, () => document.createElement("li"),
    (item, name) => setText(item, `${name} ${whole.format(status.publishes[name])}`));
  showRefused(status);
  showNsqds(status.nsq);
  showPublishing(status);
  showStores(status);
}

function progress(status) {
  if (!status.caught_up) return `Not caught up: ${status.why_not_caught_up.join(", ")}.`;
  const unknown = status.caught_up_is === "queue" ? "" : " Not every nsqd says what waits there.";
  return `Caught up: nothing in flight, every play published.${unknown}`;
}

function showPaused(paused = {}) {
  const names = Object.keys(paused).filter((name) => paused[name]);
  element("paused").hidden = names.length === 0;
  write("paused", `Paused by an action: ${names.join(" and ")}. It goes on when it is resumed, or at the next start.`);
}

function showNumbers({ plays, publishes, videos, pending_videos: pending, in_flight_messages: inFlight, nsq }) {
  write("plays", whole.format(plays.counted));
  const duplicates = plays.duplicates ? ` and ${counted(plays.duplicates, "duplicate")}` : "";
  write("plays-note", `of ${counted(videos, "video")}; ${counted(plays.redelivered, "redelivery", "redeliveries")}${duplicates} ` +
    `dropped, ${counted(plays.dead_lettered, "dead letter")}`);
  write("publishes", whole.format(publishes.total));
  write("publishes-note", `of ${counted(publishes.videos, "total")}; ${whole.format(publishes.late)} late ` +
    `(${whole.format(publishes.late_by_client)} by the client); ${counted(publishes.failed, "attempt")} failed, ` +
    `${whole.format(publishes.rejected)} rejected`);
  write("pending", whole.format(pending));
  write("pending-note", `${counted(inFlight, "message")} in flight, received and not finished`);
  write("depth", nsq.depth === null ? "not known" : whole.format(nsq.depth));
  const age = plays.oldest_age_ms;
  write("depth-note", age ? `the oldest play of the last minute was ${duration(age / 1000)} old` : "no play waited in the last minute");
}

function showClient({ client, videos_per_batch_max: width, refused_videos_total: refused }) {
  const failures = client.failures_in_a_row;
  const words = client.circuit === null ? "–" : failures ? "fails" : "answers";
  const notes = [];
  if (failures) notes.push(`${counted(failures, "failure")} in a row`);
  if (client.circuit === "open") notes.push("circuit open: one publish now and then tries it");
  if (client.circuit === "half_open") notes.push("circuit half open: one publish tries it now");
  if (width) notes.push(`takes ${counted(width, "video")} a publish at most`);
  write("client", words);
  write("client-note", notes.join("; ") || (client.circuit === null ? "not known yet" : "no failure since its last answer"));
  element("client-figure").dataset.bad = failures > 0;
  write("refused-total", refused ? whole.format(refused) : "none");
  write("refused-note", refused ? "tried alone, ever more seldom" : "the client takes what it is told");
  element("refused-figure").dataset.bad = refused > 0;
}

function showRefused({ refused_videos: videos, refused_videos_total: total }) {
  element("refused").hidden = total === 0;
  table("refused-rows", videos.map((one) => [
    { text: one.video_id, kind: "id", note: one.answer || "no words" },
    number(whole.format(one.plays)),
    number(whole.format(one.attempts)),
    number(one.next_attempt_s > 0 ? duration(one.next_attempt_s) : "due"),
  ]));
  write("refused-more", total > videos.length ? `and ${whole.format(total - videos.length)} more` : "");
}

function showNsqds(nsq) {
  table("nsqds-rows", nsq.nsqds.map((one) => [
    { text: one.address, kind: "id" },
    { text: one.connected ? "connected" : "not connected", state: one.connected ? "running" : "stopped" },
    number(whole.format(one.rdy)),
    number(whole.format(one.in_flight)),
    number(one.depth === null ? "not known" : whole.format(one.depth)),
    number(one.last_age_ms === null ? "" : `${duration(one.last_age_ms / 1000)} old`),
    { text: knownBy(one) },
  ]));
  const others = nsq.others_on_channel;
  write("nsqds-more", nsq.nsqds.length === 0 ? "none is known yet"
    : others ? `${counted(others, "other consumer")} on our channel: they take a part of the plays`
    : nsq.depth === null ? "no nsqd tells what waits, and who else reads our channel" : "no other consumer on our channel");
}

// By what the messages of an nsqd are known when it comes back under another address.
function knownBy(nsqd) {
  if (nsqd.node_id === null) return "";
  const node = `node id ${nsqd.node_id}`;
  if (nsqd.identity === "node id") return node;
  return nsqd.identity === "node id and host name" ? `${node} at ${nsqd.hostname}` : `its address alone (${node} is another's too)`;
}

function showPublishing(status) {
  const { client, publishes, now_ms: nowMs, set_while_running: set = {} } = status;
  const width = publishes.total ? (publishes.videos / publishes.total).toFixed(1) : "–";
  const pairs = [
    ["Circuit", client.circuit === null ? "not known yet" : client.circuit.replace("_", " ")],
    ["Failures in a row", whole.format(client.failures_in_a_row)],
    ["Videos a publish, mean", width],
    ["Late", `${whole.format(publishes.late)}, and ${whole.format(publishes.late_by_client)} by the client`],
  ];
  if (client.in_flight !== undefined) {
    const rate = client.rate_max_per_s ? `${client.rate_max_per_s} a second at most` : "no limit";
    pairs.splice(2, 0, ["In flight now", `${whole.format(client.in_flight)} of ${client.in_flight_max} at most`], ["Rate", rate]);
  }
  for (const [name, value] of Object.entries(set)) pairs.push([`Changed: ${name}`, String(value)]);
  facts("facts", pairs);
  const { answers, failures } = status;
  some("answers", answers, (one) => [{ text: one.status, kind: "words" }, number(whole.format(one.count))], "no answer since the start");
  some("failures", failures && [...failures].reverse(), (one) => [
    { text: one.reason, kind: "words" },
    number(whole.format(one.count)),
    number(momentOf(one.first_at, nowMs)),
    number(momentOf(one.last_at, nowMs)),
  ], "none since the start");
}

function showStores(status) {
  const { stores, dead_letters: letters, disks } = status;
  const known = new Map((stores ?? []).map((one) => [one.child, one]));
  const told = (value) => number(value === undefined ? "" : whole.format(value));
  table("stores-rows", status.children.filter((one) => one.store_bytes || known.has(one.id)).map(({ id, store_bytes: bytes }) => [
    { text: id }, number(size(bytes)), told(known.get(id)?.commits), told(known.get(id)?.seen_ids)]));
  some("letters", letters && Object.entries(letters), ([why, count]) => [{ text: why, kind: "words" }, number(whole.format(count))],
    "none since the start");
  write("disks", disks.map(({ place, full, free_bytes: free, nearly_full: isNearly }) =>
    `disk of ${place}: ${percent(full)} full, ${size(free)} free${isNearly ? ", make room" : ""}`).join("; "));
}

// A table of the first things; a service that does not tell them has none to show.
function some(name, things, row, none) {
  const few = (things ?? []).slice(0, ROWS_MAX);
  table(`${name}-rows`, few.map(row));
  const more = (things ?? []).length - few.length;
  write(`${name}-more`, things === undefined ? "this service does not tell them" : more > 0 ? `and ${more} more` : few.length ? "" : none);
}
