"""An HTTP proxy before a server: it answers some requests with 429 or 500, lets some wait, and notes what passed."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple
from urllib.parse import urljoin

Fault = Literal["busy", "broken", "stall"]


class Passage(NamedTuple):
    """One request that came by."""

    body: Mapping[str, Any]
    fate: Fault | Literal["answered", "lost"]
    """Answered: the server's answer went back whole. Lost: nobody was there any more to take it."""
    answer: Mapping[str, Any]
    """The server's; empty where it was not asked."""
    began: float
    ended: float

    @property
    def name(self) -> str:
        """Alike for a request that is tried again."""
        return json.dumps(self.body, sort_keys=True)


@dataclass
class Proxy:
    """What passed, in the order it ended, and what happens to the n-th request to arrive."""

    upstream: str
    fault_of: Callable[[int], Fault | None] = lambda number: None
    stall_s: float = 3.0
    base_url: str = ""
    arrived: int = 0
    under_way: int = 0
    passed: list[Passage] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, fate: str) -> int:
        """Requests that fared so."""
        return sum(passage.fate == fate for passage in self.passed)

    @property
    def answers(self) -> Counter[str]:
        """By name: how often a request was answered."""
        return Counter(passage.name for passage in self.passed if passage.fate == "answered")


def _forward(upstream: str, path: str, body: bytes) -> bytes:
    request = urllib.request.Request(urljoin(upstream, path), body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        told: bytes = answer.read()
        return told


@contextmanager
def faulty_proxy(upstream: str, fault_of: Callable[[int], Fault | None] = lambda number: None) -> Iterator[Proxy]:
    """A running proxy; `fault_of(n)` says what befalls the n-th request, counted from 1."""
    proxy = Proxy(upstream, fault_of)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            began = time.monotonic()
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with proxy.lock:
                proxy.arrived += 1
                proxy.under_way += 1
                fault = proxy.fault_of(proxy.arrived)
            fate: Fault | Literal["answered", "lost"] = fault or "answered"
            told = b"{}" if fault else _forward(proxy.upstream, self.path, body)
            try:
                self.act(fault, told)
            except (BrokenPipeError, ConnectionResetError):
                fate = fault or "lost"
            with proxy.lock:
                passage = Passage(json.loads(body), fate, json.loads(told), began, time.monotonic())
                proxy.passed.append(passage)
                proxy.under_way -= 1

        def act(self, fault: Fault | None, told: bytes) -> None:
            if fault == "busy":
                self.answer(429, b'{"error": {"message": "slow down"}}', {"Retry-After": "1"})
            elif fault == "broken":
                self.answer(500, b"<html>oops</html>", {"Content-Type": "text/html"})
            elif fault == "stall":
                time.sleep(proxy.stall_s)
                self.close_connection = True
            else:
                self.answer(200, told, {})

        def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            known = {"Content-Type": "application/json", "Content-Length": str(len(body))}
            for header, value in {**known, **headers}.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
