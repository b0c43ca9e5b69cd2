"""Keeps what playtally publishes: receiver.py 127.0.0.1 8090 totals.db SECRET_FILE [OLD_SECRET_FILE]"""

import hmac
import json
import sqlite3
import sys
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock


class Receiver(BaseHTTPRequestHandler):
    TAKE = "INSERT INTO totals VALUES (?1, ?2) ON CONFLICT DO UPDATE SET plays = max(plays, ?2)"
    RULE = "expected JSON: batch, videos (video_id, plays: 1 to 2**53 - 1)"
    protocol_version, timeout, error_message_format = "HTTP/1.1", 60, "%(explain)s"

    def do_GET(self) -> None:
        with lock:
            totals = dict(db.execute("SELECT video, plays FROM totals"))
        self.accept(json.dumps(totals)) if self.path == "/totals" else self.send_error(404)

    def do_POST(self) -> None:
        try:
            length, stamp = int(self.headers["Content-Length"]), self.headers.get("X-Playtally-Timestamp")
            if not 0 <= length <= 1 << 20:
                return self.send_error(413)
            signed = (f"{stamp}." if stamp else "").encode() + (body := self.rfile.read(length))  # as it came
            right = ["sha256=" + hmac.new(secret, signed, "sha256").hexdigest() for secret in secrets]
            given = self.headers.get("X-Playtally-Signature", "").split(", ")
            fits = any(hmac.compare_digest(a.encode(), b.encode()) for a in given for b in right)
            if self.path != "/plays" or not fits or (stamp and abs(time.time() - int(stamp)) > 300):
                return self.send_error(401, None, "expected /plays, signed with our secret in the last 300 s")
            packed, gzip = self.headers.get("Content-Encoding") == "gzip", zlib.decompressobj(31)
            text = (gzip.decompress(body, 1 << 20) if packed else body).decode()
            publish = json.loads("" if packed and (not gzip.eof or gzip.unused_data) else text)  # all of it
            rows = [(publish["batch"], 1), *((v["video_id"], v["plays"]) for v in [] + publish["videos"])]
            if not all(name > "" and name.isascii() and type(n) is int and 0 < n < 2**53 for name, n in rows):
                raise ValueError("a name not in ASCII, or a wrong number")
            with lock, db:  # when this block ends, all is on the disk or nothing has changed
                if db.execute("INSERT OR IGNORE INTO keys VALUES (:batch)", publish).rowcount:
                    db.executemany(self.TAKE, rows[1:])
                    db.execute("DELETE FROM keys WHERE rowid <= (SELECT max(rowid) - 10000 FROM keys)")
            self.accept()
        except (LookupError, TypeError, ValueError, RecursionError, sqlite3.Error, zlib.error) as error:
            self.send_error(503 if isinstance(error, sqlite3.Error) else 400, None, f"{error!r}; {self.RULE}")

    def accept(self, text: str = "") -> None:
        head = "HTTP/1.1 200 OK\r\nAccept-Encoding: gzip"  # so that playtally packs its next publishes
        self.wfile.write(f"{head}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())


_, host, port, file, *secret_files = sys.argv
secrets = [Path(one).read_bytes().removesuffix(b"\n") or sys.exit(f"{one} is empty") for one in secret_files]
lock, db, ThreadingHTTPServer.request_queue_size = Lock(), sqlite3.connect(file, check_same_thread=False), 99
db.executescript("PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY)")
db.execute("CREATE TABLE IF NOT EXISTS totals (video PRIMARY KEY, plays)")
ThreadingHTTPServer((host, int(port)), Receiver).serve_forever()
