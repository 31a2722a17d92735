"""A POST to a stranger's address: it ends in time, and goes nowhere that it should not."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.labeling_adapters.http_server import HttpServer, Reply, http_server
from workers import posting
from workers.posting import SHOWN, Tried, is_public, post


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with http_server(lambda request: Reply(200, b"thanks\0 " + b"x" * 1000)) as server:
        yield server


def send(url: str, *, timeout_s: float = 5.0, public_only: bool = False) -> Tried:
    return post(url, b'{"n": 1}', {"content-type": "application/json"}, timeout_s=timeout_s, public_only=public_only)


def test_the_beginning_of_the_answer_is_kept(server: HttpServer) -> None:
    tried = send(f"{server.base_url}/hook?a=b")
    assert (tried.status, tried.arrived) == (200, True)
    assert tried.answer == "thanks " + "x" * (SHOWN - 8)
    (request,) = server.requests
    assert (request.verb, request.path, request.query, request.json()) == ("POST", "/hook", {"a": ["b"]}, {"n": 1})


@pytest.mark.parametrize("status", [302, 404, 500])
def test_what_is_not_2xx_did_not_arrive(server: HttpServer, status: int) -> None:
    server.answer = lambda request: Reply(status, headers={"Location": f"{server.base_url}/elsewhere"})
    assert send(f"{server.base_url}/hook") == Tried(status, "")
    assert [request.path for request in server.requests] == ["/hook"]


def test_silence_ends_in_time(server: HttpServer) -> None:
    server.answer = lambda request: Reply(stalls=5.0)
    assert send(server.base_url, timeout_s=0.2) == Tried(None, "no answer within 0.2 s")


def test_a_slow_answer_ends_in_time_and_its_status_counts(server: HttpServer) -> None:
    """Each byte comes well within the time-out; all of them would take half a minute."""
    server.answer = lambda request: Reply(200, b"x" * 300, drips=0.1)
    began = time.monotonic()
    tried = send(server.base_url, timeout_s=0.5)
    assert time.monotonic() - began < 2
    assert tried.arrived
    assert 0 < len(tried.answer) < 10


def test_slow_headers_end_in_time() -> None:
    """A byte every 0.1 s keeps a time-out of silence from ever coming."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                try:
                    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                        connection.sendall(bytes([byte]))
                        time.sleep(0.1)
                except OSError:
                    pass

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        assert send(url, timeout_s=0.5) == Tried(None, "no answer within 0.5 s")
        thread.join(2)
        assert not thread.is_alive()


def test_nobody_there_and_no_address_are_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert send(f"http://127.0.0.1:{port}/").answer.startswith("ConnectError")
    for nonsense in (f"http://{'a' * 70}.example/", "http://x.example:99999/", "http://"):
        for public_only in (False, True):
            tried = send(nonsense, public_only=public_only)
            assert (tried.status, bool(tried.answer)) == (None, True), nonsense


ADDRESSES = {
    "8.8.8.8": True,
    "2606:4700:4700::1111": True,
    "::ffff:8.8.8.8": True,
    "64:ff9b::808:808": True,
    "127.0.0.1": False,
    "10.1.2.3": False,
    "100.64.0.1": False,
    "169.254.169.254": False,
    "0.0.0.0": False,
    "224.0.0.1": False,
    "::1": False,
    "fe80::1%eth0": False,
    "fd00::1": False,
    "::ffff:127.0.0.1": False,
    "64:ff9b::7f00:1": False,
    "2002:7f00:1::": False,
}


@pytest.mark.parametrize(("address", "public"), ADDRESSES.items())
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
def test_nothing_is_sent_to_this_network(server: HttpServer, host: str) -> None:
    """However it is written."""
    port = server.base_url.rpartition(":")[2]
    tried = send(f"http://{host}:{port}/", public_only=True)
    assert tried.status is None
    assert "an address of this network" in tried.answer
    assert server.requests == []


def looked_up(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Has names looked up, in turn, as `answers`; returns the names that were."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if not name.endswith(".example"):
            return real(host, port, *args, **kwargs)
        asked.append(name)
        return real(answers[min(len(asked), len(answers)) - 1], port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_a_name_is_looked_up_once(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it cannot be public when looked at and private when connected to. Loopback stands for the internet."""
    monkeypatch.setattr(posting, "is_public", lambda address: address == "127.0.0.1")
    asked = looked_up(monkeypatch, "127.0.0.1", "127.0.0.2")
    port = server.base_url.rpartition(":")[2]
    assert send(f"http://hook.example:{port}/in", public_only=True).arrived
    assert asked == ["hook.example"]
    assert server.requests[0].headers["host"] == f"hook.example:{port}"


def test_one_private_address_is_enough_to_refuse(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up(monkeypatch, "127.0.0.1")
    tried = send(f"{server.base_url.replace('127.0.0.1', 'hook.example')}/", public_only=True)
    assert tried == Tried(None, "OSError: hook.example is 127.0.0.1, an address of this network (WEBHOOKS_TO_PRIVATE)")
    assert server.requests == []


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no `openssl` on this machine")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """For hook.example, signed by itself."""
    made, alone = tmp_path / "both.pem", tmp_path / "cert.pem"
    options = "-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hook.example -addext subjectAltName=DNS:hook.example"
    files = ["-keyout", str(made), "-out", str(alone)]
    subprocess.run(["openssl", "req", *options.split(), *files], check=True, capture_output=True)
    made.write_text(made.read_text() + alone.read_text())
    return made


@needs_openssl
def test_the_certificate_must_be_the_names(
    server: HttpServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the connection goes to an address that was looked up before."""
    monkeypatch.setattr(posting, "is_public", lambda address: True)
    looked_up(monkeypatch, "127.0.0.1")
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(posting, "_context", lambda: trusting)
    with http_server(lambda request: Reply(204), certificate=certificate) as secure:
        port = secure.base_url.rpartition(":")[2]
        assert send(f"https://hook.example:{port}/", public_only=True) == Tried(204, "")
        wrong = send(f"https://other.example:{port}/", public_only=True)
    assert wrong.status is None
    assert "certificate" in wrong.answer.lower()
    assert len(secure.requests) == 1
