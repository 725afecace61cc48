"""Receive exports, verified, into this folder: WEBHOOK_SECRET=whsec_… python receive.py [PORT]"""

import hashlib
import json
import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standard import verify


class Receiver(BaseHTTPRequestHandler):
    """Takes a message, then fetches what it links to; one that comes again fetches the same again."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            verify(os.environ["WEBHOOK_SECRET"], {k.lower(): v for k, v in self.headers.items()}, body)
        except (KeyError, ValueError) as error:
            self.send_error(403, str(error))
            return
        self.send_response(204)
        self.end_headers()
        message = json.loads(body)
        for file in message["data"].get("files", ()):
            path = Path(message["data"]["exportId"], file["name"])
            path.parent.mkdir(parents=True, exist_ok=True)
            content = urllib.request.urlopen(file["url"]).read()
            assert hashlib.sha256(content).hexdigest() == file["sha256"], f"{path} is damaged"
            path.write_bytes(content)
            print(f"{path}: {file['rows']} rows, verified", flush=True)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 9000), Receiver).serve_forever()
