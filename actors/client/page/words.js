// How numbers, times and names are written, and put on the page.

export const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
export const oneDecimal = new Intl.NumberFormat("en-GB", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

// A sum of totals, each of which is exact here. One that is not exact any more is not shown as if it were.
export const sum = (plays) =>
  (Number.isSafeInteger(plays) ? whole.format(plays) : `about ${whole.format(plays / 1e12)} trillion`);

export const counted = (count, one, many = `${one}s`) => `${whole.format(count)} ${count === 1 ? one : many}`;

export const mean = (value) => (value < 100 ? oneDecimal : whole).format(value);

export const plain = (name) => name.replaceAll("_", " ");

export function percent(value) {
  // Rounded down: it is never all that was saved.
  const hundredths = Math.min(Math.floor(value * 100 + 1e-6), 9999) / 100;
  return `${hundredths.toFixed(hundredths > 99 ? 2 : 1)} %`;
}

export function duration(ms) {
  if (ms === null) return "–";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 100000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 5400000) return `${(ms / 60000).toFixed(1)} min`;
  if (ms < 129600000) return `${(ms / 3600000).toFixed(1)} h`;
  return `${whole.format(Math.round(ms / 86400000))} days`;
}

export function ago(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

// When it was, on the clock of whoever looks.
export const clock = (atMs) => new Date(atMs).toLocaleTimeString("en-GB");

export const write = (id, text) => setText(document.getElementById(id), text);

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
