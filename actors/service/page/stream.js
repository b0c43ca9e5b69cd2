// The live stream of events, each with the whole picture. Opens it, and opens it again when it ends or falls silent.
//
// `tell(figures)` gets the JSON of each event. `lost(trouble)` is told in words that there is no stream.

const SILENCE_MAX_MS = 12_000; // The service sends an event every 5 s, even when nothing changes.
const RETRY_MS = 3_000;
const WHY_MAX = 300;

export class Stream {
  #tell;
  #lost;
  #source = null;
  #timer = 0;

  constructor(tell, lost) {
    this.#tell = tell;
    this.#lost = lost;
  }

  open() {
    this.close();
    const source = new EventSource("events");
    this.#source = source;
    source.addEventListener("figures", (event) => {
      this.#expect();
      this.#tell(event.data);
    });
    source.addEventListener("error", () => this.#failed(source));
    this.#expect();
  }

  close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  // The browser tries again by itself, unless the answer was no stream at all.
  async #failed(source) {
    const isRefused = source.readyState === EventSource.CLOSED;
    const why = isRefused ? await whyNot() : "";
    if (source !== this.#source) return;
    this.#lost(why || "The service does not answer.");
    if (isRefused) this.#again(RETRY_MS);
  }

  #expect() {
    this.#again(SILENCE_MAX_MS, `The service has not answered for ${SILENCE_MAX_MS / 1000} s.`);
  }

  #again(afterMs, trouble) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (trouble) this.#lost(trouble);
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
    // The session has ended: this gets the form for the token. A proxy's own 401 is another one.
    if (answer.status === 401 && answer.headers.get("WWW-Authenticate") === "Bearer") location.reload();
    const told = await answer.json().then(({ error }) => `: ${error}`, () => ` ${answer.statusText}`);
    return `The service, or a proxy before it, answers ${answer.status}${told.slice(0, WHY_MAX)}.`;
  } catch {
    return ""; // There is no answer any more.
  } finally {
    clearTimeout(timer);
    ending.abort();
  }
}
