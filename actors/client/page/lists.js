// The totals that came late, and the promises that were broken: asked for when there are more of them.

import { clock, duration, plain, whole, write } from "./words.js";

const ASK_EVERY_MS = 1000;
const CAUSES = {
  service: "the service: a broken promise",
  client: "this client, which was slow or failed",
  overdue: "its play, which came too late",
};

export class Lists {
  #shown = "0 0";
  #isAsking = false;

  // The client may be another one now.
  forget() {
    this.#shown = "0 0";
  }

  async show(report) {
    const late = report.late + report.overdue;
    const wanted = `${report.promises_broken_total} ${late}`;
    document.getElementById("broken").hidden = report.promises_broken_total === 0;
    document.getElementById("late").hidden = late === 0;
    if (wanted === this.#shown || this.#isAsking) return;
    this.#isAsking = true;
    try {
      const answer = await (await fetch("report")).json();
      this.#shown = `${answer.promises_broken_total} ${answer.late + answer.overdue}`;
      fill("broken", answer.promises_broken.map(brokenRow), answer.promises_broken_total);
      fill("late", answer.latest_late.map(lateRow), answer.late + answer.overdue);
      await new Promise((done) => setTimeout(done, ASK_EVERY_MS));
    } catch (error) {
      // The client went away in between; the next event asks again.
      console.info("the report could not be read:", error);
    } finally {
      this.#isAsking = false;
    }
  }
}

function fill(id, rows, total) {
  document.getElementById(`${id}-rows`).replaceChildren(...rows);
  const rest = total - rows.length;
  write(`${id}-more`, rest > 0 ? `and ${whole.format(rest)} more` : "");
}

function brokenRow(broken) {
  const texts = [plain(broken.promise), broken.expected, broken.found];
  return rowOf(texts, [broken.video_id ?? "the whole publish", broken.batch]);
}

function lateRow(late) {
  const texts = [clock(late.received_at_ms), duration(late.late_ms), CAUSES[late.cause], late.trigger];
  return rowOf([...texts, whole.format(late.plays)], [late.video_id]);
}

function rowOf(texts, ids) {
  const row = document.createElement("tr");
  for (const text of texts) row.insertCell().textContent = text;
  for (const id of ids) {
    const cell = row.insertCell();
    cell.className = "id";
    cell.textContent = cell.title = id;
  }
  return row;
}
