// What may be done from the page, each behind a question, and the log of what was done.
//
// Shown only if the service says that it allows it; the service judges again by itself.

import { element, list, momentOf, setText, table, write } from "./words.js";

const ANSWER_MAX_MS = 70_000; // The service answers within 60 s.
const SWITCHES = ["consuming", "publishing"];
const SETTINGS = {
  "publish.rate_max_per_s": "Publishes a second at most; 0: no limit",
  "publish.in_flight_max": "Publishes in flight at most, 1 to 256",
  "dispatch.realtime_linger_ms": "How long a realtime batch waits for more videos, in ms",
  "dispatch.overdue_linger_ms": "How long an overdue batch waits for more videos, in ms",
};
const CHOICES = {
  kill: "Kill it (SIGKILL): it dies at once, and its supervisor starts it again.",
  terminate: "Terminate it: it ends in order, and stays down until it is restarted.",
  restart: "Restart it: start it again, as it is stopped.",
};

let paused = {};
let set = {};

// --- The buttons --------------------------------------------------------------------------

export function showActions(status) {
  const isAllowed = status.actions_allowed === true;
  element("controls").hidden = !isAllowed;
  if (!isAllowed) return;
  paused = status.paused ?? {};
  set = status.set_while_running ?? {};
  list(element("switches"), SWITCHES, () => newButton(askToSwitch), (button, what) => {
    button.dataset.what = what;
    setText(button, `${paused[what] ? "Resume" : "Pause"} ${what}`);
  });
  list(element("settings"), Object.keys(SETTINGS), () => newButton(askToSet), (button, name) => {
    button.dataset.what = name;
    setText(button, name in set ? `Change ${name} (now ${set[name]})` : `Change ${name}`);
  });
}

function newButton(ask) {
  const button = document.createElement("button");
  button.type = "button";
  button.addEventListener("click", () => ask(button.dataset.what));
  return button;
}

function askToSwitch(what) {
  const action = paused[what] ? "resume" : "pause";
  const words = {
    "pause consuming": "No more plays are taken from the queue; they wait there. What is counted is still published.",
    "resume consuming": "Plays are taken from the queue again.",
    "pause publishing": "Nothing more is sent to the client; totals wait, and deadlines are missed. Plays are still counted.",
    "resume publishing": "What waits is sent to the client, the most urgent first.",
  };
  ask({
    heading: `${capital(action)} ${what}?`,
    text: words[`${action} ${what}`],
    confirm: capital(`${action} ${what}`),
    act: () => post(`${action}/${what}`, action),
  });
}

function askToSet(setting) {
  ask({
    heading: `Change ${setting}?`,
    text: "It holds at once, until the next start; config.toml is not written.",
    field: { label: SETTINGS[setting], value: set[setting] ?? "" },
    confirm: "Change",
    act: ({ value }) => post("set", "set", { setting, value }),
  });
}

// `choices`: those of `CHOICES` that its state allows.
export function actOn(child, choices) {
  ask({
    heading: child,
    text: "The other processes go on. What is in flight is sent again, and counted once.",
    choices: Object.fromEntries(choices.map((choice) => [choice, CHOICES[choice]])),
    confirm: (choice) => `${capital(choice)} ${child}`,
    act: ({ choice }) => post(`children/${child}/${choice}`, choice),
  });
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

// --- The question -------------------------------------------------------------------------

const dialog = element("dialog");
const confirm = element("dialog-confirm");
const cancel = element("dialog-cancel");
const field = element("dialog-value");
let asked = null;

function ask(question) {
  asked = question;
  write("dialog-heading", question.heading);
  write("dialog-text", question.text);
  write("dialog-answer", "");
  element("dialog-field").hidden = question.field === undefined;
  setText(element("dialog-field").querySelector("label"), question.field?.label ?? "");
  field.value = question.field?.value ?? "";
  element("dialog-choices").hidden = question.choices === undefined;
  showChoices(Object.entries(question.choices ?? {}));
  confirm.hidden = confirm.disabled = false;
  setText(cancel, "Cancel");
  nameConfirm();
  dialog.showModal();
}

function showChoices(choices) {
  const place = element("dialog-choices");
  for (const old of place.querySelectorAll("label")) old.remove();
  choices.forEach(([choice, words], n) => {
    const label = document.createElement("label");
    const radio = document.createElement("input");
    Object.assign(radio, { type: "radio", name: "choice", value: choice, checked: n === 0 });
    radio.addEventListener("change", nameConfirm);
    const said = document.createElement("span");
    setText(said, words);
    label.append(radio, said);
    place.append(label);
  });
}

const chosen = () => dialog.querySelector("input[name=choice]:checked")?.value ?? "";

function nameConfirm() {
  setText(confirm, asked.choices ? asked.confirm(chosen()) : asked.confirm);
}

async function act() {
  if (confirm.disabled || confirm.hidden) return;
  const question = asked;
  confirm.disabled = true;
  write("dialog-answer", "asked; waiting for the answer");
  const answer = await question.act({ choice: chosen(), value: field.value.trim() });
  showLog();
  if (asked !== question) return; // another question is open
  write("dialog-answer", answer.text);
  element("dialog-answer").dataset.bad = !answer.isDone;
  confirm.disabled = false;
  confirm.hidden = answer.isDone;
  setText(cancel, "Close");
  if (answer.isDone) cancel.focus();
}

confirm.addEventListener("click", act);
cancel.addEventListener("click", () => dialog.close());
field.addEventListener("keydown", (event) => event.key === "Enter" && act());
dialog.addEventListener("close", () => { asked = null; });

// --- Asking the service -------------------------------------------------------------------

async function post(path, action, body) {
  const headers = { "X-Playtally-Action": action };
  if (body) headers["Content-Type"] = "application/json";
  try {
    const answer = await fetch(path, {
      method: "POST", headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(ANSWER_MAX_MS) });
    const told = await answer.json().catch(() => ({}));
    if (answer.ok) return { isDone: true, text: `Done: ${told.done ?? action}.` };
    if (answer.status === 401) return { isDone: false, text: "Refused: the session is over; load the page again." };
    return { isDone: false, text: `Refused (${answer.status}): ${told.error ?? answer.statusText}` };
  } catch (error) {
    const why = error.name === "TimeoutError" ? "there is no answer yet; the log below will tell" : "the service does not answer";
    return { isDone: false, text: `Not known whether it was done: ${why}.` };
  }
}

export async function showLog() {
  try {
    const answer = await fetch("actions", { cache: "no-store" });
    if (!answer.ok) return;
    const { actions } = await answer.json();
    element("log").hidden = false;
    const nowMs = Date.now();
    table("log-rows", actions.map((one) => [
      { text: momentOf(one.at, nowMs) },
      { text: one.action, kind: "words" },
      { text: one.result, kind: "words", state: one.result === "done" ? "" : "stopped" },
      { text: one.who },
      { text: one.from },
    ]));
    write("log-more", actions.length ? "" : "none yet");
  } catch {
    // The stream says that the service is gone.
  }
}
