"""A small real server on loopback that speaks the OpenAI JSON shapes, for tests of the real client."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Reply:
    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


@dataclass
class Server:
    """What was asked, and what to answer: `script` first, one reply a request, then `answer`."""

    script: list[Reply] = field(default_factory=list)
    answer: Callable[[dict, int], str] = lambda body, choice: f"Sentence number {choice} of the answer. More"
    choices_given: Callable[[dict], int] = lambda body: body.get("n", 1)
    usage: Callable[[dict, list[str]], object] = lambda body, texts: {
        "prompt_tokens": 10,
        "completion_tokens": 5 * len(texts),
    }
    """What a request is said to have taken; None: nothing is said."""
    requests: list[dict] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    most_at_once: int = 0
    now: int = 0
    base_url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply_to(self, path: str, body: dict) -> Reply:
        if self.script:
            return self.script.pop(0)
        texts = [self.answer(body, i) for i in range(self.choices_given(body))]
        if path.endswith("/chat/completions"):
            choices = [
                {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": t}}
                for i, t in enumerate(texts)
            ]
        else:
            choices = [{"index": i, "finish_reason": "stop", "text": t} for i, t in enumerate(texts)]
        kind = "chat.completion" if "chat" in path else "text_completion"
        told = {"id": "x", "object": kind, "created": 0, "model": body["model"], "choices": choices}
        usage = self.usage(body, texts)
        return Reply(body=told if usage is None else {**told, "usage": usage})


def error(status: int, message: str, *, code: str | None = None, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": {"message": message, "type": "error", "code": code}}, named)


@contextmanager
def openai_server() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.requests.append({"path": self.path, **body})
                server.authorizations.append(self.headers.get("Authorization"))
                server.now += 1
                server.most_at_once = max(server.most_at_once, server.now)
                reply = server.reply_to(self.path, body)
            time.sleep(reply.delay_s)
            with server.lock:
                server.now -= 1
            text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
            data = text.encode()
            try:
                self.send_response(reply.status)
                kind = "text/html" if isinstance(reply.body, str) else "application/json"
                for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                pass

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.base_url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
