// The live stream of events. Opens it, and opens it again when it ends or falls silent.
//
// `tell(kind, text)` gets each "snapshot" and "change" with its JSON, and "lost" with why it is lost, in words.

export const SILENCE_MAX_MS = 15000; // The client sends something every 5 s, even when nothing changes.
const RETRY_MS = 3000;

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
    source.addEventListener("error", () => {
      this.#tell("lost", "disconnected, trying again");
      // The browser tries again by itself unless the answer was no stream at all.
      if (source.readyState === EventSource.CLOSED) this.#again(RETRY_MS, "disconnected, trying again");
    });
    this.#again(SILENCE_MAX_MS, "no news, trying again");
  }

  close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #again(afterMs, why) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#tell("lost", why);
      this.open();
    }, afterMs);
  }
}
