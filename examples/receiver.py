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

TAKE = "INSERT INTO totals VALUES (:video_id, :plays) ON CONFLICT DO UPDATE SET plays = max(plays, :plays)"


class Receiver(BaseHTTPRequestHandler):
    protocol_version, timeout, error_message_format = "HTTP/1.1", 60, "%(message)s"

    def do_GET(self) -> None:
        with lock:
            totals = dict(db.execute("SELECT video, plays FROM totals"))
        self.accept(json.dumps(totals)) if self.path == "/totals" else self.send_error(404)

    def do_POST(self) -> None:
        try:
            length, stamp = int(self.headers["Content-Length"]), self.headers.get("X-Playtally-Timestamp")
            if not 0 <= length <= 1 << 20:
                return self.send_error(413)
            body = self.rfile.read(length)
            signed = f"{stamp}.".encode() + body if stamp else body  # the body as it came, packed or not
            right = ["sha256=" + hmac.new(secret, signed, "sha256").hexdigest() for secret in secrets]
            given = self.headers.get("X-Playtally-Signature", "").split(", ")
            fits = any(hmac.compare_digest(a.encode(), b.encode()) for a in given for b in right)
            if self.path != "/plays" or not fits or (stamp and abs(time.time() - int(stamp)) > 300):
                return self.send_error(401, "expected /plays, signed with our secret in the last 5 minutes")
            packed = self.headers.get("Content-Encoding") == "gzip"  # if too long, it is cut, and no JSON
            publish = json.loads(zlib.decompressobj(31).decompress(body, 1 << 20) if packed else body)
            with lock, db:  # when this block ends, all is on the disk or nothing has changed
                if db.execute("INSERT OR IGNORE INTO keys VALUES (:batch)", publish).rowcount:
                    db.executemany(TAKE, publish["videos"])
                    db.execute("DELETE FROM keys WHERE rowid <= (SELECT max(rowid) - 10000 FROM keys)")
            self.accept()
        except (LookupError, TypeError, ValueError, ArithmeticError, sqlite3.Error, zlib.error) as error:
            self.send_error(503 if isinstance(error, sqlite3.OperationalError) else 400, str(error))

    def accept(self, text: str = "") -> None:
        self.send_response(200)
        self.send_header("Accept-Encoding", "gzip")  # so that playtally packs its next publishes
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


_, host, port, file, *secret_files = sys.argv
secrets = [Path(one).read_bytes().removesuffix(b"\n") or sys.exit(f"{one} is empty") for one in secret_files]
lock, db, ThreadingHTTPServer.request_queue_size = Lock(), sqlite3.connect(file, check_same_thread=False), 99
db.executescript("PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY)")
db.execute("CREATE TABLE IF NOT EXISTS totals (video PRIMARY KEY, plays CHECK (typeof(plays) = 'integer'))")
ThreadingHTTPServer((host, int(port)), Receiver).serve_forever()
