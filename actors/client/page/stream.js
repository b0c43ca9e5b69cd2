// The live stream of events. Opens it, and opens it again when it ends or falls silent.
//
// `tell(kind, told)` gets each "snapshot" and "change" with its JSON, and "lost" with two texts: that it is lost,
// and what the client, or a proxy before it, says; "" if it says nothing. "token" says that the session has ended.

export const SILENCE_MAX_MS = 15000; // The client sends something every 5 s, even when nothing changes.
const RETRY_MS = 3000;
const WHY_MAX = 300;
const NO_SESSION = Symbol("no session");

export class Stream {
  #tell;
  #source = null;
  #timer = 0;

  constructor(tell) {
    this.#tell = tell;
  }

  // Anew if it is open already: a stream begins with a snapshot.
  open() {
    this.close();
    const source = new EventSource("events");
    this.#source = source;
    for (const kind of ["snapshot", "change"]) {
      source.addEventListener(kind, (event) => {
        this.#again(SILENCE_MAX_MS, "no news, trying again");
        this.#tell(kind, event.data);
      });
    }
    source.addEventListener("error", () => this.#failed(source));
    this.#again(SILENCE_MAX_MS, "no news, trying again");
  }

  close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  // The browser tries again by itself unless the answer was no stream at all.
  async #failed(source) {
    const isRefused = source.readyState === EventSource.CLOSED;
    const why = isRefused ? await whyNot() : "";
    if (source !== this.#source) return;
    if (why === NO_SESSION) {
      this.#tell("token", "");
      return;
    }
    const lost = [why ? "refused, trying again" : "disconnected, trying again", why];
    this.#tell("lost", lost);
    if (isRefused) this.#again(RETRY_MS, ...lost);
  }

  #again(afterMs, text, why = "") {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#tell("lost", [text, why]);
      this.open();
    }, afterMs);
  }
}

// Asks once more, as an EventSource does not say what it was answered.
async function whyNot() {
  const ending = new AbortController();
  const timer = setTimeout(() => ending.abort(), RETRY_MS);
  try {
    const answer = await fetch("events", { signal: ending.signal });
    if (answer.ok) return "";
    if (answer.status === 401 && answer.headers.get("WWW-Authenticate") === "Bearer") return NO_SESSION;
    const told = await answer.json().then(({ error }) => `: ${error}`, () => ` ${answer.statusText}`);
    return `The client, or a proxy before it, answers ${answer.status}${told.slice(0, WHY_MAX)}. ` +
      `The page tries again every ${RETRY_MS / 1000} s.`;
  } catch {
    return ""; // There is no answer any more.
  } finally {
    clearTimeout(timer);
    ending.abort();
  }
}
