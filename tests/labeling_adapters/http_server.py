"""A small real server on loopback, for tests of HTTP clients: a function answers, and faults can be put in its way."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """A request as it came. Header names are in lower case; `query` has lists, as forms have."""

    verb: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> object:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """`body`: str is HTML, bytes go as they are, anything else as JSON. `drops`: the connection breaks instead.

    `stalls`: nothing more comes after so many seconds' wait (a client with a shorter time-out gives up first).
    """

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    drops: bool = False
    stalls: float = 0.0
    drips: float = 0.0
    """Seconds before every byte of the body."""


@dataclass
class Fault:
    """What befalls a request instead of its answer. `stored`: the vendor has done what was asked all the same."""

    reply: Reply
    stored: bool = False
    verb: str = ""
    """Only requests of this verb; empty: all."""


FAULTS: dict[str, Reply] = {
    "rate limit": Reply(429, {"error": "slow down"}, {"Retry-After": "7"}),
    "server error": Reply(500, {"error": "oops"}),
    "proxy page": Reply(502, "<html><body>Bad gateway</body></html>"),
    "stall": Reply(stalls=5.0),
    "drop": Reply(drops=True),
    "html": Reply(200, "<!DOCTYPE html><title>Log in</title>"),
    "error inside": Reply(200, {"error": "no such plan"}),
    "refused key": Reply(401, {"error": "bad key"}),
}
"""The faults that every adapter over HTTP must survive, by name. The first five may pass, the last three do not."""
PASSING = ("rate limit", "server error", "proxy page", "stall", "drop")


@dataclass
class HttpServer:
    """What was asked, and what befalls the next requests: `faults` first, one a request, then `answer`."""

    answer: Callable[[Request], Reply]
    base_url: str = ""
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)

    def reply_to(self, request: Request) -> Reply:
        with self.lock:
            self.requests.append(request)
            fault = next((f for f in self.faults if f.verb in ("", request.verb)), None)
            if fault is None:
                return self.answer(request)
            self.faults.remove(fault)
            if fault.stored:
                self.answer(request)
            return fault.reply


@contextmanager
def http_server(answer: Callable[[Request], Reply], *, certificate: Path | None = None) -> Iterator[HttpServer]:
    """Serves on a free port until the block ends. Requests are answered one at a time, so `answer` needs no lock.

    `certificate`: a file with a key and its certificate; then it speaks TLS.
    """
    server = HttpServer(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer_it(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = server.reply_to(Request(self.command, url.path, parse_qs(url.query), headers, body))
            if reply.stalls:
                server.ended.wait(reply.stalls)
            if reply.drops or reply.stalls:
                self.close_connection = True
                return
            self.write(reply)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer_it

        def write(self, reply: Reply) -> None:
            kind, data = _encoded(reply.body)
            headers = {"Content-Type": kind, "Content-Length": str(len(data)), **reply.headers}
            try:
                self.send_response(reply.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in [data] if not reply.drips else [data[i : i + 1] for i in range(len(data))]:
                    server.ended.wait(reply.drips)
                    self.wfile.write(piece)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        http.socket = context.wrap_socket(http.socket, server_side=True)
    server.base_url = f"http{'s' if certificate else ''}://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        http.shutdown()
        http.server_close()
        thread.join()


def _encoded(body: object) -> tuple[str, bytes]:
    if isinstance(body, bytes):
        return "application/octet-stream", body
    if isinstance(body, str):
        return "text/html; charset=utf-8", body.encode()
    return "application/json", b"" if body is None else json.dumps(body).encode()
