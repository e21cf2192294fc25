"""Web servers for tests: a folder over HTTP, well-behaved or not, and what was asked of it."""

import re
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Web:
    """A folder over HTTP. Its flags may be changed at any time."""

    def __init__(self, folder, address):
        self.folder = folder
        self.url = f"http://127.0.0.1:{address[1]}"
        self.ranges = True  # whether it gives parts of files
        self.status = {}  # name -> the status to answer with
        self.failures = {}  # name -> how many requests fail with 503 before one does not
        self.change = {}  # name -> function of the bytes
        self.delay = 0.0  # seconds before every answer
        self.requests = []  # (method, name, start, end)
        self.lock = threading.Lock()

    def asked(self, name, method="GET"):
        """The byte ranges that were asked of a file; None for all of it."""
        with self.lock:
            return [span for how, what, span in self.requests if (how, what) == (method, name)]


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args, web):
        self.web = web
        super().__init__(*args)

    def do_GET(self):
        self._answer(body=True)

    def do_HEAD(self):
        self._answer(body=False)

    def log_message(self, *args):
        pass

    def _answer(self, body):
        web, name = self.web, self.path.lstrip("/")
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        span = (int(asked[1]), int(asked[2]) + 1) if asked else None
        with web.lock:
            web.requests.append((self.command, name, span))
            status = web.status.get(name, web.status.get("*", 200))
            if web.failures.get(name, 0) > 0 and body:
                web.failures[name] -= 1
                status = 503
        time.sleep(web.delay)
        path = web.folder / name
        if status == 200 and not path.is_file():
            status = 404
        if status != 200:
            self._send(status, b"no", body)
            return
        data = web.change.get(name, bytes)(path.read_bytes())
        if span and web.ranges:
            self._send(206, data[span[0] : span[1]], body)
        else:
            self._send(200, data, body)

    def _send(self, status, data, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)


@contextmanager
def served(folder):
    """Serve a folder as long as the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), None)
    web = Web(folder, server.server_address)
    server.RequestHandlerClass = partial(_Handler, web=web)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
