"""Every error has the one shape, and every code is written down."""

from __future__ import annotations

import ast
import errno
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DataError, IntegrityError, OperationalError
from django.test import Client
from rest_framework import exceptions
from rest_framework.test import APIClient

from engine.errors import BadInput, EngineError, GeneratorError, MissingModel, UnknownName
from engine.snippets import refusals
from webapi.api.labels import REFUSALS
from webapi.api.problems import API_CODES, FIELD_CODE_OF, PYDANTIC_CODES, problem_of
from webapi.api.schema import describe
from webapi.errors import ERROR_CODES, FIELD_CODES, DomainError
from webapi.models import Policy, User

ROOT = Path(__file__).resolve().parents[2]
Api = Callable[..., APIClient]


def check(response: Any, code: str, status: int) -> dict[str, Any]:
    """The problem, after its shape was found right."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "code", "errors"} <= body.keys()
    assert (body["code"], body["status"]) == (code, status)
    assert body["type"] == f"/api/v1/errors/{code}"
    assert all(error.keys() == {"loc", "code", "message"} for error in body["errors"])
    return body


def test_nobody_is_told_to_sign_in(db: None, api: Api) -> None:
    response = api().get("/api/v1/rounds")
    check(response, "not_authenticated", 401)
    assert response["WWW-Authenticate"] == 'Bearer realm="gauntlet"'


def test_a_wrong_token_is_401(db: None, api: Api) -> None:
    client = APIClient()
    for header in ("Bearer gtl_wrong", "Bearer", "Bearer a b", "Bearer \xff"):
        check(client.get("/api/v1/rounds", HTTP_AUTHORIZATION=header), "invalid_token", 401)


@pytest.mark.parametrize(
    "path", ["/api/v1/", "/api/v1/nothing", "/api/v1/rounds/", "/api/v1/rounds/not-a-key", "/api/nothing"]
)
def test_what_is_not_there_is_404(rita: User, api: Api, path: str) -> None:
    check(api(rita).get(path), "not_found", 404)


def test_a_method_that_is_not_there_is_405_and_says_which_are(rita: User, api: Api) -> None:
    response = api(rita).delete("/api/v1/policies")
    check(response, "method_not_allowed", 405)
    assert set(response["Allow"].split(", ")) == {"GET", "POST", "HEAD", "OPTIONS"}


def test_an_answer_in_another_type_is_406(rita: User, api: Api) -> None:
    check(api(rita).get("/api/v1/policies", HTTP_ACCEPT="application/xml"), "not_acceptable", 406)


def test_another_type_of_body_is_415(rita: User, api: Api) -> None:
    response = api(rita).post("/api/v1/policies", "name=x", content_type="application/x-www-form-urlencoded")
    check(response, "unsupported_media_type", 415)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b'{"name": NaN}', "NaN is not JSON"),
        (b'{"name": 1e999}', "1e999 is too large a number"),
        (b'{"name": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_malformed_body_is_400_and_says_what_is_wrong(rita: User, api: Api, body: bytes, says: str) -> None:
    response = api(rita).post("/api/v1/policies", body, content_type="application/json")
    assert says in check(response, "malformed", 400)["detail"]


def test_a_body_that_is_too_large_is_413_and_is_not_read(rita: User, api: Api, settings: Any) -> None:
    settings.MAX_BODY_BYTES = 100
    response = api(rita).post("/api/v1/policies", {"name": "x" * 100})
    assert "at most 100" in check(response, "body_too_large", 413)["detail"]
    assert Policy.objects.count() == 0


def test_too_many_requests_are_429_and_say_how_long_to_wait(rita: User, vera: User, api: Api, settings: Any) -> None:
    settings.API_RATE = "3/min"
    client = api(rita)
    assert [client.get("/api/v1/me").status_code for _ in range(4)] == [200, 200, 200, 429]
    response = client.get("/api/v1/me")
    check(response, "rate_limited", 429)
    assert int(response["Retry-After"]) == 20
    assert api(vera).get("/api/v1/me").status_code == 200


def test_a_fault_of_ours_is_logged_and_not_told(
    rita: User, api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("webapi.api.policies.Policies.get_queryset", fail)
    response = api(rita).get("/api/v1/policies")
    body = check(response, "internal_error", 500)
    assert "hunter2" not in response.content.decode()
    assert body["instance"] in caplog.text
    assert "hunter2" in caplog.text


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (DomainError("conflict", "no"), "conflict", 409),
        (BadInput("wrong", where="line 3"), "bad_input", 400),
        (UnknownName("rule", "x", ["a", "b"]), "unknown_name", 400),
        (MissingModel("fetch it"), "missing_model", 503),
        (GeneratorError("refused"), "generator_error", 502),
        (EngineError("odd"), "engine_error", 500),
        (IntegrityError("UNIQUE"), "conflict", 409),
        (OperationalError("locked"), "unavailable", 503),
        (OperationalError("database or disk is full"), "storage_full", 507),
        (DataError("too long"), "invalid", 400),
        (OSError(errno.ENOSPC, "No space left on device"), "storage_full", 507),
        (OSError(errno.EIO, "I/O error"), "internal_error", 500),
        (exceptions.ValidationError({"a": ["b"]}), "invalid", 400),
        (ZeroDivisionError("secret"), "internal_error", 500),
    ],
)
def test_every_kind_of_error_has_its_code(error: Exception, code: str, status: int) -> None:
    found = problem_of(error)
    assert (found.code, found.status or ERROR_CODES[found.code].status) == (code, status)
    assert "secret" not in found.detail


def test_errors_of_fields_lead_to_them(rita: User, api: Api) -> None:
    body = check(api(rita).post("/api/v1/tasks/lease", {"count": 0, "cuont": 3}), "invalid", 400)
    assert body["errors"][0]["loc"] == ["cuont"]
    assert body["errors"][0]["code"] == "unknown_field"
    body = check(api(rita).post("/api/v1/tasks/lease", {"count": 0}), "invalid", 400)
    assert [(e["loc"], e["code"]) for e in body["errors"]] == [(["count"], "min_value")]
    body = check(api(rita).post("/api/v1/policies", {"name": "x", "choices": ["Yes"]}), "invalid", 400)
    assert {tuple(e["loc"]): e["code"] for e in body["errors"]} == {
        ("question",): "required",
        ("choices",): "invalid",
    }
    body = check(api(rita).post("/api/v1/tasks/renew", {"leases": ["x"]}), "invalid", 400)
    assert body["errors"][0]["loc"] == ["leases", "0"] or body["errors"][0]["loc"] == ["leases", 0]


def test_pages_keep_their_own_404(db: None) -> None:
    response = Client().get("/nothing")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


def test_a_session_needs_its_csrf_token(rita: User) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(rita)
    assert client.get("/api/v1/me").status_code == 200
    check(client.post("/api/v1/tokens", {"name": "x"}), "csrf_failed", 403)
    assert rita.api_tokens.count() == 0


# The registry of codes


def sources() -> Iterator[tuple[Path, ast.AST]]:
    for folder in ("webapi", "workers", "engine", "labeling_adapters"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def first_arguments(name: str) -> Iterator[str]:
    """What is literally given as the code of a call of `name`, and of helpers that pass one on."""
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name and node.args:
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    yield str(code.value)
                elif path.name not in PASSED_ON:
                    pytest.fail(f"{path}:{node.lineno}: the code of {name} is not literal")


PASSED_ON = {"rounds.py", "labels.py", "problems.py"}
"""Files in which a helper passes a code on; theirs are found below."""


def test_every_code_that_is_raised_is_listed() -> None:
    raised = set(first_arguments("DomainError")) | set(first_arguments("Problem")) | set(API_CODES.values())
    moves = re.findall(r'_moved\(.*"(\w+)"\)', (ROOT / "webapi/services/rounds.py").read_text())
    engine = {error.code for error in (EngineError, *EngineError.__subclasses__())}
    raised |= {*moves, *REFUSALS.values(), *engine, "invalid_token", "csrf_failed"}
    assert len(moves) == 4
    assert raised <= ERROR_CODES.keys()
    assert ERROR_CODES.keys() <= raised, "listed but never raised"


def test_every_code_of_a_field_is_listed() -> None:
    snippet_rules = set(re.findall(r'Refusal\(\s*"(\w+)"', Path(refusals.__code__.co_filename).read_text()))
    rows = set(re.findall(r'Refusal\(\s*"(\w+)"', (ROOT / "workers/snippet_rows.py").read_text()))
    assert len(snippet_rules) >= 8
    used = snippet_rules | rows | set(PYDANTIC_CODES.values()) | set(FIELD_CODE_OF.values()) | {"malformed_line"}
    assert used <= FIELD_CODES.keys()


def test_every_code_is_in_the_description_and_at_its_own_address(db: None, api: Api) -> None:
    text = describe()
    listed = api().get("/api/v1/errors").json()
    assert [entry["code"] for entry in listed] == list(ERROR_CODES)
    for code, known in ERROR_CODES.items():
        assert f"| `{code}` | {known.status} | {known.meaning} |" in text
        assert api().get(f"/api/v1/errors/{code}").json() == {"code": code, **known._asdict()}
    for code, meaning in FIELD_CODES.items():
        assert f"| `{code}` | {meaning} |" in text
    check(api().get("/api/v1/errors/nonsense"), "not_found", 404)


HALF = '"\\ud800"'


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("corpora", "{%s: 1}"),
        ("tasks/lease", "{%s: 1}"),
        ("tasks/lease", '{"kind": %s}'),
        ("snippets", '{"policy": %s, "prompt": "a", "completion": "b"}'),
        ("rounds", '{"policy": "harm", "corpus": %s}'),
        ("exports", '{"what": %s}'),
        ("exports", '{"what": "labels", "filters": {%s: 1}}'),
        ("webhooks", '{"url": "https://a.example/", "events": [%s]}'),
        ("batches", '{"policy": "harm", "name": "n", "filter": {%s: 1}}'),
    ],
)
def test_half_a_surrogate_pair_is_refused_wherever_it_stands(
    rita: User, policy: Policy, api: Api, path: str, body: str
) -> None:
    response = api(rita).generic("POST", f"/api/v1/{path}", body % HALF, content_type="application/json")
    assert (response.status_code, response.json()["status"]) == (400, 400), response.content


def test_half_a_surrogate_pair_beside_good_labels_takes_nothing_from_them(
    alice: User, api: Api, make_batch: Callable[..., Any]
) -> None:
    make_batch(3)
    (one, *_) = api(alice).post("/api/v1/tasks/lease", {"count": 1}).json()["tasks"]
    label = {"task": one["id"], "lease": one["lease"]["token"], "choice": "Yes"}
    body = json.dumps({"labels": [label, {"\ud800": 1}], "next": 1})
    response = api(alice).generic("POST", "/api/v1/labels", body, content_type="application/json")
    assert response.status_code == 200, response.content
    outcomes = [item["outcome"] for item in response.json()["results"]]
    assert (outcomes, len(response.json()["tasks"])) == (["recorded", "invalid"], 1)


def test_a_path_that_no_file_can_have_is_refused(rita: User, api: Api) -> None:
    body = check(api(rita).post("/api/v1/corpora", {"name": "x", "path": "/" + "x" * 300}), "bad_input", 400)
    assert body["detail"] == "path: is no path: File name too long"
