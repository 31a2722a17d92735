"""The vendors' HTTP client against a server that answers every way it should not."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from engine.errors import BadInput
from labeling_adapters.base import AdapterError
from labeling_adapters.http import HttpRefusal, JsonClient, key_in
from tests.labeling_adapters.http_server import FAULTS, PASSING, Fault, HttpServer, Reply, Request, http_server

KEY = "sk-very-secret-key"


@pytest.fixture
def server() -> Iterator[HttpServer]:
    def echo(request: Request) -> Reply:
        return Reply(200, {"path": request.path, "query": dict(request.query), "body": request.body.decode()})

    with http_server(echo) as running:
        yield running


def client(server: HttpServer, **settings: object) -> JsonClient:
    return JsonClient("vendor", f"{server.base_url}/api", **{"basic": (KEY, ""), "timeout_s": 0.5, **settings})


def failure(server: HttpServer, reply: Reply, **settings: object) -> AdapterError:
    server.faults.append(Fault(reply))
    with pytest.raises(AdapterError) as caught:
        client(server, **settings).ask("POST", "/projects/9/tasks", params={"token": "hidden"}, body=[1])
    return caught.value


def test_a_request_is_what_was_asked_for(server: HttpServer) -> None:
    asked = client(server).ask("POST", "/projects", params={"page": 2}, body={"a": "Ü\ud800"})
    assert asked == {"path": "/api/projects", "query": {"page": ["2"]}, "body": '{"a": "\\u00dc\\ud800"}'}
    headers = server.requests[0].headers
    assert headers["authorization"] == "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
    assert (headers["content-type"], headers["accept"]) == ("application/json", "application/json")


def test_headers_and_bytes_go_as_they_are(server: HttpServer) -> None:
    plain = client(server, basic=None, headers={"Authorization": f"Token {KEY}"})
    answer = plain.ask("PUT", "/x", content=b'{"b":1}', headers={"webhook-id": "msg_1"})
    assert answer["body"] == '{"b":1}'
    sent = server.requests[0].headers
    assert (sent["authorization"], sent["webhook-id"]) == (f"Token {KEY}", "msg_1")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 422, 301])
def test_a_refusal_is_permanent_and_names_verb_path_and_status_alone(server: HttpServer, status: int) -> None:
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    error = failure(server, Reply(status, {"why": f"your key {KEY} or {basic}\n is bad"}, {"Retry-After": "3"}))
    assert isinstance(error, HttpRefusal)
    assert (error.status, error.permanent, error.retry_after) == (status, True, None)
    assert str(error).startswith(f"vendor: POST /projects/9/tasks: {status} ")
    assert str(error).endswith(': {"why": "your key [key] or [key]\\n is bad"}')


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_not_permanent(server: HttpServer, status: int) -> None:
    error = failure(server, Reply(status, "<html>gateway</html>", {"Retry-After": "12"}))
    assert isinstance(error, HttpRefusal)
    assert (error.status, error.permanent, error.retry_after) == (status, False, 12.0)
    assert str(error).endswith(" (an HTML page)")


def test_retry_after_may_be_a_date_or_nonsense(server: HttpServer) -> None:
    def retry_after(value: str) -> float | None:
        return failure(server, Reply(503, {}, {"Retry-After": value})).retry_after

    later = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))
    assert later is not None
    assert 85 < later <= 90
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert [retry_after(odd) for odd in ("soon", "inf", "nan", "-5")] == [None, None, None, 0.0]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(200, "<!doctype html>log in"), "200 OK, but an HTML page; is the base URL right?"),
        (Reply(201, b'{"id": 1'), "201 Created, but broken JSON; is the base URL right?"),
        (Reply(200, b"[" * 100_000), "200 OK, but broken JSON; is the base URL right?"),
        (Reply(200, {"error": "Project has no responses"}), "200 OK, but an error inside: Project has no responses"),
    ],
)
def test_a_success_that_is_none_is_a_permanent_error(server: HttpServer, reply: Reply, says: str) -> None:
    error = failure(server, reply)
    assert str(error) == f"vendor: POST /projects/9/tasks: {says}"
    assert error.permanent


def test_an_empty_answer_or_a_null_error_is_a_success(server: HttpServer) -> None:
    server.faults += [Fault(Reply(204)), Fault(Reply(200, {"error": None, "id": 1}))]
    assert client(server).ask("PUT", "/x") is None
    assert client(server).ask("PUT", "/x") == {"error": None, "id": 1}


def test_silence_a_broken_line_and_nobody_there_may_pass(server: HttpServer) -> None:
    silent = failure(server, FAULTS["stall"])
    broken = failure(server, FAULTS["drop"])
    nobody = JsonClient("vendor", "http://127.0.0.1:9/api")
    with pytest.raises(AdapterError) as unreachable:
        nobody.ask("GET", "/projects")
    short = failure(server, Reply(200, b"[1", {"Content-Length": "9"}))
    errors = [silent, broken, unreachable.value, short]
    assert not any(error.permanent for error in errors)
    assert all(error.__suppress_context__ or error.__context__ is None for error in errors), "the request shows"
    assert [str(error).split(": ")[-1] for error in errors] == [
        "no answer within 0.5 s",
        "the connection broke",
        "not reachable",
        "no answer within 0.5 s",
    ]


def test_an_answer_that_never_ends_is_cut_off(server: HttpServer) -> None:
    error = failure(server, Reply(200, b'"' + b"x" * 5000 + b'"'), max_bytes=4096)
    assert (str(error), error.permanent) == ("vendor: POST /projects/9/tasks: answered more than 4096 bytes", True)


def test_an_answer_that_drips_is_timed_as_a_whole(server: HttpServer) -> None:
    error = failure(server, Reply(200, b'"slow but steady"', drips=0.1))
    assert (str(error), error.permanent) == ("vendor: POST /projects/9/tasks: no answer within 0.5 s", False)


def test_a_download_carries_no_key_and_its_permission_is_not_told(server: HttpServer) -> None:
    server.faults += [Fault(Reply(200, b"\x1f\x8b")), Fault(Reply(403, {"no": "access"}))]
    url = f"{server.base_url}/files/report.gz?signature=abc"
    assert client(server).download(url) == b"\x1f\x8b"
    assert "authorization" not in server.requests[0].headers
    with pytest.raises(AdapterError, match=r'^vendor: GET 127.0.0.1/files/report.gz: 403 Forbidden: {"no": "access"}$'):
        client(server).download(url)
    with pytest.raises(AdapterError, match="not an address of the web"):
        client(server).download("file:///etc/passwd")


def test_the_named_faults_are_told_apart(server: HttpServer) -> None:
    assert [name for name, reply in FAULTS.items() if not failure(server, reply).permanent] == list(PASSING)


def test_a_key_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", f" {KEY}\n")
    assert key_in("SOME_KEY", where="adapter surge") == KEY
    monkeypatch.setenv("SOME_KEY", "two words")
    with pytest.raises(BadInput, match=r"^adapter surge: .* SOME_KEY does not hold a key"):
        key_in("SOME_KEY", where="adapter surge")
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(BadInput, match=r"^adapter surge: the environment variable SOME_KEY is not set"):
        key_in("SOME_KEY", where="adapter surge")
