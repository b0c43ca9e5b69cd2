// The operator's page: shows what the service streams, while somebody sees it. Decides nothing.

import { showLog, showActions, actOn } from "./actions.js";
import { Charts } from "./charts.js";
import { showFigures } from "./figures.js";
import { showSpreads } from "./spreads.js";
import { Stream } from "./stream.js";
import { showTree } from "./tree.js";
import { element, timeOf, write } from "./words.js";

const LOG_INTERVAL_MS = 10_000;

const charts = new Charts(element("charts"), element("charts-note"));
const stream = new Stream(told, say);
let shownAt = "";
let logAskedMs = 0;

function told(text) {
  say(shown(text));
}

// Returns what is wrong, in words; "" if all is shown. A page of another version than its service says so.
function shown(text) {
  try {
    show(JSON.parse(text));
    return "";
  } catch (error) {
    console.error(error);
    return "The page does not understand the service: load it again.";
  }
}

function show(status) {
  shownAt = timeOf(status.now_ms);
  element("shown").hidden = false;
  write("as-of", `as of ${shownAt}`);
  document.title = `${status.caught_up ? "caught up" : "not caught up"} · playtally`;
  showFigures(status);
  showTree(status);
  showSpreads(status);
  showActions(status);
  charts.note(status);
  if (status.actions_allowed === undefined) return;
  if (status.missed_ms !== undefined || Math.abs(status.now_ms - logAskedMs) >= LOG_INTERVAL_MS) {
    logAskedMs = status.now_ms;
    showLog();
  }
}

function say(trouble) {
  const old = trouble && shownAt ? ` Below is what it said at ${shownAt}.` : "";
  write("trouble", trouble ? `${trouble}${old} The page tries again by itself.` : "");
  element("trouble").hidden = !trouble;
  element("shown").classList.toggle("old", Boolean(trouble));
  pill(trouble ? "silent" : "live", trouble ? "no answer" : "live");
  if (trouble) document.title = "no answer · playtally";
}

function pill(state, text) {
  element("state").dataset.state = state;
  write("state", text);
}

// A hidden tab lets go of its stream. What it missed is in the first event of the next one.
function seenOrHidden() {
  if (document.hidden) {
    stream.close();
    pill("connecting", "not looked at");
  } else {
    pill("connecting", "connecting");
    stream.open();
  }
}

document.addEventListener("visibilitychange", seenOrHidden);
addEventListener("pagehide", () => stream.close());
addEventListener("pageshow", (event) => event.persisted && seenOrHidden());
element("children-rows").addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button) actOn(button.dataset.child, button.dataset.choices.split(" "));
});
seenOrHidden();
