// The operator's page. Asks for the status once a second, and shows it. Decides nothing.
//
// Text from outside (a client's answer, an nsqd's address) goes in by textContent alone, so it is never
// markup. Cells are changed in place, so that what a reader has selected stays selected.

const INTERVAL_MS = 1000;
const ANSWER_MAX_MS = 5000; // The service waits a second at most for its nsqds and children.

const element = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

// --- Asking -------------------------------------------------------------------------------

let round = 0; // A new round begins when the page is seen again; the one before ends.
let request = new AbortController();

async function askWhileSeen() {
  round += 1;
  const mine = round;
  while (mine === round) {
    const beganMs = performance.now();
    const { status, trouble } = await ask();
    if (mine !== round) return;
    say(trouble || shown(status));
    await pause(INTERVAL_MS - (performance.now() - beganMs));
  }
}

async function ask() {
  request = new AbortController();
  const late = setTimeout(() => request.abort(), ANSWER_MAX_MS);
  try {
    const answer = await fetch("status", { signal: request.signal, cache: "no-store" });
    // The session has ended: this gets the form for the token. A proxy's own 401 is another one.
    if (answer.status === 401 && answer.headers.get("WWW-Authenticate") === "Bearer") location.reload();
    if (!answer.ok) return { trouble: `The service answers ${answer.status}, or a proxy before it does.` };
    return { status: await answer.json(), trouble: "" };
  } catch (error) {
    if (error.name === "SyntaxError") return { trouble: "What answers is not the service: its status is not JSON." };
    return { trouble: error.name === "AbortError"
      ? `The service has not answered for ${ANSWER_MAX_MS / 1000} s.`
      : "The service does not answer." };
  } finally {
    clearTimeout(late);
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));

function seenOrHidden() {
  if (document.hidden) {
    round += 1;
    request.abort();
  } else {
    pill("connecting", "connecting");
    askWhileSeen();
  }
}

// --- Showing ------------------------------------------------------------------------------

let shownAt = "";

function say(trouble) {
  const old = trouble && shownAt ? ` Below is what it said at ${shownAt}.` : "";
  write("trouble", trouble ? `${trouble}${old} The page asks again every second.` : "");
  element("trouble").hidden = !trouble;
  element("shown").classList.toggle("old", Boolean(trouble));
  pill(trouble ? "silent" : "live", trouble ? "no answer" : "live");
  if (trouble) document.title = "no answer · playtally";
}

function pill(state, text) {
  element("state").dataset.state = state;
  write("state", text);
}

// Returns what is wrong, in words; "" if all is shown. A page of another version than its service says so.
function shown(status) {
  try {
    show(status);
    return "";
  } catch (error) {
    console.error(error);
    return "The page does not understand the status: load it again.";
  }
}

function show(status) {
  shownAt = clock.format(new Date());
  element("shown").hidden = false;
  write("as-of", `as of ${shownAt}`);
  write("progress", progress(status));
  element("progress").dataset.done = status.caught_up;
  document.title = `${status.caught_up ? "caught up" : "not caught up"} · playtally`;
  showFigures(status);
  showClient(status);
  showTriggers(status.publishes);
  showRefused(status);
  table("children-rows", children(status));
  showNsqds(status.nsq);
}

function progress(status) {
  if (!status.caught_up) return `Not caught up: ${status.why_not_caught_up.join(", ")}.`;
  const unknown = status.caught_up_is === "queue" ? "" : " Not every nsqd says what waits there.";
  return `Caught up: nothing in flight, every play published.${unknown}`;
}

function showFigures({ plays, publishes, videos, pending_videos: pending, in_flight_messages: inFlight, nsq }) {
  write("plays", whole.format(plays.counted));
  write("plays-note", `of ${counted(videos, "video")}; ${counted(plays.redelivered, "redelivery", "redeliveries")} ` +
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

function showTriggers(publishes) {
  const names = ["realtime", "deadline", "overdue", "drain", "republish"];
  const list = element("triggers");
  while (list.children.length < names.length) list.append(document.createElement("li"));
  names.forEach((name, n) => setText(list.children[n], `${name} ${whole.format(publishes[name])}`));
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
  ]));
  const others = nsq.others_on_channel;
  write("nsqds-more", nsq.nsqds.length === 0 ? "none is known yet"
    : others ? `${counted(others, "other consumer")} on our channel: they take a part of the plays` : "");
}

// The tree as `status` has it: the supervisor, then each child below the supervisor that it belongs to.

function children(status) {
  const workers = new Map(status.children.map((one) => [one.id, one]));
  const supervisors = new Map(status.supervisors.map((one) => [one.id, one]));
  const rows = [process("supervisor", 0, { state: "running", incarnation: 1, ...status.supervisor })];
  const add = (id, depth) => {
    for (const child of supervisors.get(id).children) {
      if (supervisors.has(child)) {
        rows.push(nested(supervisors.get(child), depth));
        add(child, depth + 1);
      } else if (workers.has(child)) {
        rows.push(process(child, depth, workers.get(child)));
      }
    }
  };
  add("root", 1);
  return rows;
}

function nested({ id, state, strategy, max_restarts: restarts, max_seconds: seconds }, depth) {
  const rules = `${strategy}, ${restarts} restarts in ${seconds} s`;
  return [{ text: id, depth }, { text: state, state }, {}, {}, { text: rules }, {}, {}, {}, {}, {}];
}

function process(id, depth, one) {
  const back = one.last_exit && one.came_back_ms !== null ? `, back in ${whole.format(one.came_back_ms)} ms` : "";
  return [
    { text: id, depth },
    { text: one.loading ? `${one.state}: ${one.loading}` : one.state, state: one.state },
    number(`#${one.incarnation}`),
    number(one.pid === null ? "" : duration(one.uptime_s)),
    { text: one.last_exit ? one.last_exit.how + back : one.strategy ?? "" },
    number(one.pid === null ? "" : String(one.pid)),
    number(one.pid === null ? "" : size(one.memory_bytes)),
    number(one.pid === null ? "" : `${one.cpu_s.toFixed(1)} s`),
    number(one.mailbox_bytes === undefined ? "" : one.mailbox_bytes ? size(one.mailbox_bytes) : "empty"),
    number(one.store_bytes ? size(one.store_bytes) : ""),
  ];
}

// --- Words and cells ----------------------------------------------------------------------

const number = (text) => ({ text, kind: "number" });

function table(id, rows) {
  const body = element(id);
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, n) => {
    const row = body.rows[n] ?? body.insertRow();
    cells.forEach((one, m) => fill(row.cells[m] ?? newCell(row, one), one));
  });
}

function newCell(row, { kind = "", note }) {
  const cell = row.insertCell();
  cell.className = kind;
  cell.append(document.createElement("span"));
  if (note !== undefined) cell.append(document.createElement("p"));
  return cell;
}

function fill(cell, { text = "", note, state = "", depth = 0 }) {
  setText(cell.firstChild, text);
  if (note !== undefined) setText(cell.lastChild, note);
  cell.dataset.state = state;
  cell.dataset.depth = depth;
}

const write = (id, text) => setText(element(id), text);

function setText(node, text) {
  const shown = printable(text);
  if (node.textContent !== shown) node.textContent = shown;
}

// Controls, line breaks and marks of writing direction as escapes: nothing hides, or turns what follows around.
const printable = (text) => text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu,
  (one) => `\\u{${one.codePointAt(0).toString(16)}}`);

const counted = (count, one, many = `${one}s`) => `${whole.format(count)} ${count === 1 ? one : many}`;

function size(bytes) {
  if (bytes < 1e6) return `${whole.format(Math.ceil(bytes / 1e3))} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${whole.format(Math.floor(hours / 24))} days`;
}

document.addEventListener("visibilitychange", seenOrHidden);
seenOrHidden();
