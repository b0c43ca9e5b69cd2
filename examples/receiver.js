// Keeps what playtally publishes: node receiver.js 127.0.0.1 8090 totals.jsonl SECRET_FILE [OLD_SECRET_FILE]
const { createHmac, timingSafeEqual } = require("node:crypto");
const [fs, { createServer }] = [require("node:fs"), require("node:http")];
const [{ createInterface }, { gunzipSync }] = [require("node:readline"), require("node:zlib")];
const [host, port, file, ...secretFiles] = process.argv.slice(2);
const secrets = secretFiles.map((name) => fs.readFileSync(name, "latin1").replace(/\n$/, ""));
if (secrets.includes("")) throw new Error(`${secretFiles}: expected a secret in each`);
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const isRow = ([id, n]) => typeof id === "string" && /^[\0-~]+$/.test(id) && n > 0 && Number.isSafeInteger(n);
const [totals, keys, BYTES_MAX, KEYS_MAX] = [new Map(), new Set(), 1 << 20, 10000];

function apply([key, videos]) {
  if (keys.has(key)) return;
  for (const [video, plays] of videos) totals.set(video, Math.max(plays, totals.get(video) ?? 0));
  if (keys.add(key).size > KEYS_MAX) keys.delete(keys.values().next().value);
}

function isSigned(headers, body) {
  const stamp = headers["x-playtally-timestamp"];
  const signed = Buffer.concat([Buffer.from(stamp ? `${stamp}.` : ""), body]); // as it came, packed or not
  const given = (headers["x-playtally-signature"] ?? "").split(", ").map((one) => Buffer.from(one));
  const fits = secrets.some((secret) => {
    const hmac = createHmac("sha256", Buffer.from(secret, "latin1")).update(signed).digest("hex");
    return given.some((one) => one.length === 71 && timingSafeEqual(one, Buffer.from(`sha256=${hmac}`)));
  });
  return fits && (!stamp || /^\d+$/.test(stamp) && Math.abs(Date.now() / 1000 - stamp) <= 300);
}

function take(headers, body) {
  if (!isSigned(headers, body)) return [401, "expected a signature with our secret, of the last 5 minutes"];
  let status = 400;
  try {
    const packed = headers["content-encoding"] === "gzip";
    const text = utf8.decode(packed ? gunzipSync(body, { maxOutputLength: BYTES_MAX }) : body);
    const publish = JSON.parse(text, (_, value) => value); // with a function, deep nesting is an error
    const line = [publish.batch, publish.videos.map(({ video_id, plays }) => [video_id, plays])];
    if (![[line[0], 1], ...line[1]].every(isRow)) throw new Error("a name not in ASCII, or a wrong number");
    status = 503;
    fs.appendFileSync(log, `\n${JSON.stringify(line)}\n`);
    fs.fsyncSync(log); // it is on the disk before the answer is 200
    return [200, apply(line) ?? ""];
  } catch (error) {
    return [status, `${error.message}; expected JSON: batch, videos (video_id, plays: 1 to 2**53 - 1)`];
  }
}

function serve(request, response) {
  const answer = (status, text) => response.writeHead(status, { "Accept-Encoding": "gzip" }).end(text);
  if (request.url === "/totals") return answer(200, JSON.stringify(Object.fromEntries(totals)));
  if (request.url !== "/plays" || request.method !== "POST") return answer(404, "expected a POST to /plays");
  if (!(request.headers["content-length"] <= BYTES_MAX)) return answer(413, `expected ${BYTES_MAX} bytes`);
  const pieces = []; request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => answer(...take(request.headers, Buffer.concat(pieces))));
}

const log = fs.openSync(file, "a"); // one line a publish; one that is cut short was not answered with 200
const lines = createInterface({ input: fs.createReadStream(file) });
lines.on("line", (line) => { try { apply(JSON.parse(line)); } catch {} });
lines.on("close", () => createServer({ keepAliveTimeout: 60000 }, serve).listen(port, host));
